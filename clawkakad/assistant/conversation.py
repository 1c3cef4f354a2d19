"""Conversations: one worker per person who waits for an answer, and none for those who do not.

A person's messages are answered in order, one turn at a time (`answering.py`); nobody waits for somebody else. The
inbox is the queue: a worker holds nothing that is not on disk, so that a restart finds the same work.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial

from loguru import logger

from clawkakad.assistant.answering import REGISTRY_PAUSE_S, Agent, Answering, Outgoing, Sandboxes
from clawkakad.assistant.opening import Opening
from clawkakad.assistant.presence import Presence
from clawkakad.assistant.turnbook import Rules, Turn
from clawkakad.errors import RegistryUnavailable
from clawkakad.model import UserId
from clawkakad.registry import Registry
from clawkakad.registry.inbox import InboxRow
from clawkakad.registry.transaction import Transaction


class Conversations:
    """Owns the workers. `wake` starts one; `run` is the life of them all.

    `outgoing` sends what they put into the outbox; `on_given_up` gets the lead of a turn that ended without an answer.
    """

    def __init__(
        self,
        registry: Registry,
        sandboxes: Sandboxes,
        agent: Agent,
        presence: Presence,
        clock: Callable[[], datetime],
        rules: Rules,
        *,
        outgoing: Outgoing,
        on_given_up: Callable[[InboxRow], None],
    ) -> None:
        self._registry = registry
        self._answering = Answering(
            registry,
            sandboxes,
            agent,
            presence,
            clock,
            rules,
            lock=self.lock,
            outgoing=outgoing,
            on_given_up=on_given_up,
        )
        self._workers: dict[UserId, asyncio.Task[None]] = {}
        self._woken: set[UserId] = set()
        self._granted: set[UserId] = set()  # whose turn may begin in a transaction that is under way
        self._locks: dict[UserId, asyncio.Lock] = {}
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing = False

    def lock(self, user_id: UserId) -> asyncio.Lock:
        """Held during a turn of this person: one turn at a time, heartbeats included."""
        lock = self._locks.get(user_id)
        if lock is None:
            lock = self._locks[user_id] = asyncio.Lock()
        return lock

    def wake(self, user_id: UserId) -> None:
        """There is something to answer for this person. Never waits; while they have a worker it will find it."""
        self._woken.add(user_id)
        self._go_on(user_id)

    def opening(self) -> Opening:
        """For a transaction that stores messages: turns that can begin in it."""
        return Opening(self)

    def grant(self, user_id: UserId) -> bool:
        """See `opening.Host`."""
        is_busy = user_id in self._workers or user_id in self._granted or self._closing
        if is_busy or not self._answering.could_ask(user_id):
            return False
        self._granted.add(user_id)
        return True

    def open(self, tx: Transaction, message: InboxRow, now: datetime) -> Turn | None:
        """See `opening.Host`."""
        return self._answering.open(tx, message, now)

    def ask(self, user_id: UserId, turn: Turn) -> None:
        """See `opening.Host`."""
        if not self._closing:  # begun or not, it will be on disk: the next start takes it up
            self._start(user_id, turn)

    def go(self, user_id: UserId, lost: Turn | None) -> None:
        """See `opening.Host`."""
        self._granted.discard(user_id)
        worker = self._workers.get(user_id)
        if lost is not None and worker is not None:
            self._answering.doubt(lost)
            worker.cancel()
        self._go_on(user_id)

    def _go_on(self, user_id: UserId) -> None:
        """A worker for who was woken and has none."""
        is_free = user_id not in self._workers and user_id not in self._granted
        if is_free and user_id in self._woken and not self._closing:
            self._start(user_id)

    def _start(self, user_id: UserId, begun: Turn | None = None) -> None:
        task = asyncio.create_task(self._work(user_id, begun), name=f"conversation {user_id}")
        self._workers[user_id] = task
        task.add_done_callback(partial(self._ended, user_id))

    async def run(self) -> None:
        """Take up what the last process left, then live until cancelled. A worker that breaks ends this loop too."""
        for user_id in await self._waiting():
            self.wake(user_id)
        await self._failure

    async def _waiting(self) -> list[UserId]:
        while True:
            try:
                return await self._registry.inbox.users_waiting()
            except RegistryUnavailable as error:
                logger.warning("the inbox cannot be read now", error=str(error))
                await asyncio.sleep(REGISTRY_PAUSE_S)

    async def drain(self, within_s: float) -> None:
        """Begin no more turns, let those in flight end, then stop the rest: their messages stay in the inbox."""
        self._closing = True
        for user_id, task in self._workers.items():
            if not self._answering.is_in_flight(user_id):
                task.cancel()
        if not self._workers:
            return
        _, late = await asyncio.wait(self._workers.values(), timeout=within_s)
        for task in late:
            task.cancel()
        if late:
            logger.warning("turns in flight are left for the next start", turns=len(late))
            await asyncio.wait(late)

    def _ended(self, user_id: UserId, task: asyncio.Task[None]) -> None:
        """Also of one that was stopped before its first step. Who was woken meanwhile gets another one."""
        del self._workers[user_id]
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failure.done():
            self._failure.set_exception(error)
        self._go_on(user_id)

    async def _work(self, user_id: UserId, begun: Turn | None) -> None:
        """Answer until nothing waits."""
        with logger.contextualize(user=user_id):
            while not self._closing:
                self._woken.discard(user_id)
                more = await self._take_next(user_id, begun)
                begun = None
                if user_id in self._granted:
                    self._woken.add(user_id)  # over before it was stored: only `go` knows what there is to look for
                    return
                if not more and user_id not in self._woken:
                    return

    async def _take_next(self, user_id: UserId, begun: Turn | None) -> bool:
        """Take the turn that was begun, or their next one; False where nothing waits any more."""
        try:
            if begun is not None:
                return await self._answering.take_begun(begun)
            return await self._answering.take_next(user_id)
        except RegistryUnavailable as error:
            logger.warning("the registry cannot be used now; messages wait", error=str(error))
            await asyncio.sleep(REGISTRY_PAUSE_S)
            return True
