"""The outbox: every message to a person, added in the transaction that decided to send it.

queued → sending → sent → delivered → read;  → failed;  sending → ambiguous → sent | queued | failed.
Statuses of Meta arrive late, early, twice and out of order: they only ever move a row forward.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from clawkakad.model import OutboxState, UserId, Wamid
from clawkakad.registry import ids, times
from clawkakad.registry.database import Database, Row, Transaction

_RANK = {
    OutboxState.QUEUED: 0,
    OutboxState.SENDING: 1,
    OutboxState.AMBIGUOUS: 1,
    OutboxState.HELD: 1,
    OutboxState.DROPPED: 1,  # should it have gone out after all, that is what counts
    OutboxState.SENT: 2,
    OutboxState.FAILED: 3,  # a failure is final unless it was delivered after all
    OutboxState.DELIVERED: 4,
    OutboxState.READ: 5,
}


@dataclass(frozen=True)
class OutboxRow:
    """A message to a person. `key` travels with it and comes back in statuses; `attempt`: requests written so far."""

    id: int
    key: str
    source: str
    origin: str
    user_id: UserId
    text: str
    state: OutboxState
    attempt: int
    wamid: Wamid | None
    not_before: datetime
    created_at: datetime
    changed_at: datetime
    reason: str


def add(tx: Transaction, user_id: UserId, parts: Sequence[str], *, origin: str, source: str, now: datetime) -> bool:
    """Queue the parts of one message, in order. `source` names what it is for: the same source again adds nothing."""
    added = 0
    for number, text in enumerate(parts):
        added += tx.execute(
            "INSERT INTO outbox (key, source, origin, user_id, text, state, not_before, created_at, changed_at)"
            " VALUES (:key, :source, :origin, :user, :text, 'queued', :now, :now, :now)"
            " ON CONFLICT (source) DO NOTHING",
            {
                "key": ids.new_key(),
                "source": f"{source}#{number}",
                "origin": origin,
                "user": user_id,
                "text": text,
                "now": times.to_text(now),
            },
        )
    return added > 0


def apply_status(
    tx: Transaction, *, wamid: Wamid, key: str | None, state: OutboxState, reason: str, now: datetime
) -> bool:
    """Move the row of a status forward, found by its wamid or by our key (the answer to the send may be lost)."""
    row = tx.one("SELECT id, state FROM outbox WHERE wamid = :wamid OR key = :key", {"wamid": wamid, "key": key})
    if row is None or _RANK[OutboxState(row["state"])] >= _RANK[state]:
        return False
    tx.execute(
        "UPDATE outbox SET state = :state, wamid = coalesce(wamid, :wamid), reason = :reason, changed_at = :now"
        " WHERE id = :id",
        {"id": row["id"], "state": state.value, "wamid": wamid, "reason": reason, "now": times.to_text(now)},
    )
    return True


def release(tx: Transaction, user_id: UserId, now: datetime) -> int:
    """A person has written: what the service window held goes out, in its order. Returns how many there were."""
    return tx.execute(
        "UPDATE outbox SET state = 'queued', hold = NULL, reason = '', not_before = :now, changed_at = :now"
        " WHERE user_id = :user AND state = 'held' AND hold = 'window'",
        {"user": user_id, "now": times.to_text(now)},
    )


class Outbox:
    """The table `outbox`, seen by the one who sends."""

    def __init__(self, db: Database, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._clock = clock

    async def add(self, user_id: UserId, parts: Sequence[str], *, origin: str, source: str) -> bool:
        """`add` in a transaction of its own."""
        now = self._clock()
        return await self._db.write(lambda tx: add(tx, user_id, parts, origin=origin, source=source, now=now))

    async def heads(self) -> list[OutboxRow]:
        """For each person the oldest message that is not on its way yet: nothing behind it may overtake it."""
        rows = await self._db.all(
            "SELECT * FROM outbox WHERE id IN"
            " (SELECT min(id) FROM outbox WHERE state IN ('queued', 'sending', 'ambiguous') GROUP BY user_id)"
            " ORDER BY id"
        )
        return [_outbound(row) for row in rows]

    async def begin(self, row: OutboxRow) -> bool:
        """Committed before the request goes out: after a crash the row tells that it may have been sent.

        False where a status has settled the row meanwhile: then it must not be sent.
        """
        return 1 == await self._db.execute(
            "UPDATE outbox SET state = 'sending', attempt = attempt + 1, changed_at = :now"
            " WHERE id = :id AND state = 'queued'",
            {"id": row.id, "now": times.to_text(self._clock())},
        )

    async def sent(self, row: OutboxRow, wamid: Wamid) -> None:
        """The Graph API took it. A status may have come first: then only the wamid is added."""
        await self._db.execute(
            "UPDATE outbox SET wamid = coalesce(wamid, :wamid), changed_at = :now, reason = '',"
            " state = iif(state IN ('queued', 'sending', 'ambiguous'), 'sent', state) WHERE id = :id",
            {"id": row.id, "wamid": wamid, "now": times.to_text(self._clock())},
        )

    async def move(self, row: OutboxRow, state: OutboxState, reason: str) -> bool:
        """Leave `sending` or `ambiguous` for `state`; False where a status has settled the row meanwhile."""
        return 1 == await self._db.execute(
            "UPDATE outbox SET state = :state, reason = :reason, changed_at = :now"
            " WHERE id = :id AND state IN ('queued', 'sending', 'ambiguous')",
            {
                "id": row.id,
                "state": state.value,
                "reason": reason,
                "now": times.to_text(self._clock()),
            },
        )

    async def put_back(self, row: OutboxRow, reason: str, not_before: datetime) -> None:
        """Nothing was sent: the request does not count, and the row waits until `not_before`."""
        await self._db.execute(
            "UPDATE outbox SET state = 'queued', attempt = attempt - 1, reason = :reason, changed_at = :now,"
            " not_before = :not_before WHERE id = :id AND state = 'sending'",
            {
                "id": row.id,
                "reason": reason,
                "now": times.to_text(self._clock()),
                "not_before": times.to_text(not_before),
            },
        )

    async def interrupted(self) -> int:
        """At start: what the last process left in `sending` may have gone out. Returns how many there were."""
        return await self._db.execute(
            "UPDATE outbox SET state = 'ambiguous', reason = 'the daemon stopped while sending', changed_at = :now"
            " WHERE state = 'sending'",
            {"now": times.to_text(self._clock())},
        )

    async def count_since(self, user_id: UserId, origin: str, since: datetime) -> int:
        """How many messages of one origin a person got since an instant."""
        row = await self._db.one(
            "SELECT count(*) AS n FROM outbox WHERE user_id = :user AND origin = :origin AND created_at >= :since",
            {"user": user_id, "origin": origin, "since": times.to_text(since)},
        )
        return 0 if row is None else int(row["n"])

    async def all(self, limit: int = 50) -> list[OutboxRow]:
        """The latest messages, newest first."""
        rows = await self._db.all("SELECT * FROM outbox ORDER BY id DESC LIMIT :limit", {"limit": limit})
        return [_outbound(row) for row in rows]


def _outbound(row: Row) -> OutboxRow:
    return OutboxRow(
        id=row["id"],
        key=row["key"],
        source=row["source"],
        origin=row["origin"],
        user_id=UserId(row["user_id"]),
        text=row["text"],
        state=OutboxState(row["state"]),
        attempt=row["attempt"],
        wamid=None if row["wamid"] is None else Wamid(row["wamid"]),
        not_before=times.from_text(row["not_before"]),
        created_at=times.from_text(row["created_at"]),
        changed_at=times.from_text(row["changed_at"]),
        reason=row["reason"],
    )
