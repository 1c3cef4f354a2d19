"""A backup is made, beside a running daemon: the registry first, then one sandbox after another.

What the registry's copy knows is what is backed up. A sandbox that cannot be copied leaves the others' backup alone: it
is named, in the manifest too, and the backup counts as incomplete.
"""

import asyncio
import contextlib
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from clawkakad import __version__
from clawkakad.backups.copier import Copier
from clawkakad.backups.sink import PARTIAL, discard, written
from clawkakad.backups.tar import REGISTRY, SECRET, Writer
from clawkakad.errors import Rejected, UsageError
from clawkakad.model import SandboxId
from clawkakad.registry import FILE
from clawkakad.sandboxes.engine import Engine
from clawkakad.sandboxes.profile import is_owned, volume_name
from clawkakad.sandboxes.secrets import SECRET_FILE

LOCK = "backup.lock"
DRAFTS = ".clawkakad-backup-"  # directories of a backup or restore that is going on, in the state directory
KEYS = "keys"
NAME = re.compile(r"clawkakad-\d{8}T\d{6}Z\.tar(\.age|\.gpg)?")

Progress = Callable[[int, int, str], None]
"""How many parts are done, of how many, and which is next."""


@dataclass(frozen=True)
class Made:
    """A backup that is on disk. `missing`: sandboxes that could not be copied, and why; `left_out`: files, and why.

    `damaged`: databases that SQLite could not read, or found broken; their files are in it as they lay there.
    """

    path: Path
    size: int
    sandboxes: int
    missing: dict[SandboxId, str]
    left_out: dict[SandboxId, list[str]]
    damaged: dict[SandboxId, list[str]]

    @property
    def is_whole(self) -> bool:
        """Whether it can stand in for those before it."""
        return not (self.missing or self.left_out or self.damaged)


def default_name(now: datetime, ending: str) -> str:
    """The name of a backup, which sorts by time."""
    return f"clawkakad-{now:%Y%m%dT%H%M%SZ}.tar{ending}"


async def make(
    state_dir: Path,
    target: Path,
    *,
    engine: Engine,
    instance: str,
    image: str,
    command: Sequence[str],
    now: datetime,
    progress: Progress,
) -> Made:
    """Write it to `target`. The caller holds LOCK. Raises UsageError, Transient, Rejected: then there is no file."""
    clear(state_dir, target.parent)
    missing: dict[SandboxId, str] = {}
    with draft(state_dir) as directory:
        registry = directory / REGISTRY
        await asyncio.to_thread(copy_registry, state_dir / FILE, registry)
        sandboxes = _sandboxes(registry)
        about = {"made_at": now.isoformat(), "clawkakad": __version__, "instance": instance, "missing": missing}
        async with written(target, command) as sink:
            writer = Writer(sink, about)
            progress(0, len(sandboxes) + 1, "people and messages")
            await _add_files(writer, state_dir, registry)
            for number, sandbox_id in enumerate(sandboxes, start=1):
                progress(number, len(sandboxes) + 1, f"sandbox {number} of {len(sandboxes)}")
                try:
                    await _add_sandbox(writer, Copier(engine, instance, image), sandbox_id)
                except Rejected as error:
                    missing[sandbox_id] = str(error)
            await writer.finish()
    progress(len(sandboxes) + 1, len(sandboxes) + 1, "done")
    copied = sum(name.startswith("sandboxes/") for name in writer.parts)
    left_out, damaged = (_noted(writer, what) for what in ("left_out", "damaged"))
    return Made(target, target.stat().st_size, copied, missing, left_out, damaged)


def prune(directory: Path, keep: int) -> list[Path]:
    """Remove the oldest backups, by their names, so that `keep` stay; those that went."""
    found = sorted(path for path in directory.iterdir() if NAME.fullmatch(path.name))
    gone = found[: max(0, len(found) - keep)]
    for path in gone:
        path.unlink()
    return gone


def copy_registry(source: Path, target: Path) -> None:
    """A consistent copy of a database that others write, of mode 0600. Raises UsageError where it is not whole."""
    if not source.exists():
        raise UsageError(f"no registry at {source}: has the daemon ever run with this CLAWKAKA_STATE_DIR?")
    target.touch(mode=0o600)
    try:
        with (
            contextlib.closing(sqlite3.connect(source, timeout=30)) as reader,
            contextlib.closing(sqlite3.connect(target)) as copy,
        ):
            reader.execute("SELECT count(*) FROM sqlite_master").fetchall()  # `backup` would wait for a lock for ever
            reader.backup(copy)  # one step, one read transaction: writers go on
            require_whole(copy, source)
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{source} cannot be copied: {error}") from error


def require_whole(connection: sqlite3.Connection, path: Path) -> None:
    """Raises UsageError where a database is damaged."""
    found = connection.execute("PRAGMA integrity_check").fetchone()[0]
    if found != "ok":
        raise UsageError(f"{path} is damaged: {found}")


@contextlib.contextmanager
def draft(state_dir: Path) -> Iterator[Path]:
    """A directory for a moment, closed to others."""
    with tempfile.TemporaryDirectory(prefix=DRAFTS, dir=state_dir) as name:
        yield Path(name)


def clear(state_dir: Path, *directories: Path) -> None:
    """Remove what a backup or restore that was killed left. Only under LOCK: then nobody else is at it here.

    Another installation may be writing into one of the directories.
    """
    for path in state_dir.glob(f"{DRAFTS}*"):
        shutil.rmtree(path)
    for directory in directories:
        for path in directory.glob(f".*{PARTIAL}"):
            if NAME.fullmatch(path.name[1 : -len(PARTIAL)]):
                with contextlib.suppress(BlockingIOError):
                    discard(path)


def _sandboxes(registry: Path) -> list[SandboxId]:
    with contextlib.closing(sqlite3.connect(registry)) as connection:
        return [
            SandboxId(row[0])
            for row in connection.execute("SELECT id FROM sandboxes WHERE user_id IS NOT NULL ORDER BY created_at, id")
        ]


def _noted(writer: Writer, what: str) -> dict[SandboxId, list[str]]:
    """What the copiers reported of the sandboxes, as far as there was something."""
    facts = {name: part.get(what, []) for name, part in writer.parts.items()}
    return {SandboxId(name[len("sandboxes/") : -len(".tar.gz")]): names for name, names in facts.items() if names}


async def _add_files(writer: Writer, state_dir: Path, registry: Path) -> None:
    await writer.add_file(REGISTRY, registry)
    if (state_dir / SECRET_FILE).exists():
        await writer.add_file(SECRET, state_dir / SECRET_FILE)
    if (state_dir / KEYS).is_dir():
        for path in sorted((state_dir / KEYS).iterdir()):
            if re.fullmatch("s[a-z2-7]{10}", path.name):
                await writer.add_file(f"keys/{path.name}", path)


async def _add_sandbox(writer: Writer, copier: Copier, sandbox_id: SandboxId) -> None:
    labels = await copier.engine.volume_labels(volume_name(sandbox_id))
    if labels is None:
        return  # not made yet, or removed meanwhile
    if not is_owned(labels, copier.instance, sandbox_id):
        raise Rejected("its volume is another installation's")
    async with copier.packed(sandbox_id) as (report, size, content):
        await writer.add(f"sandboxes/{sandbox_id}.tar.gz", size, content, **report)
