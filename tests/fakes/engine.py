"""A small Docker Engine on a real socket: as much of its HTTP API as sandboxes use, with knobs for bad days.

Containers have no processes. What happens when one starts or stops is up to the test: `on_start` and `on_stop` are
called with the container and may open a gateway where its mounts say. A gauge (by its label) ends at once and reports
what `held` says of the volume; it is kept, and its calls are counted, apart from all others. Knobs: `down()`
(connections are refused), `slow_s` (each answer waits), `fail` (a status for every call that contains a text),
`break_after` (so many calls are answered, and then none).
"""

import asyncio
import contextlib
import hashlib
import io
import itertools
import json
import struct
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.fakes import serving

IMAGE_ID = "sha256:" + "1" * 64
API = "1.41"
RUNTIME = "runc"
GAUGE = "clawkaka.gauge"


async def _nothing(_: "FakeContainer") -> None:
    return None


@dataclass
class FakeContainer:
    """What the engine knows of one container."""

    id: str
    name: str
    body: dict[str, Any]
    image_id: str
    status: str = "created"
    exit_code: int = 0
    started_at: str = "0001-01-01T00:00:00Z"
    log: list[str] = field(default_factory=list)
    old_log: list[str] = field(default_factory=list)  # of the times that it ran before
    updated: dict[str, Any] = field(default_factory=dict)  # by `docker update`
    used: int = 450 * 1024 * 1024  # bytes of memory
    swapped: int = 0
    failures: int = 0  # so often there was no memory for it
    files: dict[str, bytes] = field(default_factory=dict)  # by path, for the archive calls

    def source(self, target: str) -> Path:
        """Where a mount is on the host."""
        return Path(next(m["Source"] for m in self.body["HostConfig"]["Mounts"] if m["Target"] == target))

    @property
    def labels(self) -> dict[str, str]:
        return dict(self.body.get("Labels") or {})

    def inspected(self) -> dict[str, Any]:
        return {
            "Id": self.id,
            "Name": f"/{self.name}",
            "Image": self.image_id,
            "State": {
                "Status": self.status,
                "Running": self.status == "running",
                "ExitCode": self.exit_code,
                "StartedAt": self.started_at,
            },
            "Config": {**{k: v for k, v in self.body.items() if k != "HostConfig"}, "Tty": False},
            "HostConfig": {"Runtime": RUNTIME, **self.body["HostConfig"], **self.updated},
            "Mounts": [_mounted(mount) for mount in self.body["HostConfig"]["Mounts"]],
            "NetworkSettings": {"Networks": {"none": {}}, "Ports": {}},
            "Path": "",
            "Args": [],
            "AppArmorProfile": "",
            "ProcessLabel": "",
            "MountLabel": "",
        }


