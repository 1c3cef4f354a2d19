"""One HTTP connection from the public side: aiohttp's own, with the deadlines and limits that aiohttp has not.

aiohttp closes a connection that is idle, but gives a client all the time it likes to send its headers and its body.
Here a timer runs while we wait for the client to finish either; when it ends, the connection is cut without a word.
The same goes for a client that has still to take what is left when its connection is closed.
Bytes that are no HTTP get a bare status line: no text, no name of a server, no traceback in the log.
"""

import asyncio
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web
from loguru import logger

from clawkakad.web.turnstile import Turnstile


class GuardedConnection(web.RequestHandler):
    """A connection that must get through the turnstile and keep two deadlines. `options` go to aiohttp's class."""

    def __init__(
        self,
        manager: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        turnstile: Turnstile,
        header_s: float,
        body_s: float,
        **options: Any,
    ) -> None:
        super().__init__(manager, loop=loop, **options)
        # After a body that came later than its headers aiohttp's parser (3.14) counts one pipelined request too many:
        # it stops one below the number at which this class stops reading. Requests lie there then, and memory fills.
        self._max_msg_queue_size -= 1
        self._own_loop = loop
        self._turnstile = turnstile
        self._header_s = header_s
        self._body_s = body_s
        self._address: str | None = None  # None while not let in
        self._wire: asyncio.Transport | None = None  # until it is lost: aiohttp forgets its own when it closes
        self._deadline: float | None = None  # on the loop's clock; None while nothing is waited for
        self._timer: asyncio.TimerHandle | None = None
        self._handling = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        wire = cast(asyncio.Transport, transport)
        address = str((transport.get_extra_info("peername") or ("unknown",))[0])
        if not self._turnstile.enter(address):
            wire.abort()
            return
        self._address, self._wire = address, wire
        super().connection_made(transport)
        self._within(self._header_s)

    async def start(self) -> None:
        """aiohttp's loop over the requests. When it ends, the connection closes as soon as the client has read all."""
        try:
            await super().start()
        finally:
            if self._wire is not None:
                self._within(self._header_s)

    def data_received(self, data: bytes) -> None:
        if data and self._deadline is None and not self._handling:
            self._within(self._header_s)  # the first bytes of the next request on this connection
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._wire = None
        self._done()
        if self._timer is not None:
            self._timer.cancel()
        if self._address is not None:
            self._turnstile.leave(self._address)
            super().connection_lost(exc)

    def begin(self, request: web.BaseRequest) -> None:
        """The headers are in and a handler starts: now the body has its time, if it is not in as well."""
        self._handling = True
        self._within(self._body_s)
        request.content.on_eof(self._done)

    def end(self) -> None:
        """The handler has its response. The time of a body that it did not wait for goes on."""
        self._handling = False

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Called by aiohttp for what never reaches a handler, in short: for requests that cannot be parsed."""
        logger.debug("bad request", status=status, error=type(exc).__name__)
        if self.transport is not None and request.writer.output_size == 0:
            reason = HTTPStatus(status).phrase
            self.transport.write(
                f"HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
            )
        self.force_close()
        return web.Response(status=status)  # not written any more: the connection is closing

    def _within(self, seconds: float) -> None:
        """There are two deadlines a request, and a timer each would cost as much as reading its headers.

        So the one timer that runs is left alone, and looks again when it fires; only a nearer deadline needs another.
        """
        self._deadline = self._own_loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            self._set_timer(self._deadline)

    def _done(self) -> None:
        self._deadline = None

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._own_loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._deadline > self._own_loop.time():
            self._set_timer(self._deadline)
        elif self._wire is not None:
            logger.debug("connection cut: too slow", address=self._address)
            self._wire.abort()
