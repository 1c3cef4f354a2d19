"""`clawkakad simulator`: the simulated WhatsApp alone, for a daemon that is started by hand."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from clawkakad.errors import UsageError
from clawkakad.simulator.guard import LOOPBACK_NAMES
from clawkakad.simulator.server import Secrets, running_simulator

NEEDED = ("WHATSAPP_APP_SECRET", "WHATSAPP_ACCESS_TOKEN", "WHATSAPP_SENDER_PHONE_NUMBER_ID")


def simulator(
    webhook: Annotated[str, typer.Option(help="Where the daemon takes webhooks.", show_default="port 3001 here")] = (
        "http://127.0.0.1:3001/whatsapp/webhook"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port of the chat page and of the Graph API.")] = 3002,
    host: Annotated[str, typer.Option(help="The address to listen on; who reaches it writes in anybody's name.")] = (
        "127.0.0.1"
    ),
    name: Annotated[list[str] | None, typer.Option(help="Another host name that it may be addressed by.")] = None,
    state: Annotated[Path | None, typer.Option(help="A directory to keep the people and their chats in.")] = None,
) -> None:
    """Run the simulated WhatsApp.

    It needs the daemon's WHATSAPP_APP_SECRET, WHATSAPP_ACCESS_TOKEN and WHATSAPP_SENDER_PHONE_NUMBER_ID as environment
    variables (files are not read), so that the two agree.
    """
    secrets = secrets_from_environment()
    asyncio.run(_run(secrets, webhook, host, port, frozenset(name or ()), state))


async def _run(secrets: Secrets, webhook: str, host: str, port: int, names: frozenset[str], state: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running_simulator(
        secrets, host=host, port=port, names=LOOPBACK_NAMES | names, webhook_url=webhook, directory=state
    ) as running:
        say = Console(stderr=True, highlight=False).print
        say(f"Chat page: [bold]{running.url}[/bold]")
        say(f"[dim]For the daemon: WHATSAPP_API_BASE_URL={running.url}; webhooks go to {escape(webhook)}[/dim]")
        await stop.wait()


def secrets_from_environment() -> Secrets:
    """The daemon's own, from the environment alone. Raises UsageError with all that are missing."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        raise UsageError(f"{', '.join(missing)}: set them to the same values as for the daemon")
    return Secrets(
        app_secret=os.environ["WHATSAPP_APP_SECRET"].split(",")[0].strip(),
        access_token=os.environ["WHATSAPP_ACCESS_TOKEN"],
        verification_token=os.environ.get("WHATSAPP_VERIFICATION_TOKEN", ""),
        provisioning_key=os.environ.get("OPENROUTER_PROVISIONING_KEY", "sk-or-v1-simulated"),
        phone_number_id=os.environ["WHATSAPP_SENDER_PHONE_NUMBER_ID"],
    )
