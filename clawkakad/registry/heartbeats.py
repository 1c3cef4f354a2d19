"""The table `heartbeats`: when each person's next proactive look is due; it survives restarts."""

from datetime import datetime

from clawkakad.model import UserId
from clawkakad.registry import times
from clawkakad.registry.database import Database


class Heartbeats:
    """One row per person who has a sandbox."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def next_at(self, user_id: UserId) -> datetime | None:
        """When the person's next heartbeat is due; None where none was planned yet."""
        row = await self._db.one("SELECT next_at FROM heartbeats WHERE user_id = :id", {"id": user_id})
        return None if row is None else times.from_text(row["next_at"])

    async def plan(self, user_id: UserId, next_at: datetime, *, last_at: datetime | None, outcome: str) -> None:
        """Record the last outcome and the next time."""
        await self._db.execute(
            "INSERT INTO heartbeats (user_id, next_at, last_at, outcome) VALUES (:id, :next, :last, :outcome)"
            " ON CONFLICT (user_id) DO UPDATE SET next_at = excluded.next_at, outcome = excluded.outcome,"
            " last_at = coalesce(excluded.last_at, last_at)",
            {
                "id": user_id,
                "next": times.to_text(next_at),
                "last": None if last_at is None else times.to_text(last_at),
                "outcome": outcome,
            },
        )
