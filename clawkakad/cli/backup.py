"""`clawkakad backup` and `clawkakad restore`: everything in one file, beside the daemon; and back, without it."""

import asyncio
import contextlib
import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.progress import Progress

from clawkakad.assistant.who import find_user, label, owners
from clawkakad.backups import making, restoring, sink, tar
from clawkakad.backups.making import LOCK, Made
from clawkakad.cli import leavings
from clawkakad.cli.common import asked, clock, counted, destination, harmless, new_file, say
from clawkakad.cli.where import place_here, require_meant
from clawkakad.config import Place
from clawkakad.directories import STATE_MARKS, claim
from clawkakad.errors import UsageError
from clawkakad.model import InboxState, OutboxState, SandboxId, UserId
from clawkakad.registry import FILE, UserRow, locked, overview, read_registry
from clawkakad.registry import LOCK as DAEMON_LOCK
from clawkakad.sandboxes.engine import open_engine
from clawkakad.sandboxes.secrets import instance_id, read_instance_id

DIRECTORY = "backups"  # in the state directory, where no other is named
MIB = 1024 * 1024


class _Found(NamedTuple):
    """A backup that is sound, and whom of it is to come back. `person` None: everybody."""

    verified: tar.Verified
    registry: Path
    person: UserRow | None
    whom: str
    at: datetime


def backup(
    file: Annotated[
        Path | None,
        typer.Argument(
            parser=destination, help="Where to; a directory: a new file in it. Default: backups/ of the state."
        ),
    ] = None,
    age: Annotated[str | None, typer.Option(help="Encrypt for this age recipient.")] = None,
    gpg: Annotated[str | None, typer.Option(help="Encrypt for this gpg recipient.")] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Keep so many in that directory; older ones go.")] = None,
) -> None:
    """Back up people, messages, sandboxes and secrets into one file; the daemon may run.

    Exit code 1 where something could not be copied as it should be: the rest is in it, and no older backup is removed.
    """
    place = place_here()
    command, ending = sink.encryption(age=age, gpg=gpg)
    instance = read_instance_id(place.state_dir)
    if instance is None:
        raise UsageError(f"{place.state_dir} has no instance file: there is nothing to back up")
    target = _target(place, file, ending)
    with alone(place):
        made = asyncio.run(_backup(place, instance, target, command))
        _give(place.state_dir, target)
        _report(place, made)
        if keep is not None and made.is_whole:
            for path in making.prune(target.parent, keep):
                say(f"removed {path.name}")
    if not made.is_whole:
        raise typer.Exit(1)


def restore(
    file: Annotated[Path | None, typer.Argument(help="A file that `clawkakad backup` made.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this person, as the backup knows them.")] = None,
    identity: Annotated[Path | None, typer.Option(help="The key file, where age has encrypted it.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Remove what restores moved aside; no file.")] = False,
) -> None:
    """Put back what a backup has; the daemon must not run. What is there is moved aside, not deleted.

    Nothing is sent again: messages that were on their way are held, and `clawkakad outbox list` shows them.
    """
    place = place_here()
    if (file is None) is not clean:
        raise UsageError("name a file that `clawkakad backup` made, or say --clean")
    if file is None:
        with alone(place):
            return leavings.remove(place, user, yes)
    sink.head(file)  # before a state directory is made for it
    require_meant(file, place.state_dir, os.environ)
    claim(place.state_dir, marks=(*STATE_MARKS, LOCK, DIRECTORY))
    with locked(place.state_dir), alone(place):
        _give(place.state_dir, place.state_dir / DAEMON_LOCK)
        making.clear(place.state_dir)
        with making.draft(place.state_dir) as drafts:
            found = asyncio.run(_look_into(file, user, identity, drafts))
            if not yes:  # asked between two loops: inside one Ctrl-C would not be heard
                made = str(found.verified.about.get("made_at", "?"))[:16]
                question = f"Put back {found.whom}, as of {made} UTC, into {place.state_dir}?"
                asked(lambda: typer.confirm(question, err=True), undone="nothing was put back")
            with _warned_of_a_half() as note:
                asyncio.run(_restore(place, found, note))


@contextlib.contextmanager
def alone(place: Place) -> Iterator[None]:
    """One backup, restore, export or removal of a person at a time. Raises UsageError where another one goes on."""
    if not place.state_dir.is_dir():
        raise UsageError(f"there is no {place.state_dir}: has the daemon ever run with this CLAWKAKA_STATE_DIR?")
    with locked(place.state_dir, file=LOCK, taken="another backup, restore, export or removal is going on"):
        _give(place.state_dir, place.state_dir / LOCK)
        yield


async def _backup(place: Place, instance: str, target: Path, command: Sequence[str]) -> Made:
    async with open_engine(place.engine) as engine:
        with _shown() as progress:
            return await making.make(
                place.state_dir,
                target,
                engine=engine,
                instance=instance,
                image=place.image,
                command=command,
                now=clock(),
                progress=progress,
            )


