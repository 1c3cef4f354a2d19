"""A Graph API on a real socket that does what it is told: answers, delays, drops, garbage, silence."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from aiohttp import web


class Fault(Enum):
    """What happens instead of an answer."""

    DROP_BEFORE_BODY = auto()  # the connection is reset when the headers are in
    DROP_AFTER_BODY = auto()  # it is reset when the whole request is in
    DROP_IN_ANSWER = auto()  # it is reset in the middle of the answer
    NOT_HTTP = auto()  # bytes that are no HTTP
    HANG = auto()  # nothing, until the client goes away


@dataclass
class Reply:
    """The next answer. `body` None means a success with a fresh wamid."""

    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0
    fault: Fault | None = None

    @staticmethod
    def error(code: int, *, status: int = 400, headers: Mapping[str, str] | None = None, **more: object) -> "Reply":
        """An error object as Meta writes it."""
        error = {"message": f"(#{code}) refused", "type": "OAuthException", "code": code, "fbtrace_id": "FAKE", **more}
        return Reply(status=status, body=json.dumps({"error": error}).encode(), headers=headers or {})


@dataclass
class Received:
    """A request as it came. `body` is None when it was not JSON, or was not read."""

    path: str
    authorization: str | None
    body: Any


class FakeGraph:
    """`script` holds the replies to come, `scripts` those to one recipient's messages (to, or recipient).

    Where there is none, every request succeeds. `requests` is what came in.
    """

    def __init__(self) -> None:
        self.base_url = ""
        self.requests: list[Received] = []
        self.script: list[Reply] = []
        self.scripts: dict[str, list[Reply]] = {}
        self._numbers = itertools.count(1)
        self.open = asyncio.Event()  # while it is not set, messages are read and not answered
        self.open.set()

    @property
    def texts(self) -> list[str]:
        """The texts of the sends that came in, in order."""
        return [request.body["text"]["body"] for request in self.requests if request.body and "text" in request.body]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        reply = self.script.pop(0) if self.script else None
        received = Received(request.path, request.headers.get("Authorization"), None)
        self.requests.append(received)
        assert request.transport is not None
        if reply is not None and reply.fault is Fault.DROP_BEFORE_BODY:
            request.transport.abort()
            return web.Response()
        received.body = await request.json() if request.can_read_body else None
        reply = reply or self._scripted(received.body) or Reply()
        if received.body is not None:
            await self.open.wait()
        await asyncio.sleep(reply.delay_s)
        if reply.fault is not None:
            return await self._fail(request, reply.fault)
        body = self._success(received.body) if reply.body is None else reply.body
        return web.Response(status=reply.status, body=body, headers=reply.headers)

    def _scripted(self, body: Any) -> Reply | None:
        script = self.scripts.get(str(body.get("to", body.get("recipient")))) if body else None
        return script.pop(0) if script else None

    @staticmethod
    async def _fail(request: web.Request, fault: Fault) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        if fault is Fault.DROP_AFTER_BODY:
            transport.abort()
        elif fault is Fault.NOT_HTTP:
            transport.write(b"\x00\xffI am no web server\r\n\r\n")
            transport.close()
        elif fault is Fault.DROP_IN_ANSWER:
            transport.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"messages":')
            transport.close()
        else:
            while not transport.is_closing():  # noqa: ASYNC110 - the client's leaving has no event here
                await asyncio.sleep(0.01)
        return web.Response()

    def _success(self, body: Any) -> bytes:
        if body is None:  # the number's own object
            return b'{"id":"100","display_phone_number":"+1 555 010 0100"}'
        if body.get("status") == "read":
            return b'{"success":true}'
        to = body.get("to", body.get("recipient"))
        answer = {
            "messaging_product": "whatsapp",
            "contacts": [{"input": to, "wa_id": to.lstrip("+")}],
            "messages": [{"id": f"wamid.FAKE-{next(self._numbers)}"}],
        }
        return json.dumps(answer).encode()


@asynccontextmanager
async def fake_graph(port: int = 0) -> AsyncIterator[FakeGraph]:
    """A FakeGraph that listens on loopback; its `base_url` says where."""
    graph = FakeGraph()
    app = web.Application()
    app.router.add_post("/{version}/{number}/messages", graph.handle)
    app.router.add_get("/{version}/{number}", graph.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        graph.base_url = f"http://127.0.0.1:{site.port}"
        yield graph
    finally:
        await runner.cleanup()
