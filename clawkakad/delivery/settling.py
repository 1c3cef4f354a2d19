"""Settling a send whose outcome is unknown: how long a status may take, and what is done when none came. No I/O.

What the Graph API takes it reports by a status that carries our key, mostly within seconds. Silence says something
only while we listen: seconds in which a webhook waits to be stored, or WhatsApp cannot be reached, do not count, nor do
as many after them. What Meta could not bring it brings again, at longer and longer intervals, for seven days.
With statuses lost there is no rule without either loss or doubles: ours is stated here, and each case is counted.
"""

from collections import deque
from collections.abc import Collection
from datetime import timedelta
from enum import Enum, auto

LONGEST_WAIT_S = 300.0
LAGS_PER_WAIT = 5  # the wait is this many times what statuses mostly take
YOUNG = timedelta(minutes=10)  # a reply that is older may do more harm than good
SKEW = timedelta(minutes=1)  # made in the future: the clock was set back, and its age is anybody's guess
LONGEST_TICK_S = 3.0  # a process that was not running was not listening
MOST_BEHIND_S = 120.0  # after long outages nobody can wait until Meta has tried again: what is old is not sent at all


class Verdict(Enum):
    """What becomes of a message after the wait."""

    RESEND = auto()
    HOLD = auto()


def decide(*, age: timedelta, unknowns: int, origin: str, resends: int) -> Verdict:
    """Again where it is young, `resends` times at most, else never by ourselves: the operator decides.

    With one resend a message that is hit twice before Meta takes it is held, and its person hears nothing: among a
    thousand messages and twenty kills that were none to two. With three it was none, and no more doubles: each is
    sent again only after a wait in which Meta would have told of the send before it.
    A heartbeat was not asked for, so it is better missed than doubled.
    """
    is_young = -SKEW <= age < YOUNG
    return Verdict.RESEND if is_young and unknowns <= resends and origin != "heartbeat" else Verdict.HOLD


class Lags:
    """How long the first statuses took after their sends, lately."""

    def __init__(self, most: int = 500) -> None:
        self._seconds: deque[float] = deque(maxlen=most)

    def note(self, seconds: float) -> None:
        """One more. May be called on any thread."""
        if seconds >= 0:
            self._seconds.append(seconds)

    def p99_s(self) -> float:
        """What all but one in a hundred kept; 0 where nothing is known."""
        seconds = sorted(self._seconds)
        return seconds[min(len(seconds) - 1, len(seconds) * 99 // 100)] if seconds else 0.0


def wait_s(settle_s: float, lag_s: float) -> float:
    """Seconds of listening after which no status will come any more."""
    return max(settle_s, min(LAGS_PER_WAIT * lag_s, LONGEST_WAIT_S))


class Patience:
    """Counts for each unsettled message the seconds in which a status could have come."""

    def __init__(self) -> None:
        self._heard_s = 0.0
        self._listened_s = 0.0  # without what was made up for
        self._behind_s = 0.0  # as long as this Meta may still have something from a time in which we did not listen
        self._ticked_at: float | None = None
        self._was_listening = False
        self._since: dict[int, tuple[float, float]] = {}

    def was_away(self, seconds: float) -> None:
        """Nobody listened for so long before the first tick. Less than nothing: the clock was set, and nobody knows."""
        self._behind_s = min(MOST_BEHIND_S, max(0.0, seconds)) if seconds >= -SKEW.total_seconds() else MOST_BEHIND_S

    def tick(self, now: float, *, listening: bool) -> None:
        """The time is `now` (monotonic seconds); what has passed counts where we listened at both of its ends."""
        passed_s = 0.0 if self._ticked_at is None else now - self._ticked_at
        heard_s = min(passed_s, LONGEST_TICK_S) if listening and self._was_listening else 0.0
        made_up_s = min(heard_s, self._behind_s)
        self._behind_s = min(MOST_BEHIND_S, self._behind_s - made_up_s + passed_s - heard_s)
        self._heard_s += heard_s
        self._listened_s += heard_s - made_up_s
        self._ticked_at, self._was_listening = now, listening

    def waited_s(self, row_id: int) -> float:
        """Seconds that count for this message; it is known from its first mention on.

        Where something is always behind, all count but as many as that can be: no message waits for ever.
        """
        heard_s, listened_s = self._since.setdefault(row_id, (self._heard_s, self._listened_s))
        return max(self._listened_s - listened_s, self._heard_s - heard_s - MOST_BEHIND_S)

    def keep_only(self, row_ids: Collection[int]) -> None:
        """Forget all others: they are settled."""
        self._since = {row_id: since for row_id, since in self._since.items() if row_id in row_ids}
