"""The gateway's frames as typed values: protocol 4, JSON text over one WebSocket.

Owns the shapes and nothing else: no I/O, no state, no decision. Only the fields that we read are named here; all
others are dropped while parsing, so a gateway of another version may add what it likes. An event that we do not
know, or no longer understand, becomes an `OtherEvent`: losing one event is survivable (a turn is settled from the
history), losing the connection over every one of them is not. A frame that is not a frame at all is a `BadFrame`,
unless it begins as one of those of which no more is read.

A turn of one reply is some twenty frames, and most of them say only that it goes on: those are told by how they begin.
"""

import json
import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import from_json

from clawkakad.errors import BadFrame

PROTOCOL = 4
MAX_FRAME_BYTES = 25 * 1024 * 1024
"""The gateway's own `policy.maxPayload`: what it takes of us."""

MAX_INBOUND_BYTES = 8 * 1024 * 1024
"""What we take of it. The socket is a sandbox's: a hostile one must not cost the daemon its memory."""

MAX_VALUES = 300_000
"""Values in one frame, by a quick count: 8 MiB of `{},{},…` would become a gigabyte of objects."""

MAX_TEXT = 200_000
"""Characters of a text that are kept: far more than a person ever gets."""

MAX_ID = 300
"""Characters of an id: those of runs have 60 at most, those of sessions 100."""

Id: TypeAlias = Annotated[str, Field(max_length=MAX_ID)]


class Wire(BaseModel):
    """What all shapes have in common: frozen, camelCase outside, unknown fields ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


def readable(content: object) -> str:
    """All that a person should read of a message's content, which is a string or a list of typed parts."""
    if isinstance(content, list):
        parts = (part for part in content if isinstance(part, dict) and part.get("type") == "text")
        content = "\n\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    return content.strip()[:MAX_TEXT] if isinstance(content, str) else ""


# Events -----------------------------------------------------------------------------------------------------------


class Challenge(Wire):
    """`connect.challenge`, the first frame of every connection."""

    nonce: str


class ChatEvent(NamedTuple):
    """`chat`: a run's end. `state` is final, error or aborted; others may come and mean nothing.

    `text`: all that a person should read of it; `error`, `failover_reason`: why it failed, as far as the gateway tells.
    """

    run_id: str
    session_key: str
    state: str
    text: str = ""
    error: str = ""
    failover_reason: str | None = None


class Progress(Wire):
    """`chat` with the state status or delta: the run goes on. Nothing else is read of it."""


class AgentEvent(NamedTuple):
    """`agent`: the inner life of a run. We only read whether it is a proactive one, so that most of them are equal."""

    run_id: str
    session_key: str | None = None
    is_heartbeat: bool | None = None


class HeartbeatEvent(Wire):
    """`heartbeat`: what became of a `wake`. `preview` is cut at 200 characters: never the text to send."""

    status: str
    reason: str | None = None
    preview: str | None = None


class Tick(Wire):
    """`tick`: the gateway is alive, every `policy.tickIntervalMs`."""


class Shutdown(Wire):
    """`shutdown`: the gateway stops; a close with 1012 follows."""

    reason: str | None = None


class OtherEvent(Wire):
    """An event of no interest, or a known one in a shape that we do not know (`understood` is False)."""

    name: str
    understood: bool = True


Event: TypeAlias = Challenge | ChatEvent | Progress | AgentEvent | HeartbeatEvent | Tick | Shutdown | OtherEvent

PROGRESS = Progress()


# The two kinds of which a turn has twenty are read by hand: that takes a third of what a validator does.


def _chat(payload: Any) -> ChatEvent | Progress | OtherEvent:
    """A run goes on, or it ends. The message of one that goes on grows: nothing is read of it."""
    if isinstance(payload, dict):
        run_id, key, state = payload.get("runId"), payload.get("sessionKey"), payload.get("state")
        if _is_id(run_id) and _is_id(key) and _is_id(state):
            return PROGRESS if state in _GOES_ON else _ended(payload, ChatEvent(run_id, key, state))
    return OtherEvent(name="chat", understood=False)


