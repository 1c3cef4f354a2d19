"""`clawkakad user …`: one person's data, handed over or taken away, with or without a running daemon."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from clawkakad.assistant.who import find_user, label
from clawkakad.backups import exporting, making, restoring
from clawkakad.backups.copier import Copier
from clawkakad.cli.backup import DIRECTORY, alone, tell_lacks
from clawkakad.cli.common import asked, clock, counted, destination, harmless, new_file, say
from clawkakad.cli.sandbox import ask_daemon, remove_here
from clawkakad.cli.where import place_here
from clawkakad.config import Place
from clawkakad.errors import UsageError
from clawkakad.registry import FILE, UserRow, edit_registry, forgetting, locked, read_registry
from clawkakad.sandboxes.engine import open_engine
from clawkakad.sandboxes.profile import volume_name
from clawkakad.sandboxes.secrets import read_instance_id

TRIES = 3  # somebody who writes at that moment gets a new sandbox, which goes too

app = typer.Typer(no_args_is_help=True)

User = Annotated[str, typer.Argument(help="A user id, a sandbox id, a phone number, or a name.")]


@app.command()
def export(
    user: User,
    file: Annotated[
        Path | None,
        typer.Argument(parser=destination, help="Where to; a directory: a new file in it. Default: a new file here."),
    ] = None,
) -> None:
    """Write one person's data into a tar.gz: messages, reminders, their database and the assistant's files.

    Exit code 1 where a file could not be copied as it should be: the rest is in it.
    """
    place = place_here()
    person = asyncio.run(_who(place, user))
    target = new_file(file or Path(), f"clawkakad-export-{person.id}-{clock():%Y%m%d}.tar.gz")
    with alone(place):
        left_out, damaged = asyncio.run(_export(place, person, target))
    say(f"{target}: {target.stat().st_size / 1024:.0f} KiB; it holds all that {harmless(label(person))} said")
    tell_lacks(label(person), left_out, damaged)
    if left_out or damaged:
        raise typer.Exit(1)


@app.command()
def rm(
    user: User,
    purge: Annotated[bool, typer.Option("--purge", help="Their messages and numbers too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a person's sandbox, memory, model key and reminders. There is no way back. May be repeated.

    Without --purge their messages and numbers stay on record. If they are let in and write again, they start anew.
    """
    place = place_here()
    with alone(place):
        making.clear(place.state_dir, place.state_dir / DIRECTORY)  # a backup that was killed left copies of them
        try:
            person = asyncio.run(_who(place, user))
        except UsageError:
            if purge and (place.state_dir / FILE).exists():  # perhaps we were stopped before this
                forgetting.wipe(place.state_dir / FILE)
            raise
        name = harmless(label(person))
        what = "with all messages" if purge else "but not the messages"
        if not yes:
            asked(lambda: typer.confirm(f"Remove everything of {name} ({person.id}), {what}?", err=True))
        _remove(place, person, purge)
    say(
        f"everything of {name} is gone" if purge else f"{name}'s sandbox and reminders are gone; --purge takes the rest"
    )
    if purge:
        _tell_what_remains(place)


def _remove(place: Place, person: UserRow, purge: bool) -> None:
    for _ in range(TRIES):
        asyncio.run(_close(place, person))
        if asyncio.run(_has_sandbox(place, person)):
            _remove_sandbox(place, person)
        if not purge or asyncio.run(_purge(place, person)):
            break
    else:
        raise UsageError("they go on writing and get a new sandbox each time: take them off CLAWKAKA_ALLOW first")
    if purge:
        forgetting.wipe(place.state_dir / FILE)


def _remove_sandbox(place: Place, person: UserRow) -> None:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(place.state_dir))
        except UsageError:  # the daemon has the lock, and so the sandbox
            asyncio.run(ask_daemon(place, person))
        else:
            asyncio.run(remove_here(place, person))


async def _who(place: Place, user: str) -> UserRow:
    async with read_registry(place.state_dir / FILE, clock) as registry:
        return await find_user(registry, user)


async def _has_sandbox(place: Place, person: UserRow) -> bool:
    async with read_registry(place.state_dir / FILE, clock) as registry:
        return await registry.sandboxes.of_user(person.id) is not None


async def _close(place: Place, person: UserRow) -> None:
    now = clock()
    async with edit_registry(place.state_dir / FILE, clock) as registry:
        await registry.db.write(lambda tx: forgetting.close(tx, person.id, now))


async def _purge(place: Place, person: UserRow) -> bool:
    async with edit_registry(place.state_dir / FILE, clock) as registry:
        return await registry.db.write(lambda tx: forgetting.purge(tx, person.id))


async def _export(place: Place, person: UserRow, target: Path) -> tuple[list[str], list[str]]:
    """What of their files is left out, and why; which of their databases are damaged."""
    making.clear(place.state_dir)
    async with read_registry(place.state_dir / FILE, clock) as registry:
        told = await registry.db.read(lambda tx: exporting.told(tx, person))
        sandbox = await registry.sandboxes.of_user(person.id)
    instance = read_instance_id(place.state_dir)
    with making.draft(place.state_dir) as drafts:
        packed: Path | None = None
        report: dict[str, Any] = {}
        async with open_engine(place.engine) as engine:
            if sandbox and instance and await engine.volume_labels(volume_name(sandbox.id)) is not None:
                packed = drafts / "data.tar.gz"
                copier = Copier(engine, instance, place.image)
                with packed.open("wb") as file:
                    async with copier.packed(sandbox.id, without=exporting.MACHINERY) as (report, _, content):
                        async for piece in content:
                            _put(file, piece)
        _write(target, told, packed)
    return report.get("left_out", []), report.get("damaged", [])


def _put(file: BinaryIO, piece: bytes) -> None:
    """Write a piece of what the engine hands over. Raises UsageError: an OSError would pass for one of the engine's."""
    left = memoryview(piece)
    try:
        while left:
            left = left[os.write(file.fileno(), left) :]
    except OSError as error:
        raise UsageError(f"{file.name} cannot be written: {error.strerror}") from error


def _write(target: Path, told: exporting.Told, packed: Path | None) -> None:
    """Whole or not at all, for nobody else to read. Raises UsageError."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            exporting.write(descriptor, told, packed)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(partial, target)
    except OSError as error:
        with contextlib.suppress(OSError):  # where it could not be made it cannot be removed either
            partial.unlink()
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error


def _tell_what_remains(place: Place) -> None:
    """Copies that were made before still have them."""
    backups = place.state_dir / DIRECTORY
    copies = [path for path in backups.iterdir() if making.NAME.fullmatch(path.name)] if backups.is_dir() else []
    if copies:
        say(
            f"{counted(len(copies), 'backup', 'backups')} in {backups} may still hold them, and so may copies elsewhere"
        )
    for path in sorted(place.state_dir.glob(f"{restoring.ASIDE}*")):
        say(f"{path} may still hold them: remove it")
