"""Notices that nothing is heard any more: one timer for a whole connection.

A deadline for each frame, of twenty a turn, would cost more than taking the frame in does. Here a frame only notes the
time, and the timer, when it fires, looks when something was last heard. Does no I/O.
"""

import asyncio
import time
from collections.abc import Callable

from clawkakad.moments import moment_after


class Silence:
    """Calls `tell`, once, when nothing was `heard()` for the time that `limit()` has set."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._heard_at = time.monotonic()  # the loop's own clock stands still while it works
        self._timer: asyncio.TimerHandle | None = None

    def heard(self, at: float) -> None:
        """Something came at this time of the monotonic clock."""
        self._heard_at = at

    @property
    def lasts_s(self) -> float:
        """Seconds since something was last heard."""
        return time.monotonic() - self._heard_at

    def limit(self, seconds: float) -> None:
        """From now on so much silence, since something was last heard, is told."""
        self.lift()
        self._timer = self._loop.call_at(moment_after(seconds - self.lasts_s), self._look, seconds)

    def lift(self) -> None:
        """There is no limit any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, seconds: float) -> None:
        self._timer = None
        if self.lasts_s >= seconds:
            self._tell()
        else:
            self.limit(seconds)
