"""What the gateway's own record says about one turn: the only memory that outlives its process.

Run ids and idempotency live in the gateway's memory and die with it; the rows of `chat.history` are on its disk. So
after any interruption this module decides, from the rows alone, where a turn stands. No I/O.

Facts it rests on, seen on gateway 2026.9.6:
- the row of a message carries `idempotencyKey: "<run id>:user"`, rows of an assistant the `runId` that made them;
- a gateway that died in mid-turn continues it by itself at its next start, under a run id of its own, with a user row
  whose provenance is `main_session_restart_recovery`; that run id is among the active ones before the row is written,
  and until then the session's `status` is still "running". A run that had not begun is not continued: status "done";
- a row with `stopReason: "stop"` is a finished reply, except when it is marked as aborted; `toolUse` and rows without
  one are steps on the way; `error`, and a `custom` row of the run, is the end of a failed one;
- a gateway that is stopping fails a run that it has not begun, and never continues it;
- a message that was accepted by a process that died before it wrote the row stays "interrupted" among the pending
  inputs for ever: nobody continues it, and its run id is refused. Only twenty of these are shown, but each run id
  that is asked for by name (`inputRunIds`) has a receipt as long as it is there: "pending" is one never begun.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError

from clawkakad.gateway.frames import MAX_TEXT, Id, Wire, readable
from clawkakad.gateway.runs import DRAINING, error_outcome
from clawkakad.gateway.tempo import DEEP_ROWS

RECOVERY = "main_session_restart_recovery"
"""Provenance of the row with which a restarted gateway continues an interrupted turn."""


class Origin(Wire):
    """Which run wrote a row, or which running one took a message in beside its own."""

    run_id: Id | None = None
    steer_target_run_id: Id | None = None


class Provenance(Wire):
    """Which part of the gateway wrote a user row, where it was not a user."""

    source_tool: str | None = None


class Abort(Wire):
    """Marks the partial reply of a run that was aborted."""

    aborted: bool = False


class Row(Wire):
    """One row of the history. `run_id` is known for rows of an assistant; `asked` is the run that a user row began."""

    role: str
    text: Annotated[str, BeforeValidator(readable)] = Field(default="", alias="content")
    timestamp: float = 0
    stop_reason: str | None = None
    idempotency_key: str = ""
    provenance: Provenance | None = None
    abort: Abort | None = Field(default=None, alias="openclawAbort")
    origin: Origin | None = Field(default=None, alias="__openclaw")

    @property
    def run_id(self) -> str | None:
        return self.origin.run_id if self.origin else None

    @property
    def asked(self) -> str | None:
        key, _, suffix = self.idempotency_key.rpartition(":")
        return key if self.role == "user" and suffix == "user" and key else None

    @property
    def recovers(self) -> bool:
        return self.provenance is not None and self.provenance.source_tool == RECOVERY

    @property
    def finished(self) -> bool:
        return self.role == "assistant" and self.stop_reason == "stop" and not self.aborted

    @property
    def failed(self) -> bool:
        return self.stop_reason == "error" or self.role == "custom"

    @property
    def aborted(self) -> bool:
        """Cut short from outside: by an abort, or by a gateway that stopped."""
        by_request = self.abort is not None and self.abort.aborted
        return by_request or (self.failed and error_outcome("", self.text).kind == DRAINING)


MOST_RUNS = 100
"""How many runs of one kind are looked at: a gateway has a few, and what a sandbox makes up must not take long."""


def _few(items: object) -> object:
    return items[:MOST_RUNS] if isinstance(items, list) else items


def _rows(rows: object) -> tuple[Row, ...]:
    """The readable rows of those that were asked for; one that is not is left out instead of spoiling the others."""
    readable = []
    for row in rows[-DEEP_ROWS:] if isinstance(rows, list) else ():
        try:
            readable.append(Row.model_validate(row))
        except ValidationError:
            continue
    return tuple(readable)


class InFlight(Wire):
    """A run that is going on."""

    run_id: Id | None = None


class Pending(Wire):
    """A message that was accepted and whose row is not written: still queued, or left so by a process that died."""

    run_id: Id | None = None
    state: str = "queued"

    @property
    def orphaned(self) -> bool:
        return self.state != "queued"


class PendingInputs(Wire):
    """All of them."""

    items: Annotated[tuple[Pending, ...], BeforeValidator(_few)] = ()


class Receipt(Wire):
    """What became of an accepted message that was asked for by its run id: pending, or consumed by a row."""

    run_id: Id
    state: str


class SessionInfo(Wire):
    """The session's own summary."""

    active_run_ids: Annotated[tuple[Id, ...] | None, BeforeValidator(_few)] = None
    status: str | None = None


