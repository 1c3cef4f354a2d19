"""What operators want of sandboxes: each wish stands in the row until it is carried out.

Another process writes them (the CLI), so they are looked for. Removals are apart from the others: each takes seconds.
"""

import time
from collections.abc import Awaitable, Callable

from loguru import logger

from clawkakad.errors import ClawkakaError
from clawkakad.gateway.pool import Pool
from clawkakad.model import Rest, SandboxId, SandboxState
from clawkakad.registry import SandboxRow
from clawkakad.registry.sandboxes import Sandboxes
from clawkakad.sandboxes.keepers import Keepers
from clawkakad.sandboxes.rest import Order

REST_TO = {Rest.DOZE: SandboxState.DOZING, Rest.SLEEP: SandboxState.ASLEEP}


class Wishes:
    """Of one daemon. `remove` takes a sandbox away; `is_held`: whether an upgrade has it in hand, which goes first.

    `again_s`: seconds until a removal that failed is tried again.
    """

    def __init__(
        self,
        rows: Sandboxes,
        keepers: Keepers,
        pool: Pool,
        *,
        remove: Callable[[SandboxRow], Awaitable[None]],
        is_held: Callable[[SandboxId], bool],
        again_s: float,
    ) -> None:
        self._rows = rows
        self._keepers = keepers
        self._pool = pool
        self._remove = remove
        self._is_held = is_held
        self._again_s = again_s
        self._not_before: dict[SandboxId, float] = {}  # in monotonic seconds, where a removal has failed

    async def carry_out_removals(self) -> None:
        """One after the other. Raises RegistryUnavailable; what is not removed is tried again later."""
        for row in await self._rows.removals_wanted():
            if time.monotonic() < self._not_before.get(row.id, 0.0) or self._is_held(row.id):
                continue
            self._not_before[row.id] = time.monotonic() + self._again_s
            try:
                await self._remove(row)
            except (ClawkakaError, OSError) as error:
                logger.error("a sandbox is not removed yet", sandbox=row.id, error=str(error))
            else:
                del self._not_before[row.id]

    async def carry_out_others(self) -> None:
        """Those to be tried again, to rest or to wake. Raises RegistryUnavailable."""
        for row in await self._rows.wished_for():
            if row.retry_wanted:
                await self._try_again(row.id)
            if row.rest_wanted is not None:
                await self._let_rest(row, row.rest_wanted)

    async def _try_again(self, sandbox_id: SandboxId) -> None:
        """The keeper finds the wish in the row."""
        if self._pool.get(sandbox_id) is not None:
            await self._rows.retrying(sandbox_id)  # there is nothing to try
        if sandbox_id not in self._keepers:
            self._keepers.address(sandbox_id)
        self._keepers.nudge(sandbox_id)

    async def _let_rest(self, row: SandboxRow, rest: Rest) -> None:
        await self._rows.resting(row.id)
        if rest is Rest.WAKE:
            self._keepers.address(row.id)
        else:
            self._keepers.rest(row, Order(row.id, REST_TO[rest], "an operator wants it"))
