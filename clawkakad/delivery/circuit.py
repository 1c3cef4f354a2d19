"""The circuit: is WhatsApp there at all? No I/O.

closed → open (three different messages in a row, or five tries of fewer, found nobody or got no usable answer) → trial
(a harmless request was answered: one message goes out alone) → closed (it was answered) or open again. An outage so
leaves a few sends of unknown outcome behind, and not a whole queue of them.
"""

import random
from collections.abc import Callable, Collection
from enum import Enum, auto

IN_A_ROW = 3  # different messages
TRIES_IN_A_ROW = 5  # of any messages: with one or two people waiting there are no three
FIRST_PROBE_S, LONGEST_PROBE_S = 1.0, 60.0
FIRST_WIDTH, MOST_WIDTH = 4, 64  # requests in flight: what an outage can leave behind with an unknown outcome
SILENT_S = 5.0  # with this many seconds and no answer at all, nobody else is sent to


class State(Enum):
    """Whether messages go out."""

    CLOSED = auto()  # as a circuit is when all is well
    OPEN = auto()  # nothing goes out but probes
    TRIAL = auto()  # one message at a time


class Circuit:
    """Counts what failed in a row, and when to look again. All times are monotonic seconds."""

    def __init__(self, dice: Callable[[], float] = random.random) -> None:
        self._dice = dice
        self.state = State.CLOSED
        self._width = FIRST_WIDTH
        self._failed: set[int] = set()
        self._tries = 0
        self._probes = 0
        self._probe_at = 0.0
        self._answered_at = float("-inf")

    def failed(self, row_id: int, now: float) -> bool:
        """A message found nobody, or got no usable answer. True where that opens the circuit."""
        if self.state is State.OPEN:
            return False
        self._failed.add(row_id)
        self._tries += 1
        self._width = max(FIRST_WIDTH, self._width // 2)
        if self.state is State.CLOSED and len(self._failed) < IN_A_ROW and self._tries < TRIES_IN_A_ROW:
            return False
        self._open(now)
        return True

    def answered(self, now: float) -> bool:
        """WhatsApp answered a message, whatever it said. True where that closes the circuit."""
        self._answered_at = now
        self._forget()
        self._probes = 0
        self._width = min(MOST_WIDTH, self._width + 1)
        was_closed = self.state is State.CLOSED
        self.state = State.CLOSED
        return not was_closed

    def probed(self, is_there: bool, now: float) -> None:
        """A probe came back."""
        if self.state is not State.OPEN:
            return
        if is_there:
            self.state = State.TRIAL
        else:
            self._open(now)

    def probe_in_s(self, now: float) -> float | None:
        """Seconds until a probe is due; None while there is nothing to probe."""
        return max(0.0, self._probe_at - now) if self.state is State.OPEN else None

    @property
    def width(self) -> int:
        """How many requests may be in flight: few at first and after failures, more with each answer."""
        return 1 if self.state is State.TRIAL else 0 if self.state is State.OPEN else self._width

    def is_silent(self, begun_at: Collection[float], now: float) -> bool:
        """Whether messages are in flight, and none of them has been answered for a while."""
        if len(begun_at) < IN_A_ROW:
            return False
        return now - max(self._answered_at, min(begun_at)) > SILENT_S

    def _open(self, now: float) -> None:
        """Probes come ever more slowly, also after trials that failed: such a probe tells little."""
        self.state = State.OPEN
        self._width = FIRST_WIDTH
        self._forget()
        wait_s = min(LONGEST_PROBE_S, FIRST_PROBE_S * 2.0 ** min(self._probes, 10))
        self._probes += 1
        self._probe_at = now + wait_s * (0.75 + 0.25 * self._dice())

    def _forget(self) -> None:
        self._failed.clear()
        self._tries = 0
