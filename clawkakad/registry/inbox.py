"""The inbox: every message that was answered with 200, and what became of it.

received → running(attempt) → answered | failed | parked;  ignored, refused and limited are kept for the record.
One turn answers one or more messages of a person. The first of them leads: its key, prompt and attempt are the turn's,
and its id stands in the column `turn` of all of them. They begin and end together, each in one commit.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from clawkakad.model import InboxState, UserId, Wamid
from clawkakad.registry import ids, times
from clawkakad.registry.database import Database
from clawkakad.registry.transaction import Row, Transaction

MOST_WAITING = 100  # of one person that are looked at together: more than one turn ever holds


class NewInbound(NamedTuple):
    """A message as it is to be stored."""

    wamid: Wamid
    user_id: UserId
    kind: str
    text: str | None
    raw: str
    reply_to: Wamid | None
    forwarded: bool
    sent_at: datetime
    state: InboxState
    media_id: str | None = None


class InboxRow(NamedTuple):
    """A stored message.

    `turn`: the id of the message that leads its turn, None until that was begun. Of the lead: `run_key`, the gateway's
    idempotency key; `attempt`, how often the turn was begun; `prompt`, what the agent was told.
    """

    id: int
    run_key: str
    wamid: Wamid
    user_id: UserId
    kind: str
    text: str | None
    media_id: str | None
    reply_to: Wamid | None
    forwarded: bool
    sent_at: datetime
    received_at: datetime
    state: InboxState
    turn: int | None
    attempt: int
    prompt: str | None
    reason: str


def add(tx: Transaction, message: NewInbound, now: datetime) -> InboxRow:
    """Store a message that is not known yet; as it is stored."""
    run_key = ids.key_of(message.wamid, message.sent_at)
    row_id = tx.insert(
        "INSERT INTO inbox (run_key, wamid, user_id, kind, text, raw, media_id, reply_to, forwarded, sent_at,"
        " received_at, state, changed_at) VALUES (:key, :wamid, :user, :kind, :text, :raw, :media, :reply_to,"
        " :forwarded, :sent, :now, :state, :now)",
        {
            "key": run_key,
            "wamid": message.wamid,
            "user": message.user_id,
            "kind": message.kind,
            "text": message.text,
            "raw": message.raw,
            "media": message.media_id,
            "reply_to": message.reply_to,
            "forwarded": int(message.forwarded),
            "sent": times.to_text(message.sent_at),
            "now": times.to_text(now),
            "state": message.state.value,
        },
    )
    assert row_id is not None
    return InboxRow(
        id=row_id,
        run_key=run_key,
        wamid=message.wamid,
        user_id=message.user_id,
        kind=message.kind,
        text=message.text,
        media_id=message.media_id,
        reply_to=message.reply_to,
        forwarded=message.forwarded,
        sent_at=message.sent_at,
        received_at=now,
        state=message.state,
        turn=None,
        attempt=0,
        prompt=None,
        reason="",
    )


def is_known(tx: Transaction, wamid: Wamid) -> bool:
    """True where this message is stored already: Meta delivers at least once."""
    return tx.one("SELECT 1 FROM inbox WHERE wamid = :wamid", {"wamid": wamid}) is not None


def is_of(tx: Transaction, wamid: Wamid, user_id: UserId) -> bool:
    """True where this message is stored, and this person wrote it."""
    row = tx.one("SELECT user_id FROM inbox WHERE wamid = :wamid", {"wamid": wamid})
    return row is not None and row["user_id"] == user_id


def replace_text(tx: Transaction, wamid: Wamid, text: str, now: datetime) -> bool:
    """A message was edited: its new words, as long as the agent has not heard the old ones. False where it is late."""
    return 1 == tx.execute(
        "UPDATE inbox SET text = :text, changed_at = :now WHERE wamid = :wamid AND state = 'received'",
        {"wamid": wamid, "text": text, "now": times.to_text(now)},
    )


def withdraw(tx: Transaction, wamid: Wamid, now: datetime) -> bool:
    """A message was taken back before the agent heard of it: its words are not kept, nor answered. False: too late."""
    return 1 == tx.execute(
        "UPDATE inbox SET state = 'ignored', text = NULL, raw = '{}', reason = 'taken back', changed_at = :now"
        " WHERE wamid = :wamid AND (state = 'received' OR state = 'answered' AND turn IS NULL)",
        {"wamid": wamid, "now": times.to_text(now)},
    )


def was_taken_back(tx: Transaction, wamid: Wamid, user_id: UserId) -> bool:
    """Whether its person took a message back before it came: Meta may deliver it days late."""
    row = tx.one(
        "SELECT 1 FROM inbox WHERE kind = 'revoke' AND reply_to = :wamid AND user_id = :user",
        {"user": user_id, "wamid": wamid},
    )
    return row is not None


def count_hour(tx: Transaction, user_id: UserId, since: datetime) -> int:
    """How many messages of a person count for the limit since an instant.

    What was kept for the record does not, nor what was written before: after an outage a day may come at once.
    """
    row = tx.one(
        "SELECT count(*) AS n FROM inbox WHERE user_id = :user AND received_at >= :since AND sent_at >= :since"
        " AND state NOT IN ('ignored', 'refused', 'limited')",
        {"user": user_id, "since": times.to_text(since)},
    )
    return 0 if row is None else int(row["n"])


def waiting(tx: Transaction, user_id: UserId) -> list[InboxRow]:
    """The first messages of a person that have no answer yet, in order; those of a turn that was begun come first."""
    rows = tx.all(
        "SELECT * FROM inbox WHERE user_id = :user AND state IN ('received', 'running')"
        " ORDER BY state = 'received', sent_at, id LIMIT :limit",
        {"user": user_id, "limit": MOST_WAITING},
    )
    return [_inbound(row) for row in rows]


def is_anything_waiting(tx: Transaction, user_id: UserId, *, besides: InboxRow | None = None) -> bool:
    """Whether a person has messages without an answer, or others than one of them."""
    sql = "SELECT 1 FROM inbox WHERE user_id = :user AND state IN ('received', 'running') AND id <> :besides LIMIT 1"
    return tx.one(sql, {"user": user_id, "besides": 0 if besides is None else besides.id}) is not None


def begin(tx: Transaction, rows: Sequence[InboxRow], lead: InboxRow, prompt: str, now: datetime) -> None:
    """A turn is about to be asked for: from here on the agent may have heard these messages.

    The prompt of the first attempt is kept: the gateway refuses other words under the same key.
    """
    for row in rows:
        tx.execute(
            "UPDATE inbox SET state = 'running', turn = :lead, changed_at = :now,"
            " attempt = attempt + iif(id = :lead, 1, 0), prompt = iif(id = :lead, coalesce(prompt, :prompt), prompt)"
            " WHERE id = :id AND state IN ('received', 'running')",
            {"id": row.id, "lead": lead.id, "prompt": prompt, "now": times.to_text(now)},
        )


def is_open(tx: Transaction, message: InboxRow) -> bool:
    """True while a message has no answer yet, and is that person's."""
    sql = (
        "SELECT 1 FROM inbox WHERE id = :id AND run_key = :key AND user_id = :user AND state IN ('received', 'running')"
    )
    return tx.one(sql, _named(message)) is not None


