"""The socket to one gateway: texts out, texts in, and one end, whatever brought it.

What comes in is handed over at once, by the event loop's own call: there is no task for it, and most of some twenty
frames a turn are done with in the time that waking one would take. What that takes of the daemon's time is on the
sandbox's account: while it has to rest nothing of it is read. What was sent to us and never read, because the socket
broke meanwhile, is lost: how a turn stands is settled from the gateway's history.
"""

import asyncio
import time
from collections.abc import Callable
from typing import cast

from loguru import logger

from clawkakad.allowance import Allowance
from clawkakad.errors import GatewayClosed, GatewayUnavailable
from clawkakad.gateway.frames import MAX_INBOUND_BYTES
from clawkakad.gateway.websocket import (
    CLOSE,
    GOING_AWAY,
    PING,
    PONG,
    TEXT,
    Control,
    Opening,
    Reader,
    Violation,
    frame,
    goodbye,
)

CLOSE_S = 2.0
"""How long a polite close may take before the socket is just dropped."""

AT_A_TIME_S = 0.002
"""How long one sandbox's frames may hold up everybody else. A turn's take a few milliseconds in all."""

MOST_UNREAD = 1024 * 1024
"""Bytes of ours, beside the longest message so far, that a gateway may leave unread before it is left."""

MOST_PONGED = 16 * 1024
"""Bytes that it leaves unread while its pings are answered still (RFC 6455, section 5.5.3: not each must be)."""

CALL_S = 0.000_015
"""What the event loop does to hand over what came, however little that is."""

Hear = Callable[[str, float], None]
Over = Callable[[GatewayClosed], None]


class Channel(asyncio.Protocol):
    """Made by `loop.create_unix_connection`, then opened, then listened to. Ended by `leave`, `aclose` or `drop`."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._loop = asyncio.get_running_loop()
        self._opening: Opening | None = Opening()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())  # seen, if by nobody
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._reader = Reader(MAX_INBOUND_BYTES)
        self._early = b""
        self._hear: Hear | None = None
        self._over: Over | None = None
        self._is_paused = False
        self._rest: asyncio.TimerHandle | None = None
        self._cut: asyncio.TimerHandle | None = None  # when it is cut; there is one since our goodbye
        self._longest = 0  # bytes of a message of ours

    async def open(self) -> None:
        """Say that this is to be a WebSocket, and wait for the yes. Raises `GatewayUnavailable`."""
        self._write(cast(Opening, self._opening).request)
        await self._opened

    def listen(self, hear: Hear, over: Over) -> None:
        """From now on `hear` gets each text and when it came, and `over`, once and last, why nothing comes any more.

        Both are called by the event loop: they must not block. Where `hear` raises, the connection is over.
        """
        self._hear, self._over = hear, over
        self._rest = self._loop.call_later(0, self._go_on)

    def send(self, text: str) -> None:
        """One message. Raises `GatewayClosed`, also after a goodbye: behind that nothing may be said."""
        if self._cut is not None:
            raise GatewayClosed("it is being closed")
        self._write(frame(TEXT, text.encode()))
        if self._transport.is_closing():
            raise GatewayClosed("it cannot be written to")

    def leave(self, code: int) -> None:
        """Say goodbye; nothing is heard any more. The gateway has two seconds to answer."""
        self._hear = self._over = None
        self._say_goodbye(goodbye(code))

    async def aclose(self, code: int) -> None:
        """`leave`, and wait until it is gone. Idempotent."""
        self.leave(code)
        try:
            await asyncio.wait([self._gone], timeout=CLOSE_S)
        finally:
            self.drop()

    def drop(self) -> None:
        """Let go of it without a word, to either side."""
        self._hear = self._over = None
        self._transport.abort()

    # asyncio's calls ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a socket."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Something came."""
        if self._opening is None:
            self._work(data)
        elif not self._opened.done():
            self._greet(self._opening, data)

    def eof_received(self) -> None:
        """It says no more. What it has not read of ours by now it need never read: nothing waits for that."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone. What has come whole is heard first, after a rest if there is one."""
        if self._cut is not None:
            self._cut.cancel()
        if not self._opened.done():
            self._opened.set_exception(GatewayUnavailable("cannot connect: the socket ended"))
        self._gone.set_result(None)
        if self._rest is None:
            self._end(_gone())
        elif self._over is None:
            self._rest.cancel()

    # What comes in --------------------------------------------------------------------------------------------

    def _greet(self, opening: Opening, data: bytes) -> None:
        self._allowance.spend_change(CALL_S)
        try:
            behind = opening.read(data)
        except Violation as problem:
            self._opened.set_exception(GatewayUnavailable(f"cannot connect: {problem}"))
            return
        if behind is not None:
            self._opening, self._early = None, behind
            self._pause()  # until somebody listens
            self._opened.set_result(None)

    def _work(self, data: bytes) -> None:
        """Hand over what is whole, within limits of time."""
        began = now = time.monotonic()
        is_late = False
        try:
            for message in self._reader.read(data):
                if isinstance(message, str):
                    if self._hear is not None:
                        self._hear(message, now)
                elif message is not None:
                    self._mind(message)
                now = time.monotonic()
                if is_late := now - began > AT_A_TIME_S:
                    break
        except Violation as problem:
            self._break(problem.code, str(problem))
        except Exception as problem:
            # The edge to the event loop: whatever it was, the connection is over and its users must learn it.
            logger.opt(exception=problem).error("what a gateway said could not be heard")
            self._break(GOING_AWAY, f"the hearing failed: {type(problem).__name__}")
        rest_s = self._allowance.spend_change(time.monotonic() - began + CALL_S)
        if is_late or rest_s:
            self._pause()
            self._rest = self._loop.call_later(rest_s, self._go_on)
        else:
            self._resume()

    def _go_on(self) -> None:
        """After a rest. What came before it comes first."""
        self._rest = None
        early, self._early = self._early, b""
        self._work(early)
        if self._gone.done() and self._rest is None:
            self._end(_gone())

    def _mind(self, message: Control) -> None:
        if message.opcode == PING and self._transport.get_write_buffer_size() < MOST_PONGED:
            self._write(frame(PONG, message.payload))
        elif message.opcode == CLOSE:
            self._say_goodbye(frame(CLOSE, message.payload[:2]))
            self._transport.close()
            self._end(GatewayClosed("closed by the gateway", code=message.code))

    def _break(self, code: int, why: str) -> None:
        """End it from our side. Behind what is wrong nothing can be read, so that no answer is waited for."""
        self._say_goodbye(goodbye(code))
        self._transport.close()
        self._end(GatewayClosed(why, code=code))

    def _end(self, closed: GatewayClosed) -> None:
        over, self._hear, self._over = self._over, None, None
        if over is not None:
            over(closed)

    # The socket -----------------------------------------------------------------------------------------------

    def _say_goodbye(self, close: bytes) -> None:
        """Once, also where the other one has said it first."""
        if self._cut is None and not self._transport.is_closing():
            self._write(close)
            self._cut = self._loop.call_later(CLOSE_S, self.drop)

    def _write(self, data: bytes) -> None:
        """To one that does not read, nothing any more."""
        if self._transport.get_write_buffer_size() > MOST_UNREAD + self._longest:
            self._transport.abort()
        self._longest = max(self._longest, len(data))
        if not self._transport.is_closing():
            self._transport.write(data)

    def _pause(self) -> None:
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()


def _gone() -> GatewayClosed:
    return GatewayClosed("the gateway is gone", code=None)
