"""The watch over a sandbox that is ready: until it is gone, hangs, is to rest, has filled its disk, or has drifted.

Owns when its agent was last seen at work. One event for all that concerns it, and no task: there may be a thousand.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from clawkakad.errors import GatewayClosed, GatewayRefused, GatewayUnavailable
from clawkakad.gateway.connection import Connection
from clawkakad.model import SandboxId
from clawkakad.moments import moment_after
from clawkakad.sandboxes.rest import Order
from clawkakad.sandboxes.timing import Timing


class Hung(GatewayUnavailable):
    """A gateway that accepts connections and says nothing: it must be started afresh."""


class Disk(Protocol):
    """What is needed to know of its disk."""

    def why_stopped(self, sandbox_id: SandboxId) -> str: ...
    def is_held(self, sandbox_id: SandboxId) -> bool: ...


class Watch:
    """One per keeper. `order`: to rest, where there is one; `drifted`: why it is to be made again, if it is."""

    def __init__(
        self,
        sandbox_id: SandboxId,
        *,
        order: Callable[[], Order | None],
        disk: Disk,
        drifted: Callable[[], Awaitable[str]],
        timing: Timing,
    ) -> None:
        self._id = sandbox_id
        self._order = order
        self._disk = disk
        self._drifted = drifted
        self._timing = timing
        self._stirred = asyncio.Event()
        self._patient_until = 0.0
        self.is_on = False
        """Whether it is ready, and watched."""
        self._began_at = 0.0
        self._connection: Connection | None = None

    def stir(self) -> None:
        """Look now."""
        self._stirred.set()

    def be_patient(self, seconds: float) -> None:
        """It was let go on a moment ago: slow answers are forgiven for a while."""
        self._patient_until = time.monotonic() + seconds

    @property
    def busy_at(self) -> float:
        """When its agent was last seen at work, or became ready, in monotonic seconds."""
        return max(self._began_at, self._connection.worked_at) if self._connection is not None else self._began_at

    def begin(self, connection: Connection) -> None:
        """It is ready now."""
        self._began_at = time.monotonic()
        self._connection = connection
        connection.when_closed(self.stir)

    async def over(self, connection: Connection) -> Order | str:
        """Until it is to rest; or why it is stopped: its disk is full, or it has drifted and is made again.

        Raises GatewayClosed, and Hung where it missed several health checks in a row.
        """
        looked_at, misses = time.monotonic(), 0
        self.is_on = True
        try:
            while True:
                every_s = self._timing.liveness_again_s if misses else self._timing.liveness_every_s
                await self._until_stirred(every_s * random.uniform(0.9, 1.1))  # noqa: S311
                if connection.is_closed:
                    raise await connection.wait_closed()
                if (order := self._order()) is not None:
                    return order
                if full := self._disk.why_stopped(self._id):
                    return full
                misses = 0 if await self._is_well(connection) else misses + 1
                if misses >= self._timing.misses:
                    raise Hung(f"the gateway missed {misses} health checks")
                if time.monotonic() - looked_at >= self._timing.drift_every_s:
                    looked_at = time.monotonic()
                    if why := await self._drifted():
                        return f"made again: {why}"
        finally:
            self.is_on = False

    async def _until_stirred(self, at_most_s: float) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_at(moment_after(at_most_s), self._stirred.set)
        try:
            await self._stirred.wait()
        finally:
            timer.cancel()
        self._stirred.clear()

    async def _is_well(self, connection: Connection) -> bool:
        return await self._answers(connection) or time.monotonic() < self._patient_until

    async def _answers(self, connection: Connection) -> bool:
        """Who was heard a moment ago need not be asked, and who is frozen cannot answer."""
        if self._disk.is_held(self._id) or connection.quiet_s < self._timing.liveness_again_s:
            return True
        try:
            await connection.health(self._timing.liveness_within_s)
        except GatewayUnavailable:
            return False
        except (GatewayRefused, GatewayClosed):
            return True  # a no is an answer; that it closed is noticed above
        return True
