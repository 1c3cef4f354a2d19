"""Bursts: which waiting messages become one turn, and how long it is worth waiting for more of them. Pure.

People write "hi", "add milk", "and eggs" and mean one thing. A message waits a quiet window for the next one, counted
from when it was received: what waited already, for a turn, a waking sandbox or a restart, waits no longer.
"""

from collections.abc import Sequence
from datetime import datetime

from clawkakad.model import InboxState
from clawkakad.registry.inbox import InboxRow

MOST_MESSAGES = 20  # in one turn; more wait for the next one
MOST_CHARACTERS = 16_000
MOST_WINDOWS = 4  # after the oldest message: who never pauses is answered all the same


def turn_of(waiting: Sequence[InboxRow], *, window_s: float) -> list[InboxRow]:
    """The messages of the next turn, in order: one that was begun as it was begun, else the first that go together.

    `waiting`: what waits for a person, begun ones first, in order. No window: each message is a turn of its own.
    """
    if waiting and waiting[0].state is InboxState.RUNNING:
        return [row for row in waiting if row.turn == waiting[0].turn]
    return list(waiting[: _together(waiting)]) if window_s else list(waiting[:1])


def _together(waiting: Sequence[InboxRow]) -> int:
    """How many of the first messages one turn holds: at least one, however long."""
    characters = 0
    for count, row in enumerate(waiting[:MOST_MESSAGES]):
        characters += len(row.text or "")
        if count and characters > MOST_CHARACTERS:
            return count
    return min(len(waiting), MOST_MESSAGES)


class Quiet:
    """The quiet window before one turn.

    A message's age is taken from the wall clock once, when it is first seen; from there on only monotonic time counts,
    so that a clock which jumps costs nobody more than one window.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._received: dict[int, float] = {}

    def left_s(self, waiting: Sequence[InboxRow], *, now: datetime, tick: float) -> float:
        """How long still to wait for more, in seconds. `tick`: monotonic time."""
        turn = turn_of(waiting, window_s=self._window_s)
        if not turn or turn[0].state is InboxState.RUNNING or len(turn) < len(waiting):
            return 0.0  # begun before, or full
        received = [self._received_at(row, now, tick) for row in turn]
        until = min(max(received) + self._window_s, min(received) + MOST_WINDOWS * self._window_s)
        return max(0.0, until - tick)

    def _received_at(self, row: InboxRow, now: datetime, tick: float) -> float:
        age_s = max(0.0, (now - row.received_at).total_seconds())
        return self._received.setdefault(row.id, tick - age_s)
