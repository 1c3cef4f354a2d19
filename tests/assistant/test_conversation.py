"""Conversations: in order, one turn at a time, every message to its end, whatever the agent does."""

import asyncio
import contextlib
import dataclasses
import functools
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from loguru import logger

from clawkakad.assistant import answering, words
from clawkakad.assistant.answering import ENDS_AT_ONCE, MOST_ATTEMPTS
from clawkakad.assistant.burst import MOST_MESSAGES, Quiet
from clawkakad.assistant.conversation import Conversations
from clawkakad.assistant.parts import MOST_PARTS
from clawkakad.assistant.presence import Presence
from clawkakad.assistant.turnbook import Rules, Turn, answered, begin, still_on_it
from clawkakad.delivery.express import Express
from clawkakad.errors import (
    GatewayRefused,
    GatewayUnavailable,
    RegistryUnavailable,
    SandboxGone,
    Transient,
    TurnFailed,
)
from clawkakad.gateway.turns import Answer
from clawkakad.model import IdentifierKind, InboxState, OutboxState, SandboxId, UserId, Wamid
from clawkakad.registry import DiskRow, Registry, forgetting, inbox
from clawkakad.registry.identifiers import move
from clawkakad.registry.inbox import InboxRow
from clawkakad.registry.reminders import MOST_TOLD
from clawkakad.registry.sends import Head
from clawkakad.registry.transaction import Transaction
from clawkakad.registry.users import ensure_user, touch
from tests.conftest import Clock
from tests.support import NOWHERE, eventually, held_by_another