class FakeEngine:
    """The engine, its state open to the test."""

    def __init__(self, socket: Path) -> None:
        self.address = f"unix://{socket}"
        self.socket = socket
        self.images: dict[str, str] = {"clawkaka-sandbox:latest": IMAGE_ID}
        self.untagged: set[str] = set()  # ids of images that have no name any more
        self.containers: dict[str, FakeContainer] = {}  # by name
        self.volumes: dict[str, dict[str, str]] = {}  # labels by name
        self.looks = 0  # of gauges
        self.gauges: dict[str, FakeContainer] = {}  # by name
        self.held: dict[str, dict[str, Any]] = {}  # what a gauge says of a volume, by name
        self.unwritten: dict[str, int] = {}  # what a container wrote that is not on the disk yet, by name
        self.root_dir = "/nonexistent/docker"
        self.calls: list[str] = []
        self.on_start: Callable[[FakeContainer], Awaitable[None]] = _nothing
        self.on_stop: Callable[[FakeContainer], Awaitable[None]] = _nothing
        self.command: Callable[[list[str]], tuple[int, bytes]] = lambda _: (0, b"")
        self.on_freeze: Callable[[FakeContainer], Awaitable[None]] = _nothing
        self.on_thaw: Callable[[FakeContainer], Awaitable[None]] = _nothing
        self.cgroups = "1"
        self.swap_limit = True
        self.stuck_at: int | None = None  # bytes of each container that do not go to swap: with v2 it is killed then
        self.first_survives = False  # where it is killed: not the first process, so that it stays frozen
        self.told_of_memory: dict[str, Any] | None = None  # this, and nothing else
        self.refuses = 0  # so many limits are refused first, and take away a little all the same
        self.sticks = False  # limits are taken, and no memory goes
        self.slow_s = 0.0
        self.fail: tuple[str, int] | None = None
        self.says = "told to fail"  # the message of those
        self.dies_after: int | None = None  # so many more changes are made, the last one unanswered
        self.break_after: int | None = None  # after so many more calls every one of them fails
        self._executions: dict[str, tuple[list[str], int]] = {}
        self._followers: set[asyncio.Queue[dict[str, Any]]] = set()
        self._ids = itertools.count(1)
        self._listening: tuple[web.AppRunner, asyncio.Server] | None = None

    async def up(self) -> None:
        """Listen."""
        app = web.Application(middlewares=[self._knobs], client_max_size=0)
        app.add_routes(self._routes())
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        self._listening = runner, await serving.listen(runner, self.socket)

    async def down(self) -> None:
        """Be gone: connections are refused, event streams end. The containers live on."""
        if self._listening is not None:
            await serving.stop(*self._listening)
            self._listening = None
        self.socket.unlink(missing_ok=True)

    def tag(self, name: str, image_id: str) -> None:
        """A build: the name is another image's now, and the one that had it stays."""
        self.untagged.add(self.images[name])
        self.images[name] = image_id

    def image_of(self, name: str) -> str | None:
        """The image of that name or id."""
        here = {*self.images.values(), *self.untagged}
        return name if name in here else self.images.get(name)

    async def die(self, name: str, exit_code: int) -> None:
        """A container's main process ends by itself."""
        await self._end(self.containers[name], exit_code)

    def out_of_memory(self, name: str) -> None:
        """A process in a container was ended for want of memory; the container itself may live on."""
        self._tell(self.containers[name], "oom")

    def count(self, call: str) -> int:
        """How many calls like `POST /containers/create` there were."""
        return sum(call in seen for seen in self.calls)

    def _routes(self) -> list[web.RouteDef]:
        return [
            web.get("/version", self._version),
            web.get("/{v}/version", self._version),
            web.get("/{v}/info", self._info),
            web.get("/{v}/events", self._events),
            web.get("/{v}/images/{name}/json", self._image),
            web.delete("/{v}/images/{name}", self._delete_image),
            web.post("/{v}/containers/create", self._create),
            web.get("/{v}/containers/json", self._list),
            web.get("/{v}/containers/{id}/json", self._inspect),
            web.get("/{v}/containers/{id}/logs", self._logs),
            web.post("/{v}/containers/{id}/start", self._start),
            web.post("/{v}/containers/{id}/pause", self._pause),
            web.post("/{v}/containers/{id}/unpause", self._unpause),
            web.post("/{v}/containers/{id}/update", self._update),
            web.get("/{v}/containers/{id}/stats", self._stats),
            web.post("/{v}/containers/{id}/stop", self._stop),
            web.post("/{v}/containers/{id}/kill", self._kill),
            web.post("/{v}/containers/{id}/rename", self._rename),
            web.post("/{v}/containers/{id}/exec", self._prepare_exec),
            web.delete("/{v}/containers/{id}", self._delete),
            web.get("/{v}/containers/{id}/archive", self._archive),
            web.put("/{v}/containers/{id}/archive", self._unpack),
            web.post("/{v}/exec/{id}/start", self._exec),
            web.get("/{v}/exec/{id}/json", self._exec_ended),
            web.get("/{v}/volumes", self._list_volumes),
            web.get("/{v}/volumes/{name}", self._volume),
            web.post("/{v}/volumes/create", self._create_volume),
            web.delete("/{v}/volumes/{name}", self._delete_volume),
        ]

    @web.middleware
    async def _knobs(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        call = f"{request.method} /{request.path.split('/', 2)[-1]}"
        self.calls.append(call)
        await asyncio.sleep(self.slow_s)
        if self.break_after is not None:
            self.break_after -= 1
            if self.break_after < 0:
                return _no(503, "told to break")
        if self.fail is not None and self.fail[0] in call:
            return _no(self.fail[1], self.says)
        if self.dies_after is None or request.method == "GET":
            return await handler(request)
        self.dies_after -= 1
        if self.dies_after >= 0:
            answer = await handler(request)
        return answer if self.dies_after > 0 else _no(503, "told to die")

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": API, "Version": "20.10.24"})

    async def _image(self, request: web.Request) -> web.Response:
        image_id = self.image_of(request.match_info["name"])
        return _no(404, "No such image") if image_id is None else web.json_response({"Id": image_id, "Config": {}})

    async def _info(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "DefaultRuntime": RUNTIME,
                "CgroupVersion": self.cgroups,
                "SwapLimit": self.swap_limit,
                "DockerRootDir": self.root_dir,
            }
        )

    async def _delete_image(self, request: web.Request) -> web.Response:
        gone = self.images.pop(request.match_info["name"], None)
        return _no(404, "No such image") if gone is None else web.json_response([{"Deleted": gone}])

    async def _create(self, request: web.Request) -> web.Response:
        body, name = await request.json(), request.query["name"]
        image_id = self.image_of(body["Image"])
        if image_id is None:
            return _no(404, f"No such image: {body['Image']}")
        if name in self.containers or name in self.gauges:
            return _no(409, f'Conflict. The container name "/{name}" is already in use')
        container_id = hashlib.sha256(f"{name}{next(self._ids)}".encode()).hexdigest()
        container = FakeContainer(container_id, name, body, image_id)
        if GAUGE in container.labels:
            self.calls.remove("POST /containers/create")
            self.gauges[name] = container
            return web.json_response({"Id": container_id, "Warnings": []}, status=201)
        self.containers[name] = container
        for mount in body["HostConfig"]["Mounts"]:
            if mount["Type"] == "bind" and not Path(mount["Source"]).is_dir():
                return _no(400, f"bind source path does not exist: {mount['Source']}")
        return web.json_response({"Id": container_id, "Warnings": []}, status=201)

    async def _list(self, request: web.Request) -> web.Response:
        filters = json.loads(request.query.get("filters", "{}"))
        wanted = dict(text.split("=", 1) for text in filters.get("label", []))
        return web.json_response(
            [
                {
                    "Id": c.id,
                    "Names": [f"/{c.name}"],
                    "ImageID": c.image_id,
                    "Labels": c.labels,
                    "State": c.status,
                }
                for c in self.containers.values()
                if wanted.items() <= c.labels.items()
            ]
        )

    async def _inspect(self, request: web.Request) -> web.Response:
        return web.json_response(self._find(request).inspected())

    async def _logs(self, request: web.Request) -> web.Response:
        container = self._find(request)
        started_at = datetime.fromisoformat(container.started_at[:19]).replace(tzinfo=UTC)
        is_whole = int(request.query.get("since", 0)) < started_at.timestamp()
        lines = [*container.old_log, *container.log] if is_whole else container.log
        lines = lines[-int(request.query["tail"]) :]
        return web.Response(body=b"".join(_framed(1, f"{line}\n".encode()) for line in lines))

    async def _start(self, request: web.Request) -> web.Response:
        container = self._find(request)
        if container.name in self.gauges:
            return self._measure(container)
        if container.status == "running":
            return web.Response(status=304)
        if container.status == "paused":
            return _no(409, "cannot start a paused container, try unpause instead")
        container.status, container.exit_code = "running", 0
        container.old_log, container.log = [*container.old_log, *container.log], []
        container.started_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
        self._tell(container, "start")
        await self.on_start(container)
        return web.Response(status=204)

    def _measure(self, gauge: FakeContainer) -> web.Response:
        self.calls.remove(f"POST /containers/{gauge.name}/start")
        self.looks += 1
        (volume,) = gauge.body["HostConfig"]["Mounts"]
        report = {"bytes": 4096, "inodes": 1, "cut": "", **self.held.get(volume["Source"], {})}
        gauge.status, gauge.exit_code = "exited", int(report.pop("exit_code", 0))
        gauge.log = [json.dumps(report)]
        return web.Response(status=204)

    async def _stop(self, request: web.Request) -> web.Response:
        container = self._find(request)
        if container.status not in ("running", "paused"):
            return web.Response(status=304)
        await self._end(container, 137 if container.status == "paused" else 0)  # a frozen one does not hear of it
        return web.Response(status=204)

    async def _pause(self, request: web.Request) -> web.Response:
        container = self._find(request)
        if container.status != "running":
            why = "already paused" if container.status == "paused" else "not running"
            return _no(409, f"Container {container.id} is {why}")
        container.status = "paused"
        self._tell(container, "pause")
        await self.on_freeze(container)
        return web.Response(status=204)

    async def _unpause(self, request: web.Request) -> web.Response:
        container = self._find(request)
        if container.status != "paused":
            return _no(500, f"Container {container.id} is not paused")
        await self.thaw(container.name)
        return web.Response(status=204)

    async def thaw(self, name: str) -> None:
        """A frozen container goes on."""
        container = self.containers[name]
        container.status = "running"
        await self.on_thaw(container)
        self._tell(container, "unpause")

    async def _update(self, request: web.Request) -> web.Response:
        """What a frozen container has above its new limit goes to swap, as far as it can."""
        container, limits = self._find(request), await request.json()
        if self.refuses and limits["Memory"] < container.used:
            self.refuses -= 1
            container.used -= 10 * 1024 * 1024
            return _no(500, "unable to set memory limit: device or resource busy")
        if not self.sticks and container.status in ("running", "paused") and limits["Memory"] < container.used:
            if limits["Memory"] < (self.stuck_at or 0):
                if self.cgroups == "1":
                    return _no(500, "failed to write to memory.limit_in_bytes: device or resource busy")
                await self._kill_the_greatest(container)
            else:
                container.swapped += container.used - limits["Memory"]
                container.used = limits["Memory"]
                container.failures += self.cgroups == "1"  # there each time counts that the limit is reached
        container.updated |= limits
        self._tell(container, "update")
        return web.json_response({"Warnings": None})

    async def _kill_the_greatest(self, container: FakeContainer) -> None:
        """As cgroup v2 was seen to: thousands of failures, one process killed, and the call succeeds."""
        container.failures += 7999
        container.used = 400 * 1024
        if not self.first_survives:
            await self._end(container, 137)

    async def _stats(self, request: web.Request) -> web.Response:
        container = self._find(request)
        lives = container.status in ("running", "paused")
        pages = {"total_dirty": self.unwritten.get(container.name, 0), "total_writeback": 0}
        failed = {"failcnt": container.failures} if container.failures else {}  # no word of none
        facts = {"usage": container.used, **failed, "stats": pages}
        told = self.told_of_memory if self.told_of_memory is not None else facts if lives else {}
        return web.json_response({"memory_stats": told})

    async def _kill(self, request: web.Request) -> web.Response:
        container = self._find(request)
        if container.status not in ("running", "paused"):
            return _no(409, "is not running")
        await self._end(container, 137)
        return web.Response(status=204)

    async def _rename(self, request: web.Request) -> web.Response:
        container, name = self._find(request), request.query["name"]
        if name in self.containers:
            return _no(409, f'Conflict. The container name "/{name}" is already in use')
        del self.containers[container.name]
        container.name = name
        self.containers[name] = container
        return web.Response(status=204)

    async def _delete(self, request: web.Request) -> web.Response:
        container = self._find(request)
        if self.gauges.pop(container.name, None) is not None:
            return web.Response(status=204)
        if container.status == "running":
            await self._end(container, 137)
        del self.containers[container.name]
        self._tell(container, "destroy")
        return web.Response(status=204)

    async def _archive(self, request: web.Request) -> web.Response:
        path = request.query["path"]
        content = self._find(request).files.get(path)
        if content is None:
            return _no(404, f"Could not find the file {path}")
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            header = tarfile.TarInfo(Path(path).name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
        return web.Response(body=packed.getvalue(), content_type="application/x-tar")

    async def _unpack(self, request: web.Request) -> web.Response:
        container, where = self._find(request), request.query["path"]
        with tarfile.open(fileobj=io.BytesIO(await request.read())) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                container.files[f"{where}/{member.name}"] = file.read()
        return web.Response()

    async def _prepare_exec(self, request: web.Request) -> web.Response:
        container = self._find(request)
        if container.status != "running":
            return _no(409, "is not running")
        exec_id = f"e{next(self._ids)}"
        self._executions[exec_id] = ((await request.json())["Cmd"], 0)
        return web.json_response({"Id": exec_id}, status=201)

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        command, _ = self._executions[request.match_info["id"]]
        code, output = self.command(command)
        self._executions[request.match_info["id"]] = (command, code)
        # The engine answers 101 and then speaks its own framing on the raw connection.
        assert request.transport is not None
        head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
        request.transport.write(f"{head}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode())
        request.transport.write(_framed(2, b"a warning\n") + _framed(1, output))
        request.transport.close()
        return web.StreamResponse()

    async def _exec_ended(self, request: web.Request) -> web.Response:
        _, code = self._executions[request.match_info["id"]]
        return web.json_response({"ExitCode": code, "ProcessConfig": {"tty": False}})

    async def _volume(self, request: web.Request) -> web.Response:
        labels = self.volumes.get(request.match_info["name"])
        if labels is None:
            return _no(404, "no such volume")
        return web.json_response({"Name": request.match_info["name"], "Labels": labels})

    async def _list_volumes(self, request: web.Request) -> web.Response:
        wanted = dict(text.split("=", 1) for text in json.loads(request.query["filters"])["label"])
        found = [name for name, labels in self.volumes.items() if wanted.items() <= labels.items()]
        return web.json_response({"Volumes": [{"Name": name} for name in found], "Warnings": []})

    async def _create_volume(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.volumes.setdefault(body["Name"], body["Labels"])
        return web.json_response({"Name": body["Name"]}, status=201)

    async def _delete_volume(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        holders = [*self.containers.values(), *self.gauges.values()]
        used = any(m["Source"] == name for c in holders for m in c.body["HostConfig"]["Mounts"])
        if used:
            return _no(409, "volume is in use")
        return web.Response(status=204) if self.volumes.pop(name, None) is not None else _no(404, "no such volume")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        wanted = dict(text.split("=", 1) for text in json.loads(request.query["filters"])["label"])
        news: asyncio.Queue[dict[str, Any]] = asyncio.Queue(100)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self._followers.add(news)
        try:
            while True:
                event = await news.get()
                if wanted.items() <= event["Actor"]["Attributes"].items():
                    await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self._followers.discard(news)

    async def _end(self, container: FakeContainer, exit_code: int) -> None:
        container.status, container.exit_code = "exited", exit_code
        await self.on_stop(container)
        self._tell(container, "die")

    def _tell(self, container: FakeContainer, action: str) -> None:
        for news in self._followers:
            attributes = {**container.labels, "name": container.name}
            news.put_nowait(
                {"Type": "container", "Action": action, "Actor": {"ID": container.id, "Attributes": attributes}}
            )

    def _find(self, request: web.Request) -> FakeContainer:
        wanted = request.match_info["id"]
        for container in [*self.containers.values(), *self.gauges.values()]:
            if wanted in (container.id, container.name):
                return container
        text = json.dumps({"message": f"No such container: {wanted}"})
        raise web.HTTPNotFound(text=text, content_type="application/json")


@contextlib.asynccontextmanager
async def fake_engine(directory: Path) -> AsyncIterator[FakeEngine]:
    """A running one, its socket in `directory`."""
    engine = FakeEngine(directory / "engine.sock")
    await engine.up()
    try:
        yield engine
    finally:
        await engine.down()


def _mounted(mount: dict[str, Any]) -> dict[str, Any]:
    """A mount as the engine tells it of a container that has it."""
    volume = mount["Type"] == "volume"
    return {
        "Type": mount["Type"],
        **({"Name": mount["Source"], "Driver": "local"} if volume else {"Source": mount["Source"]}),
        "Destination": mount["Target"],
        "RW": not mount.get("ReadOnly"),
        "Propagation": mount.get("BindOptions", {}).get("Propagation", ""),
    }


def _no(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


def _framed(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data
