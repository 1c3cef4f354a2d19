"""One live WebSocket to the gateway of one sandbox.

Owns the channel, and no task. Everything that waits on this connection hears of its end too, so nobody hangs on a dead
one. Invariant: who gets `GatewayClosed` finds it `is_closed`, and never meets it again as somebody's open connection.
Keepalive is the gateway's own tick: two of them missing means that it is dead. What there is to ask, `connection.py`
knows; reconnecting is the sandbox's keeper's business.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from loguru import logger

from clawkakad.errors import BadFrame, ClawkakaError, GatewayClosed, GatewayUnavailable
from clawkakad.faults import reached
from clawkakad.gateway.channel import Channel
from clawkakad.gateway.frames import AgentEvent, ChatEvent, Event, HeartbeatEvent, HelloOk, Response
from clawkakad.gateway.session import AT_WORK, Received, Session, SessionState, refusal
from clawkakad.gateway.silence import Silence
from clawkakad.gateway.websocket import GOING_AWAY, PROTOCOL_ERROR

MISSED_TICKS = 2.25
"""Two missed ticks and a little: then the gateway is dead."""

REQUEST_S = 30.0
"""Deadline of a request that does not wait for the agent."""

MAX_EARLY = 32
"""How many chat and agent events are kept until somebody listens. A recovered turn may end right after hello-ok."""

AT_ONCE_S = 1.0
"""How much of the daemon's time its frames may take without a rest. A turn's take a few milliseconds."""

CLOSE_DEAD = 4000
"""To a gateway that is not heard any more; a code of our own (RFC 6455, section 7.4.2)."""

_OF_WORK = (AgentEvent, ChatEvent, HeartbeatEvent)

T = TypeVar("T")
Listener = Callable[[Event], None]


class Link:
    """A channel that said hello-ok, or is about to. Closed by `aclose()`."""

    def __init__(self, channel: Channel, session: Session) -> None:
        loop = asyncio.get_running_loop()
        self._channel = channel
        self._session = session
        self._hello: asyncio.Future[HelloOk] = loop.create_future()
        self._closed: asyncio.Future[GatewayClosed] = loop.create_future()
        self._responses: dict[str, asyncio.Future[Response]] = {}
        self._listeners: list[Listener] = []
        self._early: list[Event] = []
        self._silence = Silence(self._died)
        self.worked_at = 0.0
        """When its agent was last seen at work, in monotonic seconds; 0: never."""
        channel.listen(self._hear, self._end)

    @property
    def is_closed(self) -> bool:
        return self._closed.done()

    @property
    def is_open(self) -> bool:
        """Requests can be sent: it said hello-ok, and is neither closed nor closing."""
        return self._session.state is SessionState.READY

    @property
    def boot_id(self) -> str | None:
        """Which process of the gateway this is: another one remembers no run."""
        return self._session.hello.server.boot_id if self._session.hello else None

    @property
    def unknown_events(self) -> dict[str, int]:
        """Events that were ignored, by name."""
        return dict(self._session.unknown)

    @property
    def quiet_s(self) -> float:
        """Seconds since it was last heard."""
        return self._silence.lasts_s

    def when_closed(self, tell: Callable[[], None]) -> None:
        """Call `tell` once it is closed, in one of the next turns of the loop where it is already."""
        self._closed.add_done_callback(lambda _: tell())

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every event from now on, and first with those that came before anybody listened.

        It is called as a frame comes in: it must not block, and must not raise.
        """
        early, self._early = self._early, []
        self._listeners.append(listener)
        for event in early:
            listener(event)

    def forget_early(self) -> None:
        """What came before anybody listened is no news any more."""
        self._early.clear()

    async def request(self, method: str, params: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """The payload of the answer. Cancelling gives the answer up; the gateway may still carry the request out.

        Raises `GatewayClosed`, `GatewayUnavailable` (too slow, or "try again"), `GatewayRefused`.
        """
        response = await self.exchange(method, params, timeout_s)
        if not response.ok:
            raise refusal(response.error, method)
        return response.fields

    async def exchange(self, method: str, params: dict[str, Any], timeout_s: float) -> Response:
        """The whole answer, also where it is a no. Otherwise as `request`."""
        try:
            return await self._answer(method, params, timeout_s)
        except GatewayClosed as refused:  # the socket may be known here to be gone before its end is told
            await asyncio.wait([self._closed], timeout=timeout_s)
            if self.is_closed:
                raise self._ending() from refused
        raise _no_answer(method, timeout_s)

    async def greeted(self) -> None:
        """Wait for hello-ok. Raises `GatewayClosed`, `GatewayRefused`, `GatewayUnavailable`."""
        await self.while_open(self._hello)

    async def while_open(self, future: asyncio.Future[T], *, within_s: float | None = None) -> T:
        """The result of `future`, or `GatewayClosed` when the connection ends first. Never cancels `future`.

        Raises `TimeoutError` where neither comes `within_s`.
        """
        if not future.done() and not self.is_closed:
            await self._news_of(future, within_s)
        if future.done():
            return future.result()
        if self.is_closed:
            raise self._ending()
        raise TimeoutError

    async def _news_of(self, future: asyncio.Future[Any], within_s: float | None) -> None:
        """Wait until it is done, or the connection over. (`asyncio.wait` does the same, in four times the time.)"""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def tell(_: object) -> None:
            if not waiter.done():
                waiter.set_result(None)

        timer = None if within_s is None else loop.call_later(within_s, tell, None)
        either = (future, self._closed)
        for one in either:
            one.add_done_callback(tell)
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()
            for one in either:
                one.remove_done_callback(tell)

    async def wait_closed(self) -> GatewayClosed:
        """Wait for the end of the connection and return why."""
        return await asyncio.shield(self._closed)

    async def aclose(self, code: int = GOING_AWAY) -> None:
        """Say goodbye with `code` and let everything go, within two seconds. Idempotent."""
        self._end(GatewayClosed("closed by us", code=code))
        await self._channel.aclose(code)

    # The request side ----------------------------------------------------------------------------------------

    async def _answer(self, method: str, params: dict[str, Any], timeout_s: float) -> Response:
        request_id, text = self._session.request(method, params)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Response] = loop.create_future()

        def miss() -> None:
            if not future.done():
                future.set_exception(_no_answer(method, timeout_s))

        timer = loop.call_later(timeout_s, miss)  # `asyncio.timeout` does the same, in twice the time
        try:
            self._responses[request_id] = future
            self._send(text)
            return await future
        finally:
            timer.cancel()
            del self._responses[request_id]
            if not future.cancel() and not future.cancelled():
                future.exception()  # seen, also where it could not be sent

    def _send(self, text: str) -> None:
        reached("frame out")
        self._channel.send(text)

    def _ending(self) -> GatewayClosed:
        """A fresh copy for each waiter: one exception raised in many tasks would collect all their tracebacks."""
        ending = self._closed.result()
        return GatewayClosed(str(ending), code=ending.code)

    # What comes in --------------------------------------------------------------------------------------------

    def _hear(self, text: str, at: float) -> None:
        """Take one frame in. Most of a turn's say only that it goes on."""
        reached("frame in")
        self._silence.heard(at)
        try:
            if self._session.goes_on(text) or (received := self._session.receive(text)) is AT_WORK:
                self.worked_at = at
            else:
                self._take(received)
        except BadFrame as problem:
            self._give_up(PROTOCOL_ERROR, f"bad frame: {problem}")
        except ClawkakaError as refused:
            self._fail_hello(refused)
            self._give_up(GOING_AWAY, str(refused))

    def _take(self, received: Received) -> None:
        if received.send is not None:
            self._send(received.send)
        if received.hello is not None:
            self._silence.limit(received.hello.policy.tick_interval_ms / 1000 * MISSED_TICKS)
            self._hello.set_result(received.hello)
        if received.response is not None:
            self._settle(received.response)
        if received.event is not None:
            self._tell(received.event)

    def _settle(self, response: Response) -> None:
        future = self._responses.get(response.id)
        if future is None:
            logger.debug("an answer that nobody waits for any more")
        elif not future.done():
            future.set_result(response)

    def _tell(self, event: Event) -> None:
        if isinstance(event, _OF_WORK):
            self.worked_at = time.monotonic()
        if not self._listeners:
            if isinstance(event, ChatEvent | AgentEvent):
                self._early = [*self._early[-MAX_EARLY + 1 :], event]
            return
        for listener in self._listeners:
            listener(event)

    # Its end --------------------------------------------------------------------------------------------------

    def _died(self) -> None:
        self._give_up(CLOSE_DEAD, "two ticks missed")

    def _give_up(self, code: int, why: str) -> None:
        """Close it from our side."""
        self._channel.leave(code)
        self._end(GatewayClosed(why, code=code))

    def _end(self, ending: GatewayClosed) -> None:
        """The first one is the reason."""
        if self.is_closed:
            return
        self._silence.lift()
        self._session.closed()
        self._closed.set_result(ending)
        for future in self._responses.values():
            if not future.done():
                future.set_exception(self._ending())
        logger.debug("gateway connection closed", reason=str(ending), code=ending.code)

    def _fail_hello(self, refused: ClawkakaError) -> None:
        if not self._hello.done():
            self._hello.set_exception(refused)
            self._hello.exception()  # seen, also where nobody waits for it any more


def _no_answer(method: str, timeout_s: float) -> GatewayUnavailable:
    return GatewayUnavailable(f"{method}: no answer within {timeout_s:g} s")
