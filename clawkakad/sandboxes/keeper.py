"""The keeper of one sandbox: carries out what the policy decides, step by step, until the sandbox rests.

A role loop: look, decide, do. It owns the sandbox's connection; the state in the registry is set through the ledger by
nobody else. One that rests (frozen or stopped) has no keeper; who addresses it before that makes this loop go on. An
engine that does not answer is no reason to think anything of the sandbox: its state stays, and so does a connection.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

from loguru import logger

from clawkakad.allowance import Allowance
from clawkakad.errors import (
    ClawkakaError,
    EngineCrippled,
    EngineUnavailable,
    GatewayRefused,
    GatewayUnavailable,
    RegistryUnavailable,
    SandboxTampered,
)
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.link import AT_ONCE_S
from clawkakad.gateway.pool import Pool
from clawkakad.model import SandboxId, SandboxState, UserId
from clawkakad.registry import SandboxRow
from clawkakad.sandboxes.admission import Admission, Crowded
from clawkakad.sandboxes.backoff import delays
from clawkakad.sandboxes.bed import Bed
from clawkakad.sandboxes.builder import Builder
from clawkakad.sandboxes.dozing import Freezer
from clawkakad.sandboxes.drift import Drift, Remaking
from clawkakad.sandboxes.ledger import TAIL_LINES, Ledger
from clawkakad.sandboxes.paths import SandboxPaths
from clawkakad.sandboxes.policy import Decision, Do, History, Host, Observed, Wanted, decide, is_needed
from clawkakad.sandboxes.reaching import Ended, reach
from clawkakad.sandboxes.rehearsal import rehearse
from clawkakad.sandboxes.rest import Leaving, Order, Resident
from clawkakad.sandboxes.timing import Timing
from clawkakad.sandboxes.watching import Hung, Watch

CROWDED_S = 2.0  # before another look whether there is room
HELD_S = 1.0  # before another look whether its disk is measured


class _Superseded(Exception):
    """What was decided is not true any more."""


class Doors(Protocol):
    """What the keeper needs of the host API."""

    async def open(self, sandbox_id: SandboxId, user_id: UserId, paths: SandboxPaths) -> None: ...
    def is_busy(self, sandbox_id: SandboxId) -> bool: ...


class DiskCare(Protocol):
    """What the keeper needs to know of disks."""

    @property
    def is_low(self) -> bool: ...
    def why_stopped(self, sandbox_id: SandboxId) -> str: ...
    def was_stopped(self, sandbox_id: SandboxId) -> bool: ...
    def is_held(self, sandbox_id: SandboxId) -> bool: ...
    async def forgive(self, sandbox_id: SandboxId) -> None: ...


class Keeper:
    """Runs until the sandbox rests; cancelling it closes the connection with 1001 and leaves the container running."""

    def __init__(
        self,
        row: SandboxRow,
        *,
        builder: Builder,
        doors: Doors,
        pool: Pool,
        ledger: Ledger,
        drift: Drift,
        freezer: Freezer,
        admission: Admission,
        disk: DiskCare,
        timing: Timing,
    ) -> None:
        self._row = row
        self._builder = builder
        self._doors = doors
        self._pool = pool
        self._ledger = ledger
        self._admission = admission
        self._disk = disk
        self._timing = timing
        self._limits = timing.limits
        self._nudged = asyncio.Event()
        self._allowance = Allowance(AT_ONCE_S)  # of all its connections: it may end one as soon as it is made
        self._history = History()
        self._usable = True  # the container that runs; False: it must be started afresh
        self._remaking = Remaking(drift, row.id, lambda: builder.image_of(row.id))
        self._wanted_of: str | None = None
        self._decided_at = 0.0
        self._exists = self._runs = False  # its container, when that was last looked at
        self._is_waited_for = False
        self._is_rehearsing = False  # as its row says
        self._watch = Watch(
            row.id,
            order=lambda: self._bed.order,
            disk=disk,
            drifted=lambda: self._remaking.look(lambda: self.is_idle(timing.idle_s)),
            timing=timing,
        )
        self._bed = Bed(
            row.id,
            builder=builder,
            freezer=freezer,
            ledger=ledger,
            pool=pool,
            doors=doors,
            again_s=timing.rest_again_s,
            on_order=self._watch.stir,
        )

    @property
    def leaving(self) -> Leaving | None:
        """Whether it is being put to rest."""
        return self._bed.leaving

    @property
    def is_wanted_again(self) -> bool:
        """Whether somebody addressed it after it was put to rest."""
        return not self._bed.rests

    @property
    def user_id(self) -> UserId | None:
        """For whom it is kept; None: as a spare."""
        return self._row.user_id

    def nudge(self) -> None:
        """Look again now: something may have happened to the container, or the engine is back."""
        self._nudged.set()

    def disk_changed(self) -> None:
        """Look again now, also while it is ready: its disk may be full."""
        self._watch.stir()
        self.nudge()

    def address(self) -> None:
        """Somebody needs it now."""
        self._bed.address()
        self.nudge()

    def rest(self, order: Order) -> None:
        """It is to rest, unless it is at work."""
        self._bed.rest(order)

    def resident(self) -> Resident | None:
        """What the policy of rest has to know of one that is ready."""
        watched = self._watch.is_on and not self._disk.is_held(self._row.id)
        return self._bed.resident(self._watch.busy_at) if watched else None

    async def run(self) -> None:
        """The loop. Ends when the sandbox rests."""
        silences, is_told = self._engine_delays(), False
        with logger.contextualize(sandbox=self._row.id):
            while not self._bed.rests:
                try:
                    self._nudged.clear()
                    await self._carry_out(await self._decide())
                except (EngineUnavailable, RegistryUnavailable) as error:
                    # That it is away is told by the follower of its events, whom a crippled one answers.
                    is_news = isinstance(error, EngineCrippled) and not is_told
                    logger.log(
                        "WARNING" if is_news else "DEBUG", "waiting for the engine or the registry", error=str(error)
                    )
                    is_told = is_told or is_news
                    await self._pause(next(silences))
                    continue
                except _Superseded as error:
                    logger.debug("looked at again", reason=str(error))
                except Crowded as error:
                    logger.debug("not woken now", reason=str(error))
                    await self._pause(CROWDED_S)
                except (ClawkakaError, OSError) as error:
                    await self._failed(str(error) or type(error).__name__)
                except Exception:  # a mistake of ours in the care of one sandbox must not end it, or that of others
                    logger.exception("the care of a sandbox failed")
                    await self._failed("a mistake in clawkakad: see the log")
                silences, is_told = self._engine_delays(), False

    async def _decide(self) -> Decision:
        """Ask everybody, and let the policy decide."""
        self._decided_at = time.monotonic()
        self._exists = self._runs = False  # until that is known
        if self._disk.is_held(self._row.id):
            return Decision(Do.WAIT, "frozen until its disk is measured", after_s=HELD_S)
        await self._builder.lay_out(self._row)
        if self._row.user_id is not None:  # a spare has nobody for whom it could ask
            await self._doors.open(self._row.id, self._row.user_id, self._builder.paths(self._row.id))
        found = await self._builder.find(self._row.id)
        self._exists, self._runs = found is not None, found is not None and found.running
        self._wanted_of = await self._builder.made_of(self._row.id)
        standing = await self._ledger.standing()
        if standing is None:
            return Decision(Do.WAIT, "removed")
        row = standing.row
        self._is_rehearsing = row.rehearsing
        self._is_waited_for = standing.waiting
        wanted = Wanted(
            needed=is_needed(
                datetime.now(UTC),
                self._ledger.state,
                wrote_at=standing.wrote_at if self._admission.has_room() else None,
                waiting=standing.waiting,
                addressed=self._bed.is_addressed,
            ),
            made_of=self._wanted_of,
            asleep=self._bed.is_to_sleep,
            full=self._disk.why_stopped(row.id),
            retry=row.retry_wanted,
            wrote_at=standing.wrote_at,
        )
        observed = Observed(
            state=self._ledger.state,
            exists=found is not None,
            running=self._runs,
            frozen=found is not None and found.frozen,
            refused=await self._builder.is_refused(found),
            usable=self._usable,
            parked_at=row.parked_at,
            parked_with=row.parked_with,
            was_full=self._disk.was_stopped(row.id),
            new=found is None and row.container_id is None and row.pinned is None,
        )
        host = Host(has_room=not self._disk.is_low)
        return decide(time.monotonic(), wanted, observed, self._history, host, self._limits)

    async def _carry_out(self, decision: Decision) -> None:
        """One step. What it raises is a failure of the sandbox, or the silence of the engine."""
        match decision.do:
            case Do.CONNECT | Do.WAKE | Do.START:
                await self._live(decision)
            case Do.DOZE:
                if self._ledger.state is not SandboxState.DOZING:
                    await self._ledger.move(SandboxState.DOZING, decision.reason)
                self._bed.lies_since(self._decided_at)
            case Do.STOP:
                reason = self._bed.order.reason if self._bed.order else decision.reason
                await _whole(self._bed.stop(reason, self._decided_at))
            case Do.SLEEP:
                await self._ledger.move(SandboxState.ASLEEP, decision.reason)
                self._bed.lies_since(self._decided_at)
            case Do.PARK:
                await self._park(decision.reason)
            case Do.FORGIVE:
                await self._forgive(decision.reason)
            case Do.HOLD_BACK:
                await self._ledger.hold_back(decision.reason)
                await self._pause(None)
            case Do.WAIT:
                if decision.state is not None:
                    await self._ledger.move(decision.state, decision.reason)
                if self._ledger.state is SandboxState.PARKED:
                    await self._ledger.tell_parked(full=self._disk.was_stopped(self._row.id))
                await self._pause(decision.after_s)

    async def _failed(self, reason: str) -> None:
        """Write it down, and wait; the policy sees to the rest of the wait where there is reason to look before."""
        self._history = self._history.failed(time.monotonic(), self._limits, random.random)
        self._usable = self._usable and not self._history.hangs_up(self._limits)
        if self._ledger.state is not SandboxState.PARKED:
            await self._ledger.move(SandboxState.UNHEALTHY, reason)
        else:
            logger.warning("the care of a parked sandbox failed", error=reason)
        again_at = self._history.reconnect_at if self._runs and self._usable else self._history.not_before
        await self._pause(max(0.0, again_at - time.monotonic()))

    async def _park(self, reason: str) -> None:
        """Stopped, so that it costs nothing; its volume and all messages are kept."""
        # What was frozen since it fills the disk must not go on for one moment more.
        log = await self._builder.halt(self._row.id, tail=TAIL_LINES, thaws=False)
        if self._ledger.state is not SandboxState.UNHEALTHY:
            await self._ledger.move(SandboxState.UNHEALTHY, reason)
        await self._ledger.park(reason, self._wanted_of, log)

    async def _forgive(self, reason: str) -> None:
        self._history, self._usable = History(), True
        self._bed.address()
        await self._disk.forgive(self._row.id)
        if self._ledger.state is SandboxState.PARKED:
            await self._ledger.move(SandboxState.UNHEALTHY, reason)
        await self._ledger.retrying()

    async def _live(self, decision: Decision) -> None:
        """One life: from whatever is there to ready, and until that ends. Ends with an exception, or to be remade."""
        connection = await self._reach(decision)
        try:
            self._usable = True
            self._history = self._history.ready(time.monotonic())
            await self._rehearse(connection)
            self._builder.seal(self._row.id)
            await self._ledger.proven()
            self._watch.begin(connection)
            self._pool.publish(self._row.id, connection)
            await self._ledger.move(SandboxState.READY, "")
            while isinstance(end := await self._watch.over(connection), Order):
                if await self._bed.lets_go(connection):
                    await _whole(self._bed.lie_down(end, connection), hurry=self._bed.address)
                    return
            self._pool.withdraw(self._row.id)  # first: no turn begins any more
            await self._ledger.move(SandboxState.STOPPING, end)
            self._usable = False
        except Hung:
            self._usable = False
            raise
        finally:
            self._pool.withdraw(self._row.id)
            await connection.aclose(1001)

    async def _rehearse(self, connection: Connection) -> None:
        """A spare does, once, and a turn that failed is no matter; what was left of one is forgotten before all else.

        Raises GatewayClosed, GatewayRefused, GatewayUnavailable where it is not.
        """
        if self._row.user_id is None and await self._ledger.begin_rehearsal():
            self._is_rehearsing = True
            try:
                await rehearse(connection, self._builder.paths(self._row.id).host_socket, self._builder.sealing.gid)
            except (GatewayRefused, GatewayUnavailable, OSError) as error:
                logger.warning("a spare did not rehearse", error=str(error))
        if self._is_rehearsing:
            try:
                await connection.reset()
            except GatewayRefused:
                self._usable = False
                raise
            await self._ledger.rehearsed()
            self._is_rehearsing = False

    async def _reach(self, decision: Decision) -> Connection:
        """A connection: to the container that runs, or to one that goes on or is started now."""
        if decision.do is Do.CONNECT:
            found = await self._builder.find(self._row.id)
            await self._ledger.move(SandboxState.STARTING, decision.reason)
            if found is not None:
                await self._builder.thaw(found)  # somebody may have let one go on that dozed
            return await self._connect(self._left_to_start(None if found is None else found.started_at))
        place = self._admission.place(
            cold=decision.do is Do.START,
            has_memory=self._runs,
            is_waited_for=self._is_needed_now,
            on_long=self._ledger.tell_waking,
        )
        async with place:
            if decision.do is Do.WAKE:
                await self._wake(decision.reason)
                self._watch.be_patient(self._timing.wake_s)
                return await self._connect(self._timing.wake_s)
            if not self._exists and await self._builder.find(self._row.id) is not None:
                raise _Superseded("its container has got its name back")
            await self._start(decision.reason)
            await self._ledger.move(SandboxState.STARTING, decision.reason)
            return await self._connect(self._timing.start_s)

    def _is_needed_now(self) -> bool:
        return self._row.user_id is not None and (self._is_waited_for or self._bed.is_addressed)

    async def _start(self, reason: str) -> None:
        before, self._history = self._history, self._history.started(time.monotonic(), self._limits)
        await self._ledger.move(SandboxState.CREATING, reason)
        try:
            await _whole(self._builder.start(self._row, remake=bool(self._remaking.why)))
        except EngineUnavailable:
            self._history = before  # its own trouble is no restart of the sandbox
            raise
        self._remaking.done()

    async def _wake(self, reason: str) -> None:
        found = await self._builder.find(self._row.id)
        if found is None or not found.frozen:
            raise GatewayUnavailable("the container is not frozen any more")
        await self._ledger.move(SandboxState.STARTING, reason)
        await self._builder.thaw(found)

    async def _connect(self, within_s: float) -> Connection:
        """Try until `hello-ok`. Raises GatewayUnavailable, GatewayRefused, SandboxTampered: a restart is due then."""
        try:
            return await reach(
                self._builder,
                self._row.id,
                within_s=within_s,
                attempt_s=self._timing.attempt_s,
                owner_uids=self._timing.owner_uids,
                allowance=self._allowance,
                pause=self._pause,
            )
        except Ended:
            raise
        except GatewayUnavailable:
            self._usable = False
            raise
        except (GatewayRefused, SandboxTampered) as error:
            self._usable = False
            logger.error("a gateway cannot be used", error=str(error))
            raise

    async def is_idle(self, for_s: float) -> bool:
        """Nobody waits for it, and neither its person nor its agent did anything for so long."""
        standing = await self._ledger.standing()
        if standing is None or standing.waiting or time.monotonic() - self._watch.busy_at < for_s:
            return False
        wrote_at = standing.wrote_at
        return wrote_at is None or (datetime.now(UTC) - wrote_at).total_seconds() >= for_s

    async def _pause(self, seconds: float | None) -> bool:
        """Wait, at most until the next nudge; whether there was one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudged.wait()
        nudged = self._nudged.is_set()
        self._nudged.clear()
        return nudged

    def _left_to_start(self, started_at: datetime | None) -> float:
        """Of a container that somebody started before us; the daemon may have been away for any time."""
        age_s = 0.0 if started_at is None else (datetime.now(UTC) - started_at).total_seconds()
        return max(self._timing.adopt_s, self._timing.start_s - max(0.0, age_s))

    def _engine_delays(self) -> Iterator[float]:
        return delays(self._limits.first_delay_s, self._timing.engine_last_delay_s)


async def _whole(work: Coroutine[Any, Any, object], *, hurry: Callable[[], None] = lambda: None) -> None:
    """Carried to its end though we are cancelled: the engine would end its part behind our back.

    Else a removal, or who keeps it next, would come between the two, and find what is not there a moment later.
    `hurry` is called then.
    """
    task = asyncio.create_task(work, name="a step to its end")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        hurry()
        await asyncio.wait({task})
        if not task.cancelled() and task.exception() is not None:
            logger.debug("a step failed while its keeper was stopped", error=str(task.exception()))
        raise
