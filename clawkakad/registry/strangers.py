"""Strangers: how many of their messages are kept, and how many lines they got. Only counts."""

from datetime import datetime

from clawkakad.model import UserId
from clawkakad.registry import times
from clawkakad.registry.transaction import Transaction


def kept_since(tx: Transaction, user_id: UserId, since: datetime) -> int:
    """How many refused messages of one of them are kept since an instant."""
    row = tx.one(
        "SELECT count(*) AS n FROM inbox WHERE user_id = :user AND received_at >= :since AND state = 'refused'",
        {"user": user_id, "since": times.to_text(since)},
    )
    return 0 if row is None else int(row["n"])


def lines(tx: Transaction, source: str) -> int:
    """How many messages are in the outbox whose sources begin with `source`, which ends in a colon."""
    row = tx.one(
        "SELECT count(*) AS n FROM outbox WHERE source > :source AND source < :after",
        {"source": source, "after": source[:-1] + ";"},  # the character behind the colon
    )
    return 0 if row is None else int(row["n"])
