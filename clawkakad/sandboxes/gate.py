"""The gate that a new image has to pass in a sandbox: it starts, says hello-ok in time, is healthy, and its tools work.

One pass, with a connection of its own that nobody else gets; whoever writes meanwhile waits in the inbox. Cancelling it
leaves the container as it is. An engine that does not answer decides nothing: EngineUnavailable, pass it again.
"""

import asyncio
import time
from dataclasses import dataclass

from clawkakad.errors import (
    GatewayClosed,
    GatewayRefused,
    GatewayUnavailable,
    Rejected,
    SandboxTampered,
)
from clawkakad.gateway.connection import Connection
from clawkakad.registry import SandboxRow
from clawkakad.sandboxes.admission import Admission
from clawkakad.sandboxes.builder import Builder
from clawkakad.sandboxes.pulse import pulse
from clawkakad.sandboxes.reaching import reach
from clawkakad.sandboxes.timing import Timing


class NotReady(Rejected):
    """The sandbox did not pass."""


@dataclass(frozen=True)
class Gate:
    """One for all. `admission`: how many sandboxes start at once, and with how much memory."""

    builder: Builder
    timing: Timing
    admission: Admission

    async def passed(self, row: SandboxRow, *, for_s: float) -> None:
        """Start it afresh; it stays healthy for so long. Raises NotReady, ImageMissing, Rejected, EngineUnavailable."""
        async with self.admission.place(cold=True, is_waited_for=lambda: True, on_long=_nobody_to_tell):
            await self.builder.start(row)
            connection = await self._connect(row)
        try:
            self.builder.seal(row.id)
            await self._healthy(connection)
            await self._tools(row)
            until = time.monotonic() + for_s
            while (left_s := until - time.monotonic()) > 0:
                await _closed_or_later(connection, min(left_s, self.timing.liveness_again_s))
                await self._healthy(connection)
        finally:
            await connection.aclose(1001)

    async def _connect(self, row: SandboxRow) -> Connection:
        try:
            return await reach(
                self.builder,
                row.id,
                within_s=self.timing.start_s,
                attempt_s=self.timing.attempt_s,
                owner_uids=self.timing.owner_uids,
                pause=_pause,
            )
        except (GatewayRefused, SandboxTampered) as error:
            raise NotReady(f"its gateway cannot be used: {error}") from error
        except GatewayUnavailable as error:
            raise NotReady(str(error)) from error

    async def _healthy(self, connection: Connection) -> None:
        """As patient as the keeper: a gateway that has just begun is slow."""
        for _ in range(self.timing.misses):
            try:
                await connection.health(self.timing.liveness_within_s)
            except GatewayUnavailable:
                continue
            except GatewayClosed as error:
                raise NotReady(f"its gateway ended: {error}") from error
            except GatewayRefused:
                return  # a no is an answer
            else:
                return
        raise NotReady(f"its gateway missed {self.timing.misses} health checks")

    async def _tools(self, row: SandboxRow) -> None:
        ran = await pulse(self.builder.engine, row.id, mark=False)  # it opens the database, and changes nothing
        if ran.exit_code != 0:
            raise NotReady(f"its tools do not work: pa ended with exit code {ran.exit_code}")


async def _pause(seconds: float) -> bool:
    await asyncio.sleep(seconds)
    return True


async def _nobody_to_tell() -> None:
    """An upgrade may take its time."""


async def _closed_or_later(connection: Connection, seconds: float) -> None:
    """Wait so long, or until it is closed."""
    closed = asyncio.create_task(connection.wait_closed(), name="closed at the gate")
    await asyncio.wait({closed}, timeout=seconds)
    closed.cancel()
