"""The protocol of one connection, without I/O: text comes in, text to send and what happened come out.

Owns the handshake (challenge, connect, hello-ok), the check of what we may do, and the request ids. It never awaits,
never opens or closes anything, and knows no socket: `link.py` carries what it says. A refusal is an exception
here, so that "retry", "stop" and "broken" are told apart in one place, `refusal()`.
"""

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from itertools import count
from typing import Any, NamedTuple

from pydantic import ValidationError

from clawkakad import __version__
from clawkakad.errors import BadFrame, GatewayClosed, GatewayRefused, GatewayUnavailable
from clawkakad.gateway.frames import (
    PROGRESS,
    PROTOCOL,
    AgentEvent,
    Challenge,
    ErrorShape,
    Event,
    HelloOk,
    OtherEvent,
    Response,
    decode,
    encode,
    progress,
)

SCOPES = ("operator.read", "operator.write", "operator.admin")
"""Admin is for `suppressCommandInterpretation`, without which a person's "/new" would be a command."""

MAX_UNKNOWN = 64
"""How many names of unknown events are counted one by one; the rest share a count."""


class SessionState(StrEnum):
    """The life of a connection."""

    CONNECTING = "connecting"  # open, waiting for the challenge
    CHALLENGED = "challenged"  # our connect request is out
    READY = "ready"  # hello-ok, with all scopes
    CLOSED = "closed"


MOVES: dict[SessionState, frozenset[SessionState]] = {
    SessionState.CONNECTING: frozenset({SessionState.CHALLENGED, SessionState.CLOSED}),
    SessionState.CHALLENGED: frozenset({SessionState.READY, SessionState.CLOSED}),
    SessionState.READY: frozenset({SessionState.CLOSED}),
    SessionState.CLOSED: frozenset(),
}


class Received(NamedTuple):
    """What one frame led to: perhaps text to send, perhaps one thing that happened."""

    send: str | None = None
    hello: HelloOk | None = None
    response: Response | None = None
    event: Event | None = None


NOTHING = Received()
AT_WORK = Received()
"""The agent is at work, as was known."""


class Session:
    """One connection's protocol. `token` never leaves it but in the connect request."""

    def __init__(self, token: str, *, new_id: Callable[[], str] | None = None) -> None:
        self._token = token
        numbers = count(1)
        self._new_id = new_id or (lambda: str(next(numbers)))  # nobody else's requests are on this connection
        self._connect_id: str | None = None
        self._mark: AgentEvent | None = None  # the last one: a run of twenty events says the same in each
        self.state = SessionState.CONNECTING
        self.hello: HelloOk | None = None
        self.unknown: Counter[str] = Counter()
        """Events that were ignored, by name."""

    def goes_on(self, text: str) -> bool:
        """Whether a frame says only that the agent is at work, as was known: that needs no look at the rest of it."""
        said = progress(text)
        return said is PROGRESS or (said is not None and said == self._mark)

    def receive(self, text: str) -> Received:
        """Take one frame. Raises `BadFrame`, and before hello-ok `GatewayRefused` or `GatewayUnavailable`."""
        frame = decode(text)
        if frame is PROGRESS or frame == self._mark:
            return AT_WORK
        if isinstance(frame, Challenge):
            return self._challenged()
        if isinstance(frame, Response):
            return self._answered(frame)
        if isinstance(frame, OtherEvent):
            self._count(frame)
        if self.state is not SessionState.READY:
            return NOTHING
        if isinstance(frame, AgentEvent):
            self._mark = frame
        return Received(event=frame)

    def request(self, method: str, params: dict[str, Any]) -> tuple[str, str]:
        """A request's id and its text. Raises `GatewayClosed` unless ready, `BadFrame` when it is too large."""
        if self.state is not SessionState.READY:
            raise GatewayClosed(f"{method}: the connection is {self.state}")
        request_id = self._new_id()
        return request_id, encode(request_id, method, params)

    def closed(self) -> None:
        """It is gone."""
        self._move(SessionState.CLOSED)

    def _challenged(self) -> Received:
        if self.state is not SessionState.CONNECTING:
            raise BadFrame(f"a challenge while {self.state}")
        self._connect_id = self._new_id()
        self._move(SessionState.CHALLENGED)
        return Received(send=encode(self._connect_id, "connect", connect_params(self._token)))

    def _answered(self, response: Response) -> Received:
        if self.state is not SessionState.CHALLENGED:
            return Received(response=response)
        if response.id != self._connect_id:
            raise BadFrame("a response to nothing that was asked")
        self.hello = _greeting(response)
        self._move(SessionState.READY)
        return Received(hello=self.hello)

    def _count(self, event: OtherEvent) -> None:
        known = event.name in self.unknown or len(self.unknown) < MAX_UNKNOWN
        self.unknown[event.name if known else "…"] += 1

    def _move(self, state: SessionState) -> None:
        if state is not self.state:
            if state not in MOVES[self.state]:
                raise AssertionError(f"a session cannot go from {self.state} to {state}")
            self.state = state


def connect_params(token: str) -> dict[str, Any]:
    """The connect request: over loopback this client id and mode keep their scopes without a device key."""
    return {
        "minProtocol": PROTOCOL,
        "maxProtocol": PROTOCOL,
        "client": {"id": "gateway-client", "version": __version__, "platform": "linux", "mode": "backend"},
        "role": "operator",
        "scopes": list(SCOPES),
        "caps": [],
        "auth": {"token": token},
    }


def refusal(error: ErrorShape | None, doing: str) -> GatewayUnavailable | GatewayRefused:
    """The one place that decides whether a refused request may be tried again: only where the gateway says so."""
    if error is None:
        return GatewayRefused(f"{doing}: refused without a reason", code="")
    text = f"{doing}: {printable(error.message or error.code)}"
    if error.retryable:
        wait_s = (error.retry_after_ms or 0) / 1000
        return GatewayUnavailable(text, retry_after_s=wait_s if wait_s > 0 else None)  # JSON of a sandbox may say NaN
    return GatewayRefused(text, code=printable(error.code), reason=error.reason)


def printable(text: str, limit: int = 300) -> str:
    """Text of a sandbox, made fit for an error or a log line."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:limit])


def _greeting(response: Response) -> HelloOk:
    if not response.ok:
        raise refusal(response.error, "connect")
    try:
        hello = HelloOk.model_validate(response.fields)
    except ValidationError:
        raise BadFrame("hello-ok in an unknown shape") from None
    if hello.protocol != PROTOCOL:
        raise GatewayRefused(f"protocol {hello.protocol} instead of {PROTOCOL}", code="PROTOCOL_MISMATCH")
    missing = [scope for scope in SCOPES if scope not in hello.auth.scopes]
    if missing:
        raise GatewayRefused(f"the gateway grants no {', '.join(missing)}", code="FORBIDDEN", reason="MISSING_SCOPE")
    return hello
