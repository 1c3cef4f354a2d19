"""The table `usage`: what the model cost, per person, day and model."""

from collections.abc import Callable
from datetime import datetime

from clawkakad.model import UserId
from clawkakad.registry import times
from clawkakad.registry.database import Database

MICRO = 1_000_000


class Usage:
    """Counts only ever grow."""

    def __init__(self, db: Database, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._clock = clock

    async def add(self, user_id: UserId, *, model: str, tokens_in: int, tokens_out: int, cost_usd: float) -> None:
        """One model call."""
        await self._db.execute(
            "INSERT INTO usage VALUES (:user, :day, :model, 1, :tokens_in, :tokens_out, :cost)"
            " ON CONFLICT DO UPDATE SET calls = calls + 1, tokens_in = tokens_in + excluded.tokens_in,"
            " tokens_out = tokens_out + excluded.tokens_out,"
            " cost_micro_usd = cost_micro_usd + excluded.cost_micro_usd",
            {
                "user": user_id,
                "day": times.to_text(self._clock())[:10],
                "model": model,
                "tokens_in": tokens_in,
                "tokens_out": tokens_out,
                "cost": round(cost_usd * MICRO),
            },
        )
