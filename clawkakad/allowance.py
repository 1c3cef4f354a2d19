"""How much of the daemon's time one sandbox may take up: a tenth. No I/O but the clock.

A sandbox's own limits end at its socket: what is asked for there is done by the daemon, in one thread for everybody.
"""

import math
import time

REST = 9  # times as long as work for a sandbox took, no more is done for it


class Allowance:
    """Of one sandbox. What it does not use is kept, up to `at_once_s` of work."""

    def __init__(self, at_once_s: float = 0.0) -> None:
        self._kept_s = at_once_s * (1 + REST)
        self._rested_at = -math.inf

    def rest_s(self) -> float:
        """How long it has to wait for the next work to be done."""
        return max(0.0, self._rested_at - time.monotonic())

    def spend(self, work_s: float) -> float:
        """So much is done for it, or about to be: how long to rest. Nothing is given back to who does not wait."""
        self._rested_at = max(self._rested_at, time.monotonic() - self._kept_s) + work_s * (1 + REST)
        return self.rest_s()
