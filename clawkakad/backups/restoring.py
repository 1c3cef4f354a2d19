"""A backup comes back: all of it is verified, then staged, and only then takes the place of what is there.

The daemon must not run (the caller holds its lock). Each step may be repeated after a crash in the middle, and nothing
that was there is deleted: files go to `before-restore-…` in the state directory, a sandbox's data into a directory of
that name in its own volume. The registry is replaced last, by one rename: until then the old one is the truth.
"""

import asyncio
import contextlib
import itertools
import os
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from clawkakad.backups import making
from clawkakad.backups.copier import Copier
from clawkakad.backups.inside import OWN, STAGED
from clawkakad.backups.tar import REGISTRY, SECRET, Verified
from clawkakad.errors import Rejected, Transient, UsageError
from clawkakad.model import SandboxId, UserId
from clawkakad.registry import FILE, open_registry
from clawkakad.registry import restoring as rows
from clawkakad.sandboxes.engine import Engine
from clawkakad.sandboxes.profile import container_name, is_owned, owner_labels, volume_name
from clawkakad.sandboxes.secrets import SECRET_FILE

ASIDE = "before-restore-"


@dataclass(frozen=True)
class Host:
    """Where it comes back to."""

    state_dir: Path
    engine: Engine
    instance: str
    image: str

    @property
    def copier(self) -> Copier:
        """What copies its sandboxes."""
        return Copier(self.engine, self.instance, self.image)


@dataclass(frozen=True)
class Restored:
    """What came back. `aside`: where the files that were there are, if any were.

    `aside_in_volumes`: bytes of what was in the sandboxes before; they count as their people's.
    """

    sandboxes: int
    aside: Path | None
    aside_in_volumes: int = 0


async def prepare_registry(backup: Verified, target: Path, now: datetime) -> None:
    """The backup's registry as a file of its own: checked, of this version, and settled. Raises UsageError."""
    await backup.write_to(REGISTRY, target)
    await asyncio.to_thread(_check, target)
    async with open_registry(target, lambda: now):
        pass  # a newer one is refused, an older one is brought up to date
    await asyncio.to_thread(rows.settle, target, str(backup.about.get("made_at", "?")), now)
    await asyncio.to_thread(_into_one_file, target)


async def everything(
    host: Host,
    backup: Verified,
    registry: Path,
    now: datetime,
    progress: making.Progress,
    whose: Mapping[SandboxId, str],
) -> Restored:
    """All of a backup; `registry`: what `prepare_registry` made. Raises UsageError, Transient, Rejected.

    `whose`: what an error calls the sandboxes of the backup.
    """
    sandboxes = [(sandbox_id, sandbox_id) for sandbox_id in sandboxes_in(backup)]
    in_volumes = await _replace_data(host, backup, sandboxes, now, progress, whose)
    aside = _unused(host.state_dir / f"{ASIDE}{_stamp(now)}")
    await asyncio.to_thread(_end_log, host.state_dir / FILE, aside)
    for name in sorted(backup.parts):
        if name == SECRET or name.startswith("keys/"):
            await _replace_file(host.state_dir, name, backup, registry.parent, aside)
    _swap_in(registry, host.state_dir / FILE, aside)
    return Restored(len(sandboxes), aside if aside.exists() else None, in_volumes)


async def one_person(
    host: Host,
    backup: Verified,
    registry: Path,
    user_id: UserId,
    now: datetime,
    progress: making.Progress,
    whose: Mapping[SandboxId, str],
) -> Restored:
    """One person's data, and what the registry here lacks of their rows. Raises UsageError, Transient, Rejected."""
    theirs = await asyncio.to_thread(_sandbox_of, registry, user_id)
    async with open_registry(host.state_dir / FILE, lambda: now):
        pass  # made if there is none, and of this version
    here = await asyncio.to_thread(rows.add_user, host.state_dir / FILE, registry, user_id)
    if theirs is None or here is None or theirs not in sandboxes_in(backup):
        return Restored(0, None)
    in_volumes = await _replace_data(host, backup, [(theirs, here)], now, progress, whose)
    return Restored(1, None, in_volumes)


async def clean(host: Host, sandbox_id: SandboxId) -> int:
    """Remove what restores left in a sandbox's volume; how many bytes that were. Raises Transient, Rejected."""
    labels = await host.engine.volume_labels(volume_name(sandbox_id))
    if labels is None or not is_owned(labels, host.instance, sandbox_id):
        return 0
    return await host.copier.clean(sandbox_id, *OWN)


def sandboxes_in(backup: Verified) -> list[SandboxId]:
    """The sandboxes whose data a backup has."""
    names = [name for name in sorted(backup.parts) if name.startswith("sandboxes/")]
    return [SandboxId(name.removeprefix("sandboxes/").removesuffix(".tar.gz")) for name in names]


