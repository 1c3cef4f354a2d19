"""A model on a real socket, OpenAI-compatible: it streams when it is told to, and remembers what it was asked."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

USAGE = {"prompt_tokens": 100, "completion_tokens": 7, "cost": 0.25}


class FakeUpstream:
    """`refusals`: status, headers and body to answer first, one per request. `gate`: the last part waits for it."""

    def __init__(self) -> None:
        self.address = ""
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.refusals: list[tuple[int, dict[str, str], object]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.break_off = False
        self.hung_up = 0
        self.under_way = 0
        self.most_under_way = 0

    def app(self) -> web.Application:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", self._complete)
        return app

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        self.headers.append(dict(request.headers))
        if self.refusals:
            status, headers, body = self.refusals.pop(0)
            return web.json_response(body, status=status, headers=headers)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await (self._stream(request) if self.requests[-1].get("stream") else self._plain())
        except (ConnectionResetError, asyncio.CancelledError):
            self.hung_up += 1
            raise
        finally:
            self.under_way -= 1

    async def _plain(self) -> web.StreamResponse:
        await self.gate.wait()
        return web.json_response({"choices": [{"message": {"content": "whole"}}], "usage": USAGE})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(_event({"choices": [{"delta": {"content": "first"}}]}))
        await self.gate.wait()
        if self.break_off:
            assert request.transport is not None
            request.transport.abort()
            return response
        await response.write(_event({"choices": [], "usage": USAGE}) + b"data: [DONE]\n\n")
        return response


@contextlib.asynccontextmanager
async def fake_upstream() -> AsyncIterator[FakeUpstream]:
    """A running one on a loopback port."""
    upstream = FakeUpstream()
    runner = web.AppRunner(upstream.app(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        upstream.address = f"http://{host}:{port}/v1"
        yield upstream
    finally:
        upstream.gate.set()
        await runner.cleanup()


def _event(data: object) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"
