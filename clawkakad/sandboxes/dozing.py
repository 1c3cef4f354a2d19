"""How a container is frozen, and its memory moved to swap: step by step, each one measured.

Owns the order of those calls; the rule of the steps is `shrinking`, who dozes and when is `rest`. A step that cannot be
taken, or did not do what it should, costs nothing but memory: the limit goes back up, and the container stays frozen.
Whatever is cut off in the middle is a frozen container with some limit; letting it go on restores that first.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from loguru import logger

from clawkakad.errors import EngineUnavailable, Rejected
from clawkakad.sandboxes import shrinking
from clawkakad.sandboxes.engine import Container, Engine
from clawkakad.sandboxes.hostmemory import MemoryOf
from clawkakad.sandboxes.shrinking import MIB, Cgroups

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
    _moving: list[int] = field(default_factory=list, init=False)  # bytes that each step under way may move

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
        use, tries = await self.engine.memory_use(container_id), TRIES
        while (step := shrinking.next_limit(cgroups, used=use.used, limit=limit)) is not None:
            moves = self._move(cgroups, used=use.used, limit=step)
            if stop():
                raise _NoFurther("it is needed again")
            if not await self._takes(container_id, step, memory_and_swap, moves):
                if cgroups.version != "1" or not (tries := tries - 1):
                    raise _NoFurther("the kernel cannot take it away")
                await asyncio.sleep(self.again_s)
                use = await self.engine.memory_use(container_id)  # some of it went all the same
                continue
            before, use = use, await self.engine.memory_use(container_id)
            await self._check(container_id, shrinking.killed(cgroups, failures=use.failures, before=before.failures))
            if not shrinking.held(used=use.used, limit=step):
                raise _NoFurther("its memory does not go")
            limit = step
        return f"frozen, {use.used // MIB} MiB of memory left to it"

    def _move(self, cgroups: Cgroups, *, used: int, limit: int) -> int:
        """How many bytes such a step may move, if swap has room for them beside those of all other steps."""
        swap_free, others = self.memory().swap_free_mb * MIB, sum(self._moving)
        if not shrinking.has_room(cgroups, used=used, limit=limit, swap_free=swap_free, others=others):
            raise _NoFurther("there is too little free swap")
        return shrinking.moves(cgroups, used=used, limit=limit)

    async def _takes(self, container_id: str, limit: int, memory_and_swap: int, moves: int) -> bool:
        self._moving.append(moves)
        try:
            await self.engine.limit_memory(container_id, limit, memory_and_swap)
        except Rejected as error:
            logger.debug("a limit was refused", limit=limit, error=str(error))
            return False
        finally:
            self._moving.remove(moves)
        return True

    async def _check(self, container_id: str, killed: bool) -> None:
        """With cgroup v2 a step too far is the end of it.

        Of its first process perhaps not: the kernel takes the greatest, and the engine says "paused" as before. What is
        left then is ended too, so that nobody takes it for one that can go on.
        """
        found = await self.engine.inspect(container_id)
        if found is None or not found.frozen:
            raise _Killed(f"its container did not survive that: {'gone' if found is None else found.status}")
        if killed:
            with contextlib.suppress(Rejected):  # it has ended by itself
                await self.engine.kill(container_id)
            raise _Killed("its container did not survive that: what it ran was killed for want of memory")
