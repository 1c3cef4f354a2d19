"""The simulator put together, on one port: Graph API, chat page, offline model, and the stand-in for OpenRouter."""

import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from aiohttp import web

from clawkakad.errors import UsageError
from clawkakad.simulator.chat import Chat
from clawkakad.simulator.exchange import Exchange
from clawkakad.simulator.graph import GraphApi
from clawkakad.simulator.guard import LOOPBACK_NAMES, add_headers, guard
from clawkakad.simulator.knobs import Knobs
from clawkakad.simulator.media import LARGEST_FILE, Media
from clawkakad.simulator.model import LARGEST_REQUEST, model_routes
from clawkakad.simulator.openrouter import OpenRouter
from clawkakad.simulator.payloads import Business
from clawkakad.simulator.people import FILE, People
from clawkakad.simulator.webhooks import RETRY_DELAYS_S, Courier

STOP_S = 2.0  # how long open requests may take when the simulator stops


@dataclass(frozen=True)
class Secrets:
    """What the daemon and the simulator must agree on."""

    app_secret: str
    access_token: str
    verification_token: str
    provisioning_key: str
    phone_number_id: str = "100000000000001"

    @staticmethod
    def made() -> "Secrets":
        """New ones, in the form of the real ones."""
        return Secrets(
            app_secret=secrets.token_hex(16),
            access_token=f"EAA{secrets.token_hex(40)}",
            verification_token=secrets.token_urlsafe(16),
            provisioning_key=f"sk-or-v1-{secrets.token_hex(32)}",
        )


@dataclass(frozen=True)
class Simulator:
    """A running simulator. `url`: its address, without a slash at the end."""

    url: str
    exchange: Exchange
    openrouter: OpenRouter
    secrets: Secrets


def simulator_app(
    exchange: Exchange, openrouter: OpenRouter, access_token: str, *, names: frozenset[str] = LOOPBACK_NAMES
) -> web.Application:
    """Everything on one port. `names`: the hosts that it may be addressed by."""
    app = web.Application(middlewares=[guard(names)], client_max_size=max(LARGEST_FILE, LARGEST_REQUEST))
    chat = Chat(exchange)
    app.add_routes(chat.routes())
    app.add_routes(GraphApi(exchange, Media(), access_token=access_token).routes())
    app.add_routes(model_routes("/v1"))
    app.add_routes(openrouter.routes())
    app.on_response_prepare.append(add_headers)

    async def close_pages(app: web.Application) -> None:
        await chat.aclose()

    app.on_shutdown.append(close_pages)
    return app


@asynccontextmanager
async def running_simulator(
    secret: Secrets,
    *,
    host: str = "127.0.0.1",
    names: frozenset[str] = LOOPBACK_NAMES,
    port: int = 0,
    webhook_url: str | None = None,
    directory: Path | None = None,
    knobs: Knobs | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
) -> AsyncIterator[Simulator]:
    """A simulator that listens as long as the block lasts; port 0 is any free one.

    `names`: hosts that it may be addressed by, besides `host`. `directory`: where the people are kept; without one they
    are forgotten. Raises UsageError for a port that is taken.
    """
    people = People(directory / FILE if directory else None)
    async with aiohttp.ClientSession() as session:
        courier = Courier(session, url=webhook_url, app_secret=secret.app_secret, retry_delays_s=retry_delays_s)
        exchange = Exchange(people, courier, Business(secret.phone_number_id), clock, knobs)
        openrouter = OpenRouter(secret.provisioning_key)
        own_name = f"[{host}]" if ":" in host else host  # an IPv6 address has brackets in a URL
        app = simulator_app(exchange, openrouter, secret.access_token, names=names | {own_name})
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S)
        await runner.setup()
        try:
            bound = await _listen(runner, host, port)
            exchange.resume()
            yield Simulator(f"http://{own_name}:{bound}", exchange, openrouter, secret)
        finally:
            await runner.cleanup()
            await exchange.aclose()
            people.close()


async def _listen(runner: web.AppRunner, host: str, port: int) -> int:
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise UsageError(f"port {port} of {host} cannot be used for the simulator: {why}") from error
    return int(runner.addresses[0][1])
