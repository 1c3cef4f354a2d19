"""How much of the daemon's time one sandbox may take up: a tenth. No I/O but the clock.

A sandbox's own limits end at its socket: what is asked for there is done by the daemon, in one thread for everybody.
"""

import math
import time

REST = 9  # times as long as work for a sandbox took, no more is done for it
CHANGE_S = 0.001  # of small work that is paid for together: each by itself would cost a fifth of what it is for


class Allowance:
    """Of one sandbox. What it does not use is kept, up to `at_once_s` of work."""

    def __init__(self, at_once_s: float = 0.0) -> None:
        self._kept_s = at_once_s * (1 + REST)
        self._rested_at = -math.inf
        self._change_s = 0.0

    def rest_s(self) -> float:
        """How long it has to wait for the next work to be done."""
        return max(0.0, self._rested_at - time.monotonic())

    def spend(self, work_s: float) -> float:
        """So much is done for it, or about to be: how long to rest. Nothing is given back to who does not wait."""
        self._rested_at = max(self._rested_at, time.monotonic() - self._kept_s) + work_s * (1 + REST)
        return self.rest_s()

    def spend_change(self, work_s: float) -> float:
        """`spend` of small work, which is paid for when enough of it has come together."""
        self._change_s += work_s
        if self._change_s < CHANGE_S:
            return 0.0
        together_s, self._change_s = self._change_s, 0.0
        return self.spend(together_s)
