"""`clawkakad inbox`: messages from people that need a look. Beside a running daemon."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console

from clawkakad.assistant.who import find_user
from clawkakad.cli.common import clock
from clawkakad.cli.listing import LATELY, show
from clawkakad.cli.where import place_here
from clawkakad.model import InboxState
from clawkakad.registry import FILE, overview, read_registry
from clawkakad.registry.overview import Wanted

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Messages from people."""


@app.command("list")
def list_(
    all_: Annotated[bool, typer.Option("--all", help="The latest 200, whatever became of them.")] = False,
    user: Annotated[str | None, typer.Option("--user", help="Of one person: id, phone number, or name.")] = None,
    state: Annotated[InboxState | None, typer.Option("--state", help="Only those in one state.")] = None,
    text: Annotated[bool, typer.Option("--text", help="Show what the messages say.")] = False,
) -> None:
    """List what waits for an answer, what was parked, and what failed in the last day.

    Parked: given up, or put back by a restore.
    """
    asyncio.run(_list(all_, user, state, text))


async def _list(everything: bool, user: str | None, state: InboxState | None, text: bool) -> None:
    now, console = clock(), Console(highlight=False)
    async with read_registry(place_here().state_dir / FILE, clock) as registry:
        whose = (await find_user(registry, user)).id if user else None
        wanted = Wanted(None if everything else now - LATELY, whose, state)
        entries = await registry.db.read(lambda tx: overview.messages(tx, "inbox", wanted))
    if entries:
        show(console, entries, now, text=text)
    elif everything or state or user:
        console.print("there are no such messages")
    else:
        console.print("no message waits for a turn, none is parked, and none failed in the last day")
        console.print("replies on their way: `clawkakad outbox list`")
