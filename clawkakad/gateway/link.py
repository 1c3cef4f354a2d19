"""One live WebSocket to the gateway of one sandbox.

Owns the socket, its HTTP client and one task, the only one that reads. Everything that waits on this connection hears
of its end too, so nobody hangs on a dead one. Invariant: who gets `GatewayClosed` finds it `is_closed`, and never
meets it again as somebody's open connection. Keepalive is the gateway's own tick: two of them missing means that it is
dead. What there is to ask, `connection.py` knows; reconnecting is the sandbox's keeper's business.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import aiohttp
from loguru import logger

from clawkakad.allowance import Allowance
from clawkakad.errors import BadFrame, ClawkakaError, GatewayClosed, GatewayUnavailable
from clawkakad.faults import reached
from clawkakad.gateway.frames import AgentEvent, ChatEvent, Event, HeartbeatEvent, HelloOk, Response
from clawkakad.gateway.session import AT_WORK, Received, Session, SessionState, refusal
from clawkakad.gateway.silence import Silence

MISSED_TICKS = 2.25
"""Two missed ticks and a little: then the gateway is dead."""

CLOSE_S = 2.0
"""How long a polite close may take before the socket is just dropped."""

REQUEST_S = 30.0
"""Deadline of a request that does not wait for the agent."""

MAX_EARLY = 32
"""How many chat and agent events are kept until somebody listens. A recovered turn may end right after hello-ok."""

AT_ONCE_S = 1.0
"""How much of the daemon's time its frames may take without a rest. A turn's take a few milliseconds."""

FRAME_S = 0.000_005
"""What aiohttp does to hand a frame over; its parsing is paid for where bytes come in."""

CLOSE_DEAD, CLOSE_PROTOCOL, CLOSE_BAD_DATA, CLOSE_GOING_AWAY = 4000, 1002, 1007, 1001

_OF_WORK = (AgentEvent, ChatEvent, HeartbeatEvent)

T = TypeVar("T")
Listener = Callable[[Event], None]


class Link:
    """A socket that said hello-ok, or is about to. Closed by `aclose()`."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        socket: aiohttp.ClientWebSocketResponse,
        session: Session,
        allowance: Allowance,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._http = http
        self._socket = socket
        self._session = session
        self._allowance = allowance
        self._hello: asyncio.Future[HelloOk] = loop.create_future()
        self._closed: asyncio.Future[GatewayClosed] = loop.create_future()
        self._responses: dict[str, asyncio.Future[Response]] = {}
        self._listeners: list[Listener] = []
        self._early: list[Event] = []
        self._silence = Silence()
        self.worked_at = 0.0
        """When its agent was last seen at work, in monotonic seconds; 0: never."""
        self._reader = asyncio.create_task(self._run(), name="gateway-reader")

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

        It is called by the reader: it must not block, and must not raise.
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
            async with asyncio.timeout(timeout_s):
                try:
                    return await self._answer(method, params)
                except GatewayClosed as refused:
                    # Known here before the reader got to end it: without this wait, a caller's retry would starve it.
                    await self.wait_closed()
                    raise self._ending() from refused
        except TimeoutError:
            raise GatewayUnavailable(f"{method}: no answer within {timeout_s:g} s") from None

    async def greeted(self) -> None:
        """Wait for hello-ok. Raises `GatewayClosed`, `GatewayRefused`, `GatewayUnavailable`."""
        await self.while_open(self._hello)

    async def while_open(self, future: asyncio.Future[T]) -> T:
        """The result of `future`, or `GatewayClosed` when the connection ends first. Never cancels `future`."""
        if not future.done() and not self.is_closed:
            await self._news_of(future)
        if future.done():
            return future.result()
        raise self._ending()

    async def _news_of(self, future: asyncio.Future[Any]) -> None:
        """Wait until it is done, or the connection over. (`asyncio.wait` does the same, in four times the time.)"""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell(_: object) -> None:
            if not waiter.done():
                waiter.set_result(None)

        either = (future, self._closed)
        for one in either:
            one.add_done_callback(tell)
        try:
            await waiter
        finally:
            for one in either:
                one.remove_done_callback(tell)

    async def wait_closed(self) -> GatewayClosed:
        """Wait for the end of the connection and return why."""
        return await asyncio.shield(self._closed)

    async def aclose(self, code: int = CLOSE_GOING_AWAY) -> None:
        """Say goodbye with `code` and let everything go, within two seconds. Idempotent."""
        self._session.closing()
        self._reader.cancel()
        try:
            await asyncio.wait({self._reader})
        finally:  # also where we are cut off: who waits must learn it all the same
            await self._let_go(code)

    async def _let_go(self, code: int) -> None:
        try:
            if not self.is_closed:
                self._end(GatewayClosed("closed by us", code=code))
                await self._say_goodbye(code)
        finally:
            await self._http.close()

    # The request side ----------------------------------------------------------------------------------------

    async def _answer(self, method: str, params: dict[str, Any]) -> Response:
        request_id, text = self._session.request(method, params)
        future: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        try:
            self._responses[request_id] = future
            await self._send(text)
            return await future
        finally:
            del self._responses[request_id]
            if not future.cancel() and not future.cancelled():
                future.exception()  # seen, also where it could not be sent

    async def _send(self, text: str) -> None:
        reached("frame out")
        try:
            await self._socket.send_str(text)
        except (aiohttp.ClientError, OSError) as problem:
            raise GatewayClosed(f"sending failed: {type(problem).__name__}") from problem

    def _ending(self) -> GatewayClosed:
        """A fresh copy for each waiter: one exception raised in many tasks would collect all their tracebacks."""
        ending = self._closed.result()
        return GatewayClosed(str(ending), code=ending.code)

    # The reading side ----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """The reader task. Cancelled only by `aclose()`, which then ends the connection in its place."""
        try:
            ending = await self._read_until_dead()
        except Exception as problem:
            # The task's edge: whatever it was, the connection is over and its users must learn it.
            logger.opt(exception=problem).error("the gateway's reader failed")
            ending = await self._give_up(CLOSE_GOING_AWAY, f"the reader failed: {type(problem).__name__}")
        self._end(ending)
        await self._http.close()

    async def _read_until_dead(self) -> GatewayClosed:
        try:
            async with self._silence:
                return await self._read_until_closed()
        except TimeoutError:
            return await self._give_up(CLOSE_DEAD, "two ticks missed")

    async def _read_until_closed(self) -> GatewayClosed:
        while True:
            message = await self._socket.receive()
            began = time.monotonic()
            self._silence.heard(began)
            if self._goes_on(message):
                self.worked_at = began
            elif (ending := await self._hear(message)) is not None:
                return ending
            rest_s = self._allowance.spend_change(time.monotonic() - began + FRAME_S)
            if rest_s:
                await asyncio.sleep(rest_s)  # meanwhile the gateway cannot send: aiohttp stops reading

    def _goes_on(self, message: aiohttp.WSMessage) -> bool:
        """Most frames of a turn say only that it goes on."""
        if message.type is not aiohttp.WSMsgType.TEXT:
            return False
        reached("frame in")
        return self._session.goes_on(message.data)

    async def _hear(self, message: aiohttp.WSMessage) -> GatewayClosed | None:
        """Take one message in; why the connection is over, if it is."""
        match message.type:
            case aiohttp.WSMsgType.TEXT:
                return await self._hear_frame(message.data)
            case aiohttp.WSMsgType.PING:
                with suppress(aiohttp.ClientError, OSError):  # then the next message says that it is over
                    await self._socket.pong(message.data)
                return None
            case aiohttp.WSMsgType.PONG:
                return None
            case aiohttp.WSMsgType.CLOSE:
                return GatewayClosed("closed by the gateway", code=message.data or None)  # 0: it named none
            case aiohttp.WSMsgType.CLOSING | aiohttp.WSMsgType.CLOSED:
                return self._closed_by_gateway()
        return await self._give_up(CLOSE_BAD_DATA, f"a frame of type {message.type.name}")

    async def _hear_frame(self, text: str) -> GatewayClosed | None:
        try:
            received = self._session.receive(text)
            if received is AT_WORK:
                self.worked_at = time.monotonic()
            else:
                await self._take(received)
        except BadFrame as problem:
            return await self._give_up(CLOSE_PROTOCOL, f"bad frame: {problem}")
        except ClawkakaError as refused:
            self._fail_hello(refused)
            return await self._give_up(CLOSE_GOING_AWAY, str(refused))
        return None

    async def _take(self, received: Received) -> None:
        if received.send is not None:
            await self._send(received.send)
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

    async def _give_up(self, code: int, why: str) -> GatewayClosed:
        """Close from the reading side."""
        self._silence.lift()  # the goodbye has its own deadline
        self._session.closing()
        await self._say_goodbye(code)
        return GatewayClosed(why, code=code)

    async def _say_goodbye(self, code: int) -> None:
        """A close frame, bounded: the other side may be beyond taking it."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close(code=code)
        except TimeoutError:
            logger.debug("the gateway did not answer our close")

    def _closed_by_gateway(self) -> GatewayClosed:
        code = self._socket.close_code
        # aiohttp's word for a socket that just ended: on the wire there was no code at all.
        return GatewayClosed("the gateway is gone", code=None if code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE else code)

    def _end(self, ending: GatewayClosed) -> None:
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
