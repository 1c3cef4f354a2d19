"""One person's next turn, step by step: gather, wake, begin, ask, settle.

Holds nothing that is not on disk. A failure that passes is waited for, or the messages stay where they are; any other
one ends with a line to the person, so that no message can block those behind it, nor anybody else.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

from loguru import logger

from clawkakad.assistant import apology, prompt, turnbook, words
from clawkakad.assistant.burst import Quiet, turn_of
from clawkakad.assistant.parts import parts_beside
from clawkakad.assistant.presence import Presence, Typing
from clawkakad.assistant.turnbook import Rules, Turn, lead_of
from clawkakad.delivery.express import Express
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
from clawkakad.log import Lines
from clawkakad.model import InboxState, SandboxId, UserId
from clawkakad.registry import Registry, inbox
from clawkakad.registry.inbox import InboxRow
from clawkakad.registry.transaction import Transaction

T = TypeVar("T")

MOST_ATTEMPTS = 5  # a turn that took the daemon down with it so often is given up, so that it blocks nobody
TURNS_AT_ONCE = 160  # more would only slow each other down, and the storing of what comes in; nobody has room for more
ENDS_AT_ONCE = 16  # of turns that end together; between them, what comes in meanwhile is stored
READY_S = 150.0  # how long one wait for a sandbox to wake may take, seconds; then it is asked for again
PAUSE_S = 5.0  # between two such waits where the engine itself is away
COMMIT_S = 2.0  # for a commit that has begun, when the daemon stops
DOUBT = timedelta(seconds=10)  # by which Meta's clock may be ahead of ours
REGISTRY_PAUSE_S = 1.0  # between two tries where the disk is full or the registry locked


class Sandboxes(Protocol):
    """Where a person's sandbox comes from."""

    async def ensure(self, user_id: UserId) -> SandboxId:
        """The person's sandbox, wanted awake from now on; returns at once."""

    def is_awake(self, user_id: UserId) -> bool:
        """Whether it can be asked at this moment."""


class Agent(Protocol):
    """One agent turn."""

    async def ready(self, sandbox_id: SandboxId, *, timeout_s: float) -> None:
        """Wait until the gateway can be asked. Raises GatewayUnavailable after `timeout_s`."""

    async def ask(self, sandbox_id: SandboxId, *, key: str, text: str, again: bool, timeout_s: float) -> Answer:
        """One whole turn. Raises TurnFailed, GatewayRefused, GatewayUnavailable, SandboxGone."""


class Outgoing(Protocol):
    """Who sends what is in the outbox."""

    def wake(self) -> None:
        """The outbox has changed."""

    def express(self, user_id: UserId) -> Express | None:
        """The right to begin a send in the transaction that queues it."""


