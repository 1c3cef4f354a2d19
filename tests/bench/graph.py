"""Meta's side of the sends: a Graph API that takes everything, and reports `sent` and `delivered` by webhook.

Bare protocol for the same reason as in `webhooks.py`.
"""

import asyncio
import itertools
import json
import time
from typing import Any, cast

from tests.bench.journal import Journal
from tests.bench.webhooks import Webhooks, json_of, length_in, receipt_body

RECEIPTS = (("sent", 0.05), ("delivered", 0.2))
"""Status, and seconds after the send."""


class Graph:
    """One for each program. `sends` counts texts, `reads` the marks as read."""

    def __init__(self, journal: Journal, webhooks: Webhooks) -> None:
        self._journal = journal
        self._webhooks = webhooks
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self.receipts_due = 0
        self.sends = 0
        self.reads = 0

    async def start(self) -> str:
        """Listen; the base URL."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    def handle(self, request: dict[str, Any], now: float) -> dict[str, Any]:
        """The answer to one request."""
        if request.get("status") == "read":
            self.reads += 1
            return {"success": True}
        self.sends += 1
        wa_id, wamid = str(request["to"]).lstrip("+"), f"wamid.REPLY{next(self._numbers):09d}"
        self._journal.answer(request["text"]["body"], now)
        for status, after_s in RECEIPTS:
            self.receipts_due += 1
            body = receipt_body(wa_id, wamid, status, request.get("biz_opaque_callback_data"))
            asyncio.get_running_loop().call_later(after_s, self._report, body)
        return {
            "messaging_product": "whatsapp",
            "contacts": [{"input": request["to"], "wa_id": wa_id, "user_id": f"US.{wa_id}"}],
            "messages": [{"id": wamid}],
        }

    def _report(self, body: bytes) -> None:
        self._webhooks.post(body, self._reported)

    def _reported(self, _status: int, _at: float) -> None:
        self.receipts_due -= 1


class _Connection(asyncio.Protocol):
    """Requests one after the other on one connection."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._buffer += data
        while True:
            head, separator, rest = self._buffer.partition(b"\r\n\r\n")
            length = length_in(head) if separator else 0
            if not separator or len(rest) < length:
                return
            self._buffer = rest[length:]
            self._answer(head, rest[:length], now)

    def _answer(self, head: bytes, body: bytes, now: float) -> None:
        answer: dict[str, Any] = {"id": "bench"}  # a GET of the number's own object
        if head.startswith(b"POST "):
            answer = self._graph.handle(json_of(body), now)
        payload = json.dumps(answer).encode()
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(payload), payload)
        )
