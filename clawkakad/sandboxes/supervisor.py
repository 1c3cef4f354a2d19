"""The supervisor: every sandbox that does not rest has a keeper, every removal is carried out, strays are reported.

Owns the keepers' tasks. One that rests costs nothing: no task, no socket, no call; who addresses it gets it a keeper
again, and so does a container that is found otherwise than it was left. The engine's events are hints to look; the
reconcile of each minute is the truth. Stopping it closes connections and sockets; containers live on, and are found
again at the next start. No round that fails, in whatever way, ends it: the next one does it all again.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine

from loguru import logger

from clawkakad.errors import ClawkakaError, EngineUnavailable, RegistryUnavailable, Rejected, Transient
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.pool import Pool
from clawkakad.model import Rest, SandboxId, SandboxState, UserId
from clawkakad.registry import Registry, SandboxRow
from clawkakad.sandboxes.admission import Admission
from clawkakad.sandboxes.backoff import delays
from clawkakad.sandboxes.builder import Builder
from clawkakad.sandboxes.diskwatch import DiskWatch
from clawkakad.sandboxes.dozing import Freezer
from clawkakad.sandboxes.drift import Drift
from clawkakad.sandboxes.engine import Engine, Event
from clawkakad.sandboxes.gate import Gate
from clawkakad.sandboxes.hostapi import HostApi
from clawkakad.sandboxes.hostmemory import MemoryOf
from clawkakad.sandboxes.keeper import Keeper
from clawkakad.sandboxes.ledger import Ledger, Lines
from clawkakad.sandboxes.modelkeys import KeySource
from clawkakad.sandboxes.policy import RESTING, is_at_rest
from clawkakad.sandboxes.profile import container_name
from clawkakad.sandboxes.removal import remove_sandbox
from clawkakad.sandboxes.rest import Order, Rules
from clawkakad.sandboxes.resting import Resting
from clawkakad.sandboxes.shortages import AT_ONCE_S, Shortages
from clawkakad.sandboxes.spares import Spares
from clawkakad.sandboxes.strays import Strays
from clawkakad.sandboxes.timing import Timing
from clawkakad.sandboxes.upgradeplan import Patience
from clawkakad.sandboxes.upgrader import Upgrader

RECONCILE_EVERY_S = 60.0
REMOVALS_EVERY_S = 3.0  # one look into the registry; an operator waits for it
ENGINE_AGAIN_S = 5.0  # at most, between two tries to reach an engine that is away: it is back within twice that
REMOVAL_AGAIN_S = 60.0
REST_EVERY_S = 5.0  # memory may be short
HINTS_EVERY_S = 1.0  # at most, a full look because of a container that rested and does something
STOP_S = 10.0  # for the keepers to close their connections
LET_GO_S = 60.0  # for one keeper; a start that it has begun is ended first

WAKE_AGAIN_S = 1.0  # where the registry could not be read

PULSE = ["timeout", "-k", "2", "20", "pa", "pulse"]
PULSE_S = 30.0
PULSE_LIMIT = 4096  # bytes
REST_TO = {Rest.DOZE: SandboxState.DOZING, Rest.SLEEP: SandboxState.ASLEEP}

OOM = "oom"  # the engine's event
STIRS = frozenset({"start", "unpause", "die", "destroy"})  # what a container that rests does not do by itself


class Supervisor:
    """One per daemon."""

    def __init__(
        self,
        *,
        engine: Engine,
        registry: Registry,
        builder: Builder,
        host_api: HostApi,
        pool: Pool,
        keys: KeySource,
        memory: MemoryOf,
        rules: Rules,
        lines: Lines,
        disk: DiskWatch,
        on_outbox: Callable[[], None],
        spares: int = 0,
        timing: Timing | None = None,
        patience: Patience | None = None,
        admission: Admission | None = None,
        rest_every_s: float = REST_EVERY_S,
        reconcile_every_s: float = RECONCILE_EVERY_S,
        removals_every_s: float = REMOVALS_EVERY_S,
        oom_at_once_s: float = AT_ONCE_S,
    ) -> None:
        self._engine = engine
        self._registry = registry
        self._builder = builder
        self._drift = Drift(engine, builder.sealing_now, builder.runtime_dir)
        self._host_api = host_api
        self._pool = pool
        self._keys = keys
        self._lines = lines
        self._disk = disk
        self._on_outbox = on_outbox
        self._timing = timing or Timing()
        self._freezer = Freezer(engine, memory)
        self._admission = admission or Admission(memory, rules, nobody_awake=pool.is_empty)
        self._resting = Resting(registry.sandboxes, memory, rules, self._admission)
        self._spares = Spares(
            registry,
            builder,
            wanted=lambda: spares if builder.sealing.swaps else 0,
            has_room=lambda: not self._admission.wanted_mb and self._admission.has_room(2),
            address=self.address,
            rest=lambda order: self._rest(None, order),
        )
        self._rest_every_s = rest_every_s
        self._upgrader = Upgrader(
            registry=registry,
            builder=builder,
            gate=Gate(builder, self._timing, self._admission),
            doors=host_api,
            keepers=self,
            ledger_of=self._ledger_of,
            patience=patience or Patience(),
        )
        self._reconcile_every_s = reconcile_every_s
        self._removals_every_s = removals_every_s
        self._shortages = Shortages(registry.sandboxes, at_once_s=oom_at_once_s)
        self._keepers: dict[SandboxId, tuple[Keeper, asyncio.Task[None]]] = {}
        self._of_user: dict[UserId, SandboxId] = {}  # of those with a keeper
        self._handing: set[SandboxId] = set()  # claimed, while the keeper of the spare ends
        self._leaving: set[SandboxId] = set()  # being removed, or gone: ids are never used again
        self._removal_not_before: dict[SandboxId, float] = {}
        self._strays = Strays(engine, self._nudge)
        self._reconciling = asyncio.Lock()
        self._addressed: set[SandboxId] = set()  # rests, and is to be woken
        self._is_addressed = asyncio.Event()
        self._stirred = asyncio.Event()
        self._stopped = False
        pool.listen_wanted(self.address)

    async def run(self) -> None:
        """Endless. Cancelling it stops the keepers and closes the host API; no container is touched."""
        try:
            for pause_s in delays(1.0, 30.0):
                if await self._round(self._keep_all):
                    break
                await asyncio.sleep(pause_s)
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._follow_events(), name="engine events")
                loops.create_task(self._reconcile_for_ever(), name="reconcile")
                loops.create_task(self._wake_the_addressed(), name="waking")
                loops.create_task(self._every(self._rest_every_s, self._let_rest), name="rest")
                loops.create_task(self._every(self._removals_every_s, self._carry_out_removals), name="removals")
                loops.create_task(self._every(self._removals_every_s, self._try_again), name="retries")
                loops.create_task(self._every(self._rest_every_s, self._spares.tend), name="spares")
                loops.create_task(self._upgrader.run(), name="upgrades")
                loops.create_task(self._disk.run(self._disk_changed), name="disks")
        finally:
            self._stopped = True
            await self._stop_all()

    async def ensure(self, user_id: UserId) -> SandboxId:
        """The person has a sandbox and it is kept; nobody waits for it here. Raises Transient while it is removed."""
        if self._stopped:
            raise Transient("clawkakad is stopping")
        known = self._of_user.get(user_id)
        if known is not None and self.is_awake(user_id):
            self.address(known)
            return known
        await self._upgrader.remember()
        row = await self._registry.sandboxes.ensure(user_id)
        if row.remove_wanted or row.id in self._leaving:
            raise Transient("the sandbox is being removed")
        await self._hand_over(row.id)
        self._keep(row)
        self.address(row.id)
        return row.id

    async def _hand_over(self, sandbox_id: SandboxId) -> None:
        """It may have been kept as a spare until this moment: then that keeper ends before another begins."""
        if sandbox_id in self._handing or sandbox_id not in self._keepers:
            return
        if self._keepers[sandbox_id][0].user_id is None:
            self._handing.add(sandbox_id)
            try:
                await self._let_go(sandbox_id)
            finally:
                self._handing.discard(sandbox_id)

    def is_awake(self, user_id: UserId) -> bool:
        """Whether the person's sandbox can be asked at this moment."""
        sandbox_id = self._of_user.get(user_id)
        return sandbox_id in self._keepers and self._pool.get(sandbox_id) is not None

    def address(self, sandbox_id: SandboxId) -> None:
        """Somebody needs it now. Never waits."""
        if sandbox_id in self._keepers:
            self._keepers[sandbox_id][0].address()
        else:
            self._addressed.add(sandbox_id)
            self._is_addressed.set()

    async def pulse(self, sandbox_id: SandboxId, *, mark: bool) -> str:
        """What needs attention and is news, as seen inside the sandbox; empty if nothing is. `mark`: it has been said.

        Raises EngineUnavailable, and Rejected where the container does not run or `pa` failed.
        """
        command = [*PULSE, "--mark" if mark else "--new"]
        with self._pool.using(sandbox_id):
            ran = await self._engine.run(container_name(sandbox_id), command, deadline_s=PULSE_S, limit=PULSE_LIMIT)
        if ran.exit_code != 0:
            raise Rejected(f"pa pulse ended with exit code {ran.exit_code}")
        return ran.output.strip()

    # Keepers

    async def _keep_all(self) -> None:
        """Of those who rest the first reconcile looks whether they do."""
        await self._upgrader.remember()
        await self._disk.load()
        for row in await self._registry.sandboxes.all():
            if row.state not in RESTING:
                self._keep(row)

    def _keep(self, row: SandboxRow) -> None:
        """The row may be a moment old: who leaves meanwhile gets no keeper, nor who is upgraded."""
        if row.id in self._keepers or row.remove_wanted or row.id in self._leaving or self._stopped:
            return
        if self._upgrader.holds(row.id) or row.id in self._handing:
            return
        keeper = Keeper(
            row,
            builder=self._builder,
            doors=self._host_api,
            pool=self._pool,
            ledger=self._ledger_of(row),
            drift=self._drift,
            freezer=self._freezer,
            admission=self._admission,
            disk=self._disk,
            timing=self._timing,
        )
        task = asyncio.create_task(self._keep_until_it_rests(row.id, keeper), name=f"keeper {row.id}")
        self._keepers[row.id] = (keeper, task)
        if row.user_id is not None:
            self._of_user[row.user_id] = row.id
        task.add_done_callback(lambda ended: self._keeper_ended(row.id, keeper, ended))

    def _ledger_of(self, row: SandboxRow) -> Ledger:
        return Ledger(row, self._registry.sandboxes, lines=self._lines, on_outbox=self._on_outbox)

    async def _keep_until_it_rests(self, sandbox_id: SandboxId, keeper: Keeper) -> None:
        await keeper.run()
        await self._host_api.close(sandbox_id)

    def _keeper_ended(self, sandbox_id: SandboxId, keeper: Keeper, task: asyncio.Task[None]) -> None:
        """It rests. Who addressed it in that moment wakes it again."""
        if task.cancelled() or self._keepers.get(sandbox_id, (None, None))[0] is not keeper:
            return
        del self._keepers[sandbox_id]
        if task.exception() is not None:  # a bug; the next reconcile starts another
            logger.error("a keeper ended", sandbox=sandbox_id, error=repr(task.exception()))
        elif keeper.is_wanted_again:
            self.address(sandbox_id)

    async def _wake_the_addressed(self) -> None:
        """Those who have no keeper get one. Endless."""
        while True:
            await self._is_addressed.wait()
            self._is_addressed.clear()
            if not await self._round(self._keep_the_addressed):
                self._is_addressed.set()
                await asyncio.sleep(WAKE_AGAIN_S)

    async def _keep_the_addressed(self) -> None:
        for sandbox_id in list(self._addressed):
            row = await self._registry.sandboxes.get(sandbox_id)
            self._addressed.discard(sandbox_id)
            if row is not None:
                self._keep(row)
            if sandbox_id in self._keepers:
                self._keepers[sandbox_id][0].address()

    async def _let_go(self, sandbox_id: SandboxId) -> None:
        _, task = self._keepers.pop(sandbox_id, (None, None))
        if task is not None:
            task.cancel()
            await asyncio.wait({task}, timeout=LET_GO_S)
        await self._host_api.close(sandbox_id)

    async def _stop_all(self) -> None:
        tasks = {task for _, task in self._keepers.values()}
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_S)
            if late:
                logger.warning("keepers did not stop in time", count=len(late))
        await self._host_api.aclose()

    # For the upgrader

    async def let_go(self, sandbox_id: SandboxId) -> None:
        """Its keeper ends, and its connection; the container lives on. Idempotent."""
        await self._let_go(sandbox_id)

    def take_back(self, row: SandboxRow, *, awake: bool) -> None:
        """Somebody keeps it again."""
        self._keep(row)
        if awake and row.id in self._keepers:
            self._keepers[row.id][0].address()

    async def is_idle(self, sandbox_id: SandboxId, for_s: float) -> bool:
        """Nobody waits for it, and nothing was done for so long."""
        keeper, _ = self._keepers.get(sandbox_id, (None, None))
        return keeper is None or await keeper.is_idle(for_s)

    def connection(self, sandbox_id: SandboxId) -> Connection | None:
        """The one that turns use, where there is one."""
        return self._pool.get(sandbox_id)

    # Removal

    async def _carry_out_removals(self) -> None:
        for row in await self._registry.sandboxes.removals_wanted():
            if time.monotonic() < self._removal_not_before.get(row.id, 0.0) or self._upgrader.holds(row.id):
                continue
            self._removal_not_before[row.id] = time.monotonic() + REMOVAL_AGAIN_S
            try:
                await self._carry_out(row)
            except (ClawkakaError, OSError) as error:
                logger.error("a sandbox is not removed yet", sandbox=row.id, error=str(error))

    async def _try_again(self) -> None:
        """An operator wants it; the keeper finds the wish in the row."""
        for sandbox_id in await self._registry.sandboxes.retries_wanted():
            if self._pool.get(sandbox_id) is not None:
                await self._registry.sandboxes.retrying(sandbox_id)  # there is nothing to try
            if sandbox_id not in self._keepers:
                self.address(sandbox_id)
            self._nudge(sandbox_id)
        for row in await self._registry.sandboxes.rests_wanted():
            await self._registry.sandboxes.resting(row.id)
            if row.rest_wanted is Rest.WAKE:
                self.address(row.id)
            else:
                self._rest(row, Order(row.id, REST_TO[row.rest_wanted or Rest.DOZE], "an operator wants it"))

    # Rest

    async def _let_rest(self) -> None:
        """Those whose time has come, or whose memory is needed."""
        keepers = [keeper for keeper, _ in self._keepers.values()]
        awake = [resident for keeper in keepers if (resident := keeper.resident()) is not None]
        leaving = sum(keeper.is_lying_down for keeper in keepers)
        for row, order in await self._resting.due(awake, leaving=leaving, kept=frozenset(self._keepers)):
            self._rest(row, order)

    def _rest(self, row: SandboxRow | None, order: Order) -> None:
        """`row`: of one that dozes; it is given a keeper, which stops it."""
        if row is not None and row.state is SandboxState.DOZING and order.to is SandboxState.ASLEEP:
            self._keep(row)
        if order.id in self._keepers:
            self._keepers[order.id][0].rest(order)

    async def _carry_out(self, row: SandboxRow) -> None:
        self._leaving.add(row.id)
        self._pool.retire(row.id)
        if row.user_id is not None:
            self._of_user.pop(row.user_id, None)
        await self._let_go(row.id)
        await self._disk.leave(row.id)
        await remove_sandbox(
            row,
            engine=self._engine,
            instance=self._builder.sealing.instance,
            runtime_dir=self._builder.runtime_dir,
            keys=self._keys,
            rows=self._registry.sandboxes,
        )
        self._removal_not_before.pop(row.id, None)
        self._shortages.forget(row.id)

    # Reconcile

    async def _follow_events(self) -> None:
        """Hints from the engine; after every new subscription all is looked at, since some may have been lost."""
        pauses = delays(1.0, ENGINE_AGAIN_S)
        trouble = False
        while True:
            try:
                async with contextlib.aclosing(self._engine.events(self._builder.sealing.instance)) as events:
                    async for event in events:
                        if event is not None:
                            await self._hear(event)
                            continue
                        logger.log("INFO" if trouble else "DEBUG", "the engine answers")
                        trouble = False
                        if not await self._round(self._reconcile):
                            break  # subscribed again, it is all looked at again
                        pauses = delays(1.0, ENGINE_AGAIN_S)
            except (EngineUnavailable, Rejected) as error:
                logger.log("DEBUG" if trouble else "WARNING", "the engine does not answer", error=str(error))
                trouble = True
            except Exception:  # a mistake of ours about one event must not end the daemon
                logger.exception("the engine's events were not followed")
            await asyncio.sleep(next(pauses))

    async def _hear(self, event: Event) -> None:
        """A hint to look; only that memory ran out is a fact, which nothing else tells."""
        if event.action == OOM:
            try:
                await self._shortages.count(event.sandbox_id)
            except RegistryUnavailable as error:
                logger.warning("that memory ran out was not counted", sandbox=event.sandbox_id, error=str(error))
        self._nudge(event.sandbox_id)
        if event.action in STIRS and event.sandbox_id not in self._keepers:
            self._stirred.set()

    async def _reconcile_for_ever(self) -> None:
        """Each minute, and soon after a container that rested did something."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._reconcile_every_s):
                    await self._stirred.wait()
                    await asyncio.sleep(HINTS_EVERY_S)
            self._stirred.clear()
            await self._round(self._reconcile)

    async def _every(self, seconds: float, work: Callable[[], Coroutine[None, None, None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            await self._round(work)

    async def _round(self, work: Callable[[], Coroutine[None, None, None]]) -> bool:
        """Whether it went well. Where not, it is said, and the next round does it all again."""
        try:
            await work()
        except EngineUnavailable as error:  # said once, by the follower of its events
            logger.debug("a round was cut short", work=work.__name__, error=str(error))
        except ClawkakaError as error:
            logger.warning("a round was cut short", work=work.__name__, error=str(error))
        except Exception:  # a mistake of ours in one round must not end the daemon, and with it the care of all
            logger.exception("a round failed", work=work.__name__)
        else:
            return True
        return False

    async def _reconcile(self) -> None:
        """Compare the engine's containers with the rows. Containers are listed first: a row is older than its own."""
        async with self._reconciling:
            containers = await self._engine.ours(self._builder.sealing.instance)
            status = {container.name: container.status for container in containers}
            rows = {row.id: row for row in await self._registry.sandboxes.all()}
            for row in rows.values():
                if not is_at_rest(row.state, status.get(container_name(row.id))):
                    self._keep(row)
                self._nudge(row.id)
            for container in containers:  # last: each takes its time, and the rows grow old meanwhile
                owner = rows.get(container.sandbox_id or SandboxId(""))
                if owner is None:
                    await self._strays.report(container)
                elif container.name != container_name(owner.id):
                    await self._strays.settle(owner, container, containers)

    def _nudge(self, sandbox_id: SandboxId) -> None:
        if sandbox_id in self._keepers:
            self._keepers[sandbox_id][0].nudge()

    def _disk_changed(self, sandbox_id: SandboxId | None) -> None:
        """News of one sandbox's disk, or of the host's."""
        for one in list(self._keepers) if sandbox_id is None else [sandbox_id]:
            if one in self._keepers:
                self._keepers[one][0].disk_changed()
