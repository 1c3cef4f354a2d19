"""Delivery: sends what is in the outbox. Per person in order, one at a time; people never wait for one another.

Each send is committed as `sending` before its request is written. A request whose outcome is not known becomes
`ambiguous`: a status webhook that carries our key settles it. Where none comes within a wait it is sent again, after a
longer wait each time: what Meta takes it reports within seconds, so silence most likely means that nothing went out.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from loguru import logger

from clawkakad.errors import GraphRejected, GraphUnavailable, RegistryUnavailable, SendUnknown
from clawkakad.model import IdentifierKind, OutboxState, UserId, Wamid
from clawkakad.registry import Registry
from clawkakad.registry.outbox import OutboxRow
from clawkakad.registry.users import UserRow
from clawkakad.whatsapp import errors as meta
from clawkakad.whatsapp.graph import Recipient

LOOK_AGAIN_S = 1.0  # how often rows that wait for a time are looked at
LONGEST_SETTLE = timedelta(minutes=10)  # between two sends of one message whose outcome stays unknown
GIVE_UP_AFTER = timedelta(hours=24)  # then the service window has closed anyway
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 300.0
STOPPED_PAUSE_S = 60.0  # token expired, number locked: nothing is lost by trying again in a minute


class Sender(Protocol):
    """The one call of the Graph client that is needed here."""

    async def send_text(
        self, recipient: Recipient, body: str, *, callback_data: str, reply_to: Wamid | None = None
    ) -> Wamid:
        """Send one text. Raises GraphUnavailable, GraphRejected, SendUnknown."""


class Delivery:
    """The sending loop."""

    def __init__(self, registry: Registry, graph: Sender, clock: Callable[[], datetime], *, settle_s: float) -> None:
        self._registry = registry
        self._graph = graph
        self._clock = clock
        self._settle = timedelta(seconds=settle_s)
        self._changed = asyncio.Event()
        self._sending: dict[UserId, asyncio.Task[None]] = {}
        self._pauses: dict[UserId, float] = {}

    def wake(self) -> None:
        """The outbox has changed. Never waits."""
        self._changed.set()

    async def run(self) -> None:
        """Send for ever. What the last process left in flight is first marked ambiguous."""
        await self._take_over()
        try:
            while True:
                self._changed.clear()
                await self._pass()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN_S):
                        await self._changed.wait()
        finally:
            await self._stop()

    async def _take_over(self) -> None:
        while True:
            try:
                interrupted = await self._registry.outbox.interrupted()
            except RegistryUnavailable as error:
                logger.warning("outbox cannot be written now", error=str(error))
                await asyncio.sleep(LOOK_AGAIN_S)
            else:
                break
        if interrupted:
            logger.warning("sends with unknown outcome from the last run", sends=interrupted)

    async def _stop(self) -> None:
        """Let requests in flight end: each is bounded by the Graph client's own deadline."""
        if self._sending:
            await asyncio.wait(self._sending.values(), timeout=10)
        for task in self._sending.values():
            task.cancel()

    async def _pass(self) -> None:
        """Start what can be sent now."""
        now = self._clock()
        try:
            heads = await self._registry.outbox.heads()
        except RegistryUnavailable as error:
            logger.warning("outbox cannot be read now", error=str(error))
            return
        for row in heads:
            if row.user_id not in self._sending and self._is_due(row, now):
                task = asyncio.create_task(self._handle(row), name=f"send {row.id}")
                self._sending[row.user_id] = task
                task.add_done_callback(functools.partial(self._done, row.user_id))

    def _is_due(self, row: OutboxRow, now: datetime) -> bool:
        if row.state is OutboxState.QUEUED:
            return row.not_before <= now
        # `sending` without a task of ours: the registry could not take the outcome. It is as unknown as any.
        return row.changed_at + self._wait(row) <= now

    def _wait(self, row: OutboxRow) -> timedelta:
        """How long a status may take to settle an ambiguous send, longer with each."""
        return min(self._settle * 2.0 ** min(row.attempt - 1, 20), max(self._settle, LONGEST_SETTLE))

    def _done(self, user_id: UserId, _task: asyncio.Task[None]) -> None:
        del self._sending[user_id]
        self._changed.set()

    async def _handle(self, row: OutboxRow) -> None:
        try:
            if row.state is OutboxState.QUEUED:
                await self._send(row)
            else:
                await self._resolve(row)
        except RegistryUnavailable as error:
            # The row stays as it was committed, and is looked at again.
            logger.warning("outbox cannot be written now", outbox=row.id, error=str(error))
        except Exception:  # a mistake of ours with one message must not end the sending of all others
            logger.exception("a send failed for a reason of our own", outbox=row.id)

    async def _resolve(self, row: OutboxRow) -> None:
        """No status came in time: send once more, or give up."""
        if self._clock() - row.created_at < GIVE_UP_AFTER:
            logger.warning("sent again: the outcome of the last send is unknown", outbox=row.id, sends=row.attempt)
            await self._registry.outbox.move(row, OutboxState.QUEUED, row.reason)
        else:
            logger.error("given up: the outcome of its sends is unknown", outbox=row.id, sends=row.attempt)
            await self._registry.outbox.move(row, OutboxState.FAILED, "outcome of its sends unknown")

    async def _send(self, row: OutboxRow) -> None:
        user = await self._registry.users.get(row.user_id)
        if user is None or not user.identifiers:
            await self._registry.outbox.move(row, OutboxState.FAILED, "its person cannot be reached any more")
            return
        if not await self._registry.outbox.begin(row):
            return
        try:
            wamid = await self._graph.send_text(recipient_of(user), row.text, callback_data=row.key)
        except GraphUnavailable as error:
            await self._put_back(row, error.retry_after_s, str(error))
        except SendUnknown as error:
            logger.warning("outcome of a send is unknown", outbox=row.id, error=str(error))
            await self._registry.outbox.move(row, OutboxState.AMBIGUOUS, str(error))
        except GraphRejected as error:
            await self._refused(row, error)
        else:
            self._pauses.pop(row.user_id, None)
            await self._registry.outbox.sent(row, wamid)
            logger.info("message sent", outbox=row.id, user=row.user_id, origin=row.origin)

    async def _refused(self, row: OutboxRow, error: GraphRejected) -> None:
        if meta.reaction_to(error.code) is meta.Reaction.STOP:
            logger.error("WhatsApp refuses to send for us; look at the account", code=error.code, error=str(error))
            await self._put_back(row, STOPPED_PAUSE_S, str(error))
            return
        logger.error("WhatsApp refused a message", outbox=row.id, code=error.code, error=str(error))
        await self._registry.outbox.move(row, OutboxState.FAILED, str(error))

    async def _put_back(self, row: OutboxRow, wait_s: float | None, reason: str) -> None:
        """Nothing was sent: try again later, ever more slowly."""
        pause_s = min(LONGEST_PAUSE_S, self._pauses.get(row.user_id, FIRST_PAUSE_S / 2) * 2)
        self._pauses[row.user_id] = pause_s
        wait = timedelta(seconds=max(pause_s, wait_s or 0))
        logger.warning("not sent; it will be tried again", outbox=row.id, wait_s=wait.total_seconds(), error=reason)
        await self._registry.outbox.put_back(row, reason, self._clock() + wait)


def recipient_of(user: UserRow) -> Recipient:
    """The phone number where there is one (newest first), else the business-scoped id."""
    numbers = [value for kind, value in user.identifiers if kind is IdentifierKind.WA_ID]
    if numbers:
        return Recipient(IdentifierKind.WA_ID, numbers[0])
    kind, value = user.identifiers[0]
    return Recipient(kind, value)
