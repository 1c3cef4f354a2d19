"""The inbox: every message that was answered with 200, and what became of it.

received → running(attempt) → answered | failed | parked;  ignored, refused and limited are kept for the record.
One turn answers one or more messages of a person. The first of them leads: its key, prompt and attempt are the turn's,
and its id stands in the column `turn` of all of them. They begin and end together, each in one commit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from clawkakad.model import InboxState, UserId, Wamid
from clawkakad.registry import ids, times
from clawkakad.registry.database import Database, Row, Transaction


@dataclass(frozen=True)
class NewInbound:
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


@dataclass(frozen=True)
class InboxRow:
    """A stored message. `run_key`: the gateway's idempotency key of its turn; `attempt`: turns begun so far."""

    id: int
    run_key: str
    wamid: Wamid
    user_id: UserId
    kind: str
    text: str | None
    sent_at: datetime
    received_at: datetime
    state: InboxState
    attempt: int
    reason: str


def add(tx: Transaction, message: NewInbound, now: datetime) -> None:
    """Store a message that is not known yet."""
    tx.execute(
        "INSERT INTO inbox (run_key, wamid, user_id, kind, text, raw, media_id, reply_to, forwarded, sent_at,"
        " received_at, state, changed_at) VALUES (:key, :wamid, :user, :kind, :text, :raw, :media, :reply_to,"
        " :forwarded, :sent, :now, :state, :now)",
        {
            "key": ids.new_key(),
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


def is_known(tx: Transaction, wamid: Wamid) -> bool:
    """True where this message is stored already: Meta delivers at least once."""
    return tx.one("SELECT 1 FROM inbox WHERE wamid = :wamid", {"wamid": wamid}) is not None


def replace_text(tx: Transaction, wamid: Wamid, text: str, now: datetime) -> bool:
    """A message was edited: its new words, as long as the agent has not heard the old ones. False where it is late."""
    return 1 == tx.execute(
        "UPDATE inbox SET text = :text, changed_at = :now WHERE wamid = :wamid AND state = 'received'",
        {"wamid": wamid, "text": text, "now": times.to_text(now)},
    )


def withdraw(tx: Transaction, wamid: Wamid, now: datetime) -> bool:
    """A message was taken back while it waited: it is not answered, and its words are not kept. False: too late."""
    return 1 == tx.execute(
        "UPDATE inbox SET state = 'ignored', text = NULL, raw = '{}', reason = 'taken back', changed_at = :now"
        " WHERE wamid = :wamid AND state = 'received'",
        {"wamid": wamid, "now": times.to_text(now)},
    )


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


def settle(tx: Transaction, inbox_id: int, state: InboxState, reason: str, now: datetime) -> bool:
    """Close a message, once: False where somebody closed it before."""
    return 1 == tx.execute(
        "UPDATE inbox SET state = :state, reason = :reason, changed_at = :now"
        " WHERE id = :id AND state IN ('received', 'running')",
        {"id": inbox_id, "state": state.value, "reason": reason, "now": times.to_text(now)},
    )


class Inbox:
    """The table `inbox`, seen by those who work on it."""

    def __init__(self, db: Database, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._clock = clock

    async def next_waiting(self, user_id: UserId) -> InboxRow | None:
        """The oldest message of a person that has no answer yet; one that was begun comes first."""
        row = await self._db.one(
            "SELECT * FROM inbox WHERE user_id = :user AND state IN ('received', 'running')"
            " ORDER BY state = 'received', sent_at, id LIMIT 1",
            {"user": user_id},
        )
        return None if row is None else _inbound(row)

    async def users_waiting(self) -> list[UserId]:
        """Everybody who waits for an answer, the longest waiting first."""
        rows = await self._db.all(
            "SELECT user_id FROM inbox WHERE state IN ('received', 'running') GROUP BY user_id ORDER BY min(id)"
        )
        return [UserId(row["user_id"]) for row in rows]

    async def begin(self, inbox_id: int, prompt: str) -> str:
        """A turn is about to be asked for: from here on the agent may have heard the message.

        Returns the prompt of the first attempt: the gateway refuses other words under the same key.
        """
        now = times.to_text(self._clock())
        return await self._db.write(lambda tx: _begin(tx, inbox_id, prompt, now))

    async def release(self, inbox_id: int) -> None:
        """The daemon stops in good order: the turn goes on without us, and this attempt does not count."""
        await self._db.execute(
            "UPDATE inbox SET attempt = attempt - 1 WHERE id = :id AND state = 'running' AND attempt > 1",
            {"id": inbox_id},
        )

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


def _begin(tx: Transaction, inbox_id: int, prompt: str, now: str) -> str:
    tx.execute(
        "UPDATE inbox SET state = 'running', attempt = attempt + 1, prompt = coalesce(prompt, :prompt),"
        " changed_at = :now WHERE id = :id",
        {"id": inbox_id, "prompt": prompt, "now": now},
    )
    row = tx.one("SELECT prompt FROM inbox WHERE id = :id", {"id": inbox_id})
    assert row is not None
    return str(row["prompt"])


def _inbound(row: Row) -> InboxRow:
    return InboxRow(
        id=row["id"],
        run_key=row["run_key"],
        wamid=Wamid(row["wamid"]),
        user_id=UserId(row["user_id"]),
        kind=row["kind"],
        text=row["text"],
        sent_at=times.from_text(row["sent_at"]),
        received_at=times.from_text(row["received_at"]),
        state=InboxState(row["state"]),
        attempt=row["attempt"],
        reason=row["reason"],
    )
