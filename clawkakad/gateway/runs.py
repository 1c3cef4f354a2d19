"""How runs end, as values, and a short memory of those of one sandbox's main session. No I/O.

A run is the gateway's work on one turn. Its id is ours where we asked for it, and the gateway's own where it spoke
first (heartbeat) or continued an interrupted turn. Runs of other sessions (scheduled jobs have their own) are none of
our business and never reach a person from here.
"""

from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from clawkakad.errors import TurnFailed
from clawkakad.gateway.failures import FailureKind, failure_kind
from clawkakad.gateway.frames import MAX_ID, MAX_TEXT, AgentEvent, ChatAck, ChatEvent, RunStatus
from clawkakad.gateway.session import printable

MAIN_SESSION = "agent:main:main"
"""The full name of the one session of a sandbox, as events carry it."""

MAX_RUNS = 256
"""How many runs are remembered; the oldest is forgotten first."""

MAX_REASON = 2_000
"""Characters of an error that are searched for what it was."""

DRAINING = "draining"
"""Kind of an error: a gateway that is about to stop refused to begin. The next process will take it."""

ORPHANED = "orphaned"
"""Kind of an error: the gateway that accepted this run died before it began, and its id cannot be used again."""

_KINDS = {
    "Gateway is draining": DRAINING,
    "Gateway is restarting": DRAINING,
    "Pending input ownership ended": ORPHANED,
}


class Ending(StrEnum):
    """How a run can end."""

    FINAL = "final"  # finished; an empty text means that there is nothing to say
    ERROR = "error"
    ABORTED = "aborted"


class Outcome(NamedTuple):
    """The end of one run. `kind` is the gateway's word for the cause of an error, if it has one."""

    run_id: str
    ending: Ending
    text: str
    kind: str | None = None


class Answer(NamedTuple):
    """What a run said. An empty text means that there is nothing to say."""

    run_id: str
    text: str


def text_of(outcome: Outcome) -> str:
    """What a finished run said; raises `TurnFailed` for one that did not finish."""
    if outcome.ending is Ending.ERROR:
        raise failure(outcome.text, outcome.kind)
    if outcome.ending is Ending.ABORTED:
        raise TurnFailed("the turn was stopped", kind=FailureKind.ABORTED)
    return outcome.text


def failure(text: str, kind: str | None = None) -> TurnFailed:
    """The exception for a run that ended with an error, of which the gateway told `text` and perhaps a `kind`."""
    return TurnFailed(printable(text or "the agent failed"), kind=failure_kind(kind, text[:MAX_REASON]))


def error_outcome(run_id: str, text: str, kind: str | None = None) -> Outcome:
    """The end of a failed run; the two kinds that are no failure of the turn are only told by their words."""
    known = (name for words, name in _KINDS.items() if words in text)
    return Outcome(run_id, Ending.ERROR, text[:MAX_TEXT], next(known, kind and kind[:MAX_ID]))


def outcome_of_chat(event: ChatEvent) -> Outcome | None:
    """The end that a chat event tells of, or None for progress and for states that we do not know."""
    try:
        ending = Ending(event.state)
    except ValueError:
        return None
    if ending is Ending.ERROR:
        return error_outcome(event.run_id, event.error, event.failover_reason)
    return Outcome(event.run_id, ending, event.text)


def outcome_of_ack(ack: ChatAck) -> Outcome | None:
    """The end of a run that was met again when it had failed before."""
    return error_outcome(ack.run_id, ack.summary) if ack.status == "error" else None


def outcome_of_wait(run_id: str, status: RunStatus) -> Outcome | None:
    """The end that an answer to `agent.wait` tells of, or None where it tells none."""
    match status.status:
        case "ok":
            reply = status.terminal_reply
            visible = reply is not None and reply.disposition == "visible"
            return Outcome(run_id, Ending.FINAL, reply.text.strip()[:MAX_TEXT] if reply and visible else "")
        case "error" if status.stop_reason == "rpc":
            return Outcome(run_id, Ending.ABORTED, "")
        case "error":
            return error_outcome(run_id, status.error or "")
    return None


@dataclass
class _Run:
    heartbeat: bool | None = None
    ending: Ending | None = None


def _is_news(known: Ending | None, heard: Ending) -> bool:
    """The first end counts, except that one which finished after all was not stopped, whatever was said before."""
    return known is None or (known is Ending.ABORTED and heard is Ending.FINAL)


class RunBook:
    """What was heard of the runs of one sandbox's main session: each ends once, whatever is repeated."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, _Run] = OrderedDict()

    def hear(self, event: ChatEvent | AgentEvent) -> Outcome | None:
        """Note an event; returns the outcome when this is the first news of the run's end."""
        if event.session_key not in (None, MAIN_SESSION):
            return None
        run = self._run(event.run_id)
        if isinstance(event, AgentEvent):
            run.heartbeat = event.is_heartbeat if run.heartbeat is None else run.heartbeat or event.is_heartbeat
            return None
        outcome = outcome_of_chat(event)
        if outcome is None or not _is_news(run.ending, outcome.ending):
            return None
        run.ending = outcome.ending
        return outcome

    def forget(self, run_id: str) -> None:
        """As if nothing had been heard of it."""
        self._runs.pop(run_id, None)

    def is_heartbeat(self, run_id: str) -> bool | None:
        """Whether a run is a proactive one; None where nothing was heard of that."""
        run = self._runs.get(run_id)
        return run.heartbeat if run else None

    def _run(self, run_id: str) -> _Run:
        run = self._runs.get(run_id)
        if run is None:
            run = self._runs[run_id] = _Run()
        self._runs.move_to_end(run_id)
        while len(self._runs) > MAX_RUNS:
            self._runs.popitem(last=False)
        return run
