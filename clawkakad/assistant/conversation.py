"""Conversations: one worker per person who waits for an answer, and none for those who do not.

A person's messages are answered in order, one turn at a time; nobody waits for somebody else. The inbox is the queue:
a worker holds nothing that is not on disk, so that a restart finds the same work. The reply and the end of its message
are one transaction.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from loguru import logger

from clawkakad.assistant import prompt, words
from clawkakad.assistant.parts import parts_of
from clawkakad.assistant.presence import Presence
from clawkakad.errors import (
    GatewayRefused,
    GatewayUnavailable,
    ImageMissing,
    RegistryUnavailable,
    SandboxGone,
    Transient,
    TurnFailed,
)
from clawkakad.gateway.turns import Answer
from clawkakad.model import InboxState, SandboxId, UserId
from clawkakad.registry import Registry, inbox, outbox, reminders
from clawkakad.registry.database import Transaction
from clawkakad.registry.inbox import InboxRow
from clawkakad.registry.reminders import Reminder

MOST_ATTEMPTS = 5  # a message that took the daemon down with it so often is given up, so that it blocks nobody
READY_S = 150.0  # how long one wait for a sandbox to wake may take, seconds; then it is asked for again
PAUSE_S = 5.0  # between two such waits where the engine itself is away
REGISTRY_PAUSE_S = 1.0  # between two tries where the disk is full or the registry locked


class Sandboxes(Protocol):
    """Where a person's sandbox comes from."""

    async def ensure(self, user_id: UserId) -> SandboxId:
        """The person's sandbox, wanted awake from now on; returns at once."""


class Agent(Protocol):
    """One agent turn."""

    async def ready(self, sandbox_id: SandboxId, *, timeout_s: float) -> None:
        """Wait until the gateway can be asked. Raises GatewayUnavailable after `timeout_s`."""

    async def ask(self, sandbox_id: SandboxId, *, key: str, text: str, again: bool, timeout_s: float) -> Answer:
        """One whole turn. Raises TurnFailed, GatewayUnavailable."""


class Conversations:
    """Owns the workers. `wake` starts one; `run` is the life of them all."""

    def __init__(
        self,
        registry: Registry,
        sandboxes: Sandboxes,
        agent: Agent,
        presence: Presence,
        clock: Callable[[], datetime],
        *,
        turn_timeout_s: float,
        on_outbox: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._sandboxes = sandboxes
        self._agent = agent
        self._presence = presence
        self._clock = clock
        self._turn_timeout_s = turn_timeout_s
        self._on_outbox = on_outbox
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
                    if not await self._answer_next(user_id) and user_id not in self._woken:
                        return
            finally:
                del self._workers[user_id]

    async def _answer_next(self, user_id: UserId) -> bool:
        """Answer the oldest waiting message; False where there is none."""
        try:
            async with self.lock(user_id):
                message = await self._registry.inbox.next_waiting(user_id)
                if message is None:
                    return False
                await self._answer(message)
        except RegistryUnavailable as error:
            logger.warning("the registry cannot be used now; the message waits", error=str(error))
            await asyncio.sleep(REGISTRY_PAUSE_S)
        return True

    async def _answer(self, message: InboxRow) -> None:
        """One message, to its end."""
        if message.attempt >= MOST_ATTEMPTS:
            logger.error("message given up: it was begun too often and never ended", inbox=message.id)
            await self._settle(message, InboxState.FAILED, "begun too often, never ended", words.GAVE_UP)
            return
        try:
            async with self._presence.typing(message.wamid):
                await self._turn(message)
        except SandboxGone:
            logger.info("the sandbox was removed in a turn; the message goes to a new one", inbox=message.id)
        except RegistryUnavailable:
            raise  # for later, not for ever
        except Exception:  # a mistake of ours with one message must not end everybody's assistant
            logger.exception("a turn failed for a reason of our own", inbox=message.id)
            await self._settle(message, InboxState.FAILED, "a mistake in clawkakad: see the log", words.NOT_NOW)

    async def _turn(self, message: InboxRow) -> None:
        """Ask the agent, and store what came of it."""
        sandbox_id = await self._awake(message.user_id)
        sent = await self._registry.reminders.untold(message.user_id)
        wanted = prompt.of_message(message.text or "", sent)
        text = await self._registry.inbox.begin(message.id, wanted)
        told = sent if text == wanted else ()  # of an earlier attempt's words these were no part
        again = message.attempt > 0
        try:
            answer = await self._agent.ask(
                sandbox_id, key=message.run_key, text=text, again=again, timeout_s=self._turn_timeout_s
            )
        except asyncio.CancelledError:
            await asyncio.shield(self._registry.inbox.release(message.id))
            raise
        except (TurnFailed, GatewayRefused) as error:
            kind = error.kind if isinstance(error, TurnFailed) else error.code
            logger.error("turn failed", inbox=message.id, kind=kind)
            await self._settle(message, InboxState.FAILED, str(error), _in_words(error))
        except GatewayUnavailable as error:
            logger.error("turn given up", inbox=message.id, error=str(error))
            await self._settle(message, InboxState.FAILED, str(error), words.TOO_LONG)
        else:
            await self._settle(message, InboxState.ANSWERED, "", answer.text, run_id=answer.run_id, told=told)

    async def _awake(self, user_id: UserId) -> SandboxId:
        """The person's sandbox, ready. Waits as long as it takes: the message is safe, the supervisor works on it."""
        while True:
            try:
                sandbox_id = await self._sandboxes.ensure(user_id)
                await self._agent.ready(sandbox_id, timeout_s=READY_S)
            except (Transient, ImageMissing) as error:
                logger.warning("sandbox is not ready; its person waits", error=str(error))
                await asyncio.sleep(PAUSE_S)
            else:
                return sandbox_id

    async def _settle(
        self,
        message: InboxRow,
        state: InboxState,
        reason: str,
        text: str,
        *,
        run_id: str | None = None,
        told: Sequence[Reminder] = (),
    ) -> None:
        """End the message and queue what the person gets, in one transaction; a full disk is waited for.

        A reply is named after its run: the same run heard again, as a late answer say, adds nothing.
        """

        def store(tx: Transaction) -> None:
            now = self._clock()
            if inbox.settle(tx, message.id, state, reason, now):
                outbox.add(tx, message.user_id, parts, origin=origin, source=source, now=now)
                reminders.told(tx, told)

        parts = parts_of(text)
        origin, source = ("notice", f"inbox:{message.id}") if run_id is None else ("reply", f"run:{run_id}")
        while True:
            try:
                await self._registry.db.write(store)
            except RegistryUnavailable as error:
                logger.warning("a reply cannot be stored now; it waits", inbox=message.id, error=str(error))
                await asyncio.sleep(REGISTRY_PAUSE_S)
            else:
                break
        logger.info("message settled", inbox=message.id, state=state.value)
        self._on_outbox()


def _in_words(error: TurnFailed | GatewayRefused) -> str:
    """A failure as the person hears it: never raw."""
    kind = error.kind if isinstance(error, TurnFailed) else None
    return words.MODEL_KEY if kind in ("auth", "billing") else words.NOT_NOW
