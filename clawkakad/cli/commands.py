"""The commands of an operator, all of them."""

from typing import Annotated

import typer

from clawkakad import __version__
from clawkakad.cli import backup, doctor_sandbox, image, inbox, nuke, outbox, run, sandbox, simulator, try_, user, users

app = typer.Typer(
    name="clawkakad",
    help="Your own PA on WhatsApp, self-hosted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(image.app, name="image", help="Build the sandbox image.")
app.add_typer(sandbox.app, name="sandbox", help="Look at people's sandboxes, and remove them.")
app.command("run")(run.run)
app.command("try")(try_.try_)
app.command("simulator")(simulator.simulator)
app.command("users")(users.users)
app.add_typer(user.app, name="user", help="Export, or remove, one person's data.")
app.add_typer(doctor_sandbox.app, name="doctor")
app.add_typer(outbox.app, name="outbox", help="Look at messages to people; send them again, or let them go.")
app.add_typer(inbox.app, name="inbox", help="Look at messages from people.")
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("nuke")(nuke.nuke)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clawkakad {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Your own PA on WhatsApp, self-hosted."""
