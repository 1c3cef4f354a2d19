"""The agent of a person, as conversations and heartbeats see it: the pool of connections and the turns over them."""

from collections.abc import Sequence

from clawkakad.gateway.pool import Pool
from clawkakad.gateway.turns import Answer, Turns
from clawkakad.model import SandboxId


class GatewayAgent:
    """Asks the agent in a sandbox."""

    def __init__(self, pool: Pool, turns: Turns) -> None:
        self._pool = pool
        self._turns = turns

    def is_ready(self, sandbox_id: SandboxId) -> bool:
        """True where the gateway can be asked now."""
        return self._pool.get(sandbox_id) is not None

    async def ready(self, sandbox_id: SandboxId, *, timeout_s: float) -> None:
        """Wait until the gateway can be asked. Raises GatewayUnavailable after `timeout_s`."""
        await self._pool.ready(sandbox_id, timeout_s=timeout_s)

    async def ask(self, sandbox_id: SandboxId, *, key: str, text: str, again: bool, timeout_s: float) -> Answer:
        """One whole turn. Raises TurnFailed, GatewayRefused, GatewayUnavailable."""
        return await self._turns.ask(sandbox_id, key=key, text=text, again=again, timeout_s=timeout_s)

    async def missed(self, sandbox_id: SandboxId, keys: Sequence[str]) -> list[Answer]:
        """The answers to turns that were given up and that nobody got. Raises GatewayUnavailable, GatewayRefused."""
        return await self._turns.missed(sandbox_id, keys)

    async def wake(self, sandbox_id: SandboxId, *, text: str, timeout_s: float) -> Answer | None:
        """One proactive turn; None for silence. Raises GatewayUnavailable."""
        return await self._turns.wake(sandbox_id, text=text, timeout_s=timeout_s)
