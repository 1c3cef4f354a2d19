"""Express: a message that is on its way with the very commit that decided it.

Where nothing else waits for a person and nothing stands in the way of sending, the transaction that queues a message
also begins its send: one commit and one look at the outbox less. Order, pace and pauses are those of the delivery; it
alone grants this, and until the express has gone nobody else sends to that person.
"""

from collections.abc import Callable
from datetime import datetime

from clawkakad.delivery import planning
from clawkakad.model import UserId
from clawkakad.registry import sends
from clawkakad.registry.database import Transaction
from clawkakad.registry.sends import Head


class Express:
    """Granted for one transaction: `begin` in it, `go` after it, whatever became of it.

    Where the transaction may be tried more than once, each try starts with `anew`: what an undone one began is no row.
    """

    def __init__(self, user_id: UserId, go: Callable[[Head | None], None]) -> None:
        self._user_id = user_id
        self._go = go
        self._head: Head | None = None

    def anew(self) -> None:
        """Nothing is begun."""
        self._head = None

    def begin(self, tx: Transaction, now: datetime) -> None:
        """Begin the send of the person's oldest message, if it may go now. The last call counts."""
        self.anew()
        head = sends.head_of(tx, self._user_id)
        if head is not None and planning.sort_out([head], (), now).queued:
            self._head = next(iter(sends.begin(tx, [head], now)), None)

    def go(self, *, stored: bool) -> bool:
        """Send what was begun and stored. False where that is nothing: the delivery has to look for itself."""
        head = self._head if stored else None
        self._go(head)
        return head is not None
