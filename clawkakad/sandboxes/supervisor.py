"""The supervisor: every sandbox that does not rest has a keeper, every removal is carried out, strays are reported.

Owns the keepers' tasks. One that rests costs nothing: no task, no socket, no call; who addresses it gets it a keeper
again, and so does a container that is found otherwise than it was left. The engine's events are hints to look; the
reconcile of each minute is the truth. Stopping it closes connections and sockets; containers live on, and are found
again at the next start. No round that fails, in whatever way, ends it: the next one does it all again.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime

from loguru import logger

from clawkakad import moments
from clawkakad.errors import ClawkakaError, EngineUnavailable, RegistryUnavailable, Rejected, Transient
from clawkakad.gateway.pool import Pool
from clawkakad.model import SandboxId, UserId
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
from clawkakad.sandboxes.keepers import Keepers
from clawkakad.sandboxes.ledger import Ledger, Lines
from clawkakad.sandboxes.modelkeys import KeySource
from clawkakad.sandboxes.policy import RESTING, is_at_rest
from clawkakad.sandboxes.profile import container_name
from clawkakad.sandboxes.pulse import pulse
from clawkakad.sandboxes.removal import remove_sandbox
from clawkakad.sandboxes.rest import Rules
from clawkakad.sandboxes.resting import Resting
from clawkakad.sandboxes.shortages import AT_ONCE_S, Shortages
from clawkakad.sandboxes.spares import Spares
from clawkakad.sandboxes.strays import Strays
from clawkakad.sandboxes.timing import Timing
from clawkakad.sandboxes.upgradeplan import Patience
from clawkakad.sandboxes.upgrader import Upgrader
from clawkakad.sandboxes.wishes import Wishes

ENGINE_AGAIN_S = 5.0  # at most, between two tries to reach an engine that is away: it is back within twice that
HINTS_EVERY_S = 1.0  # at most, a full look because of a container that rested and does something
WAKE_AGAIN_S = 1.0  # where the registry could not be read

OOM = "oom"  # the engine's event
STIRS = frozenset({"start", "unpause", "die", "destroy"})  # what a container that rests does not do by itself


@dataclass(frozen=True)
class Rounds:
    """How often the supervisor looks, in seconds. `oom_at_once_s`: see `Shortages`."""

    reconcile_s: float = 60.0
    wishes_s: float = 3.0  # one look into the registry; an operator waits for it
    removal_again_s: float = 60.0
    rest_s: float = 5.0  # memory may be short
    oom_at_once_s: float = AT_ONCE_S


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
        rounds: Rounds | None = None,
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
        self._rounds = rounds or Rounds()
        self._freezer = Freezer(engine, memory)
        self._admission = admission or Admission(memory, rules, nobody_awake=pool.is_empty)
        self._resting = Resting(registry.sandboxes, memory, rules, self._admission)
        self._keepers = Keepers(
            registry.sandboxes, pool, host_api, make=self._keeper_of, is_held=lambda one: self._upgrader.holds(one)
        )
        self._spares = Spares(
            registry,
            builder,
            wanted=lambda: spares if builder.sealing.swaps else 0,
            has_room=lambda: not self._admission.wanted_mb and self._admission.has_room(2),
            address=self._keepers.address,
            rest=lambda order: self._keepers.rest(None, order),
        )
        self._upgrader = Upgrader(
            registry=registry,
            builder=builder,
            gate=Gate(builder, self._timing, self._admission),
            doors=host_api,
            keepers=self._keepers,
            ledger_of=self._ledger_of,
            patience=patience or Patience(),
        )
        self._wishes = Wishes(
            registry.sandboxes,
            self._keepers,
            pool,
            remove=self._remove,
            is_held=self._upgrader.holds,
            again_s=self._rounds.removal_again_s,
        )
        self._shortages = Shortages(registry.sandboxes, at_once_s=self._rounds.oom_at_once_s)
        self._strays = Strays(engine, self._keepers.nudge)
        self._reconciling = asyncio.Lock()
        self._stirred = asyncio.Event()

    async def run(self) -> None:
        """Endless. Cancelling it stops the keepers and closes the host API; no container is touched."""
        rounds = self._rounds
        try:
            for pause_s in delays(1.0, 30.0):
                if await self._round(self._keep_all):
                    break
                await asyncio.sleep(pause_s)
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._follow_events(), name="engine events")
                loops.create_task(self._reconcile_for_ever(), name="reconcile")
                loops.create_task(self._wake_the_addressed(), name="waking")
                loops.create_task(self._every(rounds.rest_s, self._let_rest), name="rest")
                loops.create_task(self._every(rounds.wishes_s, self._wishes.carry_out_removals), name="removals")
                loops.create_task(self._every(rounds.wishes_s, self._wishes.carry_out_others), name="wishes")
                loops.create_task(self._every(rounds.rest_s, self._spares.tend), name="spares")
                loops.create_task(self._upgrader.run(), name="upgrades")
                loops.create_task(self._disk.run(self._keepers.disk_changed), name="disks")
        finally:
            await self._keepers.stop()
            await self._host_api.aclose()

    async def ensure(self, user_id: UserId) -> SandboxId:
        """The person has a sandbox and it is kept; nobody waits for it here. Raises Transient while it is removed."""
        if self._keepers.stopped:
            raise Transient("clawkakad is stopping")
        awake = self._keepers.awake_of(user_id)
        if awake is not None:
            self._keepers.address(awake)
            return awake
        await self._upgrader.remember()
        row = await self._registry.sandboxes.ensure(user_id)
        if row.remove_wanted or self._keepers.is_leaving(row.id):
            raise Transient("the sandbox is being removed")
        await self._keepers.hand_over(row.id)
        self._keepers.keep(row)
        self._keepers.address(row.id)
        return row.id

    def is_awake(self, user_id: UserId) -> bool:
        """Whether the person's sandbox can be asked at this moment."""
        return self._keepers.awake_of(user_id) is not None

    def address(self, sandbox_id: SandboxId) -> None:
        """Somebody needs it now. Never waits."""
        self._keepers.address(sandbox_id)

    async def pulse(self, sandbox_id: SandboxId, *, mark: bool, at: datetime) -> str:
        """What needs attention and is news as of `at`, as seen inside the sandbox; empty if nothing is.

        `mark`: it has been said.
        Raises EngineUnavailable, and Rejected where the container does not run or `pa` failed.
        """
        with self._pool.using(sandbox_id):
            ran = await pulse(self._engine, sandbox_id, mark=mark, at=at)
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
                self._keepers.keep(row)

    def _keeper_of(self, row: SandboxRow) -> Keeper:
        return Keeper(
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

    def _ledger_of(self, row: SandboxRow) -> Ledger:
        return Ledger(row, self._registry.sandboxes, lines=self._lines, on_outbox=self._on_outbox)

    async def _wake_the_addressed(self) -> None:
        """Those who have no keeper get one. Endless."""
        while True:
            await self._keepers.wait_for_addressed()
            if not await self._round(self._keepers.keep_the_addressed):
                await asyncio.sleep(WAKE_AGAIN_S)

    # Rest and removal

    async def _let_rest(self) -> None:
        """Those whose time has come, or whose memory is needed."""
        keepers = self._keepers
        due = await self._resting.due(keepers.residents, leaving=keepers.leaving, kept=keepers.kept)
        for row, order in due:
            keepers.rest(row, order)

    async def _remove(self, row: SandboxRow) -> None:
        await self._keepers.part_with(row)
        await self._disk.leave(row.id)
        await remove_sandbox(
            row,
            engine=self._engine,
            instance=self._builder.sealing.instance,
            runtime_dir=self._builder.runtime_dir,
            keys=self._keys,
            rows=self._registry.sandboxes,
        )
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
        self._keepers.nudge(event.sandbox_id)
        if event.action in STIRS and event.sandbox_id not in self._keepers:
            self._stirred.set()

    async def _reconcile_for_ever(self) -> None:
        """Each minute, and soon after a container that rested did something."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rounds.reconcile_s):
                    await self._stirred.wait()
                    await asyncio.sleep(HINTS_EVERY_S)
            self._stirred.clear()
            await self._round(self._reconcile)

    async def _every(self, seconds: float, work: Callable[[], Coroutine[None, None, None]]) -> None:
        while True:
            await moments.sleep(seconds)
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
                    self._keepers.keep(row)
                self._keepers.nudge(row.id)
            for container in containers:  # last: each takes its time, and the rows grow old meanwhile
                owner = rows.get(container.sandbox_id or SandboxId(""))
                if owner is None:
                    await self._strays.report(container)
                elif container.name != container_name(owner.id):
                    await self._strays.settle(owner, container, containers)
