"""The commands of an operator, all of them, and how their help is shown.

A terminal of 80 columns gets the tables of typer and rich. In a narrower one, such as a phone's, these would cut words
off, so there help is plain text, wrapped.
"""

from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from clawkakad import __version__
from clawkakad.cli import backup, doctor_sandbox, image, inbox, nuke, outbox, run, sandbox, simulator, try_, user, users

ROOM_FOR_TABLES = 80  # columns
WHOLE = 10_000  # characters of a command's first sentence: all of them


class Group(TyperGroup):
    """Commands, of which plain help too says the whole first sentence."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """One a line, and as many more as its sentence takes."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.get_short_help_str(WHOLE)) for name, one in self.commands.items()])


def commands(columns: int) -> typer.Typer:
    """All of them, for a terminal of so many columns."""
    has_room = columns >= ROOM_FOR_TABLES
    made = typer.Typer(
        name="clawkakad",
        cls=Group,
        help="Your own PA on WhatsApp, self-hosted.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if has_room else None,
        context_settings={} if has_room else {"terminal_width": columns},
    )
    made.callback()(_options)
    made.add_typer(image.app, name="image", cls=Group, help="Build the sandbox image.")
    sandbox_help = "People's sandboxes: look, try again, put to rest, wake, upgrade, remove."
    made.add_typer(sandbox.app, name="sandbox", cls=Group, help=sandbox_help)
    made.command("run")(run.run)
    made.command("try")(try_.try_)
    made.command("simulator")(simulator.simulator)
    made.command("users")(users.users)
    made.add_typer(user.app, name="user", cls=Group, help="Export, or remove, one person's data.")
    made.add_typer(doctor_sandbox.app, name="doctor", cls=Group)
    outbox_help = "Look at messages to people; send them again, or let them go."
    made.add_typer(outbox.app, name="outbox", cls=Group, help=outbox_help)
    made.add_typer(inbox.app, name="inbox", cls=Group, help="Look at messages from people.")
    made.command("backup")(backup.backup)
    made.command("restore")(backup.restore)
    made.command("nuke")(nuke.nuke)
    return made


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clawkakad {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Your own PA on WhatsApp, self-hosted."""


app = commands(Console().width)  # as the tables will count: also where standard output is a pipe
