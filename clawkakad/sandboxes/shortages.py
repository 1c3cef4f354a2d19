"""Shortages of memory in a sandbox: counted from the engine's event, which is the only thing that tells of them.

Its gateway may have ended, or something that the agent ran: neither the exit code nor the container's state would tell.
"""

import math
import time
from datetime import datetime, timedelta
from typing import Protocol

from loguru import logger

from clawkakad.model import SandboxId

AT_ONCE_S = 10.0  # one shortage may end several processes, and be told for each
SOON = timedelta(hours=1)


class Rows(Protocol):
    """What is needed of the registry."""

    async def count_oom(self, sandbox_id: SandboxId) -> tuple[datetime | None, datetime]: ...


class Shortages:
    """One per daemon."""

    def __init__(self, rows: Rows, *, at_once_s: float = AT_ONCE_S) -> None:
        self._rows = rows
        self._at_once_s = at_once_s
        self._at: dict[SandboxId, float] = {}

    async def count(self, sandbox_id: SandboxId) -> None:
        """One more. Raises RegistryUnavailable."""
        if time.monotonic() - self._at.get(sandbox_id, -math.inf) < self._at_once_s:
            return
        self._at[sandbox_id] = time.monotonic()
        before, now = await self._rows.count_oom(sandbox_id)
        if before is not None and now - before < SOON:
            logger.error("a sandbox ran out of memory twice within an hour", sandbox=sandbox_id)
        else:
            logger.warning("something in a sandbox ran out of memory", sandbox=sandbox_id)

    def forget(self, sandbox_id: SandboxId) -> None:
        """It is removed."""
        self._at.pop(sandbox_id, None)
