"""Whole turns over the pool's connections, whatever the socket or the gateway's process do meanwhile.

`Turns.ask()` is one message and its reply (`asking.py`), `Turns.wake()` one heartbeat (`waking.py`); here are their
deadlines, and what becomes of texts that nobody asked for. Invariant: the end of a run goes to one place, the turn
that it belongs to or `on_stray`. One turn at a time per sandbox is the caller's duty.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from loguru import logger

from clawkakad.errors import ClawkakaError, GatewayUnavailable, SandboxGone, Transient
from clawkakad.gateway.asking import Ask
from clawkakad.gateway.desk import Desk
from clawkakad.gateway.frames import Event
from clawkakad.gateway.pool import Pool
from clawkakad.gateway.runs import Answer
from clawkakad.gateway.tempo import MAX_PAUSE_S, PATIENT, Tempo, now
from clawkakad.gateway.waking import Wake
from clawkakad.model import SandboxId

__all__ = ["Answer", "StrayHandler", "Tempo", "Turns"]

StrayHandler = Callable[[SandboxId, Answer], Awaitable[None]]


class Turns:
    """Turns over the connections of `pool`.

    `on_stray` gets the texts that nobody asked for, each run's once; after something transient it is called again.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        on_stray: StrayHandler,
        tempo: Tempo = PATIENT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._on_stray = on_stray
        self._tempo = tempo
        self._clock = clock
        self._desks: dict[SandboxId, Desk] = {}
        self._deliveries: set[asyncio.Task[None]] = set()
        pool.listen(self._hear)
        pool.listen_retired(self._forget)

    async def ask(self, sandbox_id: SandboxId, *, key: str, text: str, again: bool, timeout_s: float) -> Answer:
        """One message and its reply. `again`: it may have been asked before, under the same key, by whomever.

        Raises `TurnFailed` (the agent ended it with an error, or two attempts were cut short), `GatewayRefused`,
        `GatewayUnavailable` (no reply in time: the run was stopped; ask again later), and `SandboxGone` (removed
        meanwhile: ask in another one). Cancelling leaves the run going: ask again to get its reply.
        """
        deadline = now() + timeout_s
        with self._open(sandbox_id) as desk:
            ask = Ask(self._pool, sandbox_id, desk, self._tempo, key=key, text=text)
            try:
                async with asyncio.timeout_at(deadline):
                    return await ask.answer(again=again, deadline=deadline)
            except TimeoutError:
                await self._stop(sandbox_id, ask.run_id)
                raise GatewayUnavailable(f"no reply within {timeout_s:g} s") from None

    async def wake(self, sandbox_id: SandboxId, *, text: str, timeout_s: float) -> Answer | None:
        """A heartbeat turn about `text`; None is silence.

        Raises `TurnFailed` (an error, or cut short for good), `GatewayUnavailable` (not over in time: what runs
        was stopped) and `SandboxGone` (removed meanwhile). A text that still comes later goes to `on_stray`.
        """
        deadline = now() + timeout_s
        with self._open(sandbox_id) as desk:
            wake = Wake(self._pool, sandbox_id, desk, self._tempo, text=text, since_ms=self._clock() * 1000)
            try:
                async with asyncio.timeout_at(deadline):
                    return await wake.answer(deadline=deadline)
            except TimeoutError:
                await self._stop_all(sandbox_id)
                raise GatewayUnavailable(f"no heartbeat within {timeout_s:g} s") from None

    async def aclose(self) -> None:
        """Wait a moment for strays that are being handed on, then let go of them."""
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=self._tempo.stop_s)
        for task in self._deliveries:
            task.cancel()

    # Stopping what is overdue --------------------------------------------------------------------------------

    async def _stop(self, sandbox_id: SandboxId, run_id: str | None) -> None:
        connection = self._pool.get(sandbox_id)
        if connection is None or run_id is None:
            return
        try:
            await connection.abort(run_id, timeout_s=self._tempo.stop_s)
        except ClawkakaError as problem:
            logger.debug("an overdue run was not stopped", sandbox=sandbox_id, problem=str(problem))

    async def _stop_all(self, sandbox_id: SandboxId) -> None:
        """Stop whatever runs: an overdue heartbeat must not be in the way of the person's next message."""
        connection = self._pool.get(sandbox_id)
        if connection is None:
            return
        try:
            history = await connection.history(1, timeout_s=self._tempo.stop_s)
        except ClawkakaError as problem:
            logger.debug("an overdue heartbeat was not stopped", sandbox=sandbox_id, problem=str(problem))
            return
        for run_id in history.running:
            await self._stop(sandbox_id, run_id)

    # What is heard -------------------------------------------------------------------------------------------

    @contextmanager
    def _open(self, sandbox_id: SandboxId) -> Iterator[Desk]:
        """While a turn is open, strays are held back: one of them may be its reply."""
        desk = self._desks.setdefault(sandbox_id, Desk())
        desk.turns += 1
        try:
            yield desk
        except SandboxGone:
            self._forget(sandbox_id)
            raise
        finally:
            desk.turns -= 1
            self._hand_on(sandbox_id, desk)

    def _hear(self, sandbox_id: SandboxId, event: Event) -> None:
        desk = self._desks.setdefault(sandbox_id, Desk())
        desk.hear(event)
        self._hand_on(sandbox_id, desk)

    def _forget(self, sandbox_id: SandboxId) -> None:
        """It was removed: nothing of it is kept."""
        self._desks.pop(sandbox_id, None)

    def _hand_on(self, sandbox_id: SandboxId, desk: Desk) -> None:
        for outcome in desk.strays():
            answer = Answer(outcome.run_id, outcome.text)
            task = asyncio.create_task(self._deliver(sandbox_id, answer), name=f"stray-{sandbox_id}")
            self._deliveries.add(task)
            task.add_done_callback(self._deliveries.discard)

    async def _deliver(self, sandbox_id: SandboxId, answer: Answer) -> None:
        pause_s = self._tempo.poll_s
        while True:
            try:
                return await self._on_stray(sandbox_id, answer)
            except Transient as problem:
                logger.warning("a text that nobody asked for waits", sandbox=sandbox_id, problem=str(problem))
            except Exception:
                # The task's edge: nobody awaits it, and the next stray must not suffer from this one.
                logger.exception("a text that nobody asked for is lost", sandbox=sandbox_id)
                return None
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, MAX_PAUSE_S)
