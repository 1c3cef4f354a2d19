"""How a container is frozen, and its memory moved to swap: step by step, each one measured.

Owns the order of those calls; the rule of the steps is `shrinking`, who dozes and when is `rest`. A step that cannot be
taken, or did not do what it should, costs nothing but memory: the limit goes back up, and the container stays frozen.
Whatever is cut off in the middle is a frozen container with some limit; letting it go on restores that first.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from loguru import logger

from clawkakad.errors import EngineUnavailable, Rejected
from clawkakad.sandboxes import shrinking
from clawkakad.sandboxes.engine import Container, Engine
from clawkakad.sandboxes.hostmemory import MemoryOf
from clawkakad.sandboxes.shrinking import MIB

TRIES = 12  # of refused steps; where swap is slow, pages that are being written cannot be taken yet


class _NoFurther(Exception):
    """A step cannot be taken, or was in vain."""


class _Killed(Rejected):
    """A step was too much for it."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Freezer:
    """One for all sandboxes. `memory`: what the host has left."""

    engine: Engine
    memory: MemoryOf
    again_s: float = 0.5  # until a refused step is tried again

    async def freeze(self, found: Container, limits: tuple[int, int], *, stop: Callable[[], bool] = _never) -> str:
        """Freeze it, and move its memory to swap; what came of that, in words. `limits`: of one awake, in bytes.

        `stop`: whether somebody needs it, so that it is not worth going on. Repeatable. Raises Rejected and
        EngineUnavailable where it is not frozen, or that is not known.
        """
        if not found.frozen:
            await self.engine.pause(found.id)
        if limits[1] <= limits[0]:
            return "frozen, and keeps its memory: it has no swap"
        try:
            return await self._shrink(found.id, limits, stop)
        except _Killed:
            raise
        except (_NoFurther, Rejected) as error:
            await self.engine.limit_memory(found.id, *limits)
            return f"frozen, and keeps its memory: {error}"
        except EngineUnavailable:
            return "frozen"  # with whatever limit; it gets its own back before it goes on

    async def _shrink(self, container_id: str, limits: tuple[int, int], stop: Callable[[], bool]) -> str:
        cgroups = await self.engine.cgroups()
        limit, memory_and_swap = limits
        used, tries = await self.engine.memory_used(container_id), TRIES
        while (step := shrinking.next_limit(cgroups, used=used, limit=limit)) is not None:
            swap_free = self.memory().swap_free_mb * MIB
            if not shrinking.has_room(cgroups, used=used, limit=step, swap_free=swap_free):
                raise _NoFurther("there is too little free swap")
            if stop():
                raise _NoFurther("it is needed again")
            if not await self._takes(container_id, step, memory_and_swap):
                if cgroups.version != "1" or not (tries := tries - 1):
                    raise _NoFurther("the kernel cannot take it away")
                await asyncio.sleep(self.again_s)
                used = await self.engine.memory_used(container_id)  # some of it went all the same
                continue
            used = await self.engine.memory_used(container_id)
            if not shrinking.held(used=used, limit=step):
                raise _NoFurther("its memory does not go")
            await self._check(container_id)
            limit = step
        return f"frozen, {used // MIB} MiB of memory left to it"

    async def _takes(self, container_id: str, limit: int, memory_and_swap: int) -> bool:
        try:
            await self.engine.limit_memory(container_id, limit, memory_and_swap)
        except Rejected as error:
            logger.debug("a limit was refused", limit=limit, error=str(error))
            return False
        return True

    async def _check(self, container_id: str) -> None:
        """With cgroup v2 a step too far is the end of it."""
        found = await self.engine.inspect(container_id)
        if found is None or not found.frozen:
            raise _Killed(f"its container did not survive that: {'gone' if found is None else found.status}")