class History(Wire):
    """The answer to `chat.history`, oldest row first."""

    rows: Annotated[tuple[Row, ...], BeforeValidator(_rows)] = Field(default=(), alias="messages")
    in_flight_run: InFlight | None = None
    pending_inputs: PendingInputs = PendingInputs()
    session_info: SessionInfo = SessionInfo()
    input_receipts: Annotated[tuple[Receipt, ...], BeforeValidator(_few)] = ()
    has_more: bool = False

    @property
    def orphans(self) -> frozenset[str]:
        """The runs that were accepted, never begun, and never will be."""
        shown = {item.run_id for item in self.pending_inputs.items if item.run_id and item.orphaned}
        named = {receipt.run_id for receipt in self.input_receipts if receipt.state == "pending"}
        return frozenset(shown | named) - frozenset(self.running)

    @property
    def running(self) -> tuple[str, ...]:
        """The ids of all runs that have not ended, each once."""
        pending = [item.run_id for item in self.pending_inputs.items if not item.orphaned]
        in_flight = [self.in_flight_run.run_id] if self.in_flight_run else []
        active = list(self.session_info.active_run_ids or ())
        return tuple(dict.fromkeys(run_id for run_id in in_flight + pending + active if run_id))


def read_history(payload: dict[str, Any]) -> History:
    """The history in a response; what cannot be read is as if it were not there."""
    try:
        return History.model_validate(payload)
    except ValidationError:
        return History.model_validate({"messages": payload.get("messages")})


# Where a turn stands ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Absent:
    """The gateway never wrote the message down: sending it (again) is safe."""


@dataclass(frozen=True)
class Running:
    """`run_id` is working on it: wait for it."""

    run_id: str


@dataclass(frozen=True)
class Busy:
    """Another run is going on, perhaps the one that continues ours: wait until it ended, then look again."""

    run_id: str


@dataclass(frozen=True)
class Answered:
    """`run_id` finished it with `text`, which may be empty."""

    run_id: str
    text: str


@dataclass(frozen=True)
class Broken:
    """`run_id` ended it with an error, which `text` explains."""

    run_id: str
    text: str


@dataclass(frozen=True)
class Interrupted:
    """`attempt` has no end on record and nothing works on it now; `run_id` was the last that did.

    `due`: the gateway owes its continuation.
    """

    attempt: str
    run_id: str
    due: bool


@dataclass(frozen=True)
class Aborted:
    """`attempt` was stopped from outside: nothing will continue it."""

    attempt: str


Standing: TypeAlias = Absent | Running | Busy | Answered | Broken | Interrupted | Aborted


def standing(history: History, attempts: Sequence[str]) -> Standing:
    """Where the turn stands whose attempts had these run ids, oldest first.

    What works on it or has answered it counts, whichever attempt that was for; else the latest one on record. A turn
    that is to be sent (again) is `Busy` while anything else runs: it would be merged into that.
    """
    looks = (_attempt(history, attempt) for attempt in reversed(attempts))
    found = [where for where in looks if where is not None]
    for wanted in (Running, Answered):
        best = next((where for where in found if isinstance(where, wanted)), None)
        if best is not None:
            return best
    latest = found[0] if found else Absent()
    if history.running and isinstance(latest, Absent | Aborted | Interrupted):
        return Busy(history.running[0])
    return latest


def _attempt(history: History, attempt: str) -> Standing | None:
    """Where one attempt stands; None where nothing is known of it."""
    if attempt in history.running:
        return Running(attempt)
    starts = [index for index, row in enumerate(history.rows) if row.asked == attempt]
    if starts:
        return _written(history, starts[-1])
    return Aborted(attempt) if attempt in history.orphans else None


def _written(history: History, start: int) -> Standing:
    """Where an attempt stands whose user row is at `start`."""
    chain, rows = _chain(history.rows[start:])
    going = [run_id for run_id in history.running if run_id in chain]
    if going:
        return Running(going[0])
    due = history.session_info.status == "running"
    return _ended(chain, rows) or Interrupted(chain[0], chain[-1], due=due)


def newest_reply(history: History, *, since_ms: float) -> Answered | None:
    """The latest finished reply that is not older than `since_ms` (the gateway's clock, which is this machine's)."""
    for row in reversed(history.rows):
        if row.finished and row.timestamp >= since_ms and row.text and row.run_id:
            return Answered(row.run_id, row.text)
    return None


def _chain(rows: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """The runs that worked on the turn whose user row comes first, and the rows they wrote from there on.

    That is the run itself, the one that it was merged into if another was going on, and recoveries.
    """
    chain = [rows[0].asked or ""]
    if rows[0].origin and rows[0].origin.steer_target_run_id:
        chain.append(rows[0].origin.steer_target_run_id)
    known, over = set(chain), False  # a sandbox may make up any number of both
    for row in rows[1:]:
        over = over or (row.run_id in known and (row.finished or row.failed or row.aborted))
        if row.asked and (over or not row.recovers):
            break  # another message, or the continuation of a heartbeat that came after our end
        if row.asked and row.asked not in known:
            chain.append(row.asked)
            known.add(row.asked)
    return chain, [row for row in rows if row.run_id in known]


def _ended(chain: Sequence[str], rows: Sequence[Row]) -> Standing | None:
    """How it ended, by the run that came last and left an end."""
    rows_of = defaultdict(list)
    for row in rows:
        rows_of[row.run_id].append(row)
    for run_id in reversed(chain):
        own = rows_of[run_id]
        if any(row.aborted for row in own):
            return Aborted(chain[0])
        finished = [row for row in own if row.finished]
        if finished:
            return Answered(run_id, "\n\n".join(row.text for row in finished if row.text)[:MAX_TEXT])
        failed = [row for row in own if row.failed]
        if failed:
            return Broken(run_id, failed[-1].text)
    return None