async def _look_into(file: Path, user: str | None, identity: Path | None, drafts: Path) -> _Found:
    """Verify a backup, and find whom of it is meant. Raises UsageError."""
    now = clock()
    plain = await sink.decrypted(file, drafts / "plain.tar", identity=identity)
    verified = await asyncio.to_thread(tar.verify, plain)
    registry = drafts / FILE
    await restoring.prepare_registry(verified, registry, now)
    async with read_registry(registry, clock) as old:
        person = None if user is None else await find_user(old, user)
        people = len(await old.users.all())
    whom = counted(people, "person", "people") if person is None else harmless(label(person))
    return _Found(verified, registry, person, whom, now)


@contextlib.contextmanager
def _warned_of_a_half() -> Iterator[making.Progress]:
    """Told of each step of a restore, it says so where that ends after something was put back, and not everything."""
    begun = False

    def note(done: int, of: int, text: str) -> None:
        nonlocal begun
        begun = begun or 2 * done >= of  # the first half of the steps only checks

    try:
        yield note
    except BaseException:
        if begun:
            say("half restored: run it again before the daemon starts")
        raise


async def _restore(place: Place, found: _Found, note: making.Progress) -> None:
    verified, registry, person, whom, now = found
    async with open_engine(place.engine) as engine:
        host = restoring.Host(place.state_dir, engine, instance_id(place.state_dir), place.image)
        whose = await _owners(registry)
        with _shown() as shown:

            def progress(done: int, of: int, text: str) -> None:
                note(done, of, text)
                shown(done, of, text)

            if person is None:
                done = await restoring.everything(host, verified, registry, now, progress, whose)
            else:
                done = await restoring.one_person(host, verified, registry, person.id, now, progress, whose)
    held, parked = await _waiting(place, None if person is None else person.id)
    _give(place.state_dir, *place.state_dir.glob(f"{FILE}*"), place.state_dir / "instance")
    data = counted(done.sandboxes, "sandbox", "sandboxes")
    say(f"restored {whom}, and the data of {data}, into {place.state_dir}")
    if done.aside is not None:
        say(f"what was there is in {done.aside}")
    if done.aside_in_volumes:
        size, clean = f"{done.aside_in_volumes / MIB:.1f} MiB", "clawkakad restore --clean"
        clean += "" if person is None else f" --user {person.id}"
        say(f"what was in their sandboxes takes {size} of their disks until: {clean}")
    if held:
        say("what was on its way is held: clawkakad outbox list")
    if parked:
        say("what waited for an answer is parked: clawkakad inbox list")


async def _waiting(place: Place, whose: UserId | None) -> tuple[bool, bool]:
    """Whether messages to people are held, and messages from people parked."""
    held, parked = (overview.Wanted(None, whose, state) for state in (OutboxState.HELD, InboxState.PARKED))
    async with read_registry(place.state_dir / FILE, clock) as registry:
        return await registry.db.read(
            lambda tx: (bool(overview.messages(tx, "outbox", held)), bool(overview.messages(tx, "inbox", parked)))
        )


def _target(place: Place, file: Path | None, ending: str) -> Path:
    """The file to write. Raises UsageError where it is there already, or restore would not know what it is."""
    if file is None:
        file = place.state_dir / DIRECTORY
        file.mkdir(mode=0o700, exist_ok=True)
        _give(place.state_dir, file)
    target = new_file(file, making.default_name(clock(), ending))
    if ending == sink.GPG and target.suffix != sink.GPG:
        raise UsageError(f"name it {target.name}{sink.GPG}: restore knows by that what gpg has encrypted")
    return target


def tell_lacks(whose: str, left_out: Sequence[str], damaged: Sequence[str]) -> None:
    """What is not in a copy, and why; and what is in it, but unsound."""
    if left_out:
        say(f"{harmless(whose)}: NOT in it: {'; '.join(map(harmless, left_out))}")
    if damaged:
        say(f"{harmless(whose)}: locked or damaged, and in it as it lies: {'; '.join(map(harmless, damaged))}")


def _report(place: Place, made: Made) -> None:
    say(f"{made.path}: {made.size / MIB:.1f} MiB, {counted(made.sandboxes, 'sandbox', 'sandboxes')}")
    whose = {} if made.is_whole else asyncio.run(_owners(place.state_dir / FILE))
    for sandbox_id in sorted(made.left_out | made.damaged):
        left_out, damaged = made.left_out.get(sandbox_id, []), made.damaged.get(sandbox_id, [])
        tell_lacks(whose.get(sandbox_id, sandbox_id), left_out, damaged)
    for sandbox_id, why in made.missing.items():
        say(f"{harmless(whose.get(sandbox_id, sandbox_id))} is NOT in it: {why}")


async def _owners(path: Path) -> dict[SandboxId, str]:
    """Whose each sandbox is; nothing where the registry waits for an upgrade, before which a backup is made."""
    try:
        async with read_registry(path, clock) as registry:
            return await owners(registry)
    except UsageError:
        return {}


def _give(state_dir: Path, *paths: Path) -> None:
    """What root makes in the state directory belongs to whoever the daemon runs as."""
    if os.geteuid() == 0:
        facts = state_dir.stat()
        for path in paths:
            if path.exists() and state_dir in path.parents:
                os.chown(path, facts.st_uid, facts.st_gid)


@contextlib.contextmanager
def _shown() -> Iterator[making.Progress]:
    """A bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, of, text: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("backup")
        yield lambda done, of, text: bar.update(task, completed=done, total=of, description=text)
