"""The outbox: every message to a person, added in the transaction that decided to send it.

queued → sending → sent → delivered → read;  → failed;  sending → ambiguous → sent | queued | held;  queued → held.
Statuses of Meta arrive late, early, twice and out of order: good news is believed in any state and only moves a row
forward, bad news only where it is about the row's last send. That a message was sent under an id that its row has is
no news: where bad news has taken the row back since, it waits to be sent again. A row that is sent anew keeps the id of
the send before until an answer or a status names another one. See `sends` for the half that sends.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from clawkakad.model import Hold, OutboxState, UserId, Wamid
from clawkakad.registry import ids, lateness, times
from clawkakad.registry.database import Database
from clawkakad.registry.transaction import Row, Transaction

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
_UNANSWERED = (OutboxState.QUEUED, OutboxState.SENDING, OutboxState.AMBIGUOUS, OutboxState.HELD)
_IN_FLIGHT = (OutboxState.SENDING, OutboxState.AMBIGUOUS)
_TWO = 2  # attempts: one whose id the row has, and the last one
_LATEST = 50
_CONCLUDE = (
    "UPDATE outbox SET {} state = :state, hold = :hold, reason = :reason,"
    " sent_at = iif(:is_new, :now, coalesce(sent_at, :now)), not_before = :not_before, changed_at = :now WHERE id = :id"
)


class OutboxRow(NamedTuple):
    """A message to a person. `key` travels with it and comes back in statuses.

    `attempt`: requests that count as written; `unknowns`: those whose outcome was unknown; `sent_at`: of the last one
    that was taken.
    """

    id: int
    key: str
    source: str
    origin: str
    user_id: UserId
    text: str
    state: OutboxState
    hold: Hold | None
    attempt: int
    unknowns: int
    wamid: Wamid | None
    not_before: datetime
    created_at: datetime
    sent_at: datetime | None
    changed_at: datetime
    reason: str


class Subject(NamedTuple):
    """What a status is about: a row of the outbox, as far as that matters. Most statuses bring no news."""

    id: int
    user_id: UserId
    state: OutboxState
    attempt: int
    unknowns: int
    wamid: Wamid | None
    sent_at: datetime | None

    def was_last_sent_as(self, wamid: Wamid) -> bool:
        """Whether the fate of this wamid is the fate of the row: not that of a send before the last one.

        Before an answer was read only our key leads here: then this must be the only send without an id, and there
        must have been none before the one whose id the row has, for its id is forgotten.
        """
        if self.wamid == wamid:
            return self.state is OutboxState.SENT
        in_flight = self.unknowns + (self.state is OutboxState.SENDING)
        if self.wamid is None:
            return in_flight == 1 and self.state in _UNANSWERED
        return in_flight == 1 and self.state in _IN_FLIGHT and self.attempt <= _TWO

    def is_news_of_another_send(self, wamid: Wamid) -> bool:
        """Whether this is a send that the row has not heard of, while it is not known to be sent."""
        return self.wamid != wamid and _RANK[self.state] < _RANK[OutboxState.SENT]


def add(tx: Transaction, user_id: UserId, parts: Sequence[str], *, origin: str, source: str, now: datetime) -> bool:
    """Queue the parts of one message, in order. `source` names what it is for: the same source again adds nothing."""
    about = _About(user_id, origin, source, now)
    return bool(parts) and _insert_all(tx, about, parts, OutboxState.QUEUED) is not None


def add_begun(
    tx: Transaction, user_id: UserId, parts: Sequence[str], *, origin: str, source: str, now: datetime
) -> OutboxRow | None:
    """`add`, and at once what `sends.begin` does, for the first part: its row, which is to be sent after the commit.

    Nothing of the person's may be open before it. None where nothing was added.
    """
    return _insert_all(tx, _About(user_id, origin, source, now), parts, OutboxState.SENDING) if parts else None


class _About(NamedTuple):
    """What the parts of a message have in common."""

    user_id: UserId
    origin: str
    source: str
    now: datetime


def _insert_all(tx: Transaction, about: _About, parts: Sequence[str], first: OutboxState) -> OutboxRow | None:
    """The first part, in its state. None: told before, perhaps in fewer parts; those that are left would come alone."""
    row = _insert(tx, about, 0, parts[0], first)
    if row is not None:
        for number, text in enumerate(parts[1:], start=1):
            _insert(tx, about, number, text, OutboxState.QUEUED)
    return row


def _insert(tx: Transaction, about: _About, number: int, text: str, state: OutboxState) -> OutboxRow | None:
    key, source, attempt = ids.new_key(), f"{about.source}#{number}", int(state is OutboxState.SENDING)
    user_id, origin, now = about.user_id, about.origin, about.now
    row_id = tx.insert(
        "INSERT INTO outbox (key, source, origin, user_id, text, state, attempt, not_before, created_at, changed_at)"
        " VALUES (:key, :source, :origin, :user, :text, :state, :attempt, :now, :now, :now)"
        " ON CONFLICT (source) DO NOTHING",
        {
            "key": key,
            "source": source,
            "origin": origin,
            "user": user_id,
            "text": text,
            "state": state.value,
            "attempt": attempt,
            "now": times.to_text(now),
        },
    )
    if row_id is None:
        return None
    return OutboxRow(row_id, key, source, origin, user_id, text, state, None, attempt, 0, None, now, now, None, now, "")


def get(tx: Transaction, row_id: int) -> OutboxRow | None:
    """One message, or None."""
    row = tx.one("SELECT * FROM outbox WHERE id = :id", {"id": row_id})
    return None if row is None else outbound(row)


def find(tx: Transaction, wamid: Wamid, key: str | None) -> Subject | None:
    """The row that a status is about, by its wamid or by our key (the answer to the send may be lost)."""
    row = tx.one(
        "SELECT id, user_id, state, attempt, unknowns, wamid, sent_at FROM outbox WHERE wamid = :wamid OR key = :key",
        {"wamid": wamid, "key": key},
    )
    if row is None:
        return None
    row_id, user_id, state, attempt, unknowns, known_as, sent_at = row
    return Subject(row_id, user_id, OutboxState(state), attempt, unknowns, known_as, times.maybe(sent_at))


def apply_status(
    tx: Transaction, row: Subject, *, wamid: Wamid, state: OutboxState, reason: str, now: datetime
) -> bool:
    """Move a row, as it was found in this transaction, forward. False where nothing is new."""
    if _RANK[row.state] >= _RANK[state]:
        return False
    if state is OutboxState.FAILED and not row.was_last_sent_as(wamid):
        return False
    if state is OutboxState.SENT and row.wamid == wamid:
        return False  # late, or told twice: a failed status has taken it back since
    _conclude(tx, row, state, None, wamid, reason, not_before=now, now=now)
    return True


def retract(
    tx: Transaction, row: Subject, wamid: Wamid, why: Hold | None, reason: str, *, not_before: datetime, now: datetime
) -> None:
    """A status says that it was not delivered, and that it may be sent again: queued, or held for a reason."""
    state = OutboxState.QUEUED if why is None else OutboxState.HELD
    _conclude(tx, row, state, why, wamid, reason, not_before=not_before, now=now)


def release(tx: Transaction, user_id: UserId, now: datetime) -> int:
    """A person has written: what the service window held goes out, in its order. Returns how many there were."""
    released = tx.execute(
        "UPDATE outbox SET state = 'queued', hold = NULL, reason = '', not_before = :now, changed_at = :now"
        " WHERE user_id = :user AND state = 'held' AND hold = 'window'",
        {"user": user_id, "now": times.to_text(now)},
    )
    if released:
        lateness.tell(tx, now, user_id)
    return released


def retry(tx: Transaction, row_ids: Collection[int], now: datetime) -> int:
    """The operator wants these sent after all, and their people tried again. Returns how many could be.

    Of the tries before only those count that may have arrived.
    """
    changed = 0
    for row_id in row_ids:
        params = {"id": row_id, "now": times.to_text(now)}
        changed += tx.execute(
            "UPDATE outbox SET state = 'queued', hold = NULL, attempt = unknowns, reason = '', not_before = :now,"
            " changed_at = :now WHERE id = :id AND state IN ('held', 'failed', 'dropped')",
            params,
        )
        tx.execute(
            "UPDATE users SET unreachable_at = NULL, unreachable_reason = NULL"
            " WHERE id = (SELECT user_id FROM outbox WHERE id = :id)",
            params,
        )
    lateness.tell(tx, now)
    return changed


def drop(tx: Transaction, row_ids: Collection[int], now: datetime) -> int:
    """The operator lets these go. Returns how many could be: what is being sent now cannot."""
    return sum(
        tx.execute(
            "UPDATE outbox SET state = 'dropped', hold = NULL, changed_at = :now"
            " WHERE id = :id AND state IN ('queued', 'ambiguous', 'held', 'failed')",
            {"id": row_id, "now": times.to_text(now)},
        )
        for row_id in row_ids
    )


class Outbox:
    """The table `outbox`, for those who add to it and those who look at it."""

    def __init__(self, db: Database, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._clock = clock

    async def add(self, user_id: UserId, parts: Sequence[str], *, origin: str, source: str) -> bool:
        """`add` in a transaction of its own."""
        now = self._clock()
        return await self._db.write(lambda tx: add(tx, user_id, parts, origin=origin, source=source, now=now))

    async def count_since(self, user_id: UserId, origin: str, since: datetime) -> int:
        """How many messages of one origin a person got since an instant."""
        row = await self._db.one(
            "SELECT count(*) AS n FROM outbox WHERE user_id = :user AND origin = :origin AND created_at >= :since",
            {"user": user_id, "origin": origin, "since": times.to_text(since)},
        )
        return 0 if row is None else int(row["n"])

    async def all(self, limit: int = _LATEST) -> list[OutboxRow]:
        """The latest messages, newest first."""
        rows = await self._db.all("SELECT * FROM outbox ORDER BY id DESC LIMIT :limit", {"limit": limit})
        return [outbound(row) for row in rows]


def _conclude(
    tx: Transaction,
    row: Subject,
    state: OutboxState,
    why: Hold | None,
    wamid: Wamid,
    reason: str,
    *,
    not_before: datetime,
    now: datetime,
) -> None:
    is_new = row.is_news_of_another_send(wamid)
    is_named = is_new or row.wamid is None
    tx.execute(
        _CONCLUDE.format("wamid = :wamid," if is_named else ""),  # its index is written only where it must be
        {
            "id": row.id,
            "is_new": is_new,
            "state": state.value,
            "hold": None if why is None else why.value,
            "wamid": wamid,
            "reason": reason,
            "not_before": times.to_text(not_before),
            "now": times.to_text(now),
        },
    )


def outbound(row: Row) -> OutboxRow:
    """A row of the table as a value."""
    return OutboxRow(
        id=row["id"],
        key=row["key"],
        source=row["source"],
        origin=row["origin"],
        user_id=UserId(row["user_id"]),
        text=row["text"],
        state=OutboxState(row["state"]),
        hold=None if row["hold"] is None else Hold(row["hold"]),
        attempt=row["attempt"],
        unknowns=row["unknowns"],
        wamid=None if row["wamid"] is None else Wamid(row["wamid"]),
        not_before=times.from_text(row["not_before"]),
        created_at=times.from_text(row["created_at"]),
        sent_at=times.maybe(row["sent_at"]),
        changed_at=times.from_text(row["changed_at"]),
        reason=row["reason"],
    )
