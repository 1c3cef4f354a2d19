"""`clawkakad sandbox …`: look at people's sandboxes, try them again, upgrade or remove them, daemon or not."""

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import Annotated

import aiohttp
import typer
from rich.console import Console

from clawkakad.assistant.who import find_user, label
from clawkakad.cli.common import age, asked, clock, counted, daemon_runs, harmless, say
from clawkakad.cli.keys import key_source
from clawkakad.cli.listing import show_rows
from clawkakad.cli.upgrade import upgrade
from clawkakad.cli.where import place_here
from clawkakad.config import Place
from clawkakad.errors import EngineUnavailable, UsageError
from clawkakad.log import redact
from clawkakad.model import Rest, SandboxState
from clawkakad.registry import FILE, Registry, SandboxRow, UserRow, edit_registry, locked, open_registry, read_registry
from clawkakad.sandboxes.disk import in_words
from clawkakad.sandboxes.engine import Container, open_engine
from clawkakad.sandboxes.profile import container_name
from clawkakad.sandboxes.removal import remove_sandbox
from clawkakad.sandboxes.secrets import read_instance_id

WAIT_FOR_DAEMON_S = 60.0
LOOK_EVERY_S = 0.5
HEADINGS = ("sandbox", "user", "name", "state", "since", "container", "disk", "reason")

app = typer.Typer(no_args_is_help=True)
app.command()(upgrade)

User = Annotated[str, typer.Argument(help="A user id, a sandbox id, a phone number, or a name.")]


@app.command("list")
def list_() -> None:
    """List all sandboxes: whose, in which state, since when, what the engine says, and what its disk holds."""
    asyncio.run(_list(place_here()))


@app.command()
def logs(
    user: User, tail: Annotated[int, typer.Option(min=1, max=100_000, help="How many of the last lines.")] = 200
) -> None:
    """Print what a sandbox's gateway wrote last."""
    asyncio.run(_logs(place_here(), user, tail))


@app.command()
def retry(user: User) -> None:
    """Try a sandbox again that was parked, or that waits for its next try. A running daemon does it within seconds."""
    place = place_here()
    _tell(place, *asyncio.run(_retry(place, user)), "is tried again")


@app.command()
def doze(user: User) -> None:
    """Freeze a sandbox until it is needed, unless it is at work. A running daemon does it within seconds."""
    _wish(user, Rest.DOZE, "is to doze")


@app.command()
def sleep(user: User) -> None:
    """Stop a sandbox until it is needed, unless it is at work. A running daemon does it within seconds."""
    _wish(user, Rest.SLEEP, "is to sleep")


@app.command()
def wake(user: User) -> None:
    """Wake a sandbox that dozes or sleeps. A running daemon does it within seconds."""
    _wish(user, Rest.WAKE, "is to wake")


