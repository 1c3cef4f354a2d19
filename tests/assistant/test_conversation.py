"""Conversations: in order, one turn at a time, every message to its end, whatever the agent does."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from clawkakad.assistant import words
from clawkakad.assistant.conversation import MOST_ATTEMPTS, Conversations
from clawkakad.assistant.parts import MOST_PARTS
from clawkakad.assistant.presence import Presence
from clawkakad.errors import GatewayUnavailable, SandboxGone, TurnFailed
from clawkakad.gateway.turns import Answer
from clawkakad.model import IdentifierKind, InboxState, SandboxId, UserId, Wamid
from clawkakad.registry import Registry, inbox
from clawkakad.registry.users import ensure_user
from tests.conftest import Clock
from tests.support import NOWHERE, eventually


class Agent:
    """An agent that answers what the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bool]] = []
        self.outcomes: list[str | Exception] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.at_once = 0
        self.most_at_once: dict[SandboxId, int] = {}

    async def ensure(self, user_id: UserId) -> SandboxId:
        return SandboxId(f"s-{user_id}")

    async def ready(self, sandbox_id: SandboxId, *, timeout_s: float) -> None:
        return

    async def ask(self, sandbox_id: SandboxId, *, key: str, text: str, again: bool, timeout_s: float) -> Answer:
        self.asked.append((key, text, again))
        self.at_once += 1
        self.most_at_once[sandbox_id] = max(self.most_at_once.get(sandbox_id, 0), self.at_once)
        try:
            await self.hold.wait()
        finally:
            self.at_once -= 1
        outcome = self.outcomes.pop(0) if self.outcomes else f"re: {text}"
        if isinstance(outcome, Exception):
            raise outcome
        return Answer(key, outcome)


class Marks:
    """Counts who was shown typing."""

    def __init__(self) -> None:
        self.wamids: list[str] = []

    async def mark_read(self, wamid: Wamid, *, typing: bool) -> None:
        self.wamids.append(wamid)


@pytest.fixture
def agent() -> Agent:
    return Agent()