async def _replace_data(
    host: Host,
    backup: Verified,
    sandboxes: Sequence[tuple[SandboxId, SandboxId]],
    now: datetime,
    progress: making.Progress,
    whose: Mapping[SandboxId, str],
) -> int:
    """Each sandbox of the backup into one of here: first all are unpacked and checked beside what is there.

    How many bytes are set aside in them then. Where that first step fails, or is cancelled, nothing is left of it.
    """
    for _, here in sandboxes:
        await _require_ours(host, here)
    steps = 2 * len(sandboxes)
    async with contextlib.AsyncExitStack() as failing:
        for number, (theirs, here) in enumerate(sandboxes):
            progress(number, steps, f"checking sandbox {number + 1} of {len(sandboxes)}")
            failing.push_async_callback(_unstage, host, here)
            await _stage(host, backup, theirs, here, whose)
        failing.pop_all()
    aside = 0
    for number, (_, here) in enumerate(sandboxes):
        progress(len(sandboxes) + number, steps, f"putting back sandbox {number + 1} of {len(sandboxes)}")
        await host.engine.remove(container_name(here))  # the daemon makes it anew
        aside += await host.copier.swap(here, _stamp(now))
    progress(steps, steps, "done")
    return aside


async def _stage(
    host: Host, backup: Verified, theirs: SandboxId, here: SandboxId, whose: Mapping[SandboxId, str]
) -> None:
    await host.engine.create_volume({"Name": volume_name(here), "Labels": owner_labels(host.instance, here)})
    part = f"sandboxes/{theirs}.tar.gz"
    facts = backup.parts[part]
    try:
        await host.copier.stage(here, int(facts["size"]), backup.pieces(part), facts.get("damaged", []))
    except Rejected as error:
        raise Rejected(f"{whose.get(theirs, theirs)}: {error}; no data was put back") from error


async def _unstage(host: Host, sandbox_id: SandboxId) -> None:
    with contextlib.suppress(Transient, Rejected):  # the next restore removes it, and so does `restore --clean`
        await host.copier.clean(sandbox_id, STAGED)


async def _require_ours(host: Host, sandbox_id: SandboxId) -> None:
    """Raises Rejected where this engine has the sandbox for another installation."""
    volume = await host.engine.volume_labels(volume_name(sandbox_id))
    container = await host.engine.inspect(container_name(sandbox_id))
    for labels in (volume, None if container is None else container.labels):
        if labels is not None and not is_owned(labels, host.instance, sandbox_id):
            raise Rejected(f"sandbox {sandbox_id} belongs to another installation on this engine; nothing was changed")


async def _replace_file(state_dir: Path, name: str, backup: Verified, drafts: Path, aside: Path) -> None:
    source, target = drafts / name.replace("/", "-"), state_dir / (SECRET_FILE if name == SECRET else name)
    await backup.write_to(name, source)
    if not target.parent.exists():
        target.parent.mkdir(mode=0o700)
        _give(target.parent, state_dir)
    _swap_in(source, target, aside)


def _swap_in(source: Path, target: Path, aside: Path) -> None:
    """`target` is always there, the old one or the new one; the old one gets a second name first."""
    if target.exists():
        aside.mkdir(mode=0o700, exist_ok=True)
        second = aside / (target.name if target.parent == aside.parent else f"{target.parent.name}-{target.name}")
        os.link(target, second)
        _give(aside, aside.parent)
    _give(source, aside.parent)
    with source.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(source, target)
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unused(path: Path) -> Path:
    names = itertools.chain([path.name], (f"{path.name}-{number}" for number in itertools.count(2)))
    return next(free for name in names if not (free := path.with_name(name)).exists())


def _give(path: Path, state_dir: Path) -> None:
    """What root restores belongs to whoever the daemon runs as."""
    if os.geteuid() == 0:
        facts = state_dir.stat()
        os.chown(path, facts.st_uid, facts.st_gid)


def _check(path: Path) -> None:
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            making.require_whole(connection, path)
    except sqlite3.DatabaseError as error:
        raise UsageError(f"the registry in the backup is damaged: {error}") from error


def _into_one_file(path: Path) -> None:
    """Nothing is left in its log, which must never meet another registry. Raises UsageError where somebody reads it."""
    if not path.exists():
        return
    with contextlib.closing(sqlite3.connect(path, timeout=5)) as connection:
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy or any(path.with_name(path.name + end).exists() and _size(path, end) for end in ("-wal", "-journal")):
        raise UsageError(f"another command uses {path}: end it first")


def _end_log(path: Path, aside: Path) -> None:
    """The same for the registry of before. One that is damaged, or none at all, cannot take its log in: it goes too."""
    try:
        _into_one_file(path)
    except sqlite3.OperationalError as error:
        raise UsageError(f"{path} cannot be opened: {error}") from error
    except sqlite3.DatabaseError:
        for log in (path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal")):
            if log.exists():
                aside.mkdir(mode=0o700, exist_ok=True)
                log.rename(aside / log.name)


def _size(path: Path, end: str) -> int:
    return path.with_name(path.name + end).stat().st_size


def _sandbox_of(registry: Path, user_id: UserId) -> SandboxId | None:
    with contextlib.closing(sqlite3.connect(registry)) as connection:
        row = connection.execute("SELECT id FROM sandboxes WHERE user_id = ?", (user_id,)).fetchone()
    return None if row is None else SandboxId(row[0])


def _stamp(now: datetime) -> str:
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%S}Z"
