"""What becomes of a message after its request: the outcome and Meta's table give a fate. No I/O.

Keeps what has to be remembered between sends: who failed how often in a row and by what, whether WhatsApp is there,
whether all have to slow down.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from clawkakad.delivery.circuit import Circuit
from clawkakad.delivery.pacing import Brake, Pacer
from clawkakad.model import UserId, Wamid
from clawkakad.registry.outbox import OutboxRow
from clawkakad.whatsapp import errors as meta

LONGEST_PAIR_S = 3600.0
FIRST_AGAIN_S, LONGEST_AGAIN_S = 1.0, 60.0
# Answers to one person's messages that are not the Graph API's, until one is taken: those of a proxy's filter, say.
# What answers to everything, as a captive portal does, is stopped by the circuit before.
MOST_FOREIGN = 10
MOST_COUNTED = 20  # the longest waits are reached long before


@dataclass(frozen=True)
class Accepted:
    """The Graph API took it."""

    wamid: Wamid


@dataclass(frozen=True)
class NotReached:
    """Nothing was sent. `by`: who said so, where it was not the network: something that is not the Graph API."""

    reason: str
    is_foreign: bool = False


@dataclass(frozen=True)
class Unknown:
    """It may be on its way."""

    reason: str


@dataclass(frozen=True)
class Refused:
    """The Graph API said no, with a code of Meta's. `asked_s`: how long it asked us to wait."""

    code: int
    reason: str
    asked_s: float | None = None


Outcome = Accepted | NotReached | Unknown | Refused


class Kind(Enum):
    """The fates."""

    SENT = auto()
    BACK = auto()  # queued again, after `wait_s`
    AMBIGUOUS = auto()
    HELD = auto()  # until the person writes
    STOPPED = auto()  # queued again, and all sending pauses for `wait_s`
    FAILED = auto()
    UNREACHABLE = auto()  # failed, and so would whatever else goes to this person


class Fate(NamedTuple):
    """What becomes of a message, why, and for how long."""

    kind: Kind
    reason: str = ""
    wait_s: float = 0.0
    wamid: Wamid | None = None
    code: int | None = None


class _Trouble(Enum):
    """What comes several times in a row, each counted for itself."""

    NOT_REACHED = auto()
    FOREIGN = auto()
    PAIR_LIMIT = auto()


class Judge:
    """All times are monotonic seconds."""

    def __init__(self, circuit: Circuit, brake: Brake, pacer: Pacer, dice: Callable[[], float] = random.random) -> None:
        self._circuit = circuit
        self._brake = brake
        self._pacer = pacer
        self._dice = dice
        self._in_a_row: dict[UserId, Counter[_Trouble]] = {}

    def fate(self, row: OutboxRow, outcome: Outcome, now: float) -> Fate:
        """Learn from an outcome, and say what it means for the message."""
        if isinstance(outcome, Unknown):
            self._circuit.failed(row.id, now)
            return Fate(Kind.AMBIGUOUS, outcome.reason)
        if isinstance(outcome, NotReached):
            self._circuit.failed(row.id, now)
            return self._not_reached(row, outcome)
        self._circuit.answered(now)
        if isinstance(outcome, Refused):
            return self._refused(row, outcome, now)
        self._in_a_row.pop(row.user_id, None)
        self._brake.taken()
        return Fate(Kind.SENT, wamid=outcome.wamid)

    def _not_reached(self, row: OutboxRow, outcome: NotReached) -> Fate:
        failures = self._count(row.user_id, _Trouble.FOREIGN if outcome.is_foreign else _Trouble.NOT_REACHED)
        if outcome.is_foreign and failures >= MOST_FOREIGN:
            return self._final(Kind.FAILED, row, outcome.reason)
        wait_s = min(LONGEST_AGAIN_S, FIRST_AGAIN_S * 2.0 ** (failures - 1)) * (0.75 + 0.25 * self._dice())
        return Fate(Kind.BACK, outcome.reason, wait_s)

    def _refused(self, row: OutboxRow, outcome: Refused, now: float) -> Fate:
        rule = meta.rule_of(outcome.code)
        match rule.reaction:
            case meta.Reaction.RETRY:
                wait_s = self._brake.hit(now, first_s=rule.wait_s, asked_s=outcome.asked_s)
                return Fate(Kind.BACK, outcome.reason, wait_s, code=outcome.code)
            case meta.Reaction.PAIR_LIMIT:
                return self._too_much_for_one(row, outcome, now)
            case meta.Reaction.TEMPLATE:
                return self._final(Kind.HELD, row, outcome.reason, outcome.code)
            case meta.Reaction.STOP if rule.width is meta.Width.ALL:
                return Fate(Kind.STOPPED, outcome.reason, rule.wait_s, code=outcome.code)
            case _:
                kind = Kind.UNREACHABLE if outcome.code == meta.UNREACHABLE else Kind.FAILED
                return self._final(kind, row, outcome.reason, outcome.code)

    def _too_much_for_one(self, row: OutboxRow, outcome: Refused, now: float) -> Fate:
        """Meta: wait 4^n seconds, n = 0, 1, 2 …; nobody else is affected."""
        self._pacer.drain(row.user_id, now)
        wait_s = min(LONGEST_PAIR_S, 4.0 ** (self._count(row.user_id, _Trouble.PAIR_LIMIT) - 1))
        return Fate(Kind.BACK, outcome.reason, max(wait_s, outcome.asked_s or 0.0), code=outcome.code)

    def _final(self, kind: Kind, row: OutboxRow, reason: str, code: int | None = None) -> Fate:
        self._in_a_row.pop(row.user_id, None)
        return Fate(kind, reason, code=code)

    def _count(self, user_id: UserId, trouble: _Trouble) -> int:
        """How often it came in a row to one person, this time included. Whoever has any has a message in the queue."""
        counts = self._in_a_row.setdefault(user_id, Counter())
        counts[trouble] = min(counts[trouble] + 1, MOST_COUNTED)
        return counts[trouble]