def _ended(payload: dict[str, Any], event: ChatEvent) -> ChatEvent | OtherEvent:
    message, error, detail = payload.get("message"), payload.get("errorMessage"), payload.get("errorDetail")
    if isinstance(message, dict | None) and isinstance(error, str | None) and isinstance(detail, dict | None):
        reason = (detail or {}).get("failoverReason")
        if isinstance(reason, str | None) and _can_be_stored(event.run_id):
            text = readable(message.get("content")) if message else ""
            return event._replace(text=text, error=error or "", failover_reason=reason)
    return OtherEvent(name="chat", understood=False)


def _can_be_stored(run_id: str) -> bool:
    """Half an emoji cannot, and an answer is stored under the name of its run."""
    return run_id.isascii() or run_id.encode(errors="replace").decode() == run_id


def _agent(payload: Any) -> AgentEvent | OtherEvent:
    """We only read whether it is a proactive run's."""
    if isinstance(payload, dict):
        run_id, key, mark = payload.get("runId"), payload.get("sessionKey"), payload.get("isHeartbeat")
        if _is_id(run_id) and (key is None or _is_id(key)) and (mark is None or isinstance(mark, bool)):
            return AgentEvent(run_id, key, mark)
    return OtherEvent(name="agent", understood=False)


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= MAX_ID


# The compiled validators themselves: what `model_validate` does around them takes as long as they do (0.7 us).
_EVENTS: dict[str, Callable[[Any], Event]] = {
    "connect.challenge": Challenge.__pydantic_validator__.validate_python,
    "chat": _chat,
    "agent": _agent,
    "heartbeat": HeartbeatEvent.__pydantic_validator__.validate_python,
    "tick": Tick.__pydantic_validator__.validate_python,
    "shutdown": Shutdown.__pydantic_validator__.validate_python,
}

_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
_GOES_ON = frozenset({"status", "delta"})

# What we read of a frame that says only that a run goes on stands at its beginning, as this version of the gateway
# writes it. The rest, which holds the whole reply so far and grows with each of them, need not be parsed. Whatever does
# not begin like this goes the long way.
_ID, _WORD = rf'"[^"\\]{{1,{MAX_ID}}}"', r'"[^"\\]{0,100}"'
_BRIEF = re.compile(
    r'\{"type":"event","event":"'
    rf'(?:chat","payload":\{{"runId":{_ID},"sessionKey":{_ID},"agentId":{_WORD},"seq":\d+,"state":"(?:status|delta)"'
    rf'|agent","payload":\{{"runId":({_ID}),"sessionKey":({_ID}),"agentId":{_WORD},"stream":{_WORD},"seq":\d+,"ts":\d+,'
    r'"isHeartbeat":(true|false))[,}]',
    re.ASCII,
)


# Responses --------------------------------------------------------------------------------------------------------


class ErrorDetails(Wire):
    """The finer grain of a refusal: `code` at the handshake, `reason` elsewhere."""

    code: str | None = None
    reason: str | None = None


class ErrorShape(Wire):
    """Why a request was refused."""

    code: str
    message: str = ""
    details: ErrorDetails | None = None
    retryable: bool = False
    retry_after_ms: float | None = None

    @property
    def reason(self) -> str | None:
        """The most precise word that the gateway has for it."""
        return (self.details.code or self.details.reason) if self.details else None


class Response(Wire):
    """The answer to one request. A refused one may carry a payload too."""

    id: str
    ok: bool
    payload: Any = None
    error: ErrorShape | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The payload where it is an object, else an empty one."""
        return self.payload if isinstance(self.payload, dict) else {}


Frame: TypeAlias = Response | Event


# Payloads of responses --------------------------------------------------------------------------------------------


class Server(Wire):
    """Which gateway process answered: `boot_id` is new after each start."""

    version: str = ""
    boot_id: str | None = None


class Auth(Wire):
    """What the connection may do: the truth, whatever was asked for."""

    scopes: tuple[str, ...] = ()


class Policy(Wire):
    """The gateway's limits and rhythm. One that would tick less than once an hour is not understood."""

    tick_interval_ms: float = Field(default=30_000, gt=0, le=3_600_000)


