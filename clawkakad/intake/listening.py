"""How intake is doing: what waits to be stored, for how long, and whether the last webhook was. No I/O.

Intake writes it; delivery reads `caught_up`: that no status came for a message says nothing while statuses wait, or
were turned away.
"""

import time
from collections.abc import Callable

# What waits for less is no reason to distrust silence: the registry writes in the order of asking, so that it is stored
# before whatever is decided meanwhile, which looks at the row again. Statuses may take half of it to find company.
A_MOMENT_S = 0.1


class Listening:
    """The deliveries that wait to be stored. `begun` gives a ticket; `stored` or `failed` hands it back."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._begun: dict[int, float] = {}  # in the order in which they came, so the first is the oldest
        self._next = 0
        self._last_was_stored = True

    def begun(self) -> int:
        """A delivery is here and waits to be stored; its ticket."""
        self._next += 1
        self._begun[self._next] = self._monotonic()
        return self._next

    def stored(self, ticket: int) -> None:
        """It is on disk."""
        del self._begun[ticket]
        self._last_was_stored = True

    def failed(self, ticket: int) -> None:
        """It is not on disk, as far as we know: Meta will send it again."""
        del self._begun[ticket]
        self._last_was_stored = False

    def turned_away(self) -> None:
        """A delivery was not even begun: Meta will send it again."""
        self._last_was_stored = False

    @property
    def waiting(self) -> int:
        """How many deliveries wait to be stored."""
        return len(self._begun)

    @property
    def oldest_s(self) -> float:
        """How long the oldest of them has waited; 0 where none waits."""
        first = next(iter(self._begun.values()), None)
        return 0.0 if first is None else self._monotonic() - first

    @property
    def caught_up(self) -> bool:
        """No delivery has waited to be stored for longer than a moment, and the last one was stored.

        True at the start: nothing has come yet.
        """
        return self.oldest_s < A_MOMENT_S and self._last_was_stored
