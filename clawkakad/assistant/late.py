"""Late answers: what an agent said after its turn was interrupted still belongs to its person, once."""

from collections.abc import Callable
from datetime import datetime, timedelta

from loguru import logger

from clawkakad.assistant.parts import parts_beside
from clawkakad.gateway.turns import Answer
from clawkakad.model import SandboxId
from clawkakad.registry import Registry

MOST_AN_HOUR = 20  # messages of interrupted turns to one person: a hostile sandbox could make up any number


class LateAnswers:
    """Puts the final of a run that nobody waits for into the outbox."""

    def __init__(self, registry: Registry, clock: Callable[[], datetime], *, on_outbox: Callable[[], None]) -> None:
        self._registry = registry
        self._clock = clock
        self._on_outbox = on_outbox
        self._told: dict[SandboxId, datetime] = {}  # when the log was last told that a sandbox says too much

    async def take(self, sandbox_id: SandboxId, answer: Answer) -> None:
        """Queue it for the owner of the sandbox; the same run again adds nothing."""
        sandbox = await self._registry.sandboxes.get(sandbox_id)
        if sandbox is None or sandbox.user_id is None:
            return
        hour_ago = self._clock() - timedelta(hours=1)
        if await self._registry.outbox.count_since(sandbox.user_id, "late", hour_ago) >= MOST_AN_HOUR:
            logger.log(
                self._level(sandbox_id, hour_ago), "an agent speaks up too often by itself; dropped", sandbox=sandbox_id
            )
            return
        parts = await parts_beside(answer.text)
        if await self._registry.outbox.add(sandbox.user_id, parts, origin="late", source=f"run:{answer.run_id}"):
            logger.info("late answer queued", sandbox=sandbox_id)
            self._on_outbox()

    def _level(self, sandbox_id: SandboxId, hour_ago: datetime) -> str:
        """It could go on without end: the operator hears of it once an hour."""
        told_at = self._told.get(sandbox_id)
        if told_at is not None and told_at > hour_ago:
            return "DEBUG"
        self._told[sandbox_id] = self._clock()
        return "ERROR"