class HelloOk(Wire):
    """The answer to `connect`."""

    protocol: int
    server: Server = Server()
    auth: Auth = Auth()
    policy: Policy = Policy()


class ChatAck(Wire):
    """The answer to `chat.send`: `status` is started, in_flight (same key, running), or ok, timeout, error (ended).

    `summary` says why, where it is an error.
    """

    run_id: Id
    status: str
    summary: str = ""


class TerminalReply(Wire):
    """How a run ended for the person: visible with a text, or silent."""

    disposition: str = ""
    text: str = ""


class RunStatus(Wire):
    """The answer to `agent.wait`: ok, error, or timeout (still running, or unknown to this process)."""

    status: str
    terminal_reply: TerminalReply | None = None
    error: str | None = None
    stop_reason: str | None = None


class Blocker(Wire):
    """Something that a gateway is at."""

    kind: str = "at work"


class Suspension(Wire):
    """The answer to `gateway.suspend.prepare`: ready, or busy with its blockers."""

    status: str = ""
    suspension_id: Id | None = None
    blockers: tuple[Blocker, ...] = ()


# Decoding ---------------------------------------------------------------------------------------------------------


def progress(text: str) -> Progress | AgentEvent | None:
    """What `decode` makes of a frame which says only that a run goes on; None where its beginning does not tell."""
    found = _BRIEF.match(text)
    if found is None:
        return None
    run_id, key, mark = found.groups()
    return PROGRESS if run_id is None else AgentEvent(run_id[1:-1], key[1:-1], mark == "true")


def decode(text: str) -> Frame:
    """One frame of the gateway; raises `BadFrame` (whose text never quotes the frame)."""
    if len(text) > MAX_VALUES and sum(map(text.count, "[{,")) > MAX_VALUES:  # a value has a character at least
        raise BadFrame(f"more than {MAX_VALUES} values")
    try:
        frame = _parsed(text)
    except (ValueError, RecursionError) as problem:
        raise BadFrame(f"not JSON: {type(problem).__name__}, {len(text)} characters") from None
    if not isinstance(frame, dict):
        raise BadFrame("not an object")
    match frame.get("type"):
        case "event":
            return _event(frame)
        case "res":
            return _response(frame)
    raise BadFrame("neither an event nor a response")


def _parsed(text: str) -> Any:
    """The quicker parser, by half, refuses what JSON has for the gateway: an emoji that a delta has cut in two, say."""
    try:
        return from_json(text)
    except (ValueError, TypeError):  # half an emoji as an escape, and as it is
        return json.loads(text)


def _event(frame: dict[str, Any]) -> Event:
    name = frame.get("event")
    if not isinstance(name, str):
        raise BadFrame("an event without a name")
    read = _EVENTS.get(name)
    if read is None:
        return OtherEvent(name=name[:64])
    try:
        return read(frame.get("payload") or {})
    except ValidationError:
        return OtherEvent(name=name[:64], understood=False)


def _response(frame: dict[str, Any]) -> Response:
    try:
        return Response.model_validate(frame)
    except ValidationError as problem:
        raise BadFrame(f"a response in an unknown shape: {problem.error_count()} problems") from None


def encode(request_id: str, method: str, params: dict[str, Any]) -> str:
    """One request of ours; raises `BadFrame` when it is larger than the gateway takes."""
    frame = {"type": "req", "id": request_id, "method": method, "params": params}
    text = _ENCODE(frame)  # ASCII only: one character, one byte
    if len(text) > MAX_FRAME_BYTES:
        raise BadFrame(f"{method}: larger than {MAX_FRAME_BYTES} bytes")
    return text
