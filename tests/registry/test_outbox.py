"""The outbox: adding twice adds once, statuses only move forward, order per person holds."""

import itertools

import pytest

from clawkakad.model import OutboxState, UserId, Wamid
from clawkakad.registry import Registry, outbox
from tests.conftest import Clock

WAMID = Wamid("wamid.out")


async def queue(registry: Registry, user: UserId, source: str = "inbox:1", parts: tuple[str, ...] = ("hi",)) -> None:
    await registry.outbox.add(user, parts, origin="reply", source=source)


async def status(registry: Registry, clock: Clock, state: OutboxState, key: str | None = None) -> None:
    await registry.db.write(
        lambda tx: outbox.apply_status(tx, wamid=WAMID, key=key, state=state, reason="", now=clock())
    )


async def state_of(registry: Registry) -> OutboxState:
    return (await registry.outbox.all())[0].state


async def test_the_same_source_is_queued_once(registry: Registry, robin: UserId) -> None:
    await queue(registry, robin)
    await queue(registry, robin)

    assert len(await registry.outbox.all()) == 1


async def test_nothing_overtakes_the_oldest(registry: Registry, robin: UserId) -> None:
    await queue(registry, robin, parts=("one", "two"))

    first = (await registry.outbox.heads())[0]
    await registry.outbox.begin(first)
    assert [row.text for row in await registry.outbox.heads()] == ["one"]

    await registry.outbox.sent(first, WAMID)
    assert [row.text for row in await registry.outbox.heads()] == ["two"]


@pytest.mark.parametrize(
    "order", list(itertools.permutations([OutboxState.SENT, OutboxState.DELIVERED, OutboxState.READ]))
)
async def test_statuses_in_every_order_end_at_read(registry: Registry, clock: Clock, robin: UserId, order) -> None:
    await queue(registry, robin)
    row = (await registry.outbox.heads())[0]
    await registry.outbox.begin(row)
    await registry.outbox.sent(row, WAMID)

    for state in order:
        await status(registry, clock, state)

    assert await state_of(registry) is OutboxState.READ


async def test_a_status_before_the_answer_settles_the_row_by_our_key(
    registry: Registry, clock: Clock, robin: UserId
) -> None:
    await queue(registry, robin)
    row = (await registry.outbox.heads())[0]
    await registry.outbox.begin(row)

    await status(registry, clock, OutboxState.DELIVERED, key=row.key)
    await registry.outbox.sent(row, WAMID)

    assert await state_of(registry) is OutboxState.DELIVERED


async def test_what_was_in_flight_at_a_crash_is_ambiguous_and_a_late_status_settles_it(
    registry: Registry, clock: Clock, robin: UserId
) -> None:
    await queue(registry, robin)
    row = (await registry.outbox.heads())[0]
    await registry.outbox.begin(row)

    assert await registry.outbox.interrupted() == 1
    assert await state_of(registry) is OutboxState.AMBIGUOUS

    await status(registry, clock, OutboxState.SENT, key=row.key)
    assert await state_of(registry) is OutboxState.SENT
    assert await registry.outbox.heads() == []


async def test_a_failure_after_delivery_is_not_believed(registry: Registry, clock: Clock, robin: UserId) -> None:
    await queue(registry, robin)
    row = (await registry.outbox.heads())[0]
    await registry.outbox.begin(row)
    await registry.outbox.sent(row, WAMID)
    await status(registry, clock, OutboxState.DELIVERED)

    await status(registry, clock, OutboxState.FAILED)

    assert await state_of(registry) is OutboxState.DELIVERED


async def test_a_status_of_somebody_elses_message_changes_nothing(registry: Registry, clock: Clock) -> None:
    await status(registry, clock, OutboxState.READ, key="not-ours")

    assert await registry.outbox.all() == []


async def test_what_the_window_held_is_released_in_order_and_what_is_unknown_stays_held(
    registry: Registry, clock: Clock, robin: UserId
) -> None:
    await queue(registry, robin, parts=("one", "two", "perhaps sent"))
    await registry.db.execute("UPDATE outbox SET state = 'held', hold = iif(text LIKE 'p%', 'unknown', 'window')")

    assert await registry.db.write(lambda tx: outbox.release(tx, robin, clock())) == 2

    rows = list(reversed(await registry.outbox.all()))
    assert [row.state for row in rows] == [OutboxState.QUEUED, OutboxState.QUEUED, OutboxState.HELD]
    assert [row.text for row in await registry.outbox.heads()] == ["one"]
    assert await registry.db.write(lambda tx: outbox.release(tx, robin, clock())) == 0
