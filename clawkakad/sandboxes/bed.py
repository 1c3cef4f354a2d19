"""How one sandbox is put to rest: whether anybody needs it, asking its gateway, letting go of it, freezing or stopping.

Owns when it was addressed and which order to rest stands. Invariant: whoever addresses it, at whatever moment of this,
wakes it: it rests only if nobody did since that began.
"""

import time
from collections.abc import Callable
from typing import Protocol

from loguru import logger

from clawkakad.errors import GatewayRefused
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.pool import Pool
from clawkakad.model import SandboxId, SandboxState
from clawkakad.sandboxes.builder import Builder
from clawkakad.sandboxes.dozing import Freezer
from clawkakad.sandboxes.ledger import Ledger
from clawkakad.sandboxes.policy import allowed
from clawkakad.sandboxes.profile import memory_limits
from clawkakad.sandboxes.rest import Leaving, Order, Resident

ADDRESSED_S = 600.0  # so long a sandbox counts as needed after somebody asked for it


class Doors(Protocol):
    """What is needed of the host API."""

    def is_busy(self, sandbox_id: SandboxId) -> bool: ...


class Bed:
    """One per keeper. `again_s`: how long one is left alone that was to rest and was at work; `on_order`: it is to."""

    def __init__(
        self,
        sandbox_id: SandboxId,
        *,
        builder: Builder,
        freezer: Freezer,
        ledger: Ledger,
        pool: Pool,
        doors: Doors,
        again_s: float,
        on_order: Callable[[], None],
    ) -> None:
        self._id = sandbox_id
        self._builder = builder
        self._freezer = freezer
        self._ledger = ledger
        self._pool = pool
        self._doors = doors
        self._again_s = again_s
        self._on_order = on_order
        self._addressed_at = -ADDRESSED_S
        self._not_before = 0.0
        self.order: Order | None = None
        self._lies_down: Leaving | None = None
        self.rests = False

    def address(self) -> None:
        """Somebody needs it now."""
        self._addressed_at = time.monotonic()
        self.order, self.rests = None, False

    def rest(self, order: Order) -> None:
        """It is to rest, unless it is at work."""
        self.order = order
        self._on_order()

    @property
    def is_addressed(self) -> bool:
        """Whether somebody asked for it lately."""
        return time.monotonic() - self._addressed_at < ADDRESSED_S

    @property
    def is_to_sleep(self) -> bool:
        """Whether it is not to doze any more, but to sleep."""
        return self.order is not None and self.order.to is SandboxState.ASLEEP

    @property
    def leaving(self) -> Leaving | None:
        """Whether it is being put to rest. One that dozes is, as soon as it has its order: it has a keeper for that."""
        on_its_way = self._ledger.state in (SandboxState.DOZING, SandboxState.STOPPING)
        if self._lies_down is None and self.is_to_sleep and on_its_way:
            return Leaving(SandboxState.DOZING, SandboxState.ASLEEP)
        return self._lies_down

    def resident(self, busy_at: float) -> Resident:
        """Of one that is ready: how long it was not needed, and whether it is at work, as far as is known here."""
        now = time.monotonic()
        busy = now < self._not_before or self._is_used()
        return Resident(self._id, SandboxState.READY, now - max(busy_at, self._addressed_at), busy)

    async def lets_go(self, connection: Connection) -> bool:
        """Whether it may rest: nobody needs it, its gateway says so too, and from now on nobody uses it.

        Where not, everything is as before. Raises GatewayUnavailable and GatewayClosed where that is not known: the
        next connection lets the gateway go on.
        """
        self.order = None
        asked_at = time.monotonic()
        self._not_before = asked_at + self._again_s
        standing = await self._ledger.standing()
        if standing is None or standing.waiting or self._is_used() or self._addressed_at > asked_at:
            return False
        self._pool.withdraw(self._id)  # nobody meets a gateway that says no to everything
        try:
            doing = await connection.suspend()
        except GatewayRefused as error:
            doing = str(error)
        if not doing:
            if not self._is_used() and self._addressed_at < asked_at:
                return True
            await connection.resume()
        logger.debug("not put to rest now", at_work=doing or "it is needed")
        self._pool.restore(self._id, connection)
        return False

    async def lie_down(self, order: Order, connection: Connection) -> None:
        """Frozen or stopped. Cut off in the middle, the next look finds a container that runs, or is frozen."""
        began_at = time.monotonic()
        self._lies_down = Leaving(SandboxState.READY, order.to)
        try:
            await connection.aclose(1001)
            if order.to is SandboxState.ASLEEP:
                await self.stop(order.reason, began_at)
            else:
                await self._freeze(order.reason, began_at)
        finally:
            self._lies_down = None

    async def stop(self, reason: str, since: float) -> None:
        """It sleeps."""
        if allowed(self._ledger.state, SandboxState.STOPPING):
            await self._ledger.move(SandboxState.STOPPING, reason)
        await self._builder.halt(self._id, tail=0)
        await self._ledger.move(SandboxState.ASLEEP, reason)
        self.lies_since(since)

    def lies_since(self, since: float) -> None:
        """It is where it rests. Who addressed it meanwhile wakes it."""
        self.order = None
        self.rests = self._addressed_at < since

    async def _freeze(self, reason: str, since: float) -> None:
        found = await self._builder.find(self._id)
        if found is None:
            return
        limits = memory_limits(self._builder.sealing)
        how = await self._freezer.freeze(found, limits, stop=lambda: self._addressed_at >= since)
        await self._ledger.move(SandboxState.DOZING, f"{reason}; {how}")
        if self._doors.is_busy(self._id):
            self.address()  # it was frozen in the middle of a request
        self.lies_since(since)

    def _is_used(self) -> bool:
        return self._pool.in_use(self._id) or self._doors.is_busy(self._id)
