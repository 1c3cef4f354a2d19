"""The table `heartbeats`: when each person's next proactive look is due; it survives restarts."""

from dataclasses import dataclass
from datetime import datetime

from clawkakad.model import SandboxId, SandboxState, UserId
from clawkakad.registry import times
from clawkakad.registry.database import Database


@dataclass(frozen=True)
class Due:
    """A person whose heartbeat is due. `next_at`: since when, None where it was never planned.

    `state`: of their sandbox; `last_at`: when it was looked into last.
    """

    user_id: UserId
    sandbox_id: SandboxId
    state: SandboxState
    next_at: datetime | None
    last_at: datetime | None


class Heartbeats:
    """One row per person who has a sandbox."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def due(self, now: datetime) -> list[Due]:
        """Everybody with a sandbox whose time has come or was never planned, the longest overdue first."""
        rows = await self._db.all(
            "SELECT s.user_id, s.id, s.state, h.next_at, h.last_at"
            " FROM sandboxes s LEFT JOIN heartbeats h ON h.user_id = s.user_id"
            " WHERE s.user_id IS NOT NULL AND (h.next_at IS NULL OR h.next_at <= :now)"
            " ORDER BY h.next_at, s.created_at",
            {"now": times.to_text(now)},
        )
        return [
            Due(
                user_id=UserId(row["user_id"]),
                sandbox_id=SandboxId(row["id"]),
                state=SandboxState(row["state"]),
                next_at=times.maybe(row["next_at"]),
                last_at=times.maybe(row["last_at"]),
            )
            for row in rows
        ]

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