class Answering:
    """Takes turns for people. One at a time for each person is the caller's duty; `lock` keeps heartbeats out."""

    def __init__(
        self,
        registry: Registry,
        sandboxes: Sandboxes,
        agent: Agent,
        presence: Presence,
        clock: Callable[[], datetime],
        rules: Rules,
        *,
        lock: Callable[[UserId], asyncio.Lock],
        outgoing: Outgoing,
        on_given_up: Callable[[InboxRow], None],
    ) -> None:
        self._registry = registry
        self._sandboxes = sandboxes
        self._agent = agent
        self._presence = presence
        self._clock = clock
        self._rules = rules
        self._lock = lock
        self._outgoing = outgoing
        self._on_given_up = on_given_up
        self._in_flight: set[UserId] = set()
        self._doubt_until = clock() + DOUBT  # what was written before may have been asked for and lost
        self._lines = Lines()
        self._ends = asyncio.Semaphore(ENDS_AT_ONCE)
        self._room = asyncio.Semaphore(TURNS_AT_ONCE)  # whoever waits for a sandbox takes none of it

    def is_in_flight(self, user_id: UserId) -> bool:
        """True from the moment at which a turn of this person may have been asked for, until it is settled."""
        return user_id in self._in_flight

    def could_ask(self, user_id: UserId) -> bool:
        """Whether a turn of this person could be asked for without waiting for anything."""
        waits = self._rules.burst_s > 0 or self._lock(user_id).locked() or self._room.locked()
        return not waits and self._sandboxes.is_awake(user_id)

    def doubt(self, turn: Turn) -> None:
        """It was asked for and is not stored: when it comes again, the agent's history is looked up first."""
        self._doubt_until = max(self._doubt_until, self._clock() + DOUBT, turn.lead.sent_at)

    def open(self, tx: Transaction, message: InboxRow, now: datetime) -> Turn | None:
        """Begin the turn of the one message that waits, in the transaction that stores it; None in any other case."""
        return turnbook.open_(tx, message, self._rules, now)

    async def take_begun(self, turn: Turn) -> bool:
        """Take a turn that was begun already, to its end; otherwise as `take_next`."""
        return await self._guarded(turn.messages, lambda typing: self._take_begun(turn, typing))

    async def take_next(self, user_id: UserId) -> bool:
        """Take the person's next turn, to its end; False where nothing waits any more. Raises RegistryUnavailable.

        Cancelled, it leaves what waits in the inbox, and a turn that was asked for goes on without us.
        """
        waiting = await self._registry.inbox.waiting(user_id)
        messages = turn_of(waiting, window_s=self._rules.burst_s)
        if not messages:
            return False
        if await self._is_closed_unasked(messages):
            return True
        return await self._guarded(messages, lambda typing: self._take(user_id, waiting, typing))

    async def _guarded(self, messages: Sequence[InboxRow], take: Callable[[Typing], Awaitable[bool]]) -> bool:
        """Take a turn while its person sees that somebody is at it; whatever happens, it blocks nobody for ever."""
        user_id = messages[0].user_id
        try:
            with self._presence.typing(messages[-1].wamid) as typing:
                async with self._still_on_it(lead_of(messages)), self._lock(user_id):
                    return await take(typing)
        except SandboxGone as error:
            logger.info(
                "a turn lost its sandbox; what still waits goes to a new one", inbox=messages[0].id, error=str(error)
            )
        except RegistryUnavailable:
            raise  # for later, not for ever
        except Exception:  # a mistake of ours with one turn must not end everybody's assistant
            logger.exception("a turn failed for a reason of our own", inbox=messages[0].id)
            await self._store(lambda tx, now: turnbook.broken(tx, user_id, self._rules, now))
        return True

    # Before the agent is asked

    async def _is_closed_unasked(self, messages: Sequence[InboxRow]) -> bool:
        """A turn that was begun too often, and old messages where they are not wanted, are not asked for."""
        lead = lead_of(messages)
        if lead.attempt >= MOST_ATTEMPTS:
            logger.error("a turn is parked: it was begun too often and never ended", inbox=lead.id)
            await self._give_up(messages, InboxState.PARKED, "begun too often, never ended", words.GAVE_UP)
            return True
        if not self._rules.skip_old or lead.state is InboxState.RUNNING:
            return False
        if not prompt.is_old(lead, self._clock(), self._rules.old_after):
            return False  # it is the oldest one
        skipped = await self._store(lambda tx, now: turnbook.skip_old(tx, lead.user_id, self._rules, now))
        logger.warning("messages came too late and were not answered", messages=skipped)
        return True

    async def _take(self, user_id: UserId, waiting: Sequence[InboxRow], typing: Typing) -> bool:
        """The sandbox wakes while the burst is gathered; then the turn is begun, and asked for."""
        quiet = Quiet(self._rules.burst_s)
        left_s = quiet.left_s(waiting, now=self._clock(), tick=time.monotonic())
        sandbox_id = await self._awake_after(user_id, left_s)
        async with self._room:
            try:
                turn = await self._begin(user_id, quiet)
                if turn is None:
                    return True
                typing.show(turn.newest.wamid)
                return await self._ask(sandbox_id, turn)
            finally:
                self._in_flight.discard(user_id)

    async def _take_begun(self, turn: Turn, typing: Typing) -> bool:
        user_id = turn.lead.user_id
        sandbox_id = await self._awake(user_id)
        async with self._room:
            self._in_flight.add(user_id)
            try:
                typing.show(turn.newest.wamid)
                return await self._ask(sandbox_id, turn)
            finally:
                self._in_flight.discard(user_id)

    async def _awake_after(self, user_id: UserId, left_s: float) -> SandboxId:
        """The sandbox, ready, not before `left_s` have passed."""
        if left_s <= 0:
            return await self._awake(user_id)
        awake = asyncio.create_task(self._awake(user_id), name=f"waking {user_id}")
        try:
            await asyncio.sleep(left_s)
            return await awake
        finally:
            awake.cancel()
            await asyncio.gather(awake, return_exceptions=True)

    async def _awake(self, user_id: UserId) -> SandboxId:
        """The person's sandbox, ready. Waits as long as it takes: the messages are safe, the supervisor works on it.

        Raises SandboxGone where it is removed, or nothing waits for it any more: a person may be removed with it.
        """
        while True:
            try:
                sandbox_id = await self._sandboxes.ensure(user_id)
                await self._agent.ready(sandbox_id, timeout_s=READY_S)
            except SandboxGone:
                raise  # to the inbox: another one is made only for what waits there
            except (Transient, ImageMissing) as error:
                logger.warning("sandbox is not ready; its person waits", error=str(error))
                await asyncio.sleep(PAUSE_S)
                await self._require_waiting(user_id)
            else:
                return sandbox_id

    async def _require_waiting(self, user_id: UserId) -> None:
        with contextlib.suppress(RegistryUnavailable):  # then it is looked up after the next pause
            if not await self._registry.db.read(lambda tx: inbox.is_anything_waiting(tx, user_id)):
                raise SandboxGone("nothing waits for it any more")

    async def _begin(self, user_id: UserId, quiet: Quiet) -> Turn | None:
        """The turn, begun on disk, once the burst is over. None where its messages were taken back meanwhile."""
        while True:
            self._in_flight.add(user_id)
            begun = await self._registry.db.write(lambda tx: self._begin_now(tx, user_id, quiet))
            if not isinstance(begun, float):
                return begun
            self._in_flight.discard(user_id)
            await asyncio.sleep(begun)

    def _begin_now(self, tx: Transaction, user_id: UserId, quiet: Quiet) -> Turn | float | None:
        return turnbook.begin(tx, user_id, self._rules, quiet, now=self._clock(), tick=time.monotonic())

    # The turn, and its end

    async def _ask(self, sandbox_id: SandboxId, turn: Turn) -> bool:
        """Ask the agent, and store what came of it; False where nothing else waits for the person."""
        try:
            answer = await self._agent.ask(
                sandbox_id,
                key=turn.lead.run_key,
                text=turn.prompt,
                again=turn.again or turn.lead.sent_at <= self._doubt_until,
                timeout_s=self._rules.timeout_s,
            )
        except asyncio.CancelledError:
            with contextlib.suppress(RegistryUnavailable):  # then it counts
                await asyncio.shield(self._registry.inbox.release(turn.lead))
            raise
        except (TurnFailed, GatewayRefused, GatewayUnavailable) as error:
            state, kind, text = apology.for_failure(error)
            logger.error("turn failed", inbox=turn.lead.id, kind=kind, state=state.value)
            await self._give_up(turn.messages, state, str(error), text)
            return True
        more = await self._ended(turn, answer)
        # What is left takes as long as the send's request, which is written at the end of this round of the loop.
        await asyncio.sleep(0)
        self._lines.info("turn answered", inbox=turn.lead.id, messages=len(turn.messages))
        return more

    async def _ended(self, turn: Turn, answer: Answer) -> bool:
        """`_answered`, some at a time. Where the daemon stops meanwhile, at once."""
        try:
            await self._ends.acquire()
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(COMMIT_S):
                    await self._answered(turn, answer)
            raise
        try:
            return await self._answered(turn, answer)
        finally:
            self._ends.release()

    async def _answered(self, turn: Turn, answer: Answer) -> bool:
        """The reply on disk, and on its way where it may go out at once; whether more waits for the person."""
        parts = await parts_beside(answer.text)
        express = self._outgoing.express(turn.lead.user_id)
        while True:

            def work(tx: Transaction, express: Express | None = express) -> bool:
                return turnbook.answered(tx, turn, answer.run_id, parts, self._clock(), express)

            try:  # also where the daemon stops meanwhile: what the commit has begun must go out, or it looks unknown
                return await self._registry.db.write_through(work, partial(self._go, express), within_s=COMMIT_S)
            except RegistryUnavailable as error:
                await self._wait_to_store(error)
            express = None  # one more for each try would use up what the person may get

    def _go(self, express: Express | None, stored: bool | None) -> None:
        """The reply goes out, or the delivery is told of it. `stored`: None where it is not."""
        if express is None or not express.go(stored=stored is not None):
            self._outgoing.wake()

    async def _give_up(self, messages: Sequence[InboxRow], state: InboxState, reason: str, text: str) -> None:
        await self._store(lambda tx, now: turnbook.given_up(tx, messages, state, reason, text, now))
        self._on_given_up(lead_of(messages))

    async def _store(self, work: Callable[[Transaction, datetime], T]) -> T:
        """Carry out a work that must be on disk, and wake the delivery; a full disk is waited for."""
        while True:
            try:
                result = await self._registry.db.write(lambda tx: work(tx, self._clock()))
            except RegistryUnavailable as error:
                await self._wait_to_store(error)
            else:
                self._outgoing.wake()
                return result

    async def _wait_to_store(self, error: RegistryUnavailable) -> None:
        logger.warning("the end of a turn cannot be stored now; it waits", error=str(error))
        await asyncio.sleep(REGISTRY_PAUSE_S)

    @contextlib.asynccontextmanager
    async def _still_on_it(self, lead: InboxRow) -> AsyncIterator[None]:
        """While the block lasts longer than people wait in silence, they are told, once."""
        if not self._rules.still_on_it_s:
            yield
            return
        telling: list[asyncio.Task[None]] = []  # none for most turns, which are over before

        def tell() -> None:
            telling.append(asyncio.create_task(self._tell_still(lead), name=f"still on it {lead.id}"))

        timer = asyncio.get_running_loop().call_later(self._rules.still_on_it_s, tell)
        try:
            yield
        finally:
            timer.cancel()
            for task in telling:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _tell_still(self, lead: InboxRow) -> None:
        if await self._store(lambda tx, now: turnbook.still_on_it(tx, lead, now)):
            logger.info("a turn takes long; its person was told", inbox=lead.id)
