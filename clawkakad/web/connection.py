"""One HTTP connection of the public side: requests are answered one after the other, within limits of time.

While we wait for the client to finish the head or the body of a request, or to begin one, a timer runs; when it ends,
the connection is cut without a word. The same goes for a client that has still to take what is left when its
connection is closed. Bytes that are no HTTP get a bare status: no text, no name of a server, no traceback in the log.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, cast

from loguru import logger

from clawkakad.web.answer import Answer
from clawkakad.web.incoming import Incoming, Phase, Room
from clawkakad.web.request import Request
from clawkakad.web.turnstile import Turnstile

MOST_UNREAD = 64 * 1024
"""Bytes of answers that a client may leave unread: hundreds of them."""

_INVITATION = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class Limits:
    """What one listener grants. Times in seconds."""

    body: int = 1024 * 1024  #: bytes
    header_s: float = 10.0  #: from the connection, or the first byte of a further request, to the end of the headers
    body_s: float = 15.0  #: from there to the end of the body
    idle_s: float = 150.0  #: between two requests; longer than a reverse proxy keeps its side (Caddy: 120)
    linger_s: float = 2.0  #: for a client to finish sending what is not wanted, so that it gets to read the answer
    drain_s: float = 5.0  #: for requests in flight when the listener stops
    connections: int = 512  #: more than the webhooks that may wait: whoever is too much gets a 503, not a reset
    per_address: int = 16


class Site(Protocol):
    """What is served."""

    def refuse(self, request: Request) -> Answer | None:
        """The answer to a request, where its head is enough for one."""

    async def answer(self, request: Request) -> Answer:
        """The answer to all others."""


class Connection(asyncio.Protocol):
    """One of `everyone`, while it is let in."""

    def __init__(
        self, site: Site, limits: Limits, turnstile: Turnstile, room: Room, everyone: set["Connection"]
    ) -> None:
        self._site = site
        self._limits = limits
        self._turnstile = turnstile
        self._everyone = everyone
        self._incoming = Incoming(site.refuse, room, limits.body)
        self._loop = asyncio.get_running_loop()
        self._due: deque[Request] = deque()
        self.work: asyncio.Task[None] | None = None
        """What answers, while it does."""
        self._is_paused = False
        self._has_heard_all = False  # the client has closed its side
        self._is_closing = False  # we have closed ours
        self._waits_for = (0, Phase.HEAD)  # which request's what
        self._deadline: float | None = None  # on the loop's clock; None while nothing is waited for
        self._timer: asyncio.TimerHandle | None = None

    def finish(self) -> None:
        """Answer what has come, and close."""
        self._incoming.is_over = True
        if self.work is None:
            self._transport.close()

    def cut(self) -> None:
        """Close now; what is not answered never will be."""
        if self.work is not None:
            self.work.cancel()
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    # asyncio's calls ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let in, or not."""
        self._transport = cast(asyncio.Transport, transport)
        self._address = str((transport.get_extra_info("peername") or ("unknown",))[0])
        if self._turnstile.enter(self._address):
            self._everyone.add(self)
            self._within(self._limits.header_s)
        else:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hear it, and answer. Who goes on sending meanwhile has to wait."""
        self._due += self._incoming.feed(data)
        if self.work is not None:
            self._pause()
        elif self._due:
            self._deadline = None
            self.work = self._loop.create_task(self._answer_all())
        else:
            self._wait_for_client()

    def eof_received(self) -> bool:
        """The client has sent everything, and may wait for an answer: whether the connection stays open for it."""
        self._incoming.is_over = self._has_heard_all = True
        return self.work is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """What is under way goes on: it may be half stored. So long it counts as one of those inside."""
        self._incoming.close()
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
        if self.work is None:
            self._leave()

    def _leave(self) -> None:
        if self in self._everyone:
            self._everyone.remove(self)
            self._turnstile.leave(self._address)

    # Answers --------------------------------------------------------------------------------------------------

    async def _answer_all(self) -> None:
        while self._due and not self._transport.is_closing():
            request = self._due.popleft()
            self._write(request, request.refusal or await self._answer(request))
        self.work = None
        if self._transport.is_closing():
            self._leave()
        else:
            self._resume()
            self._wait_for_client()

    async def _answer(self, request: Request) -> Answer:
        try:
            return await self._site.answer(request)
        except Exception:  # one request's failure must not show itself, nor touch another's
            logger.exception("request failed", path=request.path)
            return Answer(500)

    def _write(self, request: Request, answer: Answer) -> None:
        """All of it. To a client that has gone, nothing; one that asks and asks and never reads is cut off."""
        if self._transport.get_write_buffer_size() > MOST_UNREAD:
            self._transport.abort()
        if self._transport.is_closing():
            return
        goes_on = request.keeps and not (self._incoming.is_over and not self._due)
        said = "" if goes_on is not request.is_old else "keep-alive" if goes_on else "close"
        body = b"" if request.method == "HEAD" else answer.body
        self._transport.write(answer.head(connection=said) + body)

    def _pause(self) -> None:
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    # Waiting for the client -----------------------------------------------------------------------------------

    def _wait_for_client(self) -> None:
        """For what it has to send next, as long as that may take from when it was first waited for."""
        incoming, limits = self._incoming, self._limits
        waits_for = (incoming.ended, incoming.phase)
        if incoming.is_over:
            self._close()
        elif waits_for != self._waits_for or self._deadline is None:
            self._waits_for = waits_for
            if incoming.invites:
                incoming.invites = False
                self._transport.write(_INVITATION)
            body_s = limits.linger_s if incoming.is_refused else limits.body_s
            self._within({Phase.REST: limits.idle_s, Phase.HEAD: limits.header_s, Phase.BODY: body_s}[incoming.phase])

    def _close(self) -> None:
        """First only our side: where there is something unread the client would never get to read our answer."""
        if self._is_closing:
            return
        self._is_closing = True
        if self._has_heard_all:
            self._transport.close()
        else:
            with suppress(OSError):  # on asyncio's own loop, of a client that has just gone
                self._transport.write_eof()
        has_more = self._transport.get_write_buffer_size() > 0
        self._within(self._limits.header_s if has_more else self._limits.linger_s)

    # The clock: there are two deadlines a request, and a timer for each would cost as much as reading its head.
    # So the one timer that runs is left alone, and looks again when it fires; only a nearer deadline needs another.

    def _within(self, seconds: float) -> None:
        self._deadline = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._deadline:
            self._set_timer(self._deadline)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._deadline > self._loop.time():
            self._set_timer(self._deadline)
        else:
            logger.debug("connection cut: nothing came in time", address=self._address)
            self._transport.abort()
