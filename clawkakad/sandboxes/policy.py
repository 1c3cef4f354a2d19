"""What becomes of a sandbox next, as one pure function, and the only moves from state to state that there are.

What is wanted, what is observed and what has happened so far are kept apart; nothing here waits, asks or remembers.
Invariants: an engine that was not asked, or did not answer, decides nothing; never more than `Limits.restarts` restarts
in `Limits.window_s` seconds; what a timer cannot mend (a refused configuration, a missing image) no timer tries again.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto

from clawkakad.model import SandboxState
from clawkakad.sandboxes.backoff import Dice, delay

RECENT = timedelta(hours=24)  # who wrote within this time has a sandbox that runs
PARKED_FOR = timedelta(hours=1)  # who writes after this time gets another try

_S = SandboxState
MOVES: dict[SandboxState, frozenset[SandboxState]] = {
    _S.ABSENT: frozenset({_S.CREATING, _S.STARTING, _S.UNHEALTHY, _S.DOZING, _S.ASLEEP}),
    _S.CREATING: frozenset({_S.STARTING, _S.UNHEALTHY, _S.DOZING, _S.ASLEEP}),
    _S.STARTING: frozenset({_S.READY, _S.CREATING, _S.UNHEALTHY, _S.DOZING, _S.ASLEEP}),
    _S.READY: frozenset({_S.STARTING, _S.CREATING, _S.UNHEALTHY, _S.STOPPING, _S.DOZING, _S.ASLEEP}),
    _S.UNHEALTHY: frozenset({_S.CREATING, _S.STARTING, _S.DOZING, _S.ASLEEP, _S.PARKED}),
    _S.STOPPING: frozenset({_S.CREATING, _S.STARTING, _S.UNHEALTHY, _S.DOZING, _S.ASLEEP}),
    _S.DOZING: frozenset({_S.STARTING, _S.CREATING, _S.UNHEALTHY, _S.STOPPING, _S.ASLEEP}),
    _S.ASLEEP: frozenset({_S.CREATING, _S.STARTING, _S.UNHEALTHY, _S.DOZING}),
    _S.PARKED: frozenset({_S.CREATING, _S.STARTING, _S.UNHEALTHY, _S.DOZING, _S.ASLEEP}),
}
"""From a state to those that may follow. A daemon that died may have left any of them, and finds whatever it finds."""


def allowed(before: SandboxState, after: SandboxState) -> bool:
    """Whether a sandbox may move so. Staying, for another reason, is always allowed."""
    return before is after or after in MOVES[before]


@dataclass(frozen=True)
class Limits:
    """How patient one is. Seconds."""

    restarts: int = 5
    window_s: float = 600.0
    first_delay_s: float = 1.0
    last_delay_s: float = 300.0
    reconnect_s: float = 10.0  # at most, before another connection to one that runs: that costs next to nothing
    healthy_s: float = 600.0  # ready for this long: the next failure counts as a first one
    hang_ups: int = 5  # in a row: a gateway that ends every connection is of no use
    hang_up_s: float = 2.0  # at most, after hello-ok; of what drops now and then one in five lasts longer


@dataclass(frozen=True)
class Wanted:
    """`needed`: somebody waits for it, or soon may; `made_of`: profile and image, None where the image is missing.

    `asleep`: it is not to doze any more, but to sleep.
    """

    needed: bool
    made_of: str | None
    asleep: bool = False
    full: str = ""  # why it must not run: its disk is full
    retry: bool = False  # an operator wants it tried, whatever happened before
    wrote_at: datetime | None = None  # when its person wrote last


@dataclass(frozen=True)
class Observed:
    """What the registry and the engine say. `usable`: a container that runs, or did, is worth connecting to.

    `frozen`: its processes exist and stand still; `refused`: it ended, and said that
    what it was given will not do.
    """

    state: SandboxState
    exists: bool
    running: bool
    frozen: bool = False
    refused: bool = False
    usable: bool = True
    parked_at: datetime | None = None
    parked_with: str | None = None
    was_full: bool = False  # it was stopped for its disk
    new: bool = False  # it never had a container


@dataclass(frozen=True)
class Host:
    """`answers`: whether the engine does; `has_room`: on its disk, for another sandbox."""

    answers: bool = True
    has_room: bool = True


@dataclass(frozen=True)
class History:
    """What happened in this daemon's life. Times are monotonic seconds."""

    restarts: tuple[float, ...] = ()
    failures: int = 0  # since it was healthy, or since anybody had reason to hope
    not_before: float = 0.0
    reconnect_at: float = 0.0
    ready_at: float | None = None
    hang_ups: int = 0  # connections in a row that ended as soon as they had said hello-ok

    def ready(self, now: float) -> "History":
        """It said hello-ok."""
        return replace(self, ready_at=now)

    def failed(self, now: float, limits: Limits, dice: Dice) -> "History":
        """It died, hangs, or did not come up."""
        healthy = self.ready_at is not None and now - self.ready_at >= limits.healthy_s
        before = replace(History() if healthy else self, hang_ups=self._hung_up(now, limits))
        if before.hang_ups == limits.hang_ups > self.hang_ups:
            before = replace(before, failures=0)  # those were of its connection; this is the first of the sandbox
        wait_s = delay(before.failures, limits.first_delay_s, limits.last_delay_s, dice=dice)
        reconnect_at = now + min(wait_s, limits.reconnect_s)
        return replace(
            before, failures=before.failures + 1, not_before=now + wait_s, reconnect_at=reconnect_at, ready_at=None
        )

    def _hung_up(self, now: float, limits: Limits) -> int:
        if self.ready_at is None:
            return self.hang_ups
        return self.hang_ups + 1 if now - self.ready_at < limits.hang_up_s else 0

    def hangs_up(self, limits: Limits) -> bool:
        """Whether a container that runs is of no use: its gateway ends every connection."""
        return self.hang_ups >= limits.hang_ups

    def started(self, now: float, limits: Limits) -> "History":
        """Its container is started; after a failure that is a restart."""
        recent = tuple(at for at in self.restarts if now - at < limits.window_s)
        return replace(self, restarts=(*recent, now) if self.failures else recent)

    def used_up(self, now: float, limits: Limits) -> bool:
        """Whether one more restart would be one too many."""
        return self.failures > 0 and sum(now - at < limits.window_s for at in self.restarts) >= limits.restarts


