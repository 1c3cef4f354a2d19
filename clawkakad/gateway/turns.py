"""One whole turn of the agent, whatever the socket or the gateway's process do meanwhile.

`Turns.ask()` sends a message and brings back its reply; `Turns.wake()` does the same for a heartbeat. In between
the socket may drop (the run goes on), the gateway may die (it continues the turn by itself, under another run id),
this daemon may die (the caller asks `again`). Nothing is guessed: a reply is recognised by its run id, and after an
interruption the gateway's own history decides (`history.py`) before anything is sent a second time.

Invariants: a message is sent under `key`, and under `key.2` only if its first run is over without a reply; the end of
a run goes to one place, the turn that it belongs to or `on_stray`. One turn at a time per sandbox is the caller's duty.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import assert_never

from loguru import logger

from clawkakad.errors import ClawkakaError, GatewayClosed, GatewayUnavailable, Transient, TurnFailed
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.desk import Desk
from clawkakad.gateway.frames import Event
from clawkakad.gateway.history import (
    Aborted,
    Absent,
    Answered,
    Broken,
    Busy,
    Interrupted,
    Running,
    newest_reply,
    standing,
)
from clawkakad.gateway.pool import Pool
from clawkakad.gateway.runs import Ending, Outcome
from clawkakad.gateway.session import printable
from clawkakad.model import SandboxId

HISTORY_ROWS = 100
"""How far back we look for a message: a turn with forty tool calls writes eighty rows."""

ABORT_S = 5.0
"""How long stopping an overdue run may take."""

MAX_PAUSE_S = 60.0
"""Longest pause between two tries to hand a stray on, and to ask a gateway that said "later"."""


@dataclass(frozen=True)
class Answer:
    """What a run said. An empty text means that there is nothing to say."""

    run_id: str
    text: str


@dataclass(frozen=True)
class Tempo:
    """How patient a turn is; tests are less so."""

    quiet_s: float = 30.0
    """How long we only listen before the gateway is asked how the run stands."""

    revive_s: float = 20.0
    """How long a restarted gateway gets to continue an interrupted turn. It was seen to at once."""

    poll_s: float = 1.0
    """Between two looks, and after a refusal that named no pause."""


@dataclass
class _Turn:
    """One `ask`. `asked`: the gateway may know the message. `run_id`: what works on it, as far as we know."""

    sandbox_id: SandboxId
    desk: Desk
    key: str
    text: str
    asked: bool
    run_id: str | None = None
    patience_ends: float | None = None

    @property
    def attempts(self) -> tuple[str, str]:
        return (self.key, f"{self.key}.2")


@dataclass
class _Wanted:
    """One `wake`. `tried`: it may have reached the gateway; `acknowledged`: it did."""

    desk: Desk
    future: asyncio.Future[Outcome]
    text: str
    since_ms: float
    tried: bool = False
    acknowledged: bool = False


StrayHandler = Callable[[SandboxId, Answer], Awaitable[None]]


class Turns:
    """Turns over the connections of `pool`. `on_stray` gets the texts that nobody asked for, each once; when it
    raises something transient it is called again later."""

    def __init__(
        self,
        pool: Pool,
        *,
        on_stray: StrayHandler,
        tempo: Tempo = Tempo(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._on_stray = on_stray
        self._tempo = tempo
        self._clock = clock
        self._desks: dict[SandboxId, Desk] = {}
        self._deliveries: set[asyncio.Task[None]] = set()
        pool.listen(self._hear)

    async def ask(self, sandbox_id: SandboxId, *, key: str, text: str, again: bool, timeout_s: float) -> Answer:
        """One message and its reply. `again`: it may have been asked before, under the same key, by whomever.

        Raises `TurnFailed` (the agent ended it with an error, or two attempts were cut short) and
        `GatewayUnavailable` (no reply in time: the run was stopped; ask again later). Cancelling leaves the run
        going: ask again to get its reply.
        """
        turn = _Turn(sandbox_id, self._desk(sandbox_id), key, text, asked=again)
        deadline = _now() + timeout_s
        with self._open(sandbox_id):
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._carry(turn, deadline)
            except TimeoutError:
                await self._stop(sandbox_id, turn.run_id)
                raise GatewayUnavailable(f"no reply within {timeout_s:g} s") from None

    async def wake(self, sandbox_id: SandboxId, *, text: str, timeout_s: float) -> Answer | None:
        """A heartbeat turn about `text`; None is silence.

        Raises `TurnFailed` (an error, or cut short for good) and `GatewayUnavailable` (not over in time: what runs
        was stopped). A text that still comes later goes to `on_stray`.
        """
        deadline = _now() + timeout_s
        with self._open(sandbox_id):
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._heartbeat(sandbox_id, text, deadline)
            except TimeoutError:
                await self._stop_all(sandbox_id)
                raise GatewayUnavailable(f"no heartbeat within {timeout_s:g} s") from None

    async def aclose(self) -> None:
        """Wait a moment for strays that are being handed on, then let go of them."""
        if self._deliveries:
            await asyncio.wait(self._deliveries, timeout=ABORT_S)
        for task in self._deliveries:
            task.cancel()

    # A message -----------------------------------------------------------------------------------------------

    async def _carry(self, turn: _Turn, deadline: float) -> Answer:
        """From connection to connection until there is an answer."""
        while True:
            connection = await self._pool.ready(turn.sandbox_id, timeout_s=deadline - _now())
            turn.patience_ends = None  # another process of the gateway gets its own time
            try:
                return await self._over(connection, turn)
            except GatewayClosed:
                logger.debug("connection lost in a turn", sandbox=turn.sandbox_id)
            except GatewayUnavailable as problem:
                logger.debug("the gateway says later", sandbox=turn.sandbox_id, problem=str(problem))
                await asyncio.sleep(min(problem.retry_after_s or self._tempo.poll_s, MAX_PAUSE_S))

    async def _over(self, connection: Connection, turn: _Turn) -> Answer:
        """The turn over one connection: send it if it is new, then look how it stands until it is over."""
        answer = None
        if not turn.asked:
            turn.asked = True  # before the first byte: from here on only the history knows
            answer = await self._send(connection, turn, turn.key)
        while answer is None:
            answer = await self._look(connection, turn)
        return answer

    async def _send(self, connection: Connection, turn: _Turn, run_id: str) -> Answer | None:
        turn.run_id = run_id
        future = turn.desk.expect(run_id)
        ack = await connection.chat(run_id, turn.text)
        if ack.status in ("started", "in_flight"):
            return self._reply(turn, await self._listen(connection, future, run_id))
        outcome = await connection.wait_run(run_id, 0)
        if outcome is not None and outcome.ending is Ending.ABORTED:
            return await self._send_next(connection, turn, run_id)
        if outcome is None:
            await self._pause()
        return self._reply(turn, outcome)

    async def _listen(self, connection: Connection, future: asyncio.Future[Outcome], run_id: str) -> Outcome | None:
        """The end of a run, by its event or, after a while of silence, by asking once. None: it goes on, or is lost."""
        try:
            async with asyncio.timeout(self._tempo.quiet_s):
                return await connection.while_open(future)
        except TimeoutError:
            return await connection.wait_run(run_id, 0)

    async def _look(self, connection: Connection, turn: _Turn) -> Answer | None:
        """Read the history and do the one thing that follows from it. None: look again."""
        where = standing(await connection.history(HISTORY_ROWS), turn.attempts)
        logger.debug("looked how a turn stands", sandbox=turn.sandbox_id, standing=type(where).__name__)
        match where:
            case Absent():
                turn.desk.forget(turn.key)
                return await self._send(connection, turn, turn.key)
            case Running(run_id):
                turn.run_id = run_id
                return self._reply(turn, await self._listen(connection, turn.desk.expect(run_id), run_id))
            case Busy(run_id):
                turn.run_id = run_id  # at the deadline, what is in the way is stopped too
                await connection.wait_run(run_id, self._tempo.poll_s)
                await self._pause()
                return None
            case Answered(run_id, text):
                return self._recognise(turn.desk, run_id, text)
            case Broken(_, text):
                raise TurnFailed(printable(text))
            case Aborted(attempt):
                return await self._send_next(connection, turn, attempt)
            case Interrupted(attempt, run_id):
                return await self._revive(connection, turn, attempt, run_id)
        assert_never(where)

    async def _revive(self, connection: Connection, turn: _Turn, attempt: str, run_id: str) -> Answer | None:
        """No end on record and nobody works on it: this process may remember an end, or be about to continue it."""
        outcome = await connection.wait_run(run_id, 0)
        if outcome is not None and outcome.ending is Ending.ABORTED:
            return await self._send_next(connection, turn, attempt)
        if outcome is not None:
            return self._reply(turn, outcome)
        if turn.patience_ends is None:
            turn.patience_ends = _now() + self._tempo.revive_s
        if _now() < turn.patience_ends:
            await self._pause()
            return None
        return await self._send_next(connection, turn, attempt)

    async def _send_next(self, connection: Connection, turn: _Turn, attempt: str) -> Answer | None:
        if attempt == turn.attempts[-1]:
            raise TurnFailed("cut short twice", kind="interrupted")
        return await self._send(connection, turn, turn.attempts[-1])

    async def _pause(self) -> None:
        await asyncio.sleep(self._tempo.poll_s)

    def _reply(self, turn: _Turn, outcome: Outcome | None) -> Answer | None:
        return None if outcome is None else self._recognise(turn.desk, outcome.run_id, _text_of(outcome))

    def _recognise(self, desk: Desk, run_id: str, text: str) -> Answer:
        """The answer of a run that is ours, unless the person got it as a stray before we knew."""
        heard = desk.claim(run_id)
        if desk.was_told(run_id):
            return Answer(run_id, "")
        return Answer(run_id, heard.text if heard and heard.text else text)

    async def _stop(self, sandbox_id: SandboxId, run_id: str | None) -> None:
        connection = self._pool.get(sandbox_id)
        if connection is None or run_id is None:
            return
        try:
            await connection.abort(run_id, timeout_s=ABORT_S)
        except ClawkakaError as problem:
            logger.debug("an overdue run was not stopped", sandbox=sandbox_id, problem=str(problem))

    # A heartbeat ---------------------------------------------------------------------------------------------

    async def _heartbeat(self, sandbox_id: SandboxId, text: str, deadline: float) -> Answer | None:
        desk = self._desk(sandbox_id)
        wanted = _Wanted(desk, desk.expect_heartbeat(), text, since_ms=self._clock() * 1000)
        try:
            while True:
                connection = await self._pool.ready(sandbox_id, timeout_s=deadline - _now())
                try:
                    return await self._wake_over(connection, wanted)
                except GatewayClosed:
                    logger.debug("connection lost in a heartbeat", sandbox=sandbox_id)
                except GatewayUnavailable as problem:
                    await asyncio.sleep(min(problem.retry_after_s or self._tempo.poll_s, MAX_PAUSE_S))
        finally:
            desk.drop_heartbeat()

    async def _wake_over(self, connection: Connection, wanted: _Wanted) -> Answer | None:
        """The heartbeat over one connection: wake, and wait; after a drop, first look what came of it."""
        if wanted.tried:
            found = await self._reply_since(connection, wanted)
            if found is not None or wanted.future.done():
                return found or self._taken(wanted)
            if wanted.acknowledged:
                raise TurnFailed("the connection was lost in a heartbeat", kind="interrupted")
        wanted.tried = True
        await connection.wake(wanted.text)
        wanted.acknowledged = True
        await connection.while_open(wanted.future)
        return self._taken(wanted)

    def _taken(self, wanted: _Wanted) -> Answer | None:
        """Its end, which now belongs to whoever asked for the heartbeat."""
        outcome = wanted.future.result()
        wanted.desk.claim(outcome.run_id)
        text = _text_of(outcome)
        return Answer(outcome.run_id, text) if text else None

    async def _reply_since(self, connection: Connection, wanted: _Wanted) -> Answer | None:
        """Wait until nothing runs any more, or the end is heard; then what was written since the wake."""
        while not wanted.future.done():
            history = await connection.history(HISTORY_ROWS)
            if not history.running:
                found = newest_reply(history, since_ms=wanted.since_ms)
                return self._recognise(wanted.desk, found.run_id, found.text) if found else None
            await connection.wait_run(history.running[0], self._tempo.poll_s)
            await self._pause()
        return None

    async def _stop_all(self, sandbox_id: SandboxId) -> None:
        """Stop whatever runs, so that an overdue heartbeat is not in the way of the person's next message."""
        connection = self._pool.get(sandbox_id)
        if connection is None:
            return
        try:
            history = await connection.history(1, timeout_s=ABORT_S)
        except ClawkakaError as problem:
            logger.debug("an overdue heartbeat was not stopped", sandbox=sandbox_id, problem=str(problem))
            return
        for run_id in history.running:
            await self._stop(sandbox_id, run_id)

    # Everything that is heard --------------------------------------------------------------------------------

    def _desk(self, sandbox_id: SandboxId) -> Desk:
        return self._desks.setdefault(sandbox_id, Desk())

    @contextmanager
    def _open(self, sandbox_id: SandboxId) -> Iterator[None]:
        """While a turn is open, strays are held back: one of them may be its reply."""
        desk = self._desk(sandbox_id)
        desk.turns += 1
        try:
            yield
        finally:
            desk.turns -= 1
            self._hand_on(sandbox_id, desk)

    def _hear(self, sandbox_id: SandboxId, event: Event) -> None:
        desk = self._desk(sandbox_id)
        desk.hear(event)
        self._hand_on(sandbox_id, desk)

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


def _now() -> float:
    return asyncio.get_running_loop().time()


def _text_of(outcome: Outcome) -> str:
    """What a finished run said; raises `TurnFailed` for one that did not finish."""
    if outcome.ending is Ending.ERROR:
        raise TurnFailed(printable(outcome.text or "the agent failed"), kind=outcome.kind)
    if outcome.ending is Ending.ABORTED:
        raise TurnFailed("the turn was stopped", kind="aborted")
    return outcome.text
