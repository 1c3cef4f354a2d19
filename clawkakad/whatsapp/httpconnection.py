"""One HTTP connection of ours to somebody: a request out, its answer in, and then the next. Reads with llhttp.

Never repeats anything. Everything that is wrong with an answer ends the connection with it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

ANSWER_LIMIT = 64 * 1024
"""Bytes of a body that are kept, and of what is around it (head, trailer) that are taken at all."""

_LENGTHS = frozenset({"content-length", "transfer-encoding"})


class Unanswered(Exception):
    """The request may have been carried out, and nobody knows. The text says why: "no answer: <text>"."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`fields` are the header's, their names in lower case. Of a body longer than ANSWER_LIMIT it is the first part."""

    status: int
    fields: Mapping[str, str]
    body: bytes


class HttpConnection(asyncio.Protocol):
    """Made by `loop.create_connection`. The methods `on_...` are for the parser."""

    def __init__(self) -> None:
        self.rests_since = 0.0
        """On the loop's clock; kept by who keeps the connection."""
        self._parser = HttpResponseParser(self)
        self._answer: asyncio.Future[Answer] | None = None
        self._expect()

    @property
    def is_open(self) -> bool:
        """Whether another request can be tried."""
        return not self._transport.is_closing()

    async def ask(self, request: bytes, ends: float) -> Answer:
        """`request` as it goes out; `ends` on the loop's clock. One at a time. Raises `Unanswered`.

        Cancelled, or with an answer that is wrong in any way, it is not open any more.
        """
        loop = asyncio.get_running_loop()
        self._expect()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._answer = answer
        timer = loop.call_at(ends, self._fail, "none came in time")
        self._transport.write(request)
        try:
            return await answer
        finally:
            timer.cancel()
            if answer.cancelled():
                self.close()

    def close(self) -> None:
        """Nothing is asked any more. Waits for nobody: who does not read, or does not say goodbye, is left as well."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        self._around += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._fail("it cannot be read")
        if self._around > ANSWER_LIMIT:
            self._fail("it has no end")

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's. The end of the connection is that of an answer without a length (RFC 9112, section 6.3)."""
        if exc is None and self._has_head and not self._fields.keys() & _LENGTHS:
            self._settle()
        self._fail("it broke off" if self._around else "the connection broke")

    def on_message_begin(self) -> None:
        """An answer that nobody asked for would be taken for the next one's."""
        if self._answer is None or self._answer.done():
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head; not of a trailer, nor of what nobody asked for."""
        if not self._has_head:
            self._fields[name.decode("latin-1").lower()] = value.strip().decode("latin-1")

    def on_headers_complete(self) -> None:
        """All of them."""
        self._has_head = True

    def on_body(self, part: bytes) -> None:
        """A part of the body. Nobody needs the rest of one that is longer than any real answer."""
        self._around -= len(part)
        if len(self._body) < ANSWER_LIMIT:
            self._body += part
        else:
            self._settle()
            self.close()

    def on_message_complete(self) -> None:
        """The answer, or one that only says that it is on its way (RFC 9110, section 15.2)."""
        if self._parser.get_status_code() < 200:
            self._expect()
            return
        self._settle()
        if not self._parser.should_keep_alive():
            self.close()

    def _expect(self) -> None:
        self._around = 0  # bytes that were heard and are no body
        self._has_head = False
        self._fields: dict[str, str] = {}
        self._body = b""

    def _settle(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(self._parser.get_status_code(), self._fields, self._body[:ANSWER_LIMIT]))

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unanswered(why))
        self.close()