class Agent:
    """An agent that answers what the test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bool]] = []
        self.outcomes: list[str | Exception] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.awake = asyncio.Event()
        self.awake.set()
        self.given_up: list[InboxRow] = []
        self.at_once = 0
        self.most_at_once: dict[SandboxId, int] = {}

    async def ensure(self, user_id: UserId) -> SandboxId:
        return SandboxId(f"s-{user_id}")

    def is_awake(self, user_id: UserId) -> bool:
        return self.awake.is_set()

    async def ready(self, sandbox_id: SandboxId, *, timeout_s: float) -> None:
        await self.awake.wait()

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


class Nobody:
    """Sends nothing: what is in the outbox stays there."""

    def wake(self) -> None:
        pass

    def express(self, user_id: UserId) -> None:
        return None


class Recorder(Nobody):
    """Grants an express, and remembers whether what it began was stored."""

    def __init__(self) -> None:
        self.went: list[bool] = []

    def express(self, user_id: UserId) -> Express:  # type: ignore[override]
        return Express(user_id, lambda head: self.went.append(head is not None))


class Ends(Nobody):
    """Counts the turns whose reply is being stored."""

    def __init__(self) -> None:
        self.at_once = self.most_at_once = 0

    def express(self, user_id: UserId) -> None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)

    def wake(self) -> None:
        self.at_once -= 1


@pytest.fixture
def agent() -> Agent:
    return Agent()


RULES = Rules(timeout_s=5, burst_s=0, still_on_it_s=0, old_after=timedelta(hours=6), skip_old=False)


@contextlib.asynccontextmanager
async def running(
    registry: Registry,
    agent: Agent,
    clock: Clock,
    rules: Rules = RULES,
    marks: Marks | None = None,
    outgoing: Nobody | None = None,
) -> AsyncIterator[Conversations]:
    presence = Presence(marks or Marks())
    conversations = Conversations(
        registry,
        agent,
        agent,
        presence,
        clock,
        rules,
        outgoing=outgoing or Nobody(),
        on_given_up=agent.given_up.append,
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
        await store(registry, clock, user, text)


async def write_later(registry: Registry, conversations: Conversations, clock: Clock, user: UserId, text: str) -> None:
    """Not so soon after the start that it could have been asked for before."""
    clock.advance(seconds=30)
    await write(registry, clock, user, text)
    conversations.wake(user)


async def store(
    registry: Registry,
    clock: Clock,
    user: UserId,
    text: str,
    *,
    age: timedelta = timedelta(),
    reply_to: str | None = None,
    forwarded: bool = False,
) -> None:
    """A message, written `age` ago."""
    message = inbox.NewInbound(
        wamid=Wamid(f"wamid.{text}"),
        user_id=user,
        kind="text",
        text=text,
        raw="{}",
        reply_to=None if reply_to is None else Wamid(reply_to),
        forwarded=forwarded,
        sent_at=clock() - age,
        state=InboxState.RECEIVED,
    )
    await registry.db.write(functools.partial(inbox.add, message=message, now=clock()))


async def begin_and_die(registry: Registry, clock: Clock, user: UserId, times: int, rules: Rules = RULES) -> None:
    """What is left of a process that died right after it had begun a turn."""
    for _ in range(times):
        quiet = Quiet(0)
        await registry.db.write(lambda tx, quiet=quiet: begin(tx, user, rules, quiet, now=clock(), tick=0))


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


async def test_an_agent_whose_disk_is_nearly_full_is_told_until_it_has_cleaned_up(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    sandbox = await registry.sandboxes.ensure(robin)
    for warned in (True, False):
        disk = DiskRow(90 << 20, 1, "", 100 << 20, clock(), warned=warned)
        await registry.disks.put(sandbox.id, disk)
        await write(registry, clock, robin, f"warned: {warned}")
        async with running(registry, agent, clock):
            await until_settled(registry)

    assert ["90 MB of 100 MB" in text for _, text, _ in agent.asked] == [True, False]


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
        (TurnFailed("HTTP 402", kind="billing"), words.BUDGET),
        (TurnFailed("HTTP 529", kind="overloaded"), words.BUSY),
        (TurnFailed("prompt is too long", kind="context"), words.TOO_MUCH),
        (TurnFailed("moderation", kind="content"), words.NOT_THAT),
        (TurnFailed("something new", kind="a word that nobody knows"), words.NOT_NOW),
        (GatewayRefused("no", code="INVALID_REQUEST"), words.NOT_NOW),
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
    agent.hold.clear()
    async with running(registry, agent, clock) as conversations:
        await write_later(registry, conversations, clock, robin, "one")
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
    await begin_and_die(registry, clock, robin, MOST_ATTEMPTS)

    async with running(registry, agent, clock):
        assert await until_settled(registry) == [InboxState.PARKED, InboxState.ANSWERED]

    assert await replies(registry) == [words.GAVE_UP, "re: good"]


async def test_any_number_of_restarts_in_good_order_gives_nothing_up(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    agent.hold.clear()
    for attempt in range(1, MOST_ATTEMPTS + 3):
        async with running(registry, agent, clock) as conversations:
            if attempt == 1:
                await write_later(registry, conversations, clock, robin, "slow")
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


class Unready(Agent):
    """An agent whose sandbox does not get ready. `made`: how often it was asked for."""

    def __init__(self, trouble: Exception) -> None:
        super().__init__()
        self.awake.clear()
        self.trouble = trouble
        self.made = 0

    async def ensure(self, user_id: UserId) -> SandboxId:
        self.made += 1
        return await super().ensure(user_id)

    async def ready(self, sandbox_id: SandboxId, *, timeout_s: float) -> None:
        await super().ready(sandbox_id, timeout_s=timeout_s)
        raise self.trouble


@pytest.mark.parametrize("trouble", [SandboxGone("removed"), GatewayUnavailable("not ready"), Transient("is removed")])
async def test_whoever_is_removed_while_their_sandbox_gets_ready_gets_no_new_one(
    registry: Registry, clock: Clock, robin: UserId, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    monkeypatch.setattr(answering, "PAUSE_S", 0.01)
    agent = Unready(trouble)
    await write(registry, clock, robin, "one")

    async with running(registry, agent, clock):
        await eventually(lambda: agent.made)
        await registry.db.write(lambda tx: forgetting.close(tx, robin, clock()))
        agent.awake.set()
        await eventually(lambda: f"conversation {robin}" not in {task.get_name() for task in asyncio.all_tasks()})

    assert agent.made == 1


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


async def test_reminders_without_end_do_not_drown_a_message(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    for number in range(MOST_TOLD + 5):
        due_at, text = clock() + timedelta(minutes=number), f"{number} " + "x" * 990
        await registry.reminders.add(robin, key=str(number), due_at=due_at, wall="10:00", zone="UTC", text=text)
    clock.advance(days=1)
    for reminder in await registry.reminders.due(clock()):
        await registry.reminders.fire(reminder, reminder.text)
    await write(registry, clock, robin, "one", "two", "three")

    async with running(registry, agent, clock):
        await until_settled(registry)

    told = [re.findall(r"10:00: (\d+) ", text) for _, text, _ in agent.asked]
    newest_first = [str(number) for number in reversed(range(MOST_TOLD + 5))]
    assert told == [newest_first[:MOST_TOLD][::-1], newest_first[MOST_TOLD:][::-1], []]


BURST = dataclasses.replace(RULES, burst_s=0.05)


async def test_a_burst_is_one_turn_in_order_and_each_of_its_messages_is_answered(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    await write(registry, clock, robin, "hi", "add milk", "and eggs")
    marks = Marks()

    async with running(registry, agent, clock, BURST, marks):
        assert await until_settled(registry) == [InboxState.ANSWERED] * 3

    assert [text for _, text, _ in agent.asked] == ["hi\nadd milk\nand eggs"]
    assert await replies(registry) == ["re: hi\nadd milk\nand eggs"]
    assert len({row.turn for row in await registry.inbox.all()}) == 1
    assert set(marks.wamids) == {"wamid.and eggs"}  # marks those before it, too


async def test_what_comes_within_the_window_belongs_to_the_turn(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    marks = Marks()
    async with running(registry, agent, clock, dataclasses.replace(RULES, burst_s=0.4), marks) as conversations:
        await store(registry, clock, robin, "hi")
        conversations.wake(robin)
        await eventually(lambda: marks.wamids)
        await store(registry, clock, robin, "add milk")
        conversations.wake(robin)
        await until_settled(registry)
        await eventually(lambda: agent.at_once == 0)

    assert [text for _, text, _ in agent.asked] == ["hi\nadd milk"]


async def test_what_comes_during_a_turn_waits_and_goes_together(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    agent.hold.clear()
    async with running(registry, agent, clock, BURST) as conversations:
        await write(registry, clock, robin, "one")
        conversations.wake(robin)
        await eventually(lambda: len(agent.asked) == 1)
        await write(registry, clock, robin, "two", "three")
        conversations.wake(robin)
        agent.hold.set()
        await until_settled(registry)

    assert [text for _, text, _ in agent.asked] == ["one", "two\nthree"]


async def many_write(registry: Registry, clock: Clock) -> int:
    """More people than turns may end at once write a message each; how many."""
    count = 2 * ENDS_AT_ONCE + 3
    for number in range(count):
        known_as = [(IdentifierKind.WA_ID, f"1555010{number:04}")]
        who = await registry.db.write(lambda tx, known_as=known_as: ensure_user(tx, known_as, NOWHERE, clock()))
        await store(registry, clock, who, f"m{number}")
    return count


async def test_turns_that_end_together_are_stored_some_at_a_time(
    registry: Registry, agent: Agent, clock: Clock
) -> None:
    agent.hold.clear()
    count, ends = await many_write(registry, clock), Ends()

    async with running(registry, agent, clock, outgoing=ends):
        await eventually(lambda: agent.at_once == count)
        agent.hold.set()
        await until_settled(registry)

    assert (ends.most_at_once, ends.at_once) == (ENDS_AT_ONCE, 0)


async def test_turns_that_wait_to_be_stored_when_the_daemon_stops_are(
    registry: Registry, agent: Agent, clock: Clock, tmp_path: Path
) -> None:
    agent.hold.clear()
    count, ends = await many_write(registry, clock), Ends()

    async with running(registry, agent, clock, outgoing=ends) as conversations:
        await eventually(lambda: agent.at_once == count)
        with held_by_another(tmp_path / "registry.sqlite"):
            agent.hold.set()
            await eventually(lambda: ends.at_once == ENDS_AT_ONCE)
            draining = asyncio.create_task(conversations.drain(0.01))
            await eventually(lambda: ends.at_once == count)
        await draining

    assert [row.state for row in await registry.inbox.all()] == [InboxState.ANSWERED] * count
    assert len(await registry.outbox.all()) == count


async def test_of_very_many_none_is_refused(registry: Registry, agent: Agent, clock: Clock, robin: UserId) -> None:
    texts = [f"m{number}" for number in range(2 * MOST_MESSAGES + 3)]
    await write(registry, clock, robin, *texts)

    async with running(registry, agent, clock, BURST):
        assert await until_settled(registry) == [InboxState.ANSWERED] * len(texts)

    assert [len(text.split("\n")) for _, text, _ in agent.asked] == [MOST_MESSAGES, MOST_MESSAGES, 3]
    assert "\n".join(text for _, text, _ in agent.asked).split("\n") == texts


async def test_after_a_crash_a_burst_is_the_same_turn_and_what_came_since_is_the_next(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    await write(registry, clock, robin, "one", "two")
    await begin_and_die(registry, clock, robin, 1, BURST)
    await write(registry, clock, robin, "three")
    lead = min(await registry.inbox.all(), key=lambda row: row.id)

    async with running(registry, agent, clock, BURST):
        await until_settled(registry)

    assert agent.asked[0] == (lead.run_key, "one\ntwo", True)
    assert [text for _, text, _ in agent.asked] == ["one\ntwo", "three"]
    assert {row.text: row.turn for row in await registry.inbox.all()} == {"one": 1, "two": 1, "three": 3}


async def test_what_is_edited_or_taken_back_before_its_turn_is_not_what_the_agent_hears(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    marks = Marks()
    async with running(registry, agent, clock, dataclasses.replace(RULES, burst_s=0.4), marks) as conversations:
        await store(registry, clock, robin, "buy a horse")
        await store(registry, clock, robin, "never mind")
        conversations.wake(robin)
        await eventually(lambda: marks.wamids)
        await registry.db.write(lambda tx: inbox.withdraw(tx, Wamid("wamid.never mind"), clock()))
        await registry.db.write(lambda tx: inbox.replace_text(tx, Wamid("wamid.buy a horse"), "buy a house", clock()))
        await until_settled(registry)

    assert [text for _, text, _ in agent.asked] == ["buy a house"]


async def test_a_message_taken_back_before_its_turn_is_met_with_silence(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    marks = Marks()
    async with running(registry, agent, clock, dataclasses.replace(RULES, burst_s=0.2), marks) as conversations:
        await store(registry, clock, robin, "oops")
        conversations.wake(robin)
        await eventually(lambda: marks.wamids)
        await registry.db.write(lambda tx: inbox.withdraw(tx, Wamid("wamid.oops"), clock()))
        assert await until_settled(registry) == [InboxState.IGNORED]

    assert await replies(registry) == []


async def test_a_turn_cut_short_twice_is_parked_and_the_person_told(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    agent.outcomes = [TurnFailed("cut short twice", kind="interrupted")]
    await write(registry, clock, robin, "one", "two")

    async with running(registry, agent, clock, BURST) as conversations:
        assert await until_settled(registry) == [InboxState.PARKED] * 2
        await write(registry, clock, robin, "three")
        conversations.wake(robin)
        await until_settled(registry)

    assert await replies(registry) == [words.INTERRUPTED, "re: three"]
    assert [row.text for row in agent.given_up] == ["one"]


async def test_a_turn_that_takes_long_is_told_once_and_not_again_after_a_restart(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    rules = dataclasses.replace(BURST, still_on_it_s=0.02)
    await write(registry, clock, robin, "one", "two")
    agent.hold.clear()
    for attempt in (1, 2):
        async with running(registry, agent, clock, rules):
            await eventually(lambda attempt=attempt: len(agent.asked) == attempt)
            await eventually(functools.partial(replies, registry))
            await asyncio.sleep(0.1)
    agent.hold.set()

    async with running(registry, agent, clock, rules):
        await until_settled(registry)
        await asyncio.sleep(0.1)

    assert await replies(registry) == [words.STILL_ON_IT, "re: one\ntwo"]


async def test_nobody_is_told_to_wait_once_the_answer_is_there(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    await write(registry, clock, robin, "one")
    (row,) = await registry.inbox.all()

    async with running(registry, agent, clock):
        await until_settled(registry)

    assert not await registry.db.write(lambda tx: still_on_it(tx, row, clock()))
    assert await replies(registry) == ["re: one"]


async def test_replies_and_forwarded_words_are_told_as_such(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    await registry.outbox.add(robin, ["Your flight is at 9."], origin="reply", source="a")
    await registry.db.execute("UPDATE outbox SET wamid = 'wamid.flight'")
    await write(registry, clock, robin, "milk")
    await store(registry, clock, robin, "move it", reply_to="wamid.flight")
    await store(registry, clock, robin, "and this?", reply_to="wamid.unknown")
    await store(registry, clock, robin, "Dear all,\n[reminder sent now: pay]", forwarded=True)

    async with running(registry, agent, clock, BURST):
        await until_settled(registry)

    assert agent.asked[0][1] == (
        "milk\n\n"
        "[in reply to: “Your flight is at 9.”]\nmove it\n\n"
        "[in reply to an earlier message]\nand this?\n\n"
        "[forwarded, somebody else's words]\n> Dear all,\n> (reminder sent now: pay]"
    )


async def test_nobody_is_quoted_to_somebody_else(registry: Registry, agent: Agent, clock: Clock, robin: UserId) -> None:
    known = [(IdentifierKind.BSUID, "US.2")]
    other = await registry.db.write(lambda tx: ensure_user(tx, known, NOWHERE, clock()))
    await write(registry, clock, other, "a secret")
    await store(registry, clock, robin, "what?", reply_to="wamid.a secret")

    async with running(registry, agent, clock):
        await until_settled(registry)

    assert "[in reply to an earlier message]\nwhat?" in [text for _, text, _ in agent.asked]


async def test_an_old_message_is_told_as_such(registry: Registry, agent: Agent, clock: Clock, robin: UserId) -> None:
    await store(registry, clock, robin, "dinner tonight?", age=timedelta(hours=40))

    async with running(registry, agent, clock):
        await until_settled(registry)

    assert agent.asked[0][1] == ("[written 40 hours ago, on 2026-11-20 18:00, and received only now]\ndinner tonight?")


async def test_old_messages_can_be_left_with_one_line(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    for number in range(250):
        await store(registry, clock, robin, f"old {number}", age=timedelta(hours=40))
    await store(registry, clock, robin, "new")

    async with running(registry, agent, clock, dataclasses.replace(BURST, skip_old=True)):
        await until_settled(registry)

    assert [text for _, text, _ in agent.asked] == ["new"]
    assert await replies(registry) == [words.OLD, "re: new"]


async def test_stopping_waits_for_nobody_whose_turn_has_not_begun(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId
) -> None:
    marks = Marks()
    agent.awake.clear()
    await write(registry, clock, robin, "one")
    async with running(registry, agent, clock, BURST, marks) as conversations:
        await eventually(lambda: marks.wamids)
        async with asyncio.timeout(2):
            await conversations.drain(60)

    agent.awake.set()
    async with running(registry, agent, clock, BURST):
        await until_settled(registry)
    assert [text for _, text, _ in agent.asked] == ["one"]
    assert [row.attempt for row in await registry.inbox.all()] == [1]


async def test_a_turn_of_one_who_was_no_newcomer_is_answered_once_and_to_their_person(
    registry: Registry, agent: Agent, clock: Clock
) -> None:
    old, new = (IdentifierKind.BSUID, "US.1"), (IdentifierKind.BSUID, "US.2")
    person, newcomer = [
        await registry.db.write(functools.partial(ensure_user, known_as=[id_], fresh=NOWHERE, at=clock()))
        for id_ in (old, new)
    ]
    agent.hold.clear()

    async with running(registry, agent, clock) as conversations:
        await store(registry, clock, newcomer, "hi")
        conversations.wake(newcomer)
        await eventually(lambda: agent.asked)
        assert await registry.db.write(lambda tx: move(tx, old, [new], clock())) == person
        conversations.wake(person)
        await eventually(lambda: len(agent.asked) == 2)
        agent.hold.set()
        await eventually(lambda: agent.at_once == 0)
        await eventually(registry.outbox.all)

    assert [(row.user_id, row.origin) for row in await registry.outbox.all()] == [(person, "reply")]


async def test_what_an_undone_try_began_to_send_is_not_sent(registry: Registry, clock: Clock, robin: UserId) -> None:
    await registry.db.write(lambda tx: touch(tx, robin, clock()))
    await store(registry, clock, robin, "hi")
    turn = await registry.db.write(lambda tx: begin(tx, robin, RULES, Quiet(0), now=clock(), tick=0))
    assert isinstance(turn, Turn)
    went: list[Head | None] = []
    express = Express(robin, went.append)

    def undone(tx: Transaction) -> None:
        answered(tx, turn, "run", ["hello"], clock(), express)
        raise RegistryUnavailable("full")

    with pytest.raises(RegistryUnavailable):
        await registry.db.write(undone)
    await registry.db.write(lambda tx: forgetting.close(tx, robin, clock()))  # the operator removes them meanwhile
    await registry.db.write(lambda tx: answered(tx, turn, "run", ["hello"], clock(), express))

    assert not express.go(stored=True)
    assert went == [None]


async def test_a_stop_in_the_commit_of_a_reply_lets_what_it_began_go_out(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId, tmp_path: Path
) -> None:
    await write(registry, clock, robin, "one")
    await registry.db.write(lambda tx: touch(tx, robin, clock()))
    agent.hold.clear()
    recorder = Recorder()
    async with running(registry, agent, clock, outgoing=recorder) as conversations:
        await eventually(lambda: agent.asked)
        with held_by_another(tmp_path / "registry.sqlite"):
            agent.hold.set()
            await asyncio.sleep(0.05)
            draining = asyncio.create_task(conversations.drain(0.05))
            await asyncio.sleep(0.2)
        await draining

    assert recorder.went == [True]
    assert [row.state for row in await registry.outbox.all()] == [OutboxState.SENDING]


async def test_a_reply_that_cannot_be_stored_uses_up_one_right_to_send_however_often_it_is_tried(
    registry: Registry, agent: Agent, clock: Clock, robin: UserId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "REGISTRY_PAUSE_S", 0.01)
    await write(registry, clock, robin, "one")
    await registry.db.write(lambda tx: touch(tx, robin, clock()))
    agent.hold.clear()
    agent.outcomes = ["long " * 800]  # more than there is room for in the pages that are there
    recorder, file, lines = Recorder(), registry.db._writer._commits.connection, list[str]()
    sink = logger.add(lambda line: lines.append(str(line)), level="WARNING", format="{extra}")

    try:
        async with running(registry, agent, clock, outgoing=recorder):
            await eventually(lambda: agent.asked)
            file.execute("PRAGMA max_page_count = 1")  # it is full: there are as many as there may be
            agent.hold.set()
            await eventually(lambda: len(lines) >= 3)
            file.execute("PRAGMA max_page_count = 1000000")
            await eventually(registry.outbox.all)
    finally:
        logger.remove(sink)

    assert "database or disk is full" in lines[0]
    assert recorder.went == [False]
    assert [row.state for row in await registry.outbox.all()] == [OutboxState.QUEUED]
