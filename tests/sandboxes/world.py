"""A small world for keepers: a fake engine whose containers open a gateway, a real registry, real sockets."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from clawkakad.gateway.pool import Pool
from clawkakad.model import IdentifierKind, Profile, SandboxId, SandboxState, UserId
from clawkakad.registry import Registry, SandboxRow, open_registry
from clawkakad.registry.transaction import Transaction
from clawkakad.registry.users import ensure_user, touch
from clawkakad.sandboxes import secrets
from clawkakad.sandboxes.admission import Admission
from clawkakad.sandboxes.builder import Builder
from clawkakad.sandboxes.disk import Quota
from clawkakad.sandboxes.diskwatch import DiskWatch, Rhythm
from clawkakad.sandboxes.engine import open_engine
from clawkakad.sandboxes.gauge import Gauge
from clawkakad.sandboxes.hostapi import HostApi
from clawkakad.sandboxes.hostmemory import HostMemory
from clawkakad.sandboxes.ledger import Lines
from clawkakad.sandboxes.modelkeys import KeySource, SharedKey
from clawkakad.sandboxes.modelproxy import ModelProxy, Upstream, open_upstream
from clawkakad.sandboxes.openclaw import ModelLimits
from clawkakad.sandboxes.policy import Limits
from clawkakad.sandboxes.profile import MIB, Sealing, container_name
from clawkakad.sandboxes.rest import Rules
from clawkakad.sandboxes.supervisor import Rounds, Supervisor
from clawkakad.sandboxes.timing import Timing
from clawkakad.sandboxes.upgradeplan import Patience
from tests.fakes import serving
from tests.fakes.engine import FakeContainer, FakeEngine, fake_engine
from tests.support import eventually, short_directory

INSTANCE = "0123456789ab"
SECRET = "s3cret"
OOM_AT_ONCE_S = 0.3
LINES = Lines("I can't just now.", "I'm waking.", full="My storage is full.", held_back="There is no room yet.")
PARKED, WAKING = LINES.parked, LINES.waking
NEVER = Rhythm(room_s=3600, round_s=3600)
PROFILE = Profile(name="Asha", time_zone="Asia/Kolkata", currency="INR", language="en", country="IN")
IDLE_S = 0.3
FAST = Timing(
    drift_every_s=0.1,
    idle_s=60.0,
    start_s=2.0,
    wake_s=1.0,
    rest_again_s=0.1,
    adopt_s=1.0,
    attempt_s=0.5,
    liveness_every_s=0.05,
    liveness_again_s=0.03,
    liveness_within_s=0.1,
    limits=Limits(restarts=30, first_delay_s=0.02, last_delay_s=0.2),
    engine_last_delay_s=0.05,
    owner_uids=frozenset({os.geteuid()}),
)


QUICK = Patience(idle_s=0.0, canary_s=0.3, look_every_s=0.05)


@dataclass
class Gateways:
    """The gateways of the containers that run. `mute`: health is not answered; `dead`: none is opened at a start.

    `at_work`: what they say when they are asked whether they may rest; `suspensions`: how often they were.
    """

    mute: bool = False
    suspensions: int = 0  # how often one was asked for
    dead: bool = False
    at_work: str = ""
    close_codes: list[int | None] = field(default_factory=list)
    suspended: set[str] = field(default_factory=set)  # names of containers
    asked: dict[str, list[str]] = field(default_factory=dict)  # by the name of the container, the methods
    ignored: set[str] = field(default_factory=set)  # methods that are not answered
    refused: set[str] = field(default_factory=set)  # methods that are
    hangs_up: bool = False  # every connection ends as soon as it is ready
    drops: set[str] = field(default_factory=set)  # methods at which the connection ends, once each
    _running: dict[str, tuple[web.AppRunner, asyncio.Server]] = field(default_factory=dict)
    _thawed: dict[str, asyncio.Event] = field(default_factory=dict)

    async def open(self, container: FakeContainer) -> None:
        if self.dead:
            return
        self.suspended.discard(container.name)
        await self.thaw(container)
        app = web.Application()
        app.router.add_get("/", partial(self._serve, container.name))
        runner = web.AppRunner(app, shutdown_timeout=0.05)
        socket = container.source("/run/clawkaka/gateway") / "gateway.sock"
        self._running[container.name] = runner, await serving.listen(runner, socket)

    async def close(self, container: FakeContainer) -> None:
        running = self._running.pop(container.name, None)
        if running is not None:
            await serving.stop(*running)

    async def freeze(self, container: FakeContainer) -> None:
        self._thawed[container.name].clear()

    async def thaw(self, container: FakeContainer) -> None:
        self._thawed.setdefault(container.name, asyncio.Event()).set()

    async def close_all(self) -> None:
        for running in self._running.values():
            await serving.stop(*running)

    async def _serve(self, name: str, request: web.Request) -> web.WebSocketResponse:
        await self._thawed[name].wait()
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "event", "event": "connect.challenge", "payload": {"nonce": "n", "ts": 1}})
        async for message in socket:
            asked: dict[str, Any] = message.json()
            await self._thawed[name].wait()
            self.asked.setdefault(name, []).append(asked["method"])
            if asked["method"] in self.drops:
                self.drops.discard(asked["method"])
                break
            if not (self.mute and asked["method"] == "health") and asked["method"] not in self.ignored:
                await socket.send_json({"type": "res", "id": asked["id"], **self._answer(name, asked)})
            if self.hangs_up and asked["method"] != "connect":
                break
        self.close_codes.append(socket.close_code)
        return socket

    def _answer(self, name: str, asked: dict[str, Any]) -> dict[str, Any]:
        """As the real one: suspended, it refuses whatever does not end that."""
        method = asked["method"]
        self.suspensions += method == "gateway.suspend.prepare"
        if method == "gateway.suspend.prepare" and self.at_work:
            return {"ok": True, "payload": {"status": "busy", "blockers": [{"kind": self.at_work}]}}
        if method == "gateway.suspend.prepare":
            self.suspended.add(name)
            return {"ok": True, "payload": {"status": "ready", "suspensionId": f"of {name}", "blockers": []}}
        if method == "gateway.suspend.resume":
            assert asked["params"] == {"suspensionId": f"of {name}"}
            self.suspended.discard(name)
        if method != "connect" and name in self.suspended:
            refusal = {"code": "UNAVAILABLE", "message": f"{method} unavailable during gateway suspension"}
            return {"ok": False, "error": {**refusal, "retryable": True, "retryAfterMs": 1000}}
        if method in self.refused:
            return {"ok": False, "error": {"code": "INVALID_REQUEST", "message": f"unknown method: {method}"}}
        return {"ok": True, "payload": _answer(asked)}


class World:
    """What outlives a daemon, and a way to run one."""

    def __init__(self, directory: Path, fake: FakeEngine, registry: Registry) -> None:
        self.runtime, self.state = directory / "run", directory / "state"
        self.engine, self.registry = fake, registry
        self.gateways = Gateways()
        fake.on_start, fake.on_stop = self.gateways.open, self.gateways.close
        fake.on_freeze, fake.on_thaw = self.gateways.freeze, self.gateways.thaw
        self.keys: KeySource = SharedKey(None)
        self.image = "clawkaka-sandbox:latest"
        self.memory_mb = 1280
        self.limits = ModelLimits()
        self.host = HostMemory(total_mb=8000, available_mb=6000, swap_mb=0, swap_free_mb=0)
        self.memory: Callable[[], HostMemory] = lambda: self.host
        self.rules = Rules()
        self.spares = 0
        self.long_s = 10.0  # a wait that somebody is told of
        self.removal_again_s = 60.0
        self.upstream = Upstream("http://127.0.0.1:1/v1", "m")  # nobody's
        self.disk_mb = 2048
        self.places = [Path("/nonexistent")]  # whose room counts: that of this machine does not
        self.rhythm = NEVER
        self.instance = INSTANCE  # on an engine that others use too: one of its own
        self.pool = Pool()

    async def person(self, number: str = "4915123456789") -> UserId:
        """Somebody who wrote a moment ago."""
        return await self.registry.db.write(lambda tx: _person(tx, number, datetime.now(UTC)))

    async def row(self, user_id: UserId) -> SandboxRow:
        row = await self.registry.sandboxes.of_user(user_id)
        assert row is not None
        return row

    async def is_ready(self, user_id: UserId) -> bool:
        row = await self.registry.sandboxes.of_user(user_id)
        return row is not None and row.state is SandboxState.READY and self.pool.get(row.id) is not None

    async def ready(self, user_id: UserId) -> SandboxRow:
        await eventually(lambda: self.is_ready(user_id))
        return await self.row(user_id)

    async def want_removed(self, user_id: UserId) -> None:
        await self.registry.sandboxes.want_removed((await self.row(user_id)).id)

    async def is_gone(self, user_id: UserId) -> bool:
        return await self.registry.sandboxes.of_user(user_id) is None

    async def removed(self, user_id: UserId) -> None:
        await self.want_removed(user_id)
        await eventually(lambda: self.is_gone(user_id))

    def container(self, sandbox_id: SandboxId) -> FakeContainer:
        return self.engine.containers[container_name(sandbox_id)]

    @contextlib.asynccontextmanager
    async def daemon(
        self,
        *,
        timing: Timing = FAST,
        patience: Patience = QUICK,
        gid: int | None = None,
        reconcile_every_s: float = 0.2,
    ) -> AsyncIterator[Supervisor]:
        """One life of the daemon's part that cares for sandboxes."""
        self.pool, gid = Pool(), os.getegid() if gid is None else gid
        async with open_engine(self.engine.address) as engine, open_upstream(self.upstream) as session:
            builder = Builder(
                engine=engine,
                sealing_now=lambda: Sealing(
                    self.instance, self.image, gid, self.memory_mb, swaps=self.host.has_swap, disk_mb=self.disk_mb
                ),
                runtime_dir=self.runtime,
                token_of=lambda sandbox_id: secrets.gateway_token(SECRET, sandbox_id),
                limits=self.limits,
                keys=self.keys,
                containers=self.registry.sandboxes,
                profiles=self.registry.users,
            )
            proxy = ModelProxy(
                session,
                upstream=self.upstream,
                key_for=self.keys.key,
                usage=self.registry.usage,
            )
            host_api = HostApi(proxy=proxy, services=NoServices(), gid=gid, profile_changed=builder.write_profile)
            disk = DiskWatch(
                engine,
                Gauge(engine, builder.sealing),
                self.registry.disks,
                Quota(self.disk_mb * MIB),
                self.places,
                lambda: datetime.now(UTC),
                rhythm=self.rhythm,
            )
            supervisor = Supervisor(
                engine=engine,
                registry=self.registry,
                builder=builder,
                host_api=host_api,
                pool=self.pool,
                keys=self.keys,
                memory=lambda: self.memory(),
                rules=self.rules,
                lines=LINES,
                disk=disk,
                on_outbox=lambda: None,
                spares=self.spares,
                timing=timing,
                patience=patience,
                admission=Admission(
                    lambda: self.memory(), self.rules, nobody_awake=self.pool.is_empty, long_s=self.long_s
                ),
                rounds=Rounds(
                    reconcile_s=reconcile_every_s,
                    wishes_s=0.05,
                    removal_again_s=self.removal_again_s,
                    rest_s=0.05,
                    oom_at_once_s=OOM_AT_ONCE_S,
                ),
            )
            running = asyncio.create_task(supervisor.run(), name="supervisor")
            try:
                yield supervisor
                assert not running.done(), "the supervisor ended"
            finally:
                running.cancel()
                await asyncio.wait({running})


