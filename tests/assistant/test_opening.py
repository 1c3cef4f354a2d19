"""Openings: a turn begins with the commit that stores its message, or as if there were none."""

import asyncio
import contextlib
import functools
import math
import sqlite3
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from clawkakad import faults
from clawkakad.assistant.conversation import Conversations
from clawkakad.assistant.opening import Opening
from clawkakad.assistant.turnbook import Rules
from clawkakad.errors import SandboxGone
from clawkakad.model import InboxState, UserId, Wamid
from clawkakad.registry import Registry, inbox
from clawkakad.registry.inbox import InboxRow
from clawkakad.registry.transaction import Transaction
from tests.assistant.test_conversation import RULES, Agent, replies, running, until_settled
from tests.conftest import Clock
from tests.support import eventually

# Keeps the writer's thread busy, so that the commit behind it is late.
SLOW = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) SELECT count(*) FROM n"


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
    work = functools.partial(storing, opening, list(messages), clock)
    return await registry.db.write(work, ahead=opening.ask, then=opening.go)


async def not_committed(registry: Registry, conversations: Conversations, clock: Clock, lost: inbox.NewInbound) -> None:
    """`store`, with something beside it that SQLite refuses when it commits."""
    opening = conversations.opening()

    def work(tx: Transaction) -> None:
        tx.execute("PRAGMA defer_foreign_keys = ON")
        tx.execute("INSERT INTO identifiers VALUES ('wa_id', 'nobody', 'nobody', '2026')")
        assert storing(opening, [lost], clock, tx) == [True]

    await registry.db.write(work, ahead=opening.ask, then=opening.go)


