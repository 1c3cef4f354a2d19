"""Freezes sandboxes that fill the disk, until somebody has measured how much is in them.

A freeze takes no disk and a hundredth of a second, where a look at a busy disk takes many. Owns who is frozen: whoever
is, is thawed by the caller, also when the daemon stops. One that a daemon which died leaves frozen is started anew by
the next.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping

from loguru import logger

from clawkakad.errors import EngineUnavailable, Rejected
from clawkakad.model import SandboxId
from clawkakad.sandboxes.engine import Container, Engine
from clawkakad.sandboxes.profile import MIB

WRITES_A_LOT = 64 * MIB  # that are not on the disk yet


class Writers:
    """One per daemon. `rest_s`: at least so long nobody is frozen after a thaw, so that what writes gets on."""

    def __init__(self, engine: Engine, *, rest_s: float) -> None:
        self._engine = engine
        self._rest_s = rest_s
        self._frozen: dict[SandboxId, Container] = {}
        self._thawed_at = 0.0
        self._one_at_a_time = asyncio.Lock()  # a thaw that overtakes its freeze would leave it frozen
        self.has_some = asyncio.Event()

    @property
    def frozen(self) -> list[SandboxId]:
        """Who stands still."""
        return list(self._frozen)

    async def freeze_writers(self, containers: Mapping[SandboxId, Container]) -> None:
        """Those of them that write a lot stand still from now on. Raises EngineUnavailable."""
        if time.monotonic() - self._thawed_at < self._rest_s:
            return
        running = [(one, container) for one, container in containers.items() if container.running]
        asked = [self._engine.unwritten(container.id) for _, container in running]
        told = await asyncio.gather(*asked, return_exceptions=True)
        for (sandbox_id, container), unwritten in zip(running, told, strict=True):
            if isinstance(unwritten, int) and unwritten >= WRITES_A_LOT:
                logger.info("a sandbox that fills the disk is frozen and measured", sandbox=sandbox_id)
                async with self._one_at_a_time:
                    self._frozen[sandbox_id] = container  # first: then it is thawed, whatever happens
                    self.has_some.set()
                    with contextlib.suppress(Rejected):  # it has ended
                        await self._engine.pause(container.id)

    async def release(self, sandbox_id: SandboxId, *, thaw: bool) -> None:
        """It is no more of our concern. Without `thaw` it stays frozen, for its keeper to stop.

        Where the engine does not answer it stays our concern: to be released again.
        """
        async with self._one_at_a_time:
            if sandbox_id not in self._frozen:
                return
            if thaw and not await self._thawed(self._frozen[sandbox_id]):
                return
            del self._frozen[sandbox_id]
            self._thawed_at = time.monotonic()
            if not self._frozen:
                self.has_some.clear()

    async def _thawed(self, container: Container) -> bool:
        try:
            with contextlib.suppress(Rejected):  # it has ended, or was not frozen
                await self._engine.unpause(container.id)
        except EngineUnavailable as error:
            logger.debug("a frozen sandbox cannot be let go on now", error=str(error))
            return False
        return True
