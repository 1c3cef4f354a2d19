"""Missed answers: looked for where a turn was given up, delivered once, and not for ever."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from clawkakad.assistant.burst import Quiet
from clawkakad.assistant.late import LateAnswers
from clawkakad.assistant.missed import LAST, MissedAnswers
from clawkakad.assistant.turnbook import Rules, Turn, begin, given_up
from clawkakad.errors import GatewayUnavailable
from clawkakad.gateway.turns import Answer
from clawkakad.model import InboxState, SandboxId, SandboxState, UserId
from clawkakad.registry import Registry, inbox
from clawkakad.registry.transaction import Transaction
from tests.conftest import Clock
from tests.registry.test_inbox import message
from tests.support import eventually

RULES = Rules(timeout_s=5, burst_s=0, still_on_it_s=0, old_after=timedelta(), skip_old=False)


class Memory:
    """A gateway that remembers some answers."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.answers: dict[str, str] = {}
        self.is_open = True
        self.fails = False

    async def ensure(self, user_id: UserId) -> SandboxId:
        """It is woken."""
        self.is_open = True
        return SandboxId("s")

    def is_ready(self, sandbox_id: SandboxId) -> bool:
        return self.is_open

    async def missed(self, sandbox_id: SandboxId, keys: Sequence[str]) -> list[Answer]:
        self.asked.append(list(keys))
        if self.fails:
            raise GatewayUnavailable("too slow")
        return [Answer(key, self.answers[key]) for key in keys if key in self.answers]


@pytest.fixture
def memory() -> Memory:
    return Memory()


async def give_up(registry: Registry, clock: Clock, user: UserId) -> Turn:
    """A turn that was begun, and ended without an answer."""

    def work(tx: Transaction) -> Turn:
        inbox.add(tx, message(user, f"m{clock()}", clock()), clock())
        turn = begin(tx, user, RULES, Quiet(0), now=clock(), tick=0)
        assert isinstance(turn, Turn)
        given_up(tx, turn.messages, InboxState.FAILED, "too long", "sorry", clock())
        return turn

    await registry.sandboxes.ensure(user)
    return await registry.db.write(work)


@contextlib.asynccontextmanager
async def looking(registry: Registry, memory: Memory, clock: Clock) -> AsyncIterator[MissedAnswers]:
    late = LateAnswers(registry, clock, on_outbox=lambda: None)
    missed = MissedAnswers(registry, memory, memory, late, clock, look_s=0.01)
    task = asyncio.create_task(missed.run())
    try:
        yield missed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def texts(registry: Registry) -> list[str]:
    return [row.text for row in reversed(await registry.outbox.all())]


async def test_what_the_last_process_gave_up_is_looked_for_once_the_gateway_can_be_asked(
    registry: Registry, memory: Memory, clock: Clock, robin: UserId
) -> None:
    turn = await give_up(registry, clock, robin)
    memory.answers[turn.lead.run_key] = "Here it is after all."
    memory.is_open = False

    async with looking(registry, memory, clock):
        await asyncio.sleep(0.05)
        assert not memory.asked
        memory.is_open = True
        await eventually(functools.partial(_has, registry, "Here it is after all."))
    async with looking(registry, memory, clock):  # after another restart it is there again, and not told again
        await eventually(lambda: len(memory.asked) == 2)
        await asyncio.sleep(0.05)

    assert await texts(registry) == ["sorry", "Here it is after all."]


async def _has(registry: Registry, text: str) -> bool:
    return text in await texts(registry)


async def test_it_is_looked_for_ever_more_seldom_and_not_for_ever(
    registry: Registry, memory: Memory, clock: Clock, robin: UserId
) -> None:
    memory.fails = True
    async with looking(registry, memory, clock) as missed:
        turn = await give_up(registry, clock, robin)
        missed.note(turn.lead)
        for minutes in range(int(LAST / timedelta(minutes=1)) + 60):
            clock.advance(minutes=1)
            if minutes in (0, 1, 3, 7, 15, 31, 63, 127, 255):
                await eventually(lambda minutes=minutes: len(memory.asked) == (minutes + 1).bit_length())
        await asyncio.sleep(0.05)

    assert memory.asked == [[turn.lead.run_key]] * 9


async def test_what_was_answered_or_is_long_past_is_not_looked_for(
    registry: Registry, memory: Memory, clock: Clock, robin: UserId
) -> None:
    await give_up(registry, clock, robin)
    clock.advance(hours=7)

    async with looking(registry, memory, clock):
        await asyncio.sleep(0.05)

    assert memory.asked == []


async def test_a_sandbox_that_rests_is_woken_for_it(
    registry: Registry, memory: Memory, clock: Clock, robin: UserId
) -> None:
    turn = await give_up(registry, clock, robin)
    row = await registry.sandboxes.ensure(robin)
    await registry.sandboxes.set_state(row.id, SandboxState.DOZING, "nobody needed it")
    memory.answers[turn.lead.run_key], memory.is_open = "Here it is after all.", False

    async with looking(registry, memory, clock):
        await eventually(functools.partial(_has, registry, "Here it is after all."))
