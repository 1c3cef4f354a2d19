"""All keepers: which sandboxes have one, who gets one, and how it ends.

Owns their tasks. A sandbox that rests has none; who addresses it gets it one again. Invariants: a sandbox never has
two, and one that leaves never gets another; nobody else is at a sandbox whose keeper has not ended: a spare's new
person, a removal and an upgrade wait for that.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

from loguru import logger

from clawkakad.errors import Transient
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.pool import Pool
from clawkakad.model import SandboxId, SandboxState, UserId
from clawkakad.registry import SandboxRow
from clawkakad.sandboxes.keeper import Keeper
from clawkakad.sandboxes.rest import Leaving, Order, Resident

STOP_S = 10.0  # for the keepers to close their connections
LET_GO_S = 60.0  # for one keeper; a start that it has begun is ended first


class Rows(Protocol):
    """What is needed of the registry."""

    async def get(self, sandbox_id: SandboxId) -> SandboxRow | None: ...


class Doors(Protocol):
    """What is needed of the host API."""

    async def close(self, sandbox_id: SandboxId) -> None: ...


class Keepers:
    """One per daemon. `make`: a keeper for a row; `is_held`: somebody else is at this sandbox, for an upgrade."""

    def __init__(
        self,
        rows: Rows,
        pool: Pool,
        doors: Doors,
        *,
        make: Callable[[SandboxRow], Keeper],
        is_held: Callable[[SandboxId], bool],
    ) -> None:
        self._rows = rows
        self._pool = pool
        self._doors = doors
        self._make = make
        self._is_held = is_held
        self._keepers: dict[SandboxId, tuple[Keeper, asyncio.Task[None]]] = {}
        self._of_user: dict[UserId, SandboxId] = {}  # of those with a keeper
        self._ending: dict[SandboxId, asyncio.Task[None]] = {}  # keepers that were let go and have not ended yet
        self._leaving: set[SandboxId] = set()  # being removed, or gone: ids are never used again
        self._addressed: set[SandboxId] = set()  # rests, and is to be woken
        self._is_addressed = asyncio.Event()
        self._stopped = False
        pool.listen_wanted(self.address)

    def __contains__(self, sandbox_id: SandboxId) -> bool:
        return sandbox_id in self._keepers

    @property
    def stopped(self) -> bool:
        """Whether nobody gets one any more."""
        return self._stopped

    @property
    def kept(self) -> Collection[SandboxId]:
        """Which sandboxes have one now."""
        return frozenset(self._keepers)

    @property
    def residents(self) -> list[Resident]:
        """Those that are ready."""
        keepers = [keeper for keeper, _ in self._keepers.values()]
        return [resident for keeper in keepers if (resident := keeper.resident()) is not None]

    @property
    def leaving(self) -> list[Leaving]:
        """Those that are being put to rest at this moment."""
        return [leaving for keeper, _ in self._keepers.values() if (leaving := keeper.leaving) is not None]

    def awake_of(self, user_id: UserId) -> SandboxId | None:
        """The person's sandbox, if it can be asked at this moment."""
        sandbox_id = self._of_user.get(user_id)
        return sandbox_id if sandbox_id in self._keepers and self.connection(sandbox_id) is not None else None

    def connection(self, sandbox_id: SandboxId) -> Connection | None:
        """The one that turns use, where there is one."""
        return self._pool.get(sandbox_id)

    async def is_idle(self, sandbox_id: SandboxId, for_s: float) -> bool:
        """Nobody waits for it, and nothing was done for so long."""
        keeper, _ = self._keepers.get(sandbox_id, (None, None))
        return keeper is None or await keeper.is_idle(for_s)

    # Words to one that is kept

    def nudge(self, sandbox_id: SandboxId) -> None:
        """Something may have happened to its container."""
        if sandbox_id in self._keepers:
            self._keepers[sandbox_id][0].nudge()

    def disk_changed(self, sandbox_id: SandboxId | None) -> None:
        """News of one sandbox's disk, or of the host's."""
        for one in list(self._keepers) if sandbox_id is None else [sandbox_id]:
            if one in self._keepers:
                self._keepers[one][0].disk_changed()

    def rest(self, row: SandboxRow | None, order: Order) -> None:
        """`row`: of one that dozes; it is given a keeper, which stops it."""
        if row is not None and row.state is SandboxState.DOZING and order.to is SandboxState.ASLEEP:
            self.keep(row)
        if order.id in self._keepers:
            self._keepers[order.id][0].rest(order)

    # How they come

    def keep(self, row: SandboxRow) -> None:
        """The row may be a moment old: who leaves meanwhile gets no keeper, nor who is upgraded."""
        if row.id in self._keepers or row.remove_wanted or row.id in self._leaving or self._stopped:
            return
        if self._is_held(row.id) or row.id in self._ending:
            return
        keeper = self._make(row)
        task = asyncio.create_task(self._keep_until_it_rests(row.id, keeper), name=f"keeper {row.id}")
        self._keepers[row.id] = (keeper, task)
        if row.user_id is not None:
            self._of_user[row.user_id] = row.id
        task.add_done_callback(lambda ended: self._ended(row.id, keeper, ended))

    def take_back(self, row: SandboxRow, *, awake: bool) -> None:
        """Keep it again, after somebody else was at it."""
        self.keep(row)
        if awake and row.id in self._keepers:
            self._keepers[row.id][0].address()

    def address(self, sandbox_id: SandboxId) -> None:
        """Somebody needs it now. Never waits."""
        if sandbox_id in self._keepers:
            self._keepers[sandbox_id][0].address()
        else:
            self._addressed.add(sandbox_id)
            self._is_addressed.set()

    async def wait_for_addressed(self) -> None:
        """Wait until somebody addresses one that has none."""
        await self._is_addressed.wait()

    async def keep_the_addressed(self) -> None:
        """Those get one. Raises RegistryUnavailable; then who did not yet is still addressed."""
        for sandbox_id in self._addressed - self._ending.keys():
            row = await self._rows.get(sandbox_id)
            self._addressed.discard(sandbox_id)
            if row is not None:
                self.keep(row)
            if sandbox_id in self._keepers:
                self._keepers[sandbox_id][0].address()
        if not self._addressed - self._ending.keys():  # those come again when their keepers have ended
            self._is_addressed.clear()

    async def _keep_until_it_rests(self, sandbox_id: SandboxId, keeper: Keeper) -> None:
        await keeper.run()
        await self._doors.close(sandbox_id)

    # How they go

    def _ended(self, sandbox_id: SandboxId, keeper: Keeper, task: asyncio.Task[None]) -> None:
        """It rests. Who addressed it in that moment wakes it again."""
        if task.cancelled() or self._keepers.get(sandbox_id, (None, None))[0] is not keeper:
            return
        del self._keepers[sandbox_id]
        if task.exception() is not None:  # a bug; the next reconcile starts another
            logger.error("a keeper ended", sandbox=sandbox_id, error=repr(task.exception()))
        elif keeper.is_wanted_again:
            self.address(sandbox_id)

    async def hand_over(self, sandbox_id: SandboxId) -> None:
        """It may have been kept as a spare until this moment: then that keeper ends before another begins.

        Raises Transient where that takes too long.
        """
        if sandbox_id in self._keepers and self._keepers[sandbox_id][0].user_id is None:
            self._end(sandbox_id)
        if sandbox_id in self._ending:
            await self._until_ended(sandbox_id)

    async def let_go(self, sandbox_id: SandboxId) -> None:
        """Its keeper ends, and its connection; the container lives on. Idempotent.

        Raises Transient where that takes too long: it may still make what nobody else knows of.
        """
        self._end(sandbox_id)
        await self._until_ended(sandbox_id)

    def _end(self, sandbox_id: SandboxId) -> None:
        _, task = self._keepers.pop(sandbox_id, (None, None))
        if task is not None:
            task.cancel()
            self._ending[sandbox_id] = task
            task.add_done_callback(lambda _: self._is_over(sandbox_id))

    def _is_over(self, sandbox_id: SandboxId) -> None:
        """Who addressed it meanwhile gets it another."""
        del self._ending[sandbox_id]
        if sandbox_id in self._addressed:
            self._is_addressed.set()

    async def _until_ended(self, sandbox_id: SandboxId) -> None:
        """Wait for one that was let go, and close the door that it opened. Raises Transient."""
        task = self._ending.get(sandbox_id)
        if task is not None:
            _, late = await asyncio.wait({task}, timeout=LET_GO_S)
            if late:
                raise Transient("whoever kept the sandbox has not ended yet")
        if sandbox_id not in self._keepers:
            await self._doors.close(sandbox_id)

    async def part_with(self, row: SandboxRow) -> None:
        """It is removed: nobody keeps it any more, nor waits for it. Idempotent. Raises Transient: call again."""
        self._leaving.add(row.id)
        self._pool.retire(row.id)
        if row.user_id is not None:
            self._of_user.pop(row.user_id, None)
        await self.let_go(row.id)

    def is_leaving(self, sandbox_id: SandboxId) -> bool:
        """Whether it is being removed, or gone."""
        return sandbox_id in self._leaving

    async def stop(self) -> None:
        """All end, and nobody gets another; containers live on."""
        self._stopped = True
        tasks = {task for _, task in self._keepers.values()} | set(self._ending.values())
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_S)
            if late:
                logger.warning("keepers did not stop in time", count=len(late))
