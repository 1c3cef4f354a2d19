"""The spares: sandboxes that are booted and nobody's, so that a newcomer's is claimed and not started.

A spare is a row without an owner. It is started like any other, dozes as soon as it is ready, and from then on costs
what a sleeper costs. What it does not know, who its person is, it is told when it is claimed; what only a start can
change follows at the next one. Invariant: a spare never takes memory that somebody waits for.
"""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from loguru import logger

from clawkakad.model import SandboxId, SandboxState
from clawkakad.registry import Registry, SandboxRow, spares
from clawkakad.sandboxes.builder import Builder
from clawkakad.sandboxes.policy import PARKED_FOR
from clawkakad.sandboxes.rest import Order

CHECK_EVERY_S = 60.0  # between two looks whether a spare is still of the image and profile that are wanted

_S = SandboxState
ON_THE_WAY = frozenset({_S.ABSENT, _S.CREATING, _S.STARTING, _S.STOPPING, _S.UNHEALTHY})


@dataclass(frozen=True)
class Step:
    """What there is to do: rows to remove, to keep (and so to start), to let doze; `make`: one more is to be made."""

    remove: tuple[SandboxId, ...] = ()
    start: tuple[SandboxId, ...] = ()
    doze: tuple[SandboxId, ...] = ()
    make: bool = False


def decide(rows: Sequence[SandboxRow], stale: Collection[SandboxId], *, wanted: int, has_room: bool) -> Step:
    """The next step. `rows`: all spares; `stale`: those made of another image or profile than is wanted now.

    `has_room`: the host has memory for one that boots, and for one more person: without, nothing is begun. One boots at
    a time; one that is parked is left as it is for a while: another would fare no better.
    """
    there = [row for row in rows if not row.remove_wanted]
    kept = [row for row in there if row.id not in stale][:wanted]
    remove = tuple(row.id for row in there if row not in kept)
    doze = tuple(row.id for row in kept if row.state is _S.READY)
    on_the_way = [row.id for row in kept if row.state in ON_THE_WAY]
    start = on_the_way or [row.id for row in kept if row.state is _S.ASLEEP][:1]
    start = start if has_room else []
    return Step(remove, tuple(start), doze, make=has_room and not on_the_way and not start and len(kept) < wanted)


class Spares:
    """One per daemon. `wanted`: how many there should be now; `address` and `rest` reach their keepers."""

    def __init__(
        self,
        registry: Registry,
        builder: Builder,
        *,
        wanted: Callable[[], int],
        has_room: Callable[[], bool],
        address: Callable[[SandboxId], None],
        rest: Callable[[Order], None],
        check_every_s: float = CHECK_EVERY_S,
    ) -> None:
        self._registry = registry
        self._builder = builder
        self._wanted = wanted
        self._has_room = has_room
        self._address = address
        self._rest = rest
        self._check_every_s = check_every_s
        self._checked_at = -check_every_s

    async def tend(self) -> None:
        """Carry out what is due. Raises EngineUnavailable, RegistryUnavailable; may be called again at any time."""
        rows, wanted = await self._registry.sandboxes.spares(), self._wanted()
        if not rows and not wanted:
            return
        step = decide(rows, await self._stale(rows), wanted=wanted, has_room=self._has_room())
        for sandbox_id in step.remove:
            if await self._registry.db.write(lambda tx, gone=sandbox_id: spares.give_up(tx, gone)):  # type: ignore[misc]
                logger.info("a spare is removed", sandbox=sandbox_id)
        for sandbox_id in step.start:
            self._address(sandbox_id)
        for sandbox_id in step.doze:
            self._rest(Order(sandbox_id, SandboxState.DOZING, "a spare, until somebody comes"))
        if step.make:
            await self._make(wanted)

    async def _make(self, most: int) -> None:
        now = datetime.now(UTC)
        made = await self._registry.db.write(lambda tx: spares.add(tx, most=most, now=now))
        if made is not None:
            logger.info("a spare is made", sandbox=made)
            self._address(made)

    async def _stale(self, rows: Sequence[SandboxRow]) -> list[SandboxId]:
        """Those that were parked long ago; and once a minute, since it costs a call of the engine, what has drifted."""
        now = datetime.now(UTC)
        parked = [row.id for row in rows if row.parked_at is not None and now - row.parked_at >= PARKED_FOR]
        if not rows or time.monotonic() - self._checked_at < self._check_every_s:
            return parked
        drifted = [row.id for row in rows if await self._builder.is_stale(row)]
        self._checked_at = time.monotonic()
        return [*parked, *drifted]
