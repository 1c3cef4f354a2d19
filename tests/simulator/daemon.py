"""A stand-in for the daemon: it takes webhooks, notes them, and talks to the simulator's Graph API."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from clawkakad.simulator.server import Secrets, Simulator
from clawkakad.whatsapp.signature import HEADER, Verifier

VERSION = "v25.0"


@dataclass
class Daemon:
    """What came in. `answers`: the statuses of the next answers, 200 when empty. `on_text`: what it does about a text.
    `before_answer`: what it waits for before it answers a webhook."""

    secrets: Secrets
    session: aiohttp.ClientSession
    url: str = ""
    graph_url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    on_text: Callable[["Daemon", dict[str, Any]], Any] | None = None
    before_answer: Callable[[], Awaitable[object]] | None = None
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    @property
    def values(self) -> list[dict[str, Any]]:
        """The `value` of each webhook, signed ones only by construction."""
        return [json.loads(body)["entry"][0]["changes"][0]["value"] for body in self.bodies]

    @property
    def texts(self) -> list[str]:
        return [m["text"]["body"] for value in self.values for m in value.get("messages", [])]

    @property
    def statuses(self) -> list[dict[str, Any]]:
        return [status for value in self.values for status in value.get("statuses", [])]

    async def webhook(self, request: web.Request) -> web.Response:
        body = await request.read()
        Verifier([self.secrets.app_secret]).verify(body, request.headers.get(HEADER))
        if self.before_answer is not None:
            await self.before_answer()
        status = self.answers.pop(0) if self.answers else 200
        if status != 200:
            return web.Response(status=status)
        self.bodies.append(body)
        for message in json.loads(body)["entry"][0]["changes"][0]["value"].get("messages", []):
            if self.on_text is not None:
                self.tasks.append(asyncio.create_task(self.on_text(self, message)))
        return web.Response()

    async def post(self, path: str, document: object, *, token: str | None = None) -> tuple[int, Any]:
        """A request to the Graph API: status and body, parsed where it is JSON."""
        headers = {"Authorization": f"Bearer {token if token is not None else self.secrets.access_token}"}
        async with self.session.post(f"{self.graph_url}{path}", json=document, headers=headers) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    async def messages(self, document: dict[str, Any], **options: Any) -> tuple[int, Any]:
        return await self.post(f"/{VERSION}/{self.secrets.phone_number_id}/messages", document, **options)

    async def send(self, to: str, text: str, **more: object) -> tuple[int, Any]:
        body = {"messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": text}, **more}
        return await self.messages(body)

    async def read(self, wamid: str, *, typing: bool = False) -> tuple[int, Any]:
        body: dict[str, Any] = {"messaging_product": "whatsapp", "status": "read", "message_id": wamid}
        return await self.messages({**body, "typing_indicator": {"type": "text"}} if typing else body)


async def echo(daemon: Daemon, message: dict[str, Any]) -> None:
    """Reads, types for a moment, and says the same."""
    await daemon.read(message["id"], typing=True)
    await asyncio.sleep(0.5)
    await daemon.send(f"+{message['from']}", f"You said: {message['text']['body']}")


@asynccontextmanager
async def running_daemon(secrets: Secrets) -> AsyncIterator[Daemon]:
    """A daemon that listens on a free port."""
    async with aiohttp.ClientSession() as session:
        daemon = Daemon(secrets, session)
        app = web.Application()
        app.router.add_post("/whatsapp/webhook", daemon.webhook)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        daemon.url = f"http://127.0.0.1:{runner.addresses[0][1]}/whatsapp/webhook"
        try:
            yield daemon
        finally:
            for task in daemon.tasks:
                task.cancel()
            await asyncio.gather(*daemon.tasks, return_exceptions=True)
            await runner.cleanup()


def join(daemon: Daemon, simulator: Simulator) -> None:
    """Let the two know each other."""
    simulator.exchange.courier.url = daemon.url
    daemon.graph_url = simulator.url
