"""Asks the policy of rest what is due: who is awake (the supervisor knows), who dozes (the registry does), the host.

Owns nothing and puts nobody to rest: what is due is carried out by keepers. Costs one query each time, whoever rests.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Protocol

from clawkakad.model import SandboxId
from clawkakad.registry import SandboxRow
from clawkakad.sandboxes.admission import Admission
from clawkakad.sandboxes.hostmemory import MemoryOf
from clawkakad.sandboxes.rest import Leaving, Order, Pressure, Resident, Rules, due


class Rows(Protocol):
    """What is needed of the registry."""

    async def dozing(self) -> list[SandboxRow]: ...


class Resting:
    """One per daemon."""

    def __init__(self, rows: Rows, memory: MemoryOf, rules: Rules, admission: Admission) -> None:
        self._rows = rows
        self._memory = memory
        self._rules = rules
        self._admission = admission

    async def due(
        self, awake: Sequence[Resident], *, leaving: Sequence[Leaving], kept: Collection[SandboxId]
    ) -> list[tuple[SandboxRow | None, Order]]:
        """Who rests now, with the row of those that doze already. `kept`: somebody is at these already."""
        if not self._rules.on:
            return []
        dozing = {row.id: row for row in await self._rows.dozing() if row.id not in kept}
        now, host = datetime.now(UTC), self._memory()
        residents = [
            *awake,
            *(
                Resident(row.id, row.state, (now - row.changed_at).total_seconds(), spare=row.user_id is None)
                for row in dozing.values()
            ),
        ]
        pressure = Pressure(host.available_mb, host.swap_free_mb, self._admission.wanted_mb, leaving)
        return [(dozing.get(order.id), order) for order in due(residents, pressure, self._rules)]
