"""`clawkakad outbox`: messages to people that need a look; send them again, or let them go. Beside a running daemon."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Annotated

import typer
from rich.console import Console

from clawkakad.assistant.who import find_user
from clawkakad.cli.common import clock, counted, plain
from clawkakad.cli.listing import LATELY, pause_lines, show
from clawkakad.cli.where import place_here
from clawkakad.delivery.window import in_window
from clawkakad.errors import UsageError
from clawkakad.model import Hold, OutboxState
from clawkakad.registry import FILE, edit_registry, outbox, overview, pauses, read_registry, users
from clawkakad.registry.database import Transaction
from clawkakad.registry.outbox import OutboxRow
from clawkakad.registry.overview import Wanted

AGAIN = (OutboxState.HELD, OutboxState.FAILED, OutboxState.DROPPED)

app = typer.Typer(no_args_is_help=True)

Ids = Annotated[list[int], typer.Argument(metavar="ID…", help="Ids, as the list shows them.", show_default=False)]
MaybeIds = Annotated[
    list[int] | None, typer.Argument(metavar="ID…", help="Ids, as the list shows them.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="The latest 200, whatever became of them.")]
User = Annotated[str | None, typer.Option("--user", help="Of one person: id, phone number, or name.")]
State = Annotated[OutboxState | None, typer.Option("--state", help="Only those in one state.")]
ShowText = Annotated[bool, typer.Option("--text", help="Show what the messages say.")]


@app.command("list")
def list_(all_: All = False, user: User = None, state: State = None, text: ShowText = False) -> None:
    """List what is on its way, held, or failed in the last day; and whether sending is paused, and why."""
    asyncio.run(_list(all_, user, state, text))


@app.command()
def retry(ids: MaybeIds = None, all_: Annotated[bool, typer.Option("--all", help="All.")] = False) -> None:
    """Send held, failed or dropped messages after all. Paused sending is tried at once.

    --all: those that are held because nobody knows whether they were sent, and those that failed in the last day.
    """
    asyncio.run(_retry(ids or [], all_))


@app.command()
def drop(ids: Ids) -> None:
    """Let messages go: they are not sent any more."""
    asyncio.run(_drop(ids))


async def _list(everything: bool, user: str | None, state: OutboxState | None, text: bool) -> None:
    now, console = clock(), Console(highlight=False)
    async with read_registry(place_here().state_dir / FILE, clock) as registry:
        whose = (await find_user(registry, user)).id if user else None
        wanted = Wanted(None if everything else now - LATELY, whose, state)
        entries = await registry.db.read(lambda tx: overview.messages(tx, "outbox", wanted))
        paused = await registry.db.read(pauses.current)
    for line in pause_lines(paused, now):
        console.print(line)
    if entries:
        show(console, entries, now, text=text)
    elif everything or state or user:
        console.print("there are no such messages")
    else:
        console.print("nothing is on its way, nothing is held, and nothing failed in the last day")


async def _retry(ids: Sequence[int], everything: bool) -> None:
    if bool(ids) == everything:
        raise UsageError("name the ids of messages, or --all: `clawkakad outbox list` shows them")
    now, console = clock(), Console(highlight=False)

    def work(tx: Transaction) -> tuple[list[OutboxRow], int, int]:
        rows = _rows(tx, _retriable(tx) if everything else ids, AGAIN, "be sent again")
        outbox.retry(tx, [row.id for row in rows], now)
        return rows, pauses.try_now(tx, now), sum(_is_closed(tx, row) for row in rows)

    async with edit_registry(place_here().state_dir / FILE, clock) as registry:
        rows, paused, closed = await registry.db.write(work)
    console.print(f"{counted(len(rows), 'message is', 'messages are')} queued again")
    if unknown := sum(row.unknowns > 0 for row in rows):
        console.print(f"{_of(unknown, rows)} may have arrived before: nobody knows")
    if closed:
        console.print(f"{_of(closed, rows)} will be held until its person writes: the service window is closed")
    if paused:
        console.print("sending was paused: one message is tried now")


async def _drop(ids: Sequence[int]) -> None:
    now = clock()
    allowed = (OutboxState.QUEUED, OutboxState.AMBIGUOUS, OutboxState.HELD, OutboxState.FAILED)

    def work(tx: Transaction) -> int:
        return outbox.drop(tx, [row.id for row in _rows(tx, ids, allowed, "be dropped")], now)

    async with edit_registry(place_here().state_dir / FILE, clock) as registry:
        dropped = await registry.db.write(work)
    Console(highlight=False).print(plain(f"{counted(dropped, 'message is', 'messages are')} dropped"))


def _of(count: int, rows: Sequence[OutboxRow]) -> str:
    return "it" if len(rows) == 1 else f"{count} of them"


def _rows(tx: Transaction, ids: Collection[int], allowed: Sequence[OutboxState], what: str) -> list[OutboxRow]:
    """These messages, each once. Raises UsageError where one is not there, or not in a state for it."""
    rows = []
    for id_ in dict.fromkeys(ids):
        row = outbox.get(tx, id_)
        if row is None:
            raise UsageError(f"there is no message {id_} in the outbox; nothing was changed")
        if row.state not in allowed:
            states = ", ".join(state.value for state in allowed)
            raise UsageError(f"message {id_} is {row.state.value}: only {states} ones can {what}; nothing was changed")
        rows.append(row)
    return rows


def _retriable(tx: Transaction) -> list[int]:
    """What nobody knows the fate of, and what failed lately; who has to write first is not helped by a retry."""
    entries = overview.messages(tx, "outbox", Wanted(clock() - LATELY, limit=100_000))
    return [e.id for e in entries if e.hold is Hold.UNKNOWN or e.state == OutboxState.FAILED]


def _is_closed(tx: Transaction, row: OutboxRow) -> bool:
    user = users.get(tx, row.user_id)
    return user is not None and not in_window(clock(), user.last_inbound_at)
