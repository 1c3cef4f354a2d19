"""Openings: a turn begins with the commit that stores its message, or as if there were none."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from clawkakad import faults
from clawkakad.assistant.conversation import Conversations
from clawkakad.assistant.opening import Opening
from clawkakad.assistant.turnbook import Rules
from clawkakad.model import InboxState, UserId, Wamid
from clawkakad.registry import Registry, inbox
from clawkakad.registry.database import Transaction
from tests.assistant.test_conversation import RULES, Agent, replies, running, until_settled
from tests.conftest import Clock
from tests.support import eventually


@pytest.fixture
def agent() -> Agent:
    return Agent()


def message(user: UserId, text: str, clock: Clock, age: timedelta = timedelta()) -> inbox.NewInbound:
    return inbox.NewInbound(
        wamid=Wamid(f"wamid.{text}"),
        user_id=user,
        kind="text",
        text=text,
        raw="{}",
        reply_to=None,
        forwarded=False,
        sent_at=clock() - age,
        state=InboxState.RECEIVED,
    )


def storing(opening: Opening, messages: list[inbox.NewInbound], clock: Clock, tx: Transaction) -> list[bool]:
    """What the intake does: store, then begin."""
    opening.anew()
    rows = {one.user_id: inbox.add(tx, one, clock()) for one in messages}
    return [opening.begin(tx, row, clock()) for row in rows.values()]


@contextlib.asynccontextmanager
async def living(registry: Registry, agent: Agent, clock: Clock, rules: Rules = RULES) -> AsyncIterator[Conversations]:
    """Conversations that have taken up what was there."""
    async with running(registry, agent, clock, rules) as conversations:
        await asyncio.sleep(0.05)
        yield conversations


async def store(
    registry: Registry, conversations: Conversations, clock: Clock, *messages: inbox.NewInbound
) -> list[bool]:
    opening = conversations.opening()
    begun = await registry.db.write(functools.partial(storing, opening, list(messages), clock))
    opening.go(True)
    return begun


async def test_one_commit_stores_a_message_and_begins_its_turn(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    agent.hold.clear()
    commits: list[str] = []
    async with living(registry, agent, clock) as conversations:
        faults.arm(commits.append)
        try:
            assert await store(registry, conversations, clock, message(robin, "one", clock)) == [True]
            await eventually(lambda: agent.asked)
        finally:
            faults.arm(None)
        (row,) = await registry.inbox.all()
        agent.hold.set()
        await until_settled(registry)

    assert commits == ["commit"]
    assert (row.state, row.attempt, row.turn) == (InboxState.RUNNING, 1, row.id)
    assert [(key, again) for key, _, again in agent.asked] == [(row.run_key, False)]
    assert await replies(registry) == ["re: one"]


@pytest.mark.parametrize("reason", ["asleep", "burst", "heartbeat", "two at once", "old and not wanted"])
async def test_where_something_is_in_the_way_the_message_waits_its_turn(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId, reason: str
) -> None:
    old = timedelta(hours=7) if reason.startswith("old") else timedelta()
    burst_s = 0.01 if reason == "burst" else 0
    rules = Rules(5, burst_s, 0, old_after=timedelta(hours=6), skip_old=bool(old))
    texts = ["one", "two"] if reason == "two at once" else ["one"]
    async with living(registry, agent, clock, rules) as conversations:
        if reason == "asleep":
            agent.awake.clear()
        async with conversations.lock(robin) if reason == "heartbeat" else contextlib.nullcontext():
            messages = [message(robin, text, clock, old) for text in texts]
            assert await store(registry, conversations, clock, *messages) == [False]
            assert {row.state for row in await registry.inbox.all()} == {InboxState.RECEIVED}
        agent.awake.set()
        conversations.wake(robin)
        await until_settled(registry)

    assert len(agent.asked) == (0 if old else len(texts))


async def test_an_undone_transaction_has_begun_nothing_and_blocks_nobody(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    async with living(registry, agent, clock) as conversations:
        opening = conversations.opening()

        def failing(tx: Transaction) -> None:
            assert storing(opening, [message(robin, "lost", clock)], clock, tx) == [True]
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await registry.db.write(failing)
        opening.go(None)

        assert await store(registry, conversations, clock, message(robin, "one", clock)) == [True]
        await until_settled(registry)

    assert len(agent.asked) == 1


async def test_a_transaction_that_is_done_again_begins_its_turn_once(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    async with living(registry, agent, clock) as conversations:
        opening = conversations.opening()
        work = functools.partial(storing, opening, [message(robin, "one", clock)], clock)

        def neighbour(tx: Transaction) -> None:
            raise ZeroDivisionError

        stored, _ = await asyncio.gather(registry.db.write(work), registry.db.write(neighbour), return_exceptions=True)
        opening.go(True)
        await until_settled(registry)

    assert stored == [True]
    assert len(agent.asked) == 1


async def test_who_is_woken_while_their_turn_is_stored_is_looked_after(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    async with living(registry, agent, clock) as conversations:
        opening = conversations.opening()
        storing_it = asyncio.create_task(
            registry.db.write(functools.partial(storing, opening, [message(robin, "one", clock)], clock))
        )
        await asyncio.sleep(0)
        conversations.wake(robin)
        await storing_it
        opening.go(True)
        await store(registry, conversations, clock, message(robin, "two", clock))
        conversations.wake(robin)
        await until_settled(registry)

    assert await replies(registry) == ["re: one", "re: two"]
    assert agent.most_at_once == {f"s-{robin}": 1}


async def test_a_transaction_that_nobody_waits_for_any_more_begins_nothing(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    async with living(registry, agent, clock) as conversations:
        opening = conversations.opening()
        opening.go(None)
        work = functools.partial(storing, opening, [message(robin, "one", clock)], clock)
        assert await registry.db.write(work) == [False]

        conversations.wake(robin)
        await until_settled(registry)

    assert len(agent.asked) == 1
