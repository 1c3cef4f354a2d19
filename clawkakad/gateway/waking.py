"""One heartbeat turn: the gateway is woken, and says something or nothing.

Silence is only possible here; a message always gets words. A wake has no run id of ours and the gateway keeps none of
it across its own death, so after a drop we look what was written since, and wake again only if it never got through.
The caller bounds the whole (`turns.py`).
"""

import asyncio

from loguru import logger

from clawkakad.errors import GatewayClosed, GatewayUnavailable, TurnFailed
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.desk import Desk
from clawkakad.gateway.history import newest_reply
from clawkakad.gateway.pool import Pool
from clawkakad.gateway.runs import Answer, text_of
from clawkakad.gateway.tempo import HISTORY_ROWS, Tempo, now, pause_after
from clawkakad.model import SandboxId


class Wake:
    """One heartbeat about `text`. `since_ms` is the wall clock's time at its start, as the history's rows have it."""

    def __init__(
        self, pool: Pool, sandbox_id: SandboxId, desk: Desk, tempo: Tempo, *, text: str, since_ms: float
    ) -> None:
        self._pool = pool
        self._sandbox_id = sandbox_id
        self._desk = desk
        self._tempo = tempo
        self._text = text
        self._since_ms = since_ms
        self._end = desk.expect_heartbeat()
        desk.quiet_boot = None
        self._tried = False  # it may have reached the gateway
        self._acknowledged = False  # it did

    async def answer(self, *, deadline: float) -> Answer | None:
        """What the agent wants to say, or None. Raises `TurnFailed`, `SandboxGone`, `GatewayUnavailable`."""
        try:
            while True:
                connection = await self._pool.ready(self._sandbox_id, timeout_s=deadline - now())
                try:
                    return await self._over(connection)
                except GatewayClosed:
                    logger.debug("connection lost in a heartbeat", sandbox=self._sandbox_id)
                except GatewayUnavailable as problem:
                    await asyncio.sleep(pause_after(problem, self._tempo))
        finally:
            self._desk.drop_heartbeat()

    async def _over(self, connection: Connection) -> Answer | None:
        """The heartbeat over one connection: wake, and wait; after a drop, first look what came of it."""
        if self._tried:
            found = await self._written_since(connection)
            if found is not None or self._end.done():
                return found or self._taken()
            if self._acknowledged:
                raise TurnFailed("the connection was lost in a heartbeat", kind="interrupted")
        self._tried = True
        await connection.wake(self._text, timeout_s=self._tempo.request_s)
        self._acknowledged = True
        await connection.while_open(self._end)
        self._desk.quiet_boot = connection.boot_id
        return self._taken()

    def _taken(self) -> Answer | None:
        """Its end, which from now on belongs to us."""
        outcome = self._end.result()
        self._desk.claim(outcome.run_id)
        text = text_of(outcome)
        return self._told(Answer(outcome.run_id, text)) if text else None

    def _told(self, answer: Answer) -> Answer:
        """Taken for the heartbeat's. It may be the answer to a message that was never stored, and that comes again."""
        self._desk.tell(answer.run_id)
        return answer

    async def _written_since(self, connection: Connection) -> Answer | None:
        """Wait until nothing runs any more, or the end is heard; then what was written since the wake."""
        while not self._end.done():
            history = await connection.history(HISTORY_ROWS, timeout_s=self._tempo.request_s)
            if not history.running:
                found = newest_reply(history, since_ms=self._since_ms)
                return self._told(self._desk.recognise(found.run_id, found.text)) if found else None
            await connection.wait_run(history.running[0], self._tempo.poll_s)
            await asyncio.sleep(self._tempo.poll_s)
        return None
