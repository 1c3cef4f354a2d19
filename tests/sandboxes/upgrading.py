"""A world in which sandboxes have data: volumes are directories, and images are good or bad to what is in them."""

import asyncio
import contextlib
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from clawkakad.model import SandboxId, StepState, UserId
from clawkakad.registry import SandboxRow, times
from clawkakad.registry.upgrades import Step, Upgrade
from clawkakad.sandboxes.copying import EXCHANGE
from clawkakad.sandboxes.profile import volume_name
from clawkakad.sandboxes.removal import COPIER_LABEL
from tests.fakes.engine import IMAGE_ID, FakeContainer
from tests.sandboxes.world import World, open_world
from tests.support import eventually

NEW = "sha256:" + "2" * 64
ENDINGS = {"broken": 1, "refusing": 78}


@dataclass
class Town:
    """The world, its volumes, and what the new image does: good, broken, refusing, hanging, deaf, dying, toolless."""

    world: World
    directory: Path
    mode: str = "good"
    starts: list[tuple[SandboxId, str]] = field(default_factory=list)  # whose container started, of which image
    _work: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.world.engine.on_start = self._start
        self.world.engine.command = self._command

    async def resident(self, number: str, *, wrote_h: float) -> UserId:
        """Somebody with a row in their database, who wrote so many hours ago."""
        user_id = await self.world.person(number)
        row = await self.world.registry.sandboxes.ensure(user_id)
        await self.wrote(user_id, wrote_h)
        with self.data(row.id) as data:
            data.execute("PRAGMA journal_mode = WAL")
            data.execute("CREATE TABLE IF NOT EXISTS tasks (what TEXT)")
            data.execute("INSERT INTO tasks VALUES (?)", (f"of {number}",))
        return user_id

    async def wrote(self, user_id: UserId, hours_ago: float) -> None:
        at = times.to_text(datetime.now(UTC) - timedelta(hours=hours_ago))
        sql = "UPDATE users SET last_inbound_at = :at WHERE id = :id"
        await self.world.registry.db.execute(sql, {"at": at, "id": user_id})

    @contextlib.contextmanager
    def data(self, sandbox_id: SandboxId) -> Iterator[sqlite3.Connection]:
        path = self.directory / "volumes" / volume_name(sandbox_id) / "pa" / "pa.sqlite"
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            yield connection

    def tasks(self, sandbox_id: SandboxId) -> list[str]:
        with self.data(sandbox_id) as data:
            return [row[0] for row in data.execute("SELECT what FROM tasks ORDER BY rowid")]

    def build(self, mode: str = "good") -> None:
        """A new image takes the name."""
        self.mode = mode
        self.world.engine.tag(self.world.image, NEW)

    def sweep(self) -> None:
        """The end of a build: images without a name go, but for those of which there is a container."""
        self.world.engine.untagged &= {one.image_id for one in self.world.engine.containers.values()}

    async def ask(self, user_id: UserId | None = None) -> Upgrade:
        only = None if user_id is None else (await self.world.row(user_id)).id
        return (await self.world.registry.upgrades.ask(only))[0]

    async def ended(self, asked: Upgrade, *, within_s: float = 10.0) -> tuple[Upgrade, list[Step]]:
        upgrades = self.world.registry.upgrades

        async def over() -> bool:
            return await upgrades.open() is None

        await eventually(over, within_s=within_s)
        found = await upgrades.get(asked.id)
        assert found is not None
        return found, await upgrades.steps(asked.id)

    async def is_at(self, state: StepState, sandbox_id: SandboxId | None = None) -> bool:
        upgrade = await self.world.registry.upgrades.open()
        steps = [] if upgrade is None else await self.world.registry.upgrades.steps(upgrade.id)
        return any(step.state is state and sandbox_id in (None, step.sandbox_id) for step in steps)

    async def images(self, *people: UserId) -> list[str]:
        """What their containers are made of, as the engine says."""
        return [self.world.container((await self.world.ready(person)).id).image_id for person in people]

    async def all_ready(self, *people: UserId) -> list[SandboxRow]:
        return [await self.world.ready(person) for person in people]

    def leftovers(self) -> list[str]:
        return [name for name in self.world.engine.containers if name.endswith(("-keepsake", "-copier"))]

    async def _start(self, container: FakeContainer) -> None:
        if COPIER_LABEL in container.labels:
            task = asyncio.create_task(self._copy(container), name="copier")
            self._work.add(task)
            task.add_done_callback(self._work.discard)
            return
        sandbox_id = SandboxId(container.labels["clawkaka.sandbox"])
        self.starts.append((sandbox_id, container.image_id))
        bad = container.image_id == NEW and self.mode != "good"
        if container.image_id == NEW:
            with self.data(sandbox_id) as data:
                data.execute("INSERT INTO tasks VALUES ('by the new image')")
        self.world.gateways.mute = bad and self.mode == "deaf"
        if bad and self.mode in ENDINGS:
            container.log = ["booting", "no such model"]
            await self.world.engine.die(container.name, ENDINGS[self.mode])
        elif not bad or self.mode != "hanging":
            await self.world.gateways.open(container)
        if bad and self.mode == "dying":
            self._work.add(asyncio.create_task(self._die_soon(container), name="dying"))

    async def _die_soon(self, container: FakeContainer) -> None:
        await asyncio.sleep(0.15)
        await self.world.engine.die(container.name, 1)

    def _command(self, words: list[str]) -> tuple[int, bytes]:
        running = [one.image_id for one in self.world.engine.containers.values() if one.status == "running"]
        return (2, b"") if self.mode == "toolless" and NEW in running else (0, b"")

    async def _copy(self, container: FakeContainer) -> None:
        """The copier's program, on directories in place of its mounts."""
        volume = self.directory / "volumes" / container.body["HostConfig"]["Mounts"][0]["Source"]
        layer = self.directory / "layers" / container.id[:12]
        for path in (volume, layer):
            path.mkdir(parents=True, exist_ok=True)
        _, flag, program = container.body["Entrypoint"]
        places = {"/data": str(volume), EXCHANGE: str(layer)}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, flag, program, *(places[word] for word in container.body["Cmd"])),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        container.log = output.decode().splitlines()
        container.status, container.exit_code = "exited", process.returncode or 0

    async def settle(self) -> None:
        await asyncio.gather(*self._work, return_exceptions=True)


@contextlib.asynccontextmanager
async def open_town() -> AsyncIterator[Town]:
    async with open_world() as world:
        town = Town(world, world.runtime.parent)
        try:
            yield town
        finally:
            await town.settle()


__all__ = ["IMAGE_ID", "NEW", "Town", "open_town"]
