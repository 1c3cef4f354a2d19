"""The keeper of one sandbox: its container runs, its connection is in the pool, or it is being brought back.

A role loop: get the container running, connect, be ready until the connection is lost or the gateway hangs, then say
why, wait a little longer each time, and begin again. Owns the sandbox's state in the registry; nothing else sets it. An
engine that does not answer is no reason to think anything of the sandbox: its state stays, and so does a connection.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

from loguru import logger

from clawkakad.errors import (
    ClawkakaError,
    EngineUnavailable,
    GatewayClosed,
    GatewayRefused,
    GatewayUnavailable,
    ImageMissing,
    RegistryUnavailable,
    SandboxTampered,
)
from clawkakad.gateway.connection import Connection, open_connection
from clawkakad.gateway.pool import Pool
from clawkakad.model import SandboxId, SandboxState, UserId
from clawkakad.registry import SandboxRow
from clawkakad.sandboxes.backoff import delays
from clawkakad.sandboxes.builder import Builder
from clawkakad.sandboxes.paths import SANDBOX_UID, SandboxPaths


@dataclass(frozen=True)
class Timing:
    """All in seconds."""

    start_s: float = 120.0  # from the container's start to hello-ok; 12-23 seen, more on a busy machine
    adopt_s: float = 20.0  # at least, for a container that ran when we came
    attempt_s: float = 20.0  # one try to connect; a gateway that boots answers late
    liveness_every_s: float = 10.0
    liveness_within_s: float = 5.0
    misses: int = 3
    first_delay_s: float = 1.0
    last_delay_s: float = 300.0
    engine_last_delay_s: float = 30.0
    healthy_s: float = 600.0  # ready for this long: the next failure counts as a first one
    owner_uids: frozenset[int] = frozenset({SANDBOX_UID})  # whose the gateway socket may be


class Doors(Protocol):
    """What the keeper needs of the host API."""

    async def open(self, sandbox_id: SandboxId, user_id: UserId, paths: SandboxPaths) -> None: ...


class States(Protocol):
    """What the keeper needs of the registry."""

    async def set_state(self, sandbox_id: SandboxId, state: SandboxState, reason: str) -> None: ...


class Keeper:
    """Runs until cancelled; that closes the connection with 1001 and leaves the container running."""

    def __init__(
        self,
        row: SandboxRow,
        *,
        builder: Builder,
        doors: Doors,
        pool: Pool,
        states: States,
        starting: asyncio.Semaphore,
        timing: Timing,
    ) -> None:
        self._row = row
        self._builder = builder
        self._doors = doors
        self._pool = pool
        self._states = states
        self._starting = starting
        self._timing = timing
        self._nudged = asyncio.Event()
        self._restart_due = False
        self._ready_at: float | None = None
        self._told = (row.state, row.reason)
        self._troubled = False

    def nudge(self) -> None:
        """Look again now: something may have happened to the container, or the engine is back."""
        self._nudged.set()

    async def run(self) -> None:
        """The loop."""
        failures, silences = self._failure_delays(), self._engine_delays()
        with logger.contextualize(sandbox=self._row.id):
            while True:
                self._ready_at = None
                try:
                    await self._live()
                except EngineUnavailable as error:
                    logger.debug("waiting for the engine", error=str(error))
                    await self._rest(next(silences), hurry=True)
                    continue
                except ImageMissing as error:
                    await self._move(SandboxState.UNHEALTHY, str(error))
                    await self._rest(next(silences), hurry=True)
                    continue
                except (ClawkakaError, OSError) as error:
                    await self._move(SandboxState.UNHEALTHY, str(error) or type(error).__name__)
                except Exception:  # a mistake of ours in the care of one sandbox must not end it, or that of others
                    logger.exception("the care of a sandbox failed")
                    await self._move(SandboxState.UNHEALTHY, "a mistake in clawkakad: see the log")
                if self._was_healthy():
                    failures = self._failure_delays()
                silences = self._engine_delays()
                await self._rest(next(failures), hurry=False)

    async def _live(self) -> NoReturn:
        """One life: from whatever is there to ready, and until that ends. Always ends with an exception."""
        await self._builder.lay_out(self._row)
        await self._doors.open(self._row.id, self._row.user_id, self._builder.paths(self._row.id))
        connection = await self._reach()
        try:
            self._restart_due = False
            self._ready_at = time.monotonic()
            self._builder.seal(self._row.id)
            self._pool.publish(self._row.id, connection)
            await self._move(SandboxState.READY, "")
            await self._watch(connection)
        finally:
            self._pool.withdraw(self._row.id)
            await connection.aclose(1001)

    async def _reach(self) -> Connection:
        """A connection: to the container that runs, else to one that is started now."""
        if not self._restart_due:
            found = await self._builder.find(self._row.id)
            if found is not None and found.running:
                await self._move(SandboxState.STARTING, "found running")
                return await self._connect(self._left_to_start(found.started_at))
        async with self._starting:
            await _whole(self._builder.start(self._row))
            await self._move(SandboxState.STARTING, "started")
            return await self._connect(self._timing.start_s)

    async def _connect(self, within_s: float) -> Connection:
        """Try until `hello-ok`. Raises GatewayUnavailable, GatewayRefused, SandboxTampered: a restart is due then."""
        deadline = time.monotonic() + within_s
        pauses = delays(0.2, 2.0)
        where, token = self._builder.paths(self._row.id).gateway_socket, self._builder.token_of(self._row.id)
        self._nudged.clear()
        while True:
            left_s = deadline - time.monotonic()
            try:
                return await open_connection(
                    where,
                    token,
                    owner_uids=self._timing.owner_uids,
                    timeout_s=max(0.1, min(self._timing.attempt_s, left_s)),
                )
            except GatewayUnavailable as error:
                asked_s = min(error.retry_after_s or 0.0, 5.0)
                if left_s <= 0:
                    self._restart_due = True
                    raise GatewayUnavailable(f"no hello-ok within {within_s:.0f} s: {error}") from error
            except (GatewayRefused, SandboxTampered) as error:
                self._restart_due = True
                logger.error("a gateway cannot be used", error=str(error))
                raise
            if await self._pause(max(asked_s, next(pauses))):
                await self._check_container()

    async def _check_container(self) -> None:
        """Raises GatewayUnavailable where there is nothing to wait for."""
        try:
            found = await self._builder.find(self._row.id)
        except EngineUnavailable:
            return  # its silence says nothing about the container
        if found is None or not found.running:
            code = "" if found is None else f" with exit code {found.exit_code}"
            raise GatewayUnavailable(f"the container ended{code}")

    async def _watch(self, connection: Connection) -> NoReturn:
        """Ready: until the connection is closed, or the gateway missed several health checks in a row."""
        closed = asyncio.create_task(connection.wait_closed(), name=f"closed {self._row.id}")
        misses = 0
        try:
            while True:
                await asyncio.wait({closed}, timeout=self._timing.liveness_every_s * random.uniform(0.9, 1.1))  # noqa: S311
                if closed.done():
                    raise closed.result()
                misses = 0 if await self._answers(connection) else misses + 1
                if misses >= self._timing.misses:
                    self._restart_due = True
                    raise GatewayUnavailable(f"the gateway missed {misses} health checks")
        finally:
            closed.cancel()

    async def _answers(self, connection: Connection) -> bool:
        try:
            await connection.health(self._timing.liveness_within_s)
        except GatewayUnavailable:
            return False
        except (GatewayRefused, GatewayClosed):
            return True  # a no is an answer; that it closed is noticed above
        return True

    async def _move(self, state: SandboxState, reason: str) -> None:
        """The one place that sets a sandbox's state."""
        if (state, reason) == self._told:
            return
        logger.log(self._loudness(state), "sandbox state", state=state.value, reason=reason)
        self._told = (state, reason)
        try:
            await self._states.set_state(self._row.id, state, reason)
        except RegistryUnavailable as error:  # it is only what an operator reads; the pool is what counts
            logger.warning("a sandbox's state was not stored", error=str(error))

    def _loudness(self, state: SandboxState) -> str:
        """The first failure of a cycle is worth a look, its repeats are not, and the end of it is news."""
        first = state is SandboxState.UNHEALTHY and not self._troubled
        level = "WARNING" if first else "DEBUG" if self._troubled and state is not SandboxState.READY else "INFO"
        self._troubled = state is SandboxState.UNHEALTHY or (self._troubled and state is not SandboxState.READY)
        return level

    async def _rest(self, seconds: float, *, hurry: bool) -> None:
        self._nudged.clear()
        if hurry:
            await self._pause(seconds)
        else:
            await asyncio.sleep(seconds)

    async def _pause(self, seconds: float) -> bool:
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

    def _was_healthy(self) -> bool:
        return self._ready_at is not None and time.monotonic() - self._ready_at >= self._timing.healthy_s

    def _failure_delays(self) -> Iterator[float]:
        return delays(self._timing.first_delay_s, self._timing.last_delay_s)

    def _engine_delays(self) -> Iterator[float]:
        return delays(self._timing.first_delay_s, self._timing.engine_last_delay_s)


async def _whole(work: Coroutine[Any, Any, object]) -> None:
    """Carried to its end though we are cancelled: the engine would end its part behind our back.

    Else a removal could come between the two, and find nothing of what is there a moment later.
    """
    task = asyncio.create_task(work, name="start a container")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled() and task.exception() is not None:
            logger.debug("a start failed while its keeper was stopped", error=str(task.exception()))
        raise