class Do(Enum):
    """What to do next."""

    WAIT = auto()  # for `after_s`, or until there is reason to look again
    CONNECT = auto()  # its container runs
    WAKE = auto()  # its container is frozen: let it go on, then connect
    START = auto()  # start its container, made again if it must be
    DOZE = auto()  # leave it frozen until it is addressed
    STOP = auto()  # it was frozen long enough: stop it
    SLEEP = auto()  # leave it stopped until it is addressed
    PARK = auto()
    HOLD_BACK = auto()  # do not make it yet
    FORGIVE = auto()  # begin anew: what happened before does not count any more


@dataclass(frozen=True)
class Decision:
    """`reason`: in words for the operator; `after_s`: None is for ever; `state`: what the sandbox is meanwhile."""

    do: Do
    reason: str
    after_s: float | None = None
    state: SandboxState | None = None


RESTING = frozenset({SandboxState.DOZING, SandboxState.ASLEEP})
"""At rest on purpose: only who addresses it wakes it."""


def is_needed(now: datetime, state: SandboxState, *, wrote_at: datetime | None, waiting: bool, addressed: bool) -> bool:
    """Whether a sandbox should run: somebody waits, or is likely to write and it was not put to rest."""
    recent = wrote_at is not None and now - wrote_at < RECENT
    return waiting or addressed or (recent and state not in RESTING)


def is_at_rest(state: SandboxState, status: str | None) -> bool:
    """Whether a sandbox that rests is found as it was left: then it costs nothing. `status`: None: no container."""
    if state is SandboxState.DOZING:
        return status == "paused"
    return state is SandboxState.ASLEEP and status not in ("running", "paused", "restarting")


def decide(
    now: float, wanted: Wanted, observed: Observed, history: History, host: Host, limits: Limits = Limits()
) -> Decision:
    """The next step for a sandbox that is not connected. `now`: monotonic seconds."""
    if not host.answers:
        return Decision(Do.WAIT, "the engine does not answer", after_s=limits.first_delay_s)
    if wanted.retry:
        return Decision(Do.FORGIVE, "an operator wants it tried again")
    if observed.state is SandboxState.PARKED:
        return _parked(wanted, observed)
    if wanted.full:
        return Decision(Do.PARK, wanted.full)
    not_before = history.reconnect_at if observed.running and observed.usable else history.not_before
    if now < not_before:
        return Decision(Do.WAIT, "it failed a moment ago", after_s=not_before - now)
    if observed.running and observed.usable:
        return Decision(Do.CONNECT, "found running")
    if observed.frozen and observed.usable:
        return _frozen(wanted, observed)
    if history.failures and not observed.running and observed.refused:
        return Decision(Do.PARK, "the gateway refuses its configuration or its data: see its log")
    if not wanted.needed and not observed.running:
        return Decision(Do.STOP if observed.frozen else Do.SLEEP, "nobody needs it now")
    if observed.new and not host.has_room:
        return Decision(Do.HOLD_BACK, "the disk is low: no new sandbox is made until there is more room")
    if wanted.made_of is None and not observed.exists:
        return Decision(Do.WAIT, "the image is not here: clawkakad image build", state=SandboxState.UNHEALTHY)
    if history.used_up(now, limits):
        return Decision(Do.PARK, f"{limits.restarts} restarts in {limits.window_s / 60:g} minutes did not help")
    return Decision(Do.START, "started again" if history.failures else "started")


def _frozen(wanted: Wanted, observed: Observed) -> Decision:
    """It goes on where it stopped. One that was frozen half way, or by somebody else, dozes like any other."""
    if wanted.needed:
        return Decision(Do.WAKE, "it is needed again")
    if wanted.asleep:
        return Decision(Do.STOP, "it dozed long enough")
    return Decision(Do.DOZE, "" if observed.state is SandboxState.DOZING else "found frozen")


def _parked(wanted: Wanted, observed: Observed) -> Decision:
    """Parked stays parked, until there is reason to hope."""
    if observed.was_full and not wanted.full:
        return Decision(Do.FORGIVE, "its disk has room again")
    if wanted.made_of is not None and wanted.made_of != observed.parked_with:
        return Decision(Do.FORGIVE, "its image or its profile is another one now")
    wrote_at, parked_at = wanted.wrote_at, observed.parked_at
    if wrote_at is not None and parked_at is not None and wrote_at - parked_at >= PARKED_FOR:
        return Decision(Do.FORGIVE, "its person wrote again")
    return Decision(Do.WAIT, "parked")
