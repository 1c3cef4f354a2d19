"""Meta's pair limit: a message each 6 seconds to one person, with a burst of 45 borrowed from the future. No I/O.

https://developers.facebook.com/docs/whatsapp/messaging-limits
"""

from datetime import datetime

BURST = 45
EVERY_S = 6.0


class PairLimit:
    """A bucket for each person, full at first."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, datetime]] = {}

    def take(self, wa_id: str, now: datetime) -> bool:
        """Whether one more message may go to this person now; if so, it counts."""
        left, then = self._left.get(wa_id, (float(BURST), now))
        left = min(float(BURST), left + (now - then).total_seconds() / EVERY_S)
        allowed = left >= 1
        self._left[wa_id] = (left - 1 if allowed else left, now)
        return allowed