@contextlib.asynccontextmanager
async def running(registry: Registry, agent: Agent, clock: Clock) -> AsyncIterator[Conversations]:
    conversations = Conversations(
        registry, agent, agent, Presence(Marks()), clock, turn_timeout_s=5, on_outbox=lambda: None
    )
    task = asyncio.create_task(conversations.run())
    try:
        yield conversations
    finally:
        await conversations.drain(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def write(registry: Registry, clock: Clock, user: UserId, *texts: str) -> None:
    for text in texts:
        clock.advance(seconds=1)
        message = inbox.NewInbound(
            wamid=Wamid(f"wamid.{text}"),
            user_id=user,
            kind="text",
            text=text,
            raw="{}",
            reply_to=None,
            forwarded=False,
            sent_at=clock(),
            state=InboxState.RECEIVED,
        )
        await registry.db.write(functools.partial(inbox.add, message=message, now=clock()))


async def replies(registry: Registry) -> list[str]:
    return [row.text for row in reversed(await registry.outbox.all())]


async def until_settled(registry: Registry) -> list[InboxState]:
    async def settled() -> bool:
        return not await registry.inbox.users_waiting()

    await eventually(settled)
    return [row.state for row in reversed(await registry.inbox.all())]


async def test_messages_are_answered_in_order(registry: Registry, agent: Agent, clock: Clock, robin: UserId) -> None:
    await write(registry, clock, robin, "one", "two", "three")

    async with running(registry, agent, clock):
        await until_settled(registry)

    assert await replies(registry) == ["re: one", "re: two", "re: three"]
    assert agent.most_at_once == {f"s-{robin}": 1}


async def test_people_do_not_wait_for_one_another(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    known = [(IdentifierKind.BSUID, "US.2")]
    other = await registry.db.write(lambda tx: ensure_user(tx, known, NOWHERE, clock()))
    await write(registry, clock, robin, "one")
    await write(registry, clock, other, "two")
    agent.hold.clear()

    async with running(registry, agent, clock):
        await eventually(lambda: len(agent.asked) == 2)
        agent.hold.set()
        await until_settled(registry)


async def test_a_message_that_comes_while_the_worker_ends_is_not_left_lying(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    async with running(registry, agent, clock) as conversations:
        for number in range(50):
            await write(registry, clock, robin, f"m{number}")
            conversations.wake(robin)
            for _ in range(number % 7):
                await asyncio.sleep(0)
        await until_settled(registry)

    assert len(await replies(registry)) == 50


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (TurnFailed("HTTP 401", kind="auth"), words.MODEL_KEY),
        (TurnFailed("HTTP 500", kind="server_error"), words.NOT_NOW),
        (GatewayUnavailable("no reply within 600 s"), words.TOO_LONG),
    ],
)
async def test_a_failed_turn_is_told_in_plain_words_and_blocks_nothing(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId, outcome: Exception, text: str
) -> None:
    agent.outcomes = [outcome]
    await write(registry, clock, robin, "bad", "good")

    async with running(registry, agent, clock):
        states = await until_settled(registry)

    assert states == [InboxState.FAILED, InboxState.ANSWERED]
    assert await replies(registry) == [text, "re: good"]


async def test_an_interrupted_turn_is_asked_again_under_the_same_key_and_words(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    await write(registry, clock, robin, "one")
    agent.hold.clear()
    async with running(registry, agent, clock):
        await eventually(lambda: len(agent.asked) == 1)
    await registry.reminders.add(robin, key="k", due_at=clock(), wall="w", zone="UTC", text="stretch")
    await registry.reminders.fire((await registry.reminders.due(clock()))[0], "stretch")
    agent.hold.set()

    async with running(registry, agent, clock):
        await until_settled(registry)

    (key, text, again), (key_2, text_2, again_2) = agent.asked
    assert (key, text) == (key_2, text_2)
    assert (again, again_2) == (False, True)
    assert len(await registry.reminders.untold(robin)) == 1  # those words did not hold it: it is told next time


async def test_a_message_that_takes_the_daemon_down_again_and_again_is_given_up(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    await write(registry, clock, robin, "poison", "good")
    poison = await registry.inbox.next_waiting(robin)
    assert poison is not None
    for _ in range(MOST_ATTEMPTS):  # as a process does that dies right after this
        await registry.inbox.begin(poison.id, "poison")

    async with running(registry, agent, clock):
        await until_settled(registry)

    assert await replies(registry) == [words.GAVE_UP, "re: good"]


async def test_any_number_of_restarts_in_good_order_gives_nothing_up(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    await write(registry, clock, robin, "slow")
    agent.hold.clear()
    for attempt in range(1, MOST_ATTEMPTS + 3):
        async with running(registry, agent, clock):
            await eventually(lambda attempt=attempt: len(agent.asked) == attempt)
    agent.hold.set()

    async with running(registry, agent, clock):
        await until_settled(registry)

    assert await replies(registry) == ["re: slow"]
    assert [again for _, _, again in agent.asked] == [False] + [True] * (len(agent.asked) - 1)


async def test_a_mistake_of_ours_with_one_message_ends_neither_the_person_nor_the_daemon(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    agent.outcomes = [ZeroDivisionError("a bug")]
    await write(registry, clock, robin, "bad", "good")

    async with running(registry, agent, clock):
        assert await until_settled(registry) == [InboxState.FAILED, InboxState.ANSWERED]

    assert await replies(registry) == [words.NOT_NOW, "re: good"]


async def test_a_sandbox_that_is_removed_in_a_turn_gives_its_message_to_the_next_one(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    agent.outcomes = [SandboxGone("removed")]
    await write(registry, clock, robin, "one")

    async with running(registry, agent, clock):
        assert await until_settled(registry) == [InboxState.ANSWERED]

    assert await replies(registry) == ["re: one"]


async def test_an_endless_answer_is_cut_to_a_few_messages(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    agent.outcomes = ["a word and another. " * 50_000]
    await write(registry, clock, robin, "one")

    async with running(registry, agent, clock):
        await until_settled(registry)

    heard = await replies(registry)
    assert len(heard) == MOST_PARTS
    assert heard[-1] == words.CUT_SHORT


async def test_silence_is_an_answer(registry: Registry, agent: Agent, clock: Clock, robin: UserId) -> None:
    agent.outcomes = [""]
    await write(registry, clock, robin, "ok thanks")

    async with running(registry, agent, clock):
        assert await until_settled(registry) == [InboxState.ANSWERED]

    assert await replies(registry) == []


async def test_the_agent_hears_once_of_reminders_that_went_out(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    due_at = clock() + timedelta(seconds=1)
    await registry.reminders.add(robin, key="k", due_at=due_at, wall="2026-11-22 10:00", zone="UTC", text="stretch")
    clock.advance(seconds=2)
    await registry.reminders.fire((await registry.reminders.due(clock()))[0], "⏰ stretch")
    await write(registry, clock, robin, "one", "two")

    async with running(registry, agent, clock):
        await until_settled(registry)

    assert [text for _, text, _ in agent.asked] == ["[reminder sent 2026-11-22 10:00: stretch]\none", "two"]
