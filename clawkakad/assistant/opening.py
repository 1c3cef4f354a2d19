"""Opening: a turn that begins with the very commit that stores its message.

What the express is to a reply. Where a person's agent is awake, nothing else of theirs waits, and no burst is waited
for, the transaction that stores their message also begins its turn: one commit and two looks at the inbox less. The
agent is asked just before that commit, so that it thinks while the disk works. Where the commit never comes, Meta has
no 200 and brings the message again, and the gateway knows it by its key, which is made of the message alone.
Conversations alone grant this; until it has gone nobody else begins a turn for that person.
"""

from datetime import datetime
from typing import Protocol

from clawkakad.assistant.turnbook import Turn
from clawkakad.model import UserId
from clawkakad.registry.inbox import InboxRow
from clawkakad.registry.transaction import Transaction


class Host(Protocol):
    """Who grants it, and takes the turn from there."""

    def grant(self, user_id: UserId) -> bool:
        """Whether a turn could be asked for at once: then nobody else begins one until `go`."""

    def open(self, tx: Transaction, message: InboxRow, now: datetime) -> Turn | None:
        """Begin the turn of a message; None where this is not the simple case."""

    def ask(self, user_id: UserId, turn: Turn) -> None:
        """The transaction is about to be committed: ask now."""

    def go(self, user_id: UserId, lost: Turn | None) -> None:
        """The transaction is over: let go of the person. `lost`: was begun and is not stored; if it was asked for, give
        it up."""


class Opening:
    """Of one transaction: `begin` in it, `ask` before its commit, `go` after it, whatever became of it.

    Where the transaction may be tried more than once, each try starts with `anew`.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._granted: dict[UserId, Turn | None] = {}
        self._is_over = False  # a transaction that nobody waits for any more may still run

    def anew(self) -> None:
        """What an undone try began is not begun."""
        self._let_go(stored=False)

    def begin(self, tx: Transaction, message: InboxRow, now: datetime) -> bool:
        """Begin the turn of a message as this transaction has stored it. False: the conversation has to be woken."""
        user_id = message.user_id
        if self._is_over or not self._host.grant(user_id):
            return False
        self._granted[user_id] = None
        turn = self._granted[user_id] = self._host.open(tx, message, now)
        return turn is not None

    def ask(self, _: object) -> bool:
        """Ask the agents of what was begun; False where that is nothing."""
        turns = [(user_id, turn) for user_id, turn in self._granted.items() if turn is not None]
        for user_id, turn in turns:
            self._host.ask(user_id, turn)
        return bool(turns)

    def go(self, stored: object | None) -> None:
        """Let go of everybody. None: nothing is stored."""
        self._is_over = True
        self._let_go(stored=stored is not None)

    def _let_go(self, *, stored: bool) -> None:
        granted, self._granted = self._granted, {}
        for user_id, turn in granted.items():
            self._host.go(user_id, None if stored else turn)
