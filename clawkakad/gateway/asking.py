"""One message and its reply, over as many connections and gateway processes as it takes.

The socket may drop (the run goes on), the gateway may die (it continues the turn by itself, under another run id),
our own daemon may have died (somebody asked before). Nothing is guessed: a reply is recognised by its run id, and
after any interruption the gateway's history decides (`history.py`) before anything is sent a second time.

Invariant: a message is sent under `key`, and under `key.2` only if its first run is over without a reply; there is no
third run, whoever asks and however often. The caller bounds the whole (`turns.py`); cancelling leaves the run going.
"""

import asyncio
from typing import assert_never

from loguru import logger

from clawkakad.errors import GatewayClosed, GatewayRefused, GatewayUnavailable, TurnFailed
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.desk import Desk
from clawkakad.gateway.failures import FailureKind
from clawkakad.gateway.frames import ChatAck
from clawkakad.gateway.history import Aborted, Absent, Answered, Broken, Busy, Interrupted, Running, Standing, standing
from clawkakad.gateway.pool import Pool
from clawkakad.gateway.runs import (
    DRAINING,
    ORPHANED,
    Answer,
    Ending,
    Outcome,
    failure,
    outcome_of_ack,
    text_of,
)
from clawkakad.gateway.tempo import DEEP_ROWS, HISTORY_ROWS, Tempo, now, pause_after
from clawkakad.model import SandboxId

SECOND_RUN = (
    "[Asked again: the first try at this message was interrupted. Look what was already done before doing it twice.]"
)
"""The line before the person's words in a second run. Words that were sent once are met again word for word: a change
of this line makes the gateway refuse the second runs that are going on during the upgrade, which is provided for."""

REUSED = "chat-request-conflict"
"""Reason of a refusal: the gateway knows this run id, with other words. It is our run all the same."""


def attempts_of(key: str) -> tuple[str, str]:
    """The run ids of a turn, in their order."""
    return (key, f"{key}.2")


