"""`clawkakad outbox`: messages to people that need a look; send them again, or let them go. Beside a running daemon."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Annotated

import typer
from rich.console import Console

from clawkakad.assistant.who import find_user
from clawkakad.cli.common import clock, counted, daemon_runs
from clawkakad.cli.listing import LATELY, code_of, pause_lines, show
from clawkakad.cli.where import place_here
from clawkakad.delivery.window import in_window
from clawkakad.errors import UsageError
from clawkakad.model import Hold, OutboxState
from clawkakad.registry import FILE, edit_registry, outbox, overview, pauses, read_registry, users
from clawkakad.registry.outbox import OutboxRow
from clawkakad.registry.overview import Wanted
from clawkakad.registry.transaction import Transaction
from clawkakad.whatsapp.errors import WINDOW_CLOSED

AGAIN = (OutboxState.HELD, OutboxState.FAILED, OutboxState.DROPPED)
MOST = 2**63 - 1  # no id of SQLite's is greater
HELP = "Ids, as the list shows them."
ALL_OF = "All that nobody knows the fate of, and all that failed in the last day."


def _id(text: str | int) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no id; ids are the numbers that `clawkakad outbox list` shows") from None


app = typer.Typer(no_args_is_help=True)

Ids = Annotated[list[int], typer.Argument(metavar="ID…", help=HELP, show_default=False, parser=_id)]
MaybeIds = Annotated[list[int] | None, typer.Argument(metavar="ID…", help=HELP, show_default=False, parser=_id)]
All = Annotated[bool, typer.Option("--all", help="The latest 200, whatever became of them.")]
User = Annotated[str | None, typer.Option("--user", help="Of one person: id, phone number, or name.")]
State = Annotated[OutboxState | None, typer.Option("--state", help="Only those in one state.")]
ShowText = Annotated[bool, typer.Option("--text", help="Show what the messages say.")]


@app.command("list")
def list_(all_: All = False, user: User = None, state: State = None, text: ShowText = False) -> None:
    """List what is on its way or held, what failed or may have come twice in the last day; why sending is paused."""
    asyncio.run(_list(all_, user, state, text))


@app.command()
def retry(ids: MaybeIds = None, all_: Annotated[bool, typer.Option("--all", help=ALL_OF)] = False) -> None:
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
    now, console, place = clock(), Console(highlight=False), place_here()

    def work(tx: Transaction) -> tuple[list[OutboxRow], int, int]:
        is_paused = bool(pauses.current(tx))
        allowed = (*AGAIN, OutboxState.QUEUED) if is_paused else AGAIN  # of a pause it has to be said that it is over
        rows = _rows(tx, _retriable(tx) if everything else ids, allowed, "be sent again")
        rows = [row for row in rows if row.state is not OutboxState.QUEUED]
        outbox.retry(tx, [row.id for row in rows], now)
        return rows, pauses.try_now(tx, now), sum(_is_closed(tx, row) for row in rows)

    async with edit_registry(place.state_dir / FILE, clock) as registry:
        rows, paused, closed = await registry.db.write(work)
    if rows or not paused:
        console.print(f"{counted(len(rows), 'message is', 'messages are')} queued again")
    if unknown := sum(row.unknowns > 0 for row in rows):
        console.print(f"{_of(unknown, rows)} may have arrived before: nobody knows")
    if closed:
        console.print(f"{_of(closed, rows)} will be held again until its person writes: the service window is closed")
    if paused:
        console.print("sending was paused: one message is tried now")
    if (rows or paused) and not daemon_runs(place.state_dir):
        console.print("no daemon runs now: sending goes on when it does")


async def _drop(ids: Sequence[int]) -> None:
    now = clock()
    allowed = (OutboxState.QUEUED, OutboxState.AMBIGUOUS, OutboxState.HELD, OutboxState.FAILED)

    def work(tx: Transaction) -> list[OutboxRow]:
        rows = _rows(tx, ids, allowed, "be dropped")
        outbox.drop(tx, [row.id for row in rows], now)
        return rows

    async with edit_registry(place_here().state_dir / FILE, clock) as registry:
        rows = await registry.db.write(work)
    console = Console(highlight=False)
    console.print(f"{counted(len(rows), 'message is', 'messages are')} dropped")
    if unknown := sum(row.unknowns > 0 for row in rows):
        console.print(f"{_of(unknown, rows)} may have arrived: nobody knows")


def _of(count: int, rows: Sequence[OutboxRow]) -> str:
    return "it" if len(rows) == 1 else f"{count} of them"


def _rows(tx: Transaction, ids: Collection[int], allowed: Sequence[OutboxState], what: str) -> list[OutboxRow]:
    """These messages, each once. Raises UsageError where one is not there, or not in a state for it."""
    rows = []
    for id_ in dict.fromkeys(ids):
        row = outbox.get(tx, id_) if 0 < id_ <= MOST else None
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
    """Whether the window is, by the clock, or as Meta said, whose clock decides."""
    user = users.get(tx, row.user_id)
    by_meta = row.hold is Hold.WINDOW and code_of(row.reason) == WINDOW_CLOSED
    return by_meta or (user is not None and not in_window(clock(), user.last_inbound_at))