def settle(tx: Transaction, rows: Sequence[InboxRow], state: InboxState, reason: str, now: datetime) -> bool:
    """Close messages of one person, once: False where somebody closed all of them before.

    False too where they turned out to be somebody else's: whoever answers those now closes them.
    """
    return 0 < sum(
        tx.execute(
            "UPDATE inbox SET state = :state, reason = :reason, changed_at = :now"
            " WHERE id = :id AND run_key = :key AND user_id = :user AND state IN ('received', 'running')",
            {**_named(row), "state": state.value, "reason": reason, "now": times.to_text(now)},
        )
        for row in rows
    )


def _named(row: InboxRow) -> dict[str, object]:
    """A message by more than its id, which is another one's where the commit that gave it has failed."""
    return {"id": row.id, "key": row.run_key, "user": row.user_id}


class Inbox:
    """The table `inbox`, seen by those who work on it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def waiting(self, user_id: UserId) -> list[InboxRow]:
        """`waiting` by itself."""
        return await self._db.read(lambda tx: waiting(tx, user_id))

    async def users_waiting(self) -> list[UserId]:
        """Everybody who waits for an answer, the longest waiting first."""
        rows = await self._db.all(
            "SELECT user_id FROM inbox WHERE state IN ('received', 'running') GROUP BY user_id ORDER BY min(id)"
        )
        return [UserId(row["user_id"]) for row in rows]

    async def release(self, lead: InboxRow) -> None:
        """The daemon stops in good order: the turn goes on without us, and this attempt does not count."""
        await self._db.execute(
            "UPDATE inbox SET attempt = attempt - 1"
            " WHERE id = :id AND run_key = :key AND user_id = :user AND state = 'running' AND attempt > 1",
            _named(lead),
        )

    async def given_up(self, since: datetime) -> list[tuple[InboxRow, datetime]]:
        """The leads of turns that ended without an answer since an instant, and when; the oldest first."""
        rows = await self._db.all(
            "SELECT * FROM inbox WHERE state IN ('failed', 'parked') AND turn = id AND changed_at >= :since"
            " ORDER BY id",
            {"since": times.to_text(since)},
        )
        return [(_inbound(row), times.from_text(row["changed_at"])) for row in rows]

    async def count_refused(self, user_id: UserId) -> int:
        """How many messages of a person were refused at the door."""
        row = await self._db.one(
            "SELECT count(*) AS n FROM inbox WHERE user_id = :user AND state = 'refused'", {"user": user_id}
        )
        return 0 if row is None else int(row["n"])

    async def all(self, limit: int = 50) -> list[InboxRow]:
        """The latest messages, newest first."""
        rows = await self._db.all("SELECT * FROM inbox ORDER BY id DESC LIMIT :limit", {"limit": limit})
        return [_inbound(row) for row in rows]


def _inbound(row: Row) -> InboxRow:
    return InboxRow(
        id=row["id"],
        run_key=row["run_key"],
        wamid=Wamid(row["wamid"]),
        user_id=UserId(row["user_id"]),
        kind=row["kind"],
        text=row["text"],
        media_id=row["media_id"],
        reply_to=None if row["reply_to"] is None else Wamid(row["reply_to"]),
        forwarded=bool(row["forwarded"]),
        sent_at=times.from_text(row["sent_at"]),
        received_at=times.from_text(row["received_at"]),
        state=InboxState(row["state"]),
        turn=row["turn"],
        attempt=row["attempt"],
        prompt=row["prompt"],
        reason=row["reason"],
    )