class Ask:
    """One turn of a person. `run_id` is what works on it, as far as we know: what to stop when it takes too long."""

    def __init__(self, pool: Pool, sandbox_id: SandboxId, desk: Desk, tempo: Tempo, *, key: str, text: str) -> None:
        self._pool = pool
        self._sandbox_id = sandbox_id
        self._desk = desk
        self._tempo = tempo
        self._attempts = attempts_of(key)
        self._texts = dict(zip(self._attempts, (text, f"{SECOND_RUN}\n\n{text}"), strict=True))
        self._patience_ends: float | None = None
        self.run_id: str | None = None
        self.waited_for: set[str] = set(self._attempts)
        """All the runs whose end is ours, as far as we know."""

    async def answer(self, *, again: bool, deadline: float) -> Answer:
        """From connection to connection until there is an answer. `again`: the gateway may know the message.

        Raises `TurnFailed`, `GatewayRefused`, `SandboxGone`, and `GatewayUnavailable` when there is no connection by
        `deadline`.
        """
        while True:
            connection = await self._pool.ready(self._sandbox_id, timeout_s=deadline - now())
            self._patience_ends = None  # another process of the gateway gets its own time
            try:
                asked = again or await self._in_the_way(connection)
                again = True  # before the first byte: from here on only the history knows
                return await self._over(connection, asked)
            except GatewayClosed:
                logger.debug("connection lost in a turn", sandbox=self._sandbox_id)
            except GatewayUnavailable as problem:
                logger.debug("the gateway says later", sandbox=self._sandbox_id, problem=str(problem))
                await asyncio.sleep(pause_after(problem, self._tempo))

    async def _in_the_way(self, connection: Connection) -> bool:
        """Whether another run is going on, into which our message would be merged: an overdue one, a continued one."""
        quiet, self._desk.quiet_boot = self._desk.quiet_boot, None
        if quiet is not None and quiet == connection.boot_id:
            return False
        return bool((await connection.history(1, timeout_s=self._tempo.request_s)).running)

    async def _over(self, connection: Connection, asked: bool) -> Answer:
        """The turn over one connection: send it if it is new, then look how it stands until it is over."""
        answer = None if asked else await self._send(connection, self._attempts[0])
        while answer is None:
            answer = await self._look(connection)
        self._desk.quiet_boot = connection.boot_id
        return answer

    async def _send(self, connection: Connection, run_id: str) -> Answer | None:
        """Send it in a run that the gateway knows nothing of: what another process said of that one is past."""
        self.run_id = run_id
        self._desk.forget(run_id)
        future = self._desk.expect(run_id)
        ack = await self._submit(connection, run_id)
        if ack is not None and ack.status in ("started", "in_flight"):
            return await self._reply(connection, run_id, await self._listen(connection, future, run_id))
        outcome = (outcome_of_ack(ack) if ack else None) or await connection.wait_run(run_id, 0)
        if outcome is None:
            await self._pause()
        elif outcome.ending is Ending.ABORTED:
            return await self._send_next(connection, run_id)
        return await self._reply(connection, run_id, outcome)

    async def _submit(self, connection: Connection, run_id: str) -> ChatAck | None:
        """None: the gateway had these words' run id before, with other words."""
        try:
            return await connection.chat(run_id, self._texts[run_id], timeout_s=self._tempo.request_s)
        except GatewayRefused as refused:
            if refused.reason != REUSED:
                raise
            return None

    async def _listen(self, connection: Connection, future: asyncio.Future[Outcome], run_id: str) -> Outcome | None:
        """The end of a run, by its event or, after a while of silence, by asking once. None: it goes on, or is lost."""
        try:
            return await connection.while_open(future, within_s=self._tempo.quiet_s)
        except TimeoutError:
            return await connection.wait_run(run_id, 0)

    async def _look(self, connection: Connection) -> Answer | None:
        """Read the history and do the one thing that follows from it. None: look again."""
        where = await self._standing(connection)
        logger.debug("looked how a turn stands", sandbox=self._sandbox_id, standing=type(where).__name__)
        match where:
            case Absent():
                return await self._send(connection, self._attempts[0])
            case Running(run_id):
                self.run_id = run_id
                self.waited_for.add(run_id)
                outcome = await self._listen(connection, self._desk.expect(run_id), run_id)
                return await self._reply(connection, run_id, outcome)
            case Busy(run_id):
                await self._outlast(connection, run_id)
                return None
            case Answered(run_id, text):
                return self._desk.recognise(run_id, text)
            case Broken(_, text):
                raise failure(text)
            case Aborted(attempt):
                return await self._send_next(connection, attempt)
            case Interrupted(attempt, run_id, due):
                return await self._revive(connection, attempt, run_id, due=due)
        assert_never(where)

    async def _standing(self, connection: Connection) -> Standing:
        """What the history says. That a message is not there is only believed after looking as far back as it goes."""
        for rows in (HISTORY_ROWS, DEEP_ROWS):
            history = await connection.history(rows, run_ids=self._attempts, timeout_s=self._tempo.request_s)
            where = standing(history, self._attempts)
            if not isinstance(where, Absent) or not history.has_more:
                break
        return where

    async def _outlast(self, connection: Connection, run_id: str) -> None:
        """Another run is in the way; a message sent now would be merged into it.

        One that we once stopped in vain is stopped again; any other one at our deadline.
        """
        self.run_id = run_id
        if self._desk.gave_up(run_id):
            await self._stop_again(connection, run_id)
        await connection.wait_run(run_id, self._tempo.poll_s)
        await self._pause()

    async def _stop_again(self, connection: Connection, run_id: str) -> None:
        try:
            await connection.abort(run_id, timeout_s=self._tempo.stop_s)
        except (GatewayRefused, GatewayUnavailable) as problem:
            logger.debug("an overdue run was not stopped", sandbox=self._sandbox_id, problem=str(problem))

    async def _revive(self, connection: Connection, attempt: str, run_id: str, *, due: bool) -> Answer | None:
        """No end on record and nobody works on it: this process may remember an end, or be about to continue it."""
        outcome = await connection.wait_run(run_id, 0)
        if outcome is not None and outcome.ending is not Ending.ABORTED:
            return await self._reply(connection, attempt, outcome)
        if self._patience_ends is None:
            self._patience_ends = now() + (self._tempo.revive_s if due else self._tempo.settle_s)
        if outcome is None and now() < self._patience_ends:
            await self._pause()
            return None
        return await self._send_next(connection, attempt)

    async def _send_next(self, connection: Connection, attempt: str) -> Answer | None:
        if attempt != self._attempts[0]:
            raise TurnFailed("cut short twice", kind=FailureKind.INTERRUPTED)
        return await self._send(connection, self._attempts[1])

    async def _reply(self, connection: Connection, attempt: str, outcome: Outcome | None) -> Answer | None:
        """The answer in a run's end. A gateway that is stopping fails what it has not begun: the next one takes it."""
        if outcome is None:
            return None
        if outcome.kind == DRAINING:
            raise await connection.wait_closed()
        if outcome.kind == ORPHANED:
            return await self._send_next(connection, attempt)
        return self._desk.recognise(outcome.run_id, text_of(outcome))

    async def _pause(self) -> None:
        await asyncio.sleep(self._tempo.poll_s)
