"""A fake engine whose volumes are directories, and whose copiers run the real program on them."""

import asyncio
import contextlib
import ctypes
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from typer.testing import CliRunner, Result

from clawkakad.cli.commands import app
from clawkakad.model import IdentifierKind, SandboxId, UserId
from clawkakad.registry import Registry, open_registry
from clawkakad.registry.users import ensure_user
from clawkakad.sandboxes.profile import owner_labels, volume_name
from clawkakad.sandboxes.removal import COPIER_LABEL
from clawkakad.sandboxes.secrets import INSTANCE_FILE
from tests.fakes.engine import FakeContainer, FakeEngine, fake_engine
from tests.support import NOWHERE, short_directory

LIBC = ctypes.CDLL(None)


@dataclass
class Installation:
    """One host's directories, on an engine of its own."""

    directory: Path
    engine: FakeEngine
    instance: str
    work: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @contextlib.asynccontextmanager
    async def registry(self) -> AsyncIterator[Registry]:
        async with open_registry(self.state / "registry.sqlite", lambda: datetime.now(UTC)) as registry:
            yield registry

    async def person(self, number: str) -> tuple[UserId, SandboxId]:
        """Somebody with a sandbox and its volume."""
        now = datetime.now(UTC)
        async with self.registry() as registry:
            known = [(IdentifierKind.WA_ID, number)]
            user_id = await registry.db.write(lambda tx: ensure_user(tx, known, NOWHERE, now))
            row = await registry.sandboxes.ensure(user_id)
        self.engine.volumes[volume_name(row.id)] = owner_labels(self.instance, row.id)
        (self.volume(row.id) / "pa").mkdir(parents=True)
        with database(self.volume(row.id) / "pa" / "pa.sqlite") as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE expenses (what TEXT)")
        return user_id, row.id

    def volume(self, sandbox_id: SandboxId) -> Path:
        return self.directory / "volumes" / volume_name(sandbox_id)

    async def start(self, container: FakeContainer) -> None:
        """A copier begins its work."""
        if COPIER_LABEL in container.labels:
            self.work.append(asyncio.create_task(self._work(container), name="copier"))

    async def _work(self, container: FakeContainer) -> None:
        volume = self.directory / "volumes" / container.body["HostConfig"]["Mounts"][0]["Source"]
        volume.mkdir(parents=True, exist_ok=True)
        exchange = self.directory / "exchange" / container.id[:12]
        exchange.mkdir(parents=True)
        for path, content in container.files.items():
            (exchange / Path(path).name).write_bytes(content)
        mode, _, _, *more = container.body["Cmd"]
        _, flag, program = container.body["Entrypoint"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, flag, program, mode, str(volume), str(exchange), *more),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=without_rights,
        )
        output, _ = await process.communicate()
        container.log = output.decode().splitlines()
        container.files = {f"/tmp/{path.name}": path.read_bytes() for path in exchange.iterdir()}
        container.status, container.exit_code = "exited", process.returncode or 0

    async def clawkakad(self, *words: str | Path, typed: str = "") -> Result:
        """One command, in a thread: it has an event loop of its own, and the engine needs this one."""
        environ = {
            "CLAWKAKA_STATE_DIR": str(self.state),
            "CLAWKAKA_RUNTIME_DIR": str(self.directory / "run"),
            "DOCKER_HOST": self.engine.address,
            "COLUMNS": "200",
        }
        line = [str(word) for word in words]
        return await asyncio.to_thread(CliRunner().invoke, app, line, input=typed, env=environ)

    async def ok(self, *words: str | Path, typed: str = "") -> Result:
        result = await self.clawkakad(*words, typed=typed)
        assert 0 == result.exit_code, (result.output, result.exception)
        return result

    def expenses(self, sandbox_id: SandboxId) -> list[str]:
        with database(self.volume(sandbox_id) / "pa" / "pa.sqlite") as connection:
            return [row[0] for row in connection.execute("SELECT what FROM expenses ORDER BY rowid")]

    def spend(self, sandbox_id: SandboxId, what: str) -> None:
        with database(self.volume(sandbox_id) / "pa" / "pa.sqlite") as connection:
            connection.execute("INSERT INTO expenses VALUES (?)", (what,))

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        with database(self.state / "registry.sqlite") as connection:
            return connection.execute(sql).fetchall()

    def write(self, sql: str, *values: object) -> None:
        with database(self.state / "registry.sqlite") as connection:
            connection.execute(sql, values)


def without_rights() -> None:
    """What is executed next may not open what is closed to its owner, even as root: as in a sealed container."""
    for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        LIBC.prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP


@contextlib.contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@contextlib.asynccontextmanager
async def installation(instance: str = "0123456789ab") -> AsyncIterator[Installation]:
    with short_directory() as directory:
        (directory / "state").mkdir(mode=0o700)
        async with fake_engine(directory) as engine:
            made = Installation(directory, engine, instance)
            engine.on_start = made.start
            (made.state / INSTANCE_FILE).write_text(instance)
            yield made
            await asyncio.gather(*made.work)
