"""The lookout: what there is to send, read from the registry no more often than it must be.

With a long queue each look costs, so one serves for many sends: whoever was not sent to yet is remembered. That a row
is still queued is checked when its send is begun, so what is remembered may be a little old.
"""

from collections.abc import Callable, Collection
from datetime import datetime

from clawkakad.delivery import planning
from clawkakad.delivery.pausing import Pausing
from clawkakad.delivery.planning import Sorted
from clawkakad.model import UserId
from clawkakad.moments import APART_S
from clawkakad.registry import Registry, sends
from clawkakad.registry.sends import Head

LOOK_AGAIN_S = 1.0  # more or less: how soon a change is noticed that nobody told of, an operator's command say
EARLY_S = APART_S / 2 + 0.05  # so much before that it is soon enough: a shared moment may come so much sooner
MANY, REST_S = 200, 0.1  # with more people than that waiting, looks are that far apart
_LONG_AGO = float("-inf")


class Lookout:
    """All times are monotonic seconds, but for the clock on the wall, which the rows are about."""

    def __init__(self, registry: Registry, clock: Callable[[], datetime], pausing: Pausing) -> None:
        self._registry = registry
        self._clock = clock
        self._pausing = pausing
        self._queued: list[Head] = []
        self._size = 0
        self._looked_at = _LONG_AGO
        self._again_s = LOOK_AGAIN_S  # from then on
        self._is_stale = True

    def changed(self, *, now: bool = False) -> None:
        """Something has changed in the registry. `now`: nothing may be sent before that was seen."""
        self._is_stale = True
        if now:
            self._looked_at = _LONG_AGO

    async def look(self, busy: Collection[UserId], monotonic: float) -> Sorted:
        """What is due of people who are not `busy`. Raises RegistryUnavailable."""
        if self.wait_s(monotonic) > (0.0 if self._is_stale else EARLY_S):
            return Sorted(queued=[head for head in self._queued if head.row.user_id not in busy], is_whole=False)
        self._is_stale, self._looked_at, wall = False, monotonic, self._clock()  # both clocks at the same moment
        try:
            due = await self._registry.db.read(sends.due)
        except BaseException:
            self.changed(now=True)
            raise
        self._size = len(due.heads)
        self._pausing.see(due.pauses, wall, monotonic)
        found = planning.sort_out(due.heads, busy, self._clock())
        self._queued = found.queued
        self._again_s = min(LOOK_AGAIN_S, found.soonest_s)
        return found

    def started(self, heads: Collection[Head]) -> None:
        """These are being sent: what comes after them is not known."""
        ids = {head.row.id for head in heads}
        self._queued = [head for head in self._queued if head.row.id not in ids]

    def wait_s(self, monotonic: float) -> float:
        """Seconds until the next look."""
        least_s = REST_S if self._size > MANY else 0.0
        return max(0.0, self._looked_at + (least_s if self._is_stale else self._again_s) - monotonic)
