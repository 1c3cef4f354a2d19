"""Late answers: what an agent said after its turn was interrupted still belongs to its person, once."""

from collections.abc import Callable

from loguru import logger

from clawkakad.gateway.turns import Answer
from clawkakad.model import SandboxId
from clawkakad.registry import Registry
from clawkakad.whatsapp import formatting


class LateAnswers:
    """Puts the final of a run that nobody waits for into the outbox."""

    def __init__(self, registry: Registry, *, on_outbox: Callable[[], None]) -> None:
        self._registry = registry
        self._on_outbox = on_outbox

    async def take(self, sandbox_id: SandboxId, answer: Answer) -> None:
        """Queue it for the owner of the sandbox; the same run again adds nothing."""
        sandbox = await self._registry.sandboxes.get(sandbox_id)
        if sandbox is None or not answer.text.strip():
            return
        parts = formatting.split(formatting.to_whatsapp(answer.text))
        await self._registry.outbox.add(sandbox.user_id, parts, origin="late", source=f"run:{answer.run_id}")
        logger.info("late answer queued", sandbox=sandbox_id)
        self._on_outbox()
