"""Pauses: WhatsApp refuses to send for us until somebody has acted, or a time has passed. The queue is kept.

One row per scope: everything, or templates only. `since` is the first refusal of a row of them, `until` the moment of
the next single try. The row goes when a message is taken again; where Meta took messages and failed them afterwards, by
a status, only when a status says that one has gone out which was sent since the first try. News of one that was sent
before the pause proves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from clawkakad.registry import times
from clawkakad.registry.transaction import Row, Transaction

NEXT_TRY = timedelta(minutes=2)  # after one that was taken, for its statuses to come


class Scope(StrEnum):
    """What is paused."""

    ALL = "all"
    TEMPLATES = "templates"  # free-form text still goes out


@dataclass(frozen=True)
class Pause:
    """Why nothing is sent, and until when nothing is tried. `code`: Meta's; `by_status`: it was a status that told."""

    scope: Scope
    code: int | None
    reason: str
    since: datetime
    until: datetime
    by_status: bool


def pause(
    tx: Transaction,
    scope: Scope,
    code: int | None,
    reason: str,
    *,
    now: datetime,
    until: datetime,
    by_status: bool = False,
) -> bool:
    """Begin a pause, or go on with one. True where it is new, or has another cause: the operator should hear of it."""
    known = tx.one("SELECT code FROM pauses WHERE scope = :scope", {"scope": scope.value})
    tx.execute(
        "INSERT INTO pauses (scope, code, reason, since, until, by_status)"
        " VALUES (:scope, :code, :reason, :now, :until, :by_status)"
        " ON CONFLICT (scope) DO UPDATE SET code = excluded.code, reason = excluded.reason, until = excluded.until,"
        " by_status = max(by_status, excluded.by_status)",
        {
            "scope": scope.value,
            "code": code,
            "reason": reason,
            "now": times.to_text(now),
            "until": times.to_text(until),
            "by_status": by_status,
        },
    )
    return known is None or known["code"] != code


def trying(tx: Transaction, now: datetime) -> None:
    """A message is about to be tried alone. The first time counts, unless the clock was set back since."""
    tx.execute(
        "UPDATE pauses SET tried_at = min(coalesce(tried_at, :now), :now) WHERE scope = 'all'",
        {"now": times.to_text(now)},
    )


def taken(tx: Transaction, now: datetime) -> bool:
    """The message that was tried alone was taken. True where that ends the pause; else the next one is tried soon."""
    next_try = times.to_text(now + NEXT_TRY)
    if tx.execute("UPDATE pauses SET until = :next WHERE scope = 'all' AND by_status = 1", {"next": next_try}):
        return False
    return tx.execute("DELETE FROM pauses WHERE scope = 'all'") == 1


def gone_out(tx: Transaction, sent_at: datetime) -> bool:
    """A status says that a message has gone out which was taken at `sent_at`. True where that ends a pause."""
    return 1 == tx.execute(
        "DELETE FROM pauses WHERE scope = 'all' AND by_status = 1 AND tried_at <= :at", {"at": times.to_text(sent_at)}
    )


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
        by_status=bool(row["by_status"]),
    )
