"""What an operator may want to look at: messages in and out that are not done, with who is concerned. Only reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from clawkakad.model import Hold, InboxState, OutboxState, UserId
from clawkakad.registry import times
from clawkakad.registry.transaction import Row, Transaction

Table = Literal["inbox", "outbox"]

_OUTBOX = """
    SELECT m.id, m.user_id, u.name, m.origin AS what, m.text, m.state, m.hold, m.attempt, m.unknowns,
           m.created_at AS at, m.changed_at, m.reason,
           CASE WHEN m.state = 'queued' THEN
               (SELECT min(b.id) FROM outbox b WHERE b.user_id = m.user_id AND b.id < m.id AND b.state = 'ambiguous')
           END AS behind,
           (SELECT value FROM identifiers i WHERE i.user_id = m.user_id
            ORDER BY kind = 'wa_id' DESC, added_at DESC LIMIT 1) AS address
    FROM outbox m JOIN users u ON u.id = m.user_id
    WHERE (:all OR m.state IN ('queued', 'sending', 'ambiguous', 'held')
           OR (m.state = 'failed' OR m.unknowns > 0 AND m.attempt > 1) AND m.changed_at > :since)
      AND (:user IS NULL OR m.user_id = :user) AND (:state IS NULL OR m.state = :state)
    ORDER BY m.id DESC LIMIT :limit"""
_INBOX = """
    SELECT m.id, m.user_id, u.name, m.kind AS what, m.text, m.state, NULL AS hold, m.attempt, 0 AS unknowns,
           m.received_at AS at, m.changed_at, m.reason, NULL AS behind,
           (SELECT value FROM identifiers i WHERE i.user_id = m.user_id
            ORDER BY kind = 'wa_id' DESC, added_at DESC LIMIT 1) AS address
    FROM inbox m JOIN users u ON u.id = m.user_id
    WHERE (:all OR m.state IN ('received', 'running', 'parked')
           OR m.state = 'failed' AND m.changed_at > :since)
      AND (:user IS NULL OR m.user_id = :user) AND (:state IS NULL OR m.state = :state)
    ORDER BY m.id DESC LIMIT :limit"""
_SELECT = {"outbox": _OUTBOX, "inbox": _INBOX}


@dataclass(frozen=True)
class Entry:
    """A message in a list. `what`: the kind of one in, the origin of one out; `unknowns`: sends of unknown outcome.

    `behind`: the message of unknown outcome that has to be settled before this one is sent.
    """

    id: int
    user_id: UserId
    name: str | None
    address: str | None
    what: str
    text: str | None
    state: str
    hold: Hold | None
    tries: int
    unknowns: int
    at: datetime
    changed_at: datetime
    reason: str
    behind: int | None


@dataclass(frozen=True)
class Wanted:
    """Which messages. `since`: failures after it are listed too; None: everything is."""

    since: datetime | None
    user_id: UserId | None = None
    state: InboxState | OutboxState | None = None
    limit: int = 200


@dataclass(frozen=True)
class Counts:
    """How many messages are in which kind of trouble. `failed` (out) and `parked`: since an instant."""

    ambiguous: int
    unknown: int
    window: int
    failed: int
    parked: int


def messages(tx: Transaction, table: Table, wanted: Wanted) -> Sequence[Entry]:
    """The latest messages of these that are wanted, oldest first."""
    rows = tx.all(
        _SELECT[table],
        {
            "all": wanted.since is None or wanted.state is not None,
            "since": None if wanted.since is None else times.to_text(wanted.since),
            "user": wanted.user_id,
            "state": None if wanted.state is None else wanted.state.value,
            "limit": wanted.limit,
        },
    )
    return [_entry(row) for row in reversed(rows)]


def counts(tx: Transaction, since: datetime) -> Counts:
    """What the doctor asks."""
    out = tx.one(
        "SELECT count(*) FILTER (WHERE state = 'ambiguous') AS ambiguous,"
        " count(*) FILTER (WHERE hold = 'unknown') AS unknown, count(*) FILTER (WHERE hold = 'window') AS window,"
        " count(*) FILTER (WHERE state = 'failed' AND changed_at > :since) AS failed FROM outbox",
        {"since": times.to_text(since)},
    )
    parked = tx.one(
        "SELECT count(*) AS n FROM inbox WHERE state = 'parked' AND changed_at > :since",
        {"since": times.to_text(since)},
    )
    assert out is not None
    assert parked is not None
    return Counts(out["ambiguous"], out["unknown"], out["window"], out["failed"], parked["n"])


def _entry(row: Row) -> Entry:
    return Entry(
        id=row["id"],
        user_id=UserId(row["user_id"]),
        name=row["name"],
        address=row["address"],
        what=row["what"],
        text=row["text"],
        state=row["state"],
        hold=None if row["hold"] is None else Hold(row["hold"]),
        tries=row["attempt"],
        unknowns=row["unknowns"],
        at=times.from_text(row["at"]),
        changed_at=times.from_text(row["changed_at"]),
        reason=row["reason"],
        behind=row["behind"],
    )
