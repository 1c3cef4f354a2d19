"""Pauses: WhatsApp refuses to send for us until somebody has acted, or a time has passed. The queue is kept.

One row per scope: everything, or templates only. `since` is the first refusal of a row of them, `until` the moment of
the next single try; the row goes when a message is taken again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from clawkakad.registry import times
from clawkakad.registry.database import Row, Transaction


class Scope(StrEnum):
    """What is paused."""

    ALL = "all"
    TEMPLATES = "templates"  # free-form text still goes out


@dataclass(frozen=True)
class Pause:
    """Why nothing is sent, and until when nothing is tried. `code`: Meta's."""

    scope: Scope
    code: int | None
    reason: str
    since: datetime
    until: datetime


def pause(tx: Transaction, scope: Scope, code: int | None, reason: str, *, now: datetime, until: datetime) -> bool:
    """Begin a pause, or go on with one. True where it is new, or has another cause: the operator should hear of it."""
    known = tx.one("SELECT code FROM pauses WHERE scope = :scope", {"scope": scope.value})
    tx.execute(
        "INSERT INTO pauses (scope, code, reason, since, until) VALUES (:scope, :code, :reason, :now, :until)"
        " ON CONFLICT (scope) DO UPDATE SET code = excluded.code, reason = excluded.reason, until = excluded.until",
        {
            "scope": scope.value,
            "code": code,
            "reason": reason,
            "now": times.to_text(now),
            "until": times.to_text(until),
        },
    )
    return known is None or known["code"] != code


def lift(tx: Transaction, scope: Scope) -> bool:
    """Messages are taken again. True where there was a pause."""
    return tx.execute("DELETE FROM pauses WHERE scope = :scope", {"scope": scope.value}) == 1


def try_now(tx: Transaction, now: datetime) -> int:
    """The operator has acted: the next message is tried at once. Returns the number of pauses."""
    return tx.execute("UPDATE pauses SET until = min(until, :now)", {"now": times.to_text(now)})


def current(tx: Transaction) -> Sequence[Pause]:
    """All pauses, the widest first."""
    return [_pause(row) for row in tx.all("SELECT * FROM pauses ORDER BY scope")]


def _pause(row: Row) -> Pause:
    return Pause(
        scope=Scope(row["scope"]),
        code=row["code"],
        reason=row["reason"],
        since=times.from_text(row["since"]),
        until=times.from_text(row["until"]),
    )