async def test_one_commit_stores_a_message_and_begins_its_turn_and_the_agent_is_asked_before_it(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    agent.hold.clear()
    points: list[tuple[str, int]] = []
    async with living(registry, agent, clock) as conversations:
        clock.advance(seconds=30)
        faults.arm(lambda point: points.append((point, len(agent.asked))))
        try:
            assert await store(registry, conversations, clock, message(robin, "one", clock)) == [True]
        finally:
            faults.arm(None)
        (row,) = await registry.inbox.all()
        agent.hold.set()
        await until_settled(registry)

    assert points == [("work", 1), ("commit", 1)]
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
            await registry.db.write(failing, ahead=opening.ask, then=opening.go)

        assert await store(registry, conversations, clock, message(robin, "one", clock)) == [True]
        await until_settled(registry)

    assert [text for _, text, _ in agent.asked] == ["one"]


async def test_a_transaction_that_is_done_again_begins_its_turn_once(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    async with living(registry, agent, clock) as conversations:

        def neighbour(tx: Transaction) -> None:
            raise ZeroDivisionError

        registry.db._writer._ended_at = math.inf  # a crowd: both are in one commit
        storing_it = store(registry, conversations, clock, message(robin, "one", clock))
        stored, _ = await asyncio.gather(storing_it, registry.db.write(neighbour), return_exceptions=True)
        await until_settled(registry)

    assert stored == [True]
    assert len(agent.asked) == 1


@pytest.mark.parametrize("on_thread", [False, True], ids=["here", "on a thread"])
async def test_what_was_asked_for_and_not_stored_is_met_again_when_it_comes_again(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId, on_thread: bool
) -> None:
    agent.hold.clear()
    async with living(registry, agent, clock) as conversations:
        clock.advance(seconds=30)
        lost, other = message(robin, "lost", clock), message(robin, "other", clock)
        registry.db._writer._commits._detour_until = math.inf if on_thread else -math.inf
        with pytest.raises(sqlite3.IntegrityError):
            await not_committed(registry, conversations, clock, lost)
        assert await registry.inbox.all() == []
        await eventually(lambda: not conversations._workers)

        # Another message has the id now that the lost one had.
        clock.advance(seconds=30)
        assert await store(registry, conversations, clock, other) == [True]
        agent.hold.set()
        await until_settled(registry)
        await store(registry, conversations, clock, lost)
        await until_settled(registry)

    (first, _, _), _, (third, _, _) = agent.asked
    assert first == third
    assert [(text, again) for _, text, again in agent.asked] == [("lost", False), ("other", True), ("lost", True)]
    assert await replies(registry) == ["re: other", "re: lost"]


async def test_what_was_lost_is_looked_up_however_late_our_clock_is(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    async with living(registry, agent, clock) as conversations:
        lost = message(robin, "lost", clock, age=-timedelta(hours=3))
        with pytest.raises(sqlite3.IntegrityError):
            await not_committed(registry, conversations, clock, lost)
        await eventually(lambda: not conversations._workers)
        await store(registry, conversations, clock, lost)
        await until_settled(registry)

    assert [again for _, _, again in agent.asked] == [False, True]
    assert await replies(registry) == ["re: lost"]


async def test_an_answer_that_is_there_before_its_message_is_stored_waits_for_that(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    async with living(registry, agent, clock) as conversations:
        registry.db._writer._commits._detour_until = math.inf
        slow = store(registry, conversations, clock, message(robin, "one", clock))
        await asyncio.gather(slow, registry.db._writer._commits._writer.execute_fetchall(SLOW))
        await until_settled(registry)

    assert await replies(registry) == ["re: one"]


async def test_the_answer_to_what_was_never_stored_closes_no_other_message(
    registry: Registry, clock: Clock, robin: UserId
) -> None:
    lost, other = message(robin, "lost", clock), message(robin, "other", clock)

    rows: list[InboxRow] = []

    def undone(tx: Transaction) -> None:
        rows.append(inbox.add(tx, lost, clock()))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await registry.db.write(undone)
    (row,) = rows
    assert (await registry.db.write(lambda tx: inbox.add(tx, other, clock()))).id == row.id

    assert await registry.db.write(lambda tx: inbox.is_open(tx, row)) is False
    assert await registry.db.write(lambda tx: inbox.settle(tx, [row], InboxState.ANSWERED, "", clock())) is False
    assert [one.state for one in await registry.inbox.all()] == [InboxState.RECEIVED]


@pytest.mark.parametrize("ticks", range(5))
@pytest.mark.parametrize("on_thread", [False, True], ids=["here", "on a thread"])
async def test_who_stores_and_gives_up_at_any_moment_leaves_the_turn_to_its_end(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId, on_thread: bool, ticks: int
) -> None:
    async with living(registry, agent, clock) as conversations:
        registry.db._writer._commits._detour_until = math.inf if on_thread else -math.inf
        storing_it = asyncio.create_task(store(registry, conversations, clock, message(robin, "one", clock)))
        for _ in range(ticks):
            await asyncio.sleep(0)
        storing_it.cancel()
        await asyncio.wait([storing_it])
        await registry.db.settle()
        was_stored = bool(await registry.inbox.all())
        if not was_stored:
            await store(registry, conversations, clock, message(robin, "one", clock))
        await until_settled(registry)

    assert was_stored or ticks < 2
    assert await replies(registry) == ["re: one"]


async def test_a_turn_that_is_over_before_it_is_stored_is_looked_for_afterwards(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    agent.outcomes = [SandboxGone("removed")]
    async with living(registry, agent, clock) as conversations:
        registry.db._writer._commits._detour_until = math.inf
        assert await store(registry, conversations, clock, message(robin, "one", clock)) == [True]
        await until_settled(registry)

    assert [text for _, text, _ in agent.asked] == ["one", "one"]
    assert await replies(registry) == ["re: one"]


async def test_who_is_woken_while_their_turn_is_stored_is_looked_after(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    async with living(registry, agent, clock) as conversations:
        storing_it = asyncio.create_task(store(registry, conversations, clock, message(robin, "one", clock)))
        await asyncio.sleep(0)
        conversations.wake(robin)
        await storing_it
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
        assert await registry.db.write(work, ahead=opening.ask, then=opening.go) == [False]

        conversations.wake(robin)
        await until_settled(registry)

    assert len(agent.asked) == 1
