"""Late answers: once each, to their owner, and not without end."""

from loguru import logger

from clawkakad.assistant.late import MOST_AN_HOUR, LateAnswers
from clawkakad.gateway.turns import Answer
from clawkakad.model import SandboxId, UserId
from clawkakad.registry import Registry
from tests.conftest import Clock


async def test_the_same_run_is_told_once(registry: Registry, clock: Clock, robin: UserId) -> None:
    sandbox = await registry.sandboxes.ensure(robin)
    late = LateAnswers(registry, clock, on_outbox=lambda: None)

    for _ in range(2):
        await late.take(sandbox.id, Answer("run1", "Here it is after all."))
    await late.take(SandboxId("s-nobody"), Answer("run2", "lost"))

    assert [(row.text, row.user_id) for row in await registry.outbox.all()] == [("Here it is after all.", robin)]


async def test_a_sandbox_cannot_make_up_messages_without_end(registry: Registry, clock: Clock, robin: UserId) -> None:
    sandbox = await registry.sandboxes.ensure(robin)
    late = LateAnswers(registry, clock, on_outbox=lambda: None)

    for number in range(MOST_AN_HOUR + 10):
        await late.take(sandbox.id, Answer(f"run{number}", "hello"))

    assert len(await registry.outbox.all()) == MOST_AN_HOUR


async def test_the_log_hears_once_an_hour_of_a_sandbox_that_says_too_much(
    registry: Registry, clock: Clock, robin: UserId
) -> None:
    sandbox = await registry.sandboxes.ensure(robin)
    late = LateAnswers(registry, clock, on_outbox=lambda: None)
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="ERROR")
    try:
        for hour in range(2):
            for number in range(MOST_AN_HOUR + 10):
                await late.take(sandbox.id, Answer(f"run{hour}-{number}", "hello"))
            clock.advance(minutes=61)
    finally:
        logger.remove(sink)

    assert len(lines) == 2