def _person(tx: Transaction, number: str, wrote_at: datetime) -> UserId:
    user_id = ensure_user(tx, [(IdentifierKind.WA_ID, number)], PROFILE, wrote_at)
    touch(tx, user_id, wrote_at)
    return user_id


def kept() -> set[str]:
    """The sandboxes whose keepers run."""
    names = [task.get_name() for task in asyncio.all_tasks()]
    return {name.removeprefix("keeper ") for name in names if name.startswith("keeper ")}


class NoServices:
    """Hardly anybody asks for these here."""

    async def profile(self, user_id: UserId) -> Profile:
        return PROFILE

    async def change_profile(self, user_id: UserId, changes: Mapping[str, str]) -> Profile:
        return replace(PROFILE, **changes)

    async def add_reminder(
        self, user_id: UserId, *, at: str, zone: str | None, text: str, key: str
    ) -> tuple[dict[str, object], bool]:
        return {}, False

    async def list_reminders(self, user_id: UserId) -> list[dict[str, object]]:
        return []

    async def cancel_reminder(self, user_id: UserId, reminder_id: int) -> dict[str, object] | None:
        return None


@contextlib.asynccontextmanager
async def open_world() -> AsyncIterator[World]:
    with short_directory() as directory:
        (directory / "state").mkdir()
        async with (
            fake_engine(directory) as fake,
            open_registry(directory / "state" / "registry.sqlite", lambda: datetime.now(UTC)) as registry,
        ):
            world = World(directory, fake, registry)
            try:
                yield world
            finally:
                await world.gateways.close_all()


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    if asked["method"] == "chat.send":
        return {"runId": asked["params"]["idempotencyKey"], "status": "started"}
    if asked["method"] == "agent.wait":
        return {"runId": asked["params"]["runId"], "status": "ok", "terminalReply": {"disposition": "silent"}}
    if asked["method"] != "connect":
        return {"ok": True}
    return {
        "type": "hello-ok",
        "protocol": 4,
        "auth": {"role": "operator", "scopes": asked["params"]["scopes"]},
        "policy": {"tickIntervalMs": 30000},
    }
