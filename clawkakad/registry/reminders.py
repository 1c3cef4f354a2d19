"""The table `reminders`: the daemon owns the clock, so a reminder needs no sandbox to fire."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from clawkakad.errors import Rejected
from clawkakad.model import ReminderState, UserId
from clawkakad.registry import outbox, times
from clawkakad.registry.database import Database
from clawkakad.registry.transaction import Row, Transaction

MOST_PENDING = 200  # of one person
MOST_AN_HOUR = 30  # that one person may set: each becomes a message that costs
MOST_TOLD = 20  # to an agent at once: while its person is away any number may go out, and a prompt has an end


@dataclass(frozen=True)
class Reminder:
    """One reminder. `wall` and `zone`: the wall time that was meant and where; `due_at`: that instant."""

    id: int
    user_id: UserId
    due_at: datetime
    wall: str
    zone: str
    text: str
    state: ReminderState


def told(tx: Transaction, reminders: Sequence[Reminder]) -> None:
    """The agent has heard about these."""
    for reminder in reminders:
        tx.execute("UPDATE reminders SET told = 1 WHERE id = :id", {"id": reminder.id})


class Reminders:
    """The table, by the words of the domain."""

    def __init__(self, db: Database, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._clock = clock

    async def add(
        self, user_id: UserId, *, key: str, due_at: datetime, wall: str, zone: str, text: str
    ) -> tuple[Reminder, bool]:
        """The reminder, and whether it is new: the same key again is the same reminder.

        Raises Rejected where MOST_PENDING others of the person are to come, or MOST_AN_HOUR were set within an hour.
        """
        now = self._clock()
        values = {
            "key": _key(user_id, key),
            "user": user_id,
            "due": times.to_text(due_at),
            "wall": wall,
            "zone": zone,
            "text": text,
            "now": times.to_text(now),
        }
        hour_ago = now - timedelta(hours=1)
        added = await self._db.write(lambda tx: _add_within_limits(tx, values, hour_ago))
        if isinstance(added, str):  # raised out here: in the transaction it would undo others, to be done again
            raise Rejected(added)
        return added

    async def of_key(self, user_id: UserId, key: str) -> Reminder | None:
        """The one that was set under this key, whatever became of it."""
        row = await self._db.read(lambda tx: _of_key(tx, _key(user_id, key)))
        return None if row is None else _reminder(row)

    async def pending(self, user_id: UserId) -> list[Reminder]:
        """What is still to come for a person, soonest first."""
        rows = await self._db.all(
            "SELECT * FROM reminders WHERE user_id = :user AND state = 'pending' ORDER BY due_at, id", {"user": user_id}
        )
        return [_reminder(row) for row in rows]

    async def cancel(self, user_id: UserId, reminder_id: int) -> Reminder | None:
        """Cancel a pending reminder of this person; None where there is no such one."""
        now = times.to_text(self._clock())
        return await self._db.write(lambda tx: _cancel(tx, user_id, reminder_id, now))

    async def next_due(self) -> datetime | None:
        """When the next one of anybody is due, or None."""
        row = await self._db.one("SELECT min(due_at) AS due FROM reminders WHERE state = 'pending'")
        return None if row is None else times.maybe(row["due"])

    async def due(self, now: datetime) -> list[Reminder]:
        """All pending ones whose time has come, the oldest first."""
        rows = await self._db.all(
            "SELECT * FROM reminders WHERE state = 'pending' AND due_at <= :now ORDER BY due_at, id",
            {"now": times.to_text(now)},
        )
        return [_reminder(row) for row in rows]

    async def fire(self, reminder: Reminder, text: str) -> bool:
        """Mark it fired and queue its message, in one transaction; False where it was cancelled meanwhile."""
        now = self._clock()
        return await self._db.write(lambda tx: _fire(tx, reminder, text, now))

    async def untold(self, user_id: UserId) -> list[Reminder]:
        """`untold` by itself."""
        return await self._db.read(lambda tx: untold(tx, user_id))


def untold(tx: Transaction, user_id: UserId) -> list[Reminder]:
    """Fired ones that the agent has not heard about yet, in order: the latest of them; the others the next time."""
    rows = tx.all(
        "SELECT * FROM reminders WHERE user_id = :user AND state = 'fired' AND told = 0"
        " ORDER BY due_at DESC, id DESC LIMIT :most",
        {"user": user_id, "most": MOST_TOLD},
    )
    return [_reminder(row) for row in reversed(rows)]


def _key(user_id: UserId, key: str) -> str:
    """Agents choose their keys each for itself."""
    return f"{user_id}:{key}"


def _add_within_limits(tx: Transaction, values: dict[str, str], hour_ago: datetime) -> tuple[Reminder, bool] | str:
    """The one of this key, and whether it is new; words where there is none and a limit is reached.

    Counted where it is added: requests that come at the same moment count each other.
    """
    row = _of_key(tx, values["key"])
    if row is not None:
        return _reminder(row), False
    if _count_pending(tx, values["user"]) >= MOST_PENDING:
        return f"there are {MOST_PENDING} reminders already; cancel some first"
    if _count_since(tx, values["user"], hour_ago) >= MOST_AN_HOUR:
        return f"{MOST_AN_HOUR} reminders were set within an hour; wait a little before the next"
    tx.execute(
        "INSERT INTO reminders (key, user_id, due_at, wall, zone, text, state, created_at, changed_at)"
        " VALUES (:key, :user, :due, :wall, :zone, :text, 'pending', :now, :now)",
        values,
    )
    row = _of_key(tx, values["key"])
    assert row is not None
    return _reminder(row), True


def _of_key(tx: Transaction, key: str) -> Row | None:
    return tx.one("SELECT * FROM reminders WHERE key = :key", {"key": key})


def _count_pending(tx: Transaction, user_id: str) -> int:
    """How many of a person are still to come."""
    sql = "SELECT count(*) AS n FROM reminders WHERE user_id = :user AND state = 'pending'"
    row = tx.one(sql, {"user": user_id})
    return 0 if row is None else int(row["n"])


def _count_since(tx: Transaction, user_id: str, since: datetime) -> int:
    """How many a person has set since an instant, whatever became of them."""
    row = tx.one(
        "SELECT count(*) AS n FROM reminders WHERE user_id = :user AND created_at >= :since",
        {"user": user_id, "since": times.to_text(since)},
    )
    return 0 if row is None else int(row["n"])


def _cancel(tx: Transaction, user_id: UserId, reminder_id: int, now: str) -> Reminder | None:
    changed = tx.execute(
        "UPDATE reminders SET state = 'cancelled', changed_at = :now"
        " WHERE id = :id AND user_id = :user AND state = 'pending'",
        {"id": reminder_id, "user": user_id, "now": now},
    )
    row = tx.one("SELECT * FROM reminders WHERE id = :id", {"id": reminder_id})
    return _reminder(row) if changed and row is not None else None


def _fire(tx: Transaction, reminder: Reminder, text: str, now: datetime) -> bool:
    changed = tx.execute(
        "UPDATE reminders SET state = 'fired', changed_at = :now WHERE id = :id AND state = 'pending'",
        {"id": reminder.id, "now": times.to_text(now)},
    )
    if changed:
        source = f"reminder:{reminder.id}"
        outbox.add(tx, reminder.user_id, [text], origin="reminder", source=source, now=now)
    return changed == 1


def _reminder(row: Row) -> Reminder:
    return Reminder(
        id=row["id"],
        user_id=UserId(row["user_id"]),
        due_at=times.from_text(row["due_at"]),
        wall=row["wall"],
        zone=row["zone"],
        text=row["text"],
        state=ReminderState(row["state"]),
    )