@app.command()
def rm(user: User, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Remove a sandbox with everything the assistant remembers of that person. There is no way back."""
    place = place_here()
    person = asyncio.run(_who(place, user))
    name = harmless(label(person))
    if not yes:
        asked(lambda: typer.confirm(f"Remove the sandbox of {name} ({person.id}), memory and all?", err=True))
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(place.state_dir))
        except UsageError:  # the daemon has the lock, and so the sandbox
            asyncio.run(ask_daemon(place, person))
        else:
            asyncio.run(remove_here(place, person))
    say(f"the sandbox of {name} is gone")


async def _list(place: Place) -> None:
    async with read_registry(place.state_dir / FILE, clock) as registry:
        rows = await registry.sandboxes.all()
        disks = await registry.disks.all()
        people = {person.id: label(person) for person in await registry.users.all()}
    containers, trouble = await _containers(place)
    lines = []
    for row in rows:
        person = "a spare" if row.user_id is None else people.get(row.user_id, "-")
        said = "?" if trouble else _said(containers.get(container_name(row.id)))
        state = "removing" if row.remove_wanted else row.state.value
        since = age(row.changed_at, datetime.now(UTC))
        disk = in_words(disks[row.id]) if row.id in disks else "-"
        lines.append((row.id, row.user_id or "-", person, state, since, said, disk, _why(row)))
    console = Console(highlight=False)
    if lines:
        show_rows(console, HEADINGS, lines, folds="reason")
    else:
        console.print("there are no sandboxes yet")
    if trouble:
        say(trouble)


def _why(row: SandboxRow) -> str:
    """The reason of its state, and that memory ran out in it."""
    memory = (
        f"out of memory {counted(row.ooms, 'time', 'times')}, last {age(row.oom_at, datetime.now(UTC))}"
        if row.ooms
        else ""
    )
    return "; ".join(text for text in (redact(row.reason), memory) if text) or "-"


async def _containers(place: Place) -> tuple[dict[str, Container], str]:
    """What the engine has of ours, by name, and why it could not be asked."""
    instance = read_instance_id(place.state_dir)
    if instance is None:
        return {}, ""
    try:
        async with open_engine(place.engine) as engine:
            return {container.name: container for container in await engine.ours(instance)}, ""
    except EngineUnavailable as error:
        return {}, str(error)


def _said(container: Container | None) -> str:
    return "none" if container is None else container.status


async def _logs(place: Place, user: str, tail: int) -> None:
    async with read_registry(place.state_dir / FILE, clock) as registry:
        row = await _row(registry, await find_user(registry, user))
    async with open_engine(place.engine) as engine:
        lines = await engine.logs(container_name(row.id), tail=tail)
    if lines is None:
        raise UsageError(f"{row.id} has no container: nothing was logged, or it was removed")
    for line in lines:
        typer.echo(harmless(line))


async def _retry(place: Place, user: str) -> tuple[str, str]:
    """Leave the wish in the registry; whose sandbox it is, and why there is nothing to do, if so."""
    async with edit_registry(place.state_dir / FILE, clock) as registry:
        person = await find_user(registry, user)
        row = await _row(registry, person)
        await registry.sandboxes.want_retry(row.id)
    runs = row.state is SandboxState.READY and daemon_runs(place.state_dir)  # where none does, nobody knows
    return harmless(label(person)), "is ready: there is nothing to try again" if runs else ""


def _wish(user: str, rest: Rest, what: str) -> None:
    place = place_here()
    _tell(place, *asyncio.run(_want(place, user, rest)), what)


def _tell(place: Place, name: str, nothing: str, what: str) -> None:
    when = "" if nothing or daemon_runs(place.state_dir) else " when the daemon starts: none runs now"
    say(f"the sandbox of {name} {nothing or what}{when}: clawkakad sandbox list")


async def _want(place: Place, user: str, rest: Rest) -> tuple[str, str]:
    """The same for a wish to rest or to wake."""
    async with edit_registry(place.state_dir / FILE, clock) as registry:
        person = await find_user(registry, user)
        row = await _row(registry, person)
        await registry.sandboxes.want_rest(row.id, rest)
    is_new = row.rest_wanted is None  # else the daemon is about to change its state
    return harmless(label(person)), _nothing_to_do(place, row.state, rest) if is_new else ""


def _nothing_to_do(place: Place, state: SandboxState, rest: Rest) -> str:
    match state, rest:
        case SandboxState.PARKED, _:
            return "is parked, and clawkakad sandbox retry tries it again"
        case SandboxState.ABSENT, Rest.DOZE | Rest.SLEEP:
            return "is not made yet"
        case SandboxState.ASLEEP, Rest.DOZE | Rest.SLEEP:
            return "sleeps already"
        case SandboxState.DOZING, Rest.DOZE:
            return "dozes already"
        case SandboxState.READY, Rest.WAKE if daemon_runs(place.state_dir):  # where none does, nobody knows
            return "is awake already"
    return ""


async def _who(place: Place, user: str) -> UserRow:
    async with read_registry(place.state_dir / FILE, clock) as registry:
        person = await find_user(registry, user)
        await _row(registry, person)
        return person


async def _row(registry: Registry, person: UserRow) -> SandboxRow:
    row = await registry.sandboxes.of_user(person.id)
    if row is None:
        raise UsageError(f"{label(person)} has no sandbox")
    return row


async def ask_daemon(place: Place, person: UserRow) -> None:
    """Leave the wish in the registry and wait until the daemon has carried it out."""
    async with edit_registry(place.state_dir / FILE, clock) as registry:
        row = await _row(registry, person)
        await registry.sandboxes.want_removed(row.id)
        try:
            async with asyncio.timeout(WAIT_FOR_DAEMON_S):
                while await registry.sandboxes.get(row.id) is not None:  # noqa: ASYNC110 (another process removes it)
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            text = "the daemon was told and has not finished: its log says why; it goes on trying"
            raise UsageError(text) from None


async def remove_here(place: Place, person: UserRow) -> None:
    """Remove a person's sandbox where no daemon runs. Raises UsageError, Transient, Rejected."""
    instance = read_instance_id(place.state_dir)
    if instance is None:
        raise UsageError(f"{place.state_dir} has no instance file: which containers are ours cannot be told")
    async with (
        open_registry(place.state_dir / FILE, clock) as registry,
        open_engine(place.engine) as engine,
        aiohttp.ClientSession() as http,
    ):
        row = await _row(registry, person)
        await registry.sandboxes.want_removed(row.id)
        await remove_sandbox(
            row,
            engine=engine,
            instance=instance,
            runtime_dir=place.runtime_dir,
            keys=key_source(place, row, http, registry, instance),
            rows=registry.sandboxes,
        )
