"""Notices that nothing is heard any more: one timer for a whole connection.

A deadline for each frame, of twenty a turn, would cost more than taking the frame in does (17 us). Here a frame only
notes the time, and the timer, when it fires, looks when something was last heard. Does no I/O.
"""

import asyncio
import time
from types import TracebackType


class Silence:
    """A block that ends with TimeoutError when nothing was `heard()` for the time that `limit()` has set."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._block = asyncio.timeout(None)
        self._heard_at = time.monotonic()  # the loop's own clock stands still while it works
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        await self._block.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lift()
        await self._block.__aexit__(kind, problem, trace)

    def heard(self, at: float | None = None) -> None:
        """Something came, just now or `at` that time of the monotonic clock."""
        self._heard_at = time.monotonic() if at is None else at

    @property
    def lasts_s(self) -> float:
        """Seconds since something was last heard."""
        return time.monotonic() - self._heard_at

    def limit(self, seconds: float) -> None:
        """From now on so much silence, since something was last heard, ends the block."""
        self.lift()
        ends_at = self._heard_at + seconds
        if ends_at <= time.monotonic():
            self._block.reschedule(ends_at)  # in the past: at once
        else:
            self._timer = self._loop.call_at(ends_at, self.limit, seconds)

    def lift(self) -> None:
        """There is no limit any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
