"""The Docker engine, as far as sandboxes need it: a thin driver over aiodocker that decides nothing.

Every call has a deadline, every library error becomes one of ours: EngineUnavailable (no answer: try again, nothing is
known; EngineCrippled where it says that it cannot now), ImageMissing, or Rejected (the engine understood and said no).
What is looked up and not there is None.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

import aiodocker
import aiohttp
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from aiodocker.volumes import DockerVolume

from clawkakad.errors import EngineCrippled, EngineUnavailable, ImageMissing, Rejected, UsageError
from clawkakad.model import SandboxId
from clawkakad.sandboxes.profile import LABEL_CONFIG, LABEL_INSTANCE, LABEL_SANDBOX, Body
from clawkakad.sandboxes.shrinking import Cgroups

ADDRESS = "unix:///var/run/docker.sock"
CALL_S = 30.0  # one ordinary call; a busy engine takes seconds to create or start
CONNECT_S = 5.0
REMOVE_S = 180.0  # a volume; 70 GB took longer than CALL_S
STREAM = aiohttp.ClientTimeout(sock_connect=CONNECT_S, sock_read=600)  # of archives: any length, but never at a stand
NO_CONNECTION = 900  # aiodocker's own status for "cannot connect"
# Of cgroup v1 and of v2: each has its own two.
UNWRITTEN = ("total_dirty", "total_writeback", "file_dirty", "file_writeback")
UNREACHABLE = frozenset({NO_CONNECTION, 502, 503, 504})
# The engine's words for a containerd that is away, restarts or is too slow; its status is that of any other failure.
WITHOUT_CONTAINERD = (
    "containerd.sock",
    "connection error",
    "transport:",
    "transport is closing",
    ": unavailable",
    "context deadline exceeded",
    "context canceled",
)


@dataclass(frozen=True)
class Container:
    """What the engine says of one container. `started_at`: aware UTC, None if it never ran."""

    id: str
    name: str
    image_id: str
    labels: dict[str, str]
    status: str  # created, running, paused, restarting, removing, exited, dead
    exit_code: int
    started_at: datetime | None
    memory: int = 0  # its limits in bytes, 0 for none or not told: of memory, and of memory and swap together
    memory_and_swap: int = 0

    @property
    def frozen(self) -> bool:
        """Whether its processes exist and stand still."""
        return self.status == "paused"

    @property
    def running(self) -> bool:
        """Whether its processes exist and are not frozen."""
        return self.status == "running"

    @property
    def instance(self) -> str | None:
        """Which installation it belongs to."""
        return self.labels.get(LABEL_INSTANCE)

    @property
    def sandbox_id(self) -> SandboxId | None:
        """Which sandbox it belongs to."""
        value = self.labels.get(LABEL_SANDBOX)
        return None if value is None else SandboxId(value)

    @property
    def config_hash(self) -> str | None:
        """What it was made from."""
        return self.labels.get(LABEL_CONFIG)


@dataclass(frozen=True)
class Event:
    """Something happened to a container of ours: a hint to look, never a fact to act on."""

    sandbox_id: SandboxId
    action: str  # start, die, oom, stop, kill, pause, destroy, …


@dataclass(frozen=True)
class Ran:
    """The end of a command inside a container; `output` is its standard output, cut at the limit."""

    exit_code: int
    output: str


@dataclass(frozen=True)
class MemoryUse:
    """What a container has now. `used`: bytes of memory, caches too, what is in swap not; 0 if it does not run.

    `failures`: how often the kernel found no memory for it since its start. With cgroup v2 something in it is killed
    then, of which the container's status may say nothing; with v1 that is each time the limit was reached.
    """

    used: int
    failures: int


class Engine:
    """The calls. Cancelling one leaves the engine to finish what it began: each may be repeated."""

    def __init__(self, docker: aiodocker.Docker) -> None:
        self._docker = docker

    async def version(self) -> str:
        """The engine's version; the cheapest question that shows it answers."""
        async with _asking("version"):
            return str((await self._docker.version())["Version"])

    async def image_id(self, image: str) -> str | None:
        """The id behind an image's name, or None."""
        async with _asking("look up the image"):
            with _absent_is_none():
                return str((await self._docker.images.inspect(image))["Id"])
        return None

    async def inspect(self, name: str) -> Container | None:
        """One container by name or id, or None."""
        async with _asking("inspect a container"):
            with _absent_is_none():
                return _container((await self._docker.containers.get(name))._container)
        return None

    async def facts(self, name: str) -> dict[str, Any] | None:
        """All that the engine says of one container, as it says it; or None."""
        async with _asking("inspect a container"):
            with _absent_is_none():
                return dict((await self._docker.containers.get(name))._container)
        return None

    async def image_config(self, image: str) -> dict[str, Any]:
        """What an image gives to its containers: environment, labels and so on. Raises ImageMissing."""
        async with _asking("look up the image"):
            with _absent_is_none():
                return dict((await self._docker.images.inspect(image))["Config"])
        raise ImageMissing(f"the image {image} is not here: clawkakad image build")

    async def default_runtime(self) -> str:
        """The runtime of containers that ask for none."""
        async with _asking("tell about itself"):
            return str((await self._docker.system.info())["DefaultRuntime"])

    async def root_dir(self) -> str:
        """Where the engine keeps its data, volumes too."""
        async with _asking("tell about itself"):
            return str((await self._docker.system.info())["DockerRootDir"])

    async def ids(self) -> set[str]:
        """The ids of all containers there are, anybody's, running or not."""
        async with _asking("list containers"):
            return {item.id for item in await self._docker.containers.list(all=True)}

    async def ours(self, instance: str) -> list[Container]:
        """Every container of this installation, running or not. Exit code, start and limits are not in the list."""
        wanted = {"label": [f"{LABEL_INSTANCE}={instance}"]}
        async with _asking("list containers"):
            found = await self._docker.containers.list(all=True, filters=json.dumps(wanted))
        return [_listed(item._container) for item in found]

    async def create(self, name: str, body: Body) -> str:
        """Make a container; its id. Raises ImageMissing, and Rejected where the name is taken."""
        async with _asking("create a container"):
            try:
                return (await self._docker.containers.create(cast(Any, body), name=name)).id
            except DockerError as error:
                if error.status == 404:
                    raise ImageMissing(f"the image {body['Image']} is not here: clawkakad image build") from error
                raise

    async def start(self, container_id: str) -> None:
        """Start it; no error if it runs."""
        async with _asking("start a container"):
            await self._of(container_id).start()

    async def stop(self, container_id: str, *, grace_s: int) -> None:
        """SIGTERM, and SIGKILL after `grace_s`; no error if it is gone or does not run."""
        async with _asking("stop a container", deadline_s=grace_s + CALL_S):
            with _absent_is_none():
                await self._of(container_id).stop(t=grace_s)

    async def pause(self, container_id: str) -> None:
        """Freeze its processes; Rejected if it does not run, or is frozen."""
        async with _asking("pause a container"):
            await self._of(container_id).pause()

    async def unpause(self, container_id: str) -> None:
        """Let its processes go on; Rejected if it is not frozen."""
        async with _asking("unpause a container"):
            await self._of(container_id).unpause()

    async def limit_memory(self, container_id: str, memory: int, memory_and_swap: int) -> None:
        """Set its limits, in bytes, running or not; with cgroup v1 Rejected where the kernel cannot take away so much.

        With v2 there is no such answer: it kills, and this succeeds.
        """
        body = json.dumps({"Memory": memory, "MemorySwap": memory_and_swap})
        call, headers = f"containers/{container_id}/update", {"Content-Type": "application/json"}
        async with (
            _asking("limit the memory of a container"),
            self._docker._query(call, "POST", data=body, headers=headers) as answer,  # the library has no call for it
        ):
            await answer.read()

    async def memory_use(self, container_id: str) -> MemoryUse:
        """How much memory a container has, and whether it got what it needed."""
        call, params = f"containers/{container_id}/stats", {"stream": "false", "one-shot": "true"}
        async with (
            _asking("measure a container"),
            self._docker._query(call, params=params) as answer,  # the library's call reads two samples, a second apart
        ):
            facts = (await answer.json())["memory_stats"]
        return MemoryUse(int(facts.get("usage", 0)), int(facts.get("failcnt", 0)))

    async def cgroups(self) -> Cgroups:
        """Which kind of cgroups this host has."""
        async with _asking("tell about itself"):
            facts = await self._docker.system.info()
        return Cgroups(str(facts.get("CgroupVersion") or "1"), bool(facts.get("SwapLimit")))

    async def unwritten(self, container_id: str) -> int:
        """How many bytes it has written that are not on the disk yet; 0 if it does not run."""
        call = f"containers/{container_id}/stats"
        async with _asking("tell what a container uses"):
            facts = await self._docker._query_json(call, params={"stream": "0", "one-shot": "1"})
        pages = facts["memory_stats"].get("stats") or {}
        return sum(int(pages.get(name, 0)) for name in UNWRITTEN)

    async def kill(self, container_id: str) -> None:
        """SIGKILL; Rejected if it does not run."""
        async with _asking("kill a container"):
            await self._of(container_id).kill()

    async def rename(self, container_id: str, name: str) -> None:
        """Give it another name; Rejected where that is taken."""
        async with _asking("rename a container"):
            await self._of(container_id).rename(name)

    async def remove(self, container_id: str) -> None:
        """Kill and remove; no error if it is gone."""
        async with _asking("remove a container"):
            with _absent_is_none():
                await self._of(container_id).delete(force=True)

    async def run(self, container_id: str, command: list[str], *, deadline_s: float, limit: int) -> Ran:
        """Run a command inside as the container's user; at most `limit` bytes of its output are kept.

        After the deadline EngineUnavailable is raised, and the command may go on inside: let it bound itself.
        """
        async with _asking("run a command in a container", deadline_s=deadline_s):
            execution = await self._of(container_id).exec(command)
            output = bytearray()
            async with execution.start() as stream:
                while (message := await stream.read_out()) is not None:
                    if message.stream == 1 and len(output) < limit:
                        output += message.data
            ended = await execution.inspect()
        return Ran(int(ended["ExitCode"] or 0), output[:limit].decode(errors="replace"))

    async def logs(self, container_id: str, *, tail: int, since: datetime | None = None) -> list[str] | None:
        """The last lines of what a container printed, at all or since then, or None if it is gone."""
        since_s = 0 if since is None else int(since.timestamp())
        async with _asking("read the logs of a container"):
            with _absent_is_none():
                pieces = await self._of(container_id).log(stdout=True, stderr=True, tail=tail, since=since_s)
                return "".join(pieces).splitlines()
        return None

    @contextlib.asynccontextmanager
    async def archive(self, container_id: str, path: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """A file or directory of a container, running or not, as the bytes of a tar."""
        call = f"containers/{container_id}/archive"
        async with (
            _asking("copy out of a container", deadline_s=None),
            self._docker._query(call, params={"path": path}, timeout=STREAM) as answer,
        ):
            try:
                yield answer.content.iter_any()
            finally:
                answer.close()

    async def unpack(self, container_id: str, path: str, tar: AsyncIterator[bytes]) -> None:
        """Unpack a tar into a directory of a container, running or not."""
        call = f"containers/{container_id}/archive"
        headers = {"Content-Type": "application/x-tar"}
        async with (
            _asking("copy into a container", deadline_s=None),
            self._docker._query(
                call, "PUT", params={"path": path}, data=tar, headers=headers, timeout=STREAM
            ) as answer,
        ):
            await answer.read()

    async def volume_labels(self, name: str) -> dict[str, str] | None:
        """The labels of a volume, or None if there is no such volume."""
        async with _asking("look up a volume"):
            with _absent_is_none():
                facts = await self._volume(name).show()  # type: ignore[no-untyped-call]
                return cast(dict[str, str], facts.get("Labels") or {})
        return None

    async def create_volume(self, body: Body) -> None:
        """Make a volume; the engine leaves one of that name as it is."""
        async with _asking("create a volume"):
            await self._docker.volumes.create(body)  # type: ignore[no-untyped-call]

    async def remove_volume(self, name: str) -> None:
        """Remove it with all that is in it; no error if it is gone. Rejected while a container has it."""
        async with _asking("remove a volume", deadline_s=REMOVE_S):
            with _absent_is_none():
                await self._volume(name).delete()  # type: ignore[no-untyped-call]

    async def remove_instance(self, instance: str) -> int:
        """Remove every container and volume of an installation, running or not; how many there were."""
        containers = await self.ours(instance)
        for container in containers:
            await self.remove(container.id)
        volumes = await self.volumes_of(instance)
        for name in volumes:
            await self.remove_volume(name)
        return len(containers) + len(volumes)

    async def remove_image(self, image: str) -> None:
        """Remove an image's name, and the image if it has no other; no error if it is gone."""
        async with _asking("remove an image"):
            with _absent_is_none():
                await self._docker.images.delete(image)

    async def volumes_of(self, instance: str) -> list[str]:
        """The names of all volumes of this installation."""
        wanted = {"label": [f"{LABEL_INSTANCE}={instance}"]}
        async with _asking("list volumes"):
            found = await self._docker.volumes.list(filters=wanted)  # type: ignore[no-untyped-call]
        return [str(volume["Name"]) for volume in found["Volumes"] or []]

    async def events(self, instance: str) -> AsyncGenerator[Event | None, None]:
        """What happens to our containers, until the engine goes away (EngineUnavailable).

        The first item is None and means: subscribed, whatever happens from now on will be told.
        """
        wanted = {"type": ["container"], "label": [f"{LABEL_INSTANCE}={instance}"]}
        async with _asking("follow the engine's events", deadline_s=None):
            # Not the library's own `events`: its queue has no bound, and an end looks like an error there.
            endless = aiohttp.ClientTimeout(sock_connect=CONNECT_S)
            async with self._docker._query("events", params={"filters": json.dumps(wanted)}, timeout=endless) as answer:
                try:
                    yield None
                    async for line in answer.content:
                        event = _event(line)
                        if event is not None:
                            yield event
                finally:
                    answer.close()
        raise EngineUnavailable("the engine ended its event stream")

    def _of(self, container_id: str) -> DockerContainer:
        return self._docker.containers.container(container_id)

    def _volume(self, name: str) -> DockerVolume:
        return DockerVolume(self._docker, name)  # type: ignore[no-untyped-call]


@contextlib.asynccontextmanager
async def open_engine(address: str = ADDRESS) -> AsyncIterator[Engine]:
    """A driver for the engine at a `unix://` or `http://` address. Nothing is asked yet."""
    try:
        docker = aiodocker.Docker(address, timeout=aiohttp.ClientTimeout(total=CALL_S, sock_connect=CONNECT_S))
    except ValueError as error:
        raise UsageError(f"{address} is no address of a Docker engine: {error}") from error
    async with docker:
        yield Engine(docker)


@contextlib.asynccontextmanager
async def _asking(what: str, *, deadline_s: float | None = CALL_S) -> AsyncIterator[None]:
    """The one place that decides what an error of the engine means."""
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except DockerError as error:
        if error.status in UNREACHABLE:
            raise EngineUnavailable(f"the engine did not answer ({what})") from error
        said = error.message.strip()
        if error.status == 500 and any(words in said for words in WITHOUT_CONTAINERD):
            raise EngineCrippled(f"the engine cannot {what} now: {said}") from error
        raise Rejected(f"the engine refused to {what}: {said}") from error
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise EngineUnavailable(f"the engine did not answer ({what}): {type(error).__name__}") from error


@contextlib.contextmanager
def _absent_is_none() -> Iterator[None]:
    try:
        yield
    except DockerError as error:
        if error.status != 404:
            raise


def _container(facts: dict[str, Any]) -> Container:
    state = facts["State"]
    return Container(
        id=facts["Id"],
        name=facts["Name"].lstrip("/"),
        image_id=facts["Image"],
        labels=facts["Config"]["Labels"] or {},
        status=state["Status"],
        exit_code=int(state["ExitCode"]),
        started_at=_instant(state["StartedAt"]),
        memory=int(facts["HostConfig"].get("Memory") or 0),
        memory_and_swap=int(facts["HostConfig"].get("MemorySwap") or 0),
    )


def _listed(facts: dict[str, Any]) -> Container:
    return Container(
        id=facts["Id"],
        name=facts["Names"][0].lstrip("/"),
        image_id=facts["ImageID"],
        labels=facts["Labels"] or {},
        status=facts["State"],
        exit_code=0,
        started_at=None,
    )


def _instant(text: str) -> datetime | None:
    """The engine writes nanoseconds, and the year 1 for never."""
    if not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC)  # it always writes UTC, "…Z"


def _event(line: bytes) -> Event | None:
    try:
        raw = json.loads(line)
        return Event(SandboxId(raw["Actor"]["Attributes"][LABEL_SANDBOX]), str(raw["Action"]))
    except (ValueError, KeyError, TypeError):
        return None  # an event of a kind that we do not know
