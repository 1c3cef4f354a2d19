"""Whole turns over the pool's connections, whatever the socket or the gateway's process do meanwhile.

`Turns.ask()` is one message and its reply (`asking.py`), `Turns.wake()` one heartbeat (`waking.py`); here are their
deadlines, and what becomes of texts that nobody asked for, or nobody waits for any more. Invariant: the end of a run
goes to one place: the turn that it belongs to, `on_stray`, or who asks what was `missed()`. One turn at a time per
sandbox is the caller's duty.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from loguru import logger

from clawkakad.errors import ClawkakaError, GatewayClosed, GatewayUnavailable, SandboxGone, Transient, TurnFailed
from clawkakad.gateway.asking import Ask, attempts_of
from clawkakad.gateway.desk import Desk
from clawkakad.gateway.failures import explained
from clawkakad.gateway.frames import Event
from clawkakad.gateway.history import Answered, standing
from clawkakad.gateway.pool import Pool
from clawkakad.gateway.runs import Answer
from clawkakad.gateway.tempo import DEEP_ROWS, MAX_PAUSE_S, PATIENT, Tempo, now
from clawkakad.gateway.waking import Wake
from clawkakad.model import SandboxId

__all__ = ["Answer", "RefusalOf", "StrayHandler", "Tempo", "Turns"]

StrayHandler = Callable[[SandboxId, Answer], Awaitable[None]]
RefusalOf = Callable[[SandboxId], str | None]


class Turns:
    """Turns over the connections of `pool`.

    `on_stray` gets the texts that nobody asked for or waits for any more, each run's once; after something transient
    it is called again. `refusal_of`: the words with which the model endpoint refused a sandbox's last call, None where
    that was answered; asked where the gateway does not tell why a turn failed.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        on_stray: StrayHandler,
        refusal_of: RefusalOf = lambda _: None,
        tempo: Tempo = PATIENT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._on_stray = on_stray
        self._refusal_of = refusal_of
        self._tempo = tempo
        self._clock = clock
        self._desks: dict[SandboxId, Desk] = {}
        self._deliveries: dict[SandboxId, asyncio.Task[None]] = {}
        self._closing = False
        pool.listen(self._hear)
        pool.listen_retired(self._forget)

    async def ask(self, sandbox_id: SandboxId, *, key: str, text: str, again: bool, timeout_s: float) -> Answer:
        """One message and its reply. `again`: it may have been asked before, under the same key, by whomever.

        Raises `TurnFailed` (its `kind` is a `FailureKind`; "interrupted": two runs were cut short, and there is never
        a third), `GatewayRefused`, `GatewayUnavailable` (no reply in time: the run was stopped; ask again later), and
        `SandboxGone` (removed meanwhile: ask in another one). A reply that still comes after any of these goes to
        `on_stray`. Cancelling leaves the run going: ask again to get its reply.
        """
        deadline = now() + timeout_s
        with self._open(sandbox_id, key) as desk:
            ask = Ask(self._pool, sandbox_id, desk, self._tempo, key=key, text=text)
            try:
                async with asyncio.timeout_at(deadline):
                    return await ask.answer(again=again, deadline=deadline)
            except TimeoutError:
                await self._stop(sandbox_id, ask.run_id)
                desk.give_up(ask.waited_for)
                raise GatewayUnavailable(f"no reply within {timeout_s:g} s") from None
            except TurnFailed as failed:
                desk.give_up(ask.waited_for)
                raise explained(failed, self._refusal_of(sandbox_id)) from failed
            except ClawkakaError:
                desk.give_up(ask.waited_for)
                raise

    async def missed(self, sandbox_id: SandboxId, keys: Sequence[str]) -> list[Answer]:
        """What became, while nobody listened, of turns that were given up: the answers to these keys that are there.

        In the order of `keys`, one for each at most, of its first or its second run or of the run that continued it;
        each once in the life of this object, and none that a turn or `on_stray` got, nor of a turn that is open.
        Empty texts are left out. Runs that still go on are not among them: their finals come to `on_stray`. Only the
        latest 1,000 rows are looked at. Never waits for a connection: raises `GatewayUnavailable` where none is open
        (or it is too slow, or closes meanwhile) and `GatewayRefused`; then nothing was taken, ask on the next one.
        """
        if not keys:
            return []
        connection = self._pool.get(sandbox_id)
        if connection is None:
            raise GatewayUnavailable("no open connection")
        try:
            history = await connection.history(DEEP_ROWS, timeout_s=self._tempo.request_s)
        except GatewayClosed as closed:
            raise GatewayUnavailable(str(closed)) from closed
        desk = self._desk(sandbox_id)
        ends = (standing(history, attempts_of(key)) for key in keys if key not in desk.keys)
        found = (desk.missed(end.run_id, end.text) for end in ends if isinstance(end, Answered) and end.text)
        return [answer for answer in found if answer is not None and answer.text]

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
            except TurnFailed as failed:
                raise explained(failed, self._refusal_of(sandbox_id)) from failed

    async def aclose(self) -> None:
        """Wait a moment for strays that are being handed on, then let go of them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._tempo.stop_s):
                while self._deliveries:
                    await asyncio.wait(self._deliveries.values())
        self._closing = True
        for task in self._deliveries.values():
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
        with suppress(TimeoutError):  # for all of them: a sandbox may name any number
            async with asyncio.timeout(self._tempo.stop_s):
                for run_id in history.running:
                    await self._stop(sandbox_id, run_id)

    # What is heard -------------------------------------------------------------------------------------------

    @contextmanager
    def _open(self, sandbox_id: SandboxId, key: str | None = None) -> Iterator[Desk]:
        """While a turn is open, strays are held back: one of them may be its reply; and the sandbox stays awake.

        `key`: of a person's turn, whose answer is nobody else's meanwhile.
        """
        desk = self._desk(sandbox_id)
        desk.turns += 1
        if key is not None:
            desk.keys.add(key)
        try:
            with self._pool.using(sandbox_id):
                yield desk
        except SandboxGone:
            self._forget(sandbox_id)
            raise
        finally:
            desk.turns -= 1
            if key is not None:
                desk.keys.discard(key)
            self._hand_on(sandbox_id, desk)

    def _hear(self, sandbox_id: SandboxId, event: Event) -> None:
        desk = self._desk(sandbox_id)
        desk.hear(event)
        self._hand_on(sandbox_id, desk)

    def _desk(self, sandbox_id: SandboxId) -> Desk:
        desk = self._desks.get(sandbox_id)
        if desk is None:
            desk = self._desks[sandbox_id] = Desk()
        return desk

    def _forget(self, sandbox_id: SandboxId) -> None:
        """It was removed: nothing of it is kept."""
        self._desks.pop(sandbox_id, None)

    def _hand_on(self, sandbox_id: SandboxId, desk: Desk) -> None:
        """Strays go one after the other; the desk holds what comes meanwhile, and no more than it may."""
        if self._closing or sandbox_id in self._deliveries:
            return
        answers = [Answer(outcome.run_id, outcome.text) for outcome in desk.strays()]
        if answers:
            task = asyncio.create_task(self._deliver_all(sandbox_id, answers), name=f"strays-{sandbox_id}")
            self._deliveries[sandbox_id] = task
            task.add_done_callback(lambda _: self._delivered(sandbox_id, desk))

    def _delivered(self, sandbox_id: SandboxId, desk: Desk) -> None:
        del self._deliveries[sandbox_id]
        self._hand_on(sandbox_id, desk)

    async def _deliver_all(self, sandbox_id: SandboxId, answers: Sequence[Answer]) -> None:
        for answer in answers:
            await self._deliver(sandbox_id, answer)

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
