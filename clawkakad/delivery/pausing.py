"""The pause of all sending, as the one who sends sees it: none, wait, or try one message alone. No I/O.

The registry says until when on the wall; here the seconds are counted on a clock that nobody sets.
"""

from collections.abc import Sequence
from datetime import datetime

from clawkakad.registry.pauses import Pause, Scope

LONGEST_S = 24 * 3600.0  # no pause is longer, whatever the clock on the wall did


class Pausing:
    """Follows what the registry says. A new process tries one message at once: somebody may have acted."""

    def __init__(self) -> None:
        self._pause: Pause | None = None
        self._try_at = 0.0
        self._has_looked = False

    def see(self, pauses: Sequence[Pause], now: datetime, monotonic: float) -> None:
        """What the registry says now."""
        found = next((pause for pause in pauses if pause.scope is Scope.ALL), None)
        if found is not None and (self._pause is None or found.until != self._pause.until):
            wait_s = (found.until - now).total_seconds() if self._has_looked else 0.0
            self._try_at = monotonic + min(max(0.0, wait_s), LONGEST_S)
        self._pause = found
        self._has_looked = True

    @property
    def is_on(self) -> bool:
        """Whether sending is paused, or one message is tried."""
        return self._pause is not None

    def wait_s(self, monotonic: float) -> float:
        """Seconds until anything may be tried."""
        return max(0.0, self._try_at - monotonic) if self.is_on else 0.0
