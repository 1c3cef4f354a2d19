"""Express: a message that is on its way with the very commit that decided it.

Where nothing else waits for a person and nothing stands in the way of sending, the transaction that adds a message also
begins its send: one commit and one look at the outbox less. Order, pace and pauses are those of the delivery; it
alone grants this, and until the express has gone nobody else sends to that person.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from clawkakad.delivery import planning
from clawkakad.model import UserId
from clawkakad.registry import outbox, sends
from clawkakad.registry.sends import Head
from clawkakad.registry.transaction import Transaction


class Express:
    """Granted for one transaction: `add` in it, `go` after it, whatever became of it.

    Where the transaction may be tried more than once, each try starts with `anew`: what an undone one began is no row.
    """

    def __init__(self, user_id: UserId, go: Callable[[Head | None], None]) -> None:
        self._user_id = user_id
        self._go = go
        self._head: Head | None = None

    def anew(self) -> None:
        """Nothing is begun."""
        self._head = None

    def add(self, tx: Transaction, parts: Sequence[str], *, origin: str, source: str, now: datetime) -> None:
        """`outbox.add` for the person, with the send of their oldest message begun if it may go now.

        Mostly that is the first of these parts, which then is added as begun. The last call counts.
        """
        self.anew()
        way = sends.clear_way(tx, self._user_id)
        if way is not None and planning.is_open(way, now):
            row = outbox.add_begun(tx, self._user_id, parts, origin=origin, source=source, now=now)
            self._head = None if row is None else Head(row, way)
        else:
            outbox.add(tx, self._user_id, parts, origin=origin, source=source, now=now)
            self._begin_oldest(tx, now)

    def _begin_oldest(self, tx: Transaction, now: datetime) -> None:
        head = sends.head_of(tx, self._user_id)
        if head is not None and planning.sort_out([head], (), now).queued:
            self._head = next(iter(sends.begin(tx, [head], now)), None)

    def go(self, *, stored: bool) -> bool:
        """Send what was begun and stored. False where that is nothing: the delivery has to look for itself."""
        head = self._head if stored else None
        self._go(head)
        return head is not None
