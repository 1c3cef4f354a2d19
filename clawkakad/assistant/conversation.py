"""Conversations: one worker per person who waits for an answer, and none for those who do not.

A person's messages are answered in order, one turn at a time (`answering.py`); nobody waits for somebody else. The
inbox is the queue: a worker holds nothing that is not on disk, so that a restart finds the same work.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

from loguru import logger

from clawkakad.assistant.answering import REGISTRY_PAUSE_S, Agent, Answering, Outgoing, Sandboxes
from clawkakad.assistant.presence import Presence
from clawkakad.assistant.turnbook import Rules
from clawkakad.errors import RegistryUnavailable
from clawkakad.model import UserId
from clawkakad.registry import Registry
from clawkakad.registry.inbox import InboxRow


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
        self._locks: dict[UserId, asyncio.Lock] = {}
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._closing = False

    def lock(self, user_id: UserId) -> asyncio.Lock:
        """Held during a turn of this person: one turn at a time, heartbeats included."""
        return self._locks.setdefault(user_id, asyncio.Lock())

    def wake(self, user_id: UserId) -> None:
        """There is something to answer for this person. Never waits; while they have a worker it will find it."""
        self._woken.add(user_id)
        if user_id in self._workers or self._closing:
            return
        task = asyncio.create_task(self._work(user_id), name=f"conversation {user_id}")
        self._workers[user_id] = task
        task.add_done_callback(self._ended)

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

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not self._failure.done():
            self._failure.set_exception(error)

    async def _work(self, user_id: UserId) -> None:
        """Answer until nothing waits. A wake() during the last look at the inbox means one more look: between that
        decision and the removal from `_workers` nothing is awaited, so no message can fall between two workers.
        """
        with logger.contextualize(user=user_id):
            try:
                while not self._closing:
                    self._woken.discard(user_id)
                    if not await self._take_next(user_id) and user_id not in self._woken:
                        return
            finally:
                del self._workers[user_id]

    async def _take_next(self, user_id: UserId) -> bool:
        """Take their next turn; False where nothing waits."""
        try:
            return await self._answering.take_next(user_id)
        except RegistryUnavailable as error:
            logger.warning("the registry cannot be used now; messages wait", error=str(error))
            await asyncio.sleep(REGISTRY_PAUSE_S)
            return True
