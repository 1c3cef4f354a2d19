"""Delivery: each outcome of a send has one reaction, order holds, nobody waits for somebody else's trouble."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator

import pytest

from clawkakad.assistant.delivery import Delivery
from clawkakad.errors import GraphRejected, GraphUnavailable, SendUnknown
from clawkakad.model import IdentifierKind, OutboxState, UserId, Wamid
from clawkakad.registry import Registry, outbox
from clawkakad.registry.users import ensure_user
from clawkakad.whatsapp.graph import Recipient
from tests.conftest import Clock
from tests.support import NOWHERE, eventually


class Sender:
    """Answers each person's sends with the outcomes that the test gave, then with success."""

    def __init__(self) -> None:
        self.outcomes: dict[str, list[Exception]] = defaultdict(list)
        self.bodies: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self._numbers: Iterator[int] = iter(range(1000))

    async def send_text(
        self, recipient: Recipient, body: str, *, callback_data: str, reply_to: Wamid | None = None
    ) -> Wamid:
        self.bodies.append(body)
        await self.hold.wait()
        if self.outcomes[recipient.value]:
            raise self.outcomes[recipient.value].pop(0)
        return Wamid(f"wamid.{next(self._numbers)}")


@pytest.fixture
def sender() -> Sender:
    return Sender()


@contextlib.asynccontextmanager
async def running(registry: Registry, sender: Sender, clock: Clock, settle_s: float = 60) -> AsyncIterator[Delivery]:
    delivery = Delivery(registry, sender, clock, settle_s=settle_s)
    task = asyncio.create_task(delivery.run())
    try:
        yield delivery
    finally:
        sender.hold.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def states(registry: Registry) -> list[OutboxState]:
    return [row.state for row in reversed(await registry.outbox.all())]


async def until(registry: Registry, *wanted: OutboxState) -> None:
    async def as_wanted() -> bool:
        return await states(registry) == list(wanted)

    await eventually(as_wanted)


async def delivered(registry: Registry, clock: Clock, key: str) -> None:
    """A status comes, and says that the message with this key has arrived."""
    await registry.db.write(
        lambda tx: outbox.apply_status(
            tx, wamid=Wamid("w"), key=key, state=OutboxState.DELIVERED, reason="", now=clock()
        )
    )


async def test_parts_go_out_in_order(registry: Registry, sender: Sender, clock: Clock, robin: UserId) -> None:
    await registry.outbox.add(robin, ["one", "two", "three"], origin="reply", source="s")

    async with running(registry, sender, clock):
        await until(registry, *[OutboxState.SENT] * 3)

    assert sender.bodies == ["one", "two", "three"]


async def test_not_sent_waits_and_goes_again(registry: Registry, sender: Sender, clock: Clock, robin: UserId) -> None:
    sender.outcomes["15550100123"] = [GraphUnavailable("down", retry_after_s=30)] * 3
    await registry.outbox.add(robin, ["hi"], origin="reply", source="s")

    async with running(registry, sender, clock) as delivery:
        for tries in (1, 2, 3):
            await eventually(lambda tries=tries: len(sender.bodies) == tries)
            await until(registry, OutboxState.QUEUED)
            clock.advance(seconds=29)
            delivery.wake()
            await asyncio.sleep(0.05)
            assert len(sender.bodies) == tries
            clock.advance(seconds=2)
            delivery.wake()
        await until(registry, OutboxState.SENT)


async def test_a_refusal_is_final_and_does_not_block_what_follows(
    registry: Registry, sender: Sender, clock: Clock, robin: UserId
) -> None:
    sender.outcomes["15550100123"] = [GraphRejected("no", code=131026)]
    await registry.outbox.add(robin, ["bad", "good"], origin="reply", source="s")

    async with running(registry, sender, clock):
        await until(registry, OutboxState.FAILED, OutboxState.SENT)


async def test_an_expired_token_loses_nothing(registry: Registry, sender: Sender, clock: Clock, robin: UserId) -> None:
    sender.outcomes["15550100123"] = [GraphRejected("token", code=190)]
    await registry.outbox.add(robin, ["hi"], origin="reply", source="s")

    async with running(registry, sender, clock) as delivery:
        await eventually(lambda: len(sender.bodies) == 1)
        await until(registry, OutboxState.QUEUED)
        clock.advance(minutes=2)
        delivery.wake()
        await until(registry, OutboxState.SENT)


async def test_an_unknown_outcome_waits_for_a_status(
    registry: Registry, sender: Sender, clock: Clock, robin: UserId
) -> None:
    sender.outcomes["15550100123"] = [SendUnknown("reset")]
    await registry.outbox.add(robin, ["hi", "more"], origin="reply", source="s")

    async with running(registry, sender, clock) as delivery:
        await until(registry, OutboxState.AMBIGUOUS, OutboxState.QUEUED)
        key = (await registry.outbox.heads())[0].key
        await delivered(registry, clock, key)
        delivery.wake()
        await until(registry, OutboxState.DELIVERED, OutboxState.SENT)

    assert sender.bodies == ["hi", "more"]


async def test_without_a_status_it_is_sent_again_after_ever_longer_waits(
    registry: Registry, sender: Sender, clock: Clock, robin: UserId
) -> None:
    sender.outcomes["15550100123"] = [SendUnknown("503")] * 3
    await registry.outbox.add(robin, ["hi"], origin="reply", source="s")

    async with running(registry, sender, clock) as delivery:
        for sends, wait_s in ((1, 60), (2, 120), (3, 240)):
            await eventually(lambda sends=sends: len(sender.bodies) == sends)
            await until(registry, OutboxState.AMBIGUOUS)
            clock.advance(seconds=wait_s - 1)
            delivery.wake()
            await asyncio.sleep(0.05)
            assert len(sender.bodies) == sends
            clock.advance(seconds=2)
            delivery.wake()
        await until(registry, OutboxState.SENT)


async def test_after_a_day_of_unknown_outcomes_it_is_given_up(
    registry: Registry, sender: Sender, clock: Clock, robin: UserId
) -> None:
    sender.outcomes["15550100123"] = [SendUnknown("503")]
    await registry.outbox.add(robin, ["hi"], origin="reply", source="s")

    async with running(registry, sender, clock) as delivery:
        await until(registry, OutboxState.AMBIGUOUS)
        clock.advance(hours=25)
        delivery.wake()
        await until(registry, OutboxState.FAILED)


async def test_nobody_waits_for_somebody_elses_trouble(
    registry: Registry, sender: Sender, clock: Clock, robin: UserId
) -> None:
    sender.outcomes["15550100123"] = [GraphUnavailable("down")]
    known = [(IdentifierKind.BSUID, "US.2")]
    other = await registry.db.write(lambda tx: ensure_user(tx, known, NOWHERE, clock()))
    await registry.outbox.add(robin, ["stuck"], origin="reply", source="a")
    await registry.outbox.add(other, ["free"], origin="reply", source="b")

    async with running(registry, sender, clock):
        await until(registry, OutboxState.QUEUED, OutboxState.SENT)


async def test_what_the_last_process_left_in_flight_is_not_sent_blindly(
    registry: Registry, sender: Sender, clock: Clock, robin: UserId
) -> None:
    await registry.outbox.add(robin, ["hi"], origin="reply", source="s")
    await registry.outbox.begin((await registry.outbox.heads())[0])

    async with running(registry, sender, clock) as delivery:
        await until(registry, OutboxState.AMBIGUOUS)
        assert sender.bodies == []
        clock.advance(seconds=61)
        delivery.wake()
        await until(registry, OutboxState.SENT)


async def test_a_row_that_a_status_settled_meanwhile_is_not_sent(
    registry: Registry, sender: Sender, clock: Clock, robin: UserId
) -> None:
    await registry.outbox.add(robin, ["hi"], origin="reply", source="s")
    (stale,) = await registry.outbox.heads()
    await delivered(registry, clock, stale.key)

    assert not await registry.outbox.begin(stale)


async def test_a_send_whose_outcome_could_not_be_stored_is_settled_like_any_unknown_one(
    registry: Registry, sender: Sender, clock: Clock, robin: UserId
) -> None:
    await registry.outbox.add(robin, ["hi", "more"], origin="reply", source="s")

    async with running(registry, sender, clock) as delivery:
        await until(registry, OutboxState.SENT, OutboxState.SENT)
        # as if the disk had been full at the wrong moment
        await registry.db.execute("UPDATE outbox SET state = 'sending', wamid = NULL WHERE text = 'hi'")
        clock.advance(minutes=2)
        delivery.wake()
        await eventually(lambda: sender.bodies == ["hi", "more", "hi"])
        await until(registry, OutboxState.SENT, OutboxState.SENT)


async def test_somebody_without_any_address_blocks_nothing(
    registry: Registry, sender: Sender, clock: Clock, robin: UserId
) -> None:
    await registry.db.execute("DELETE FROM identifiers")
    await registry.outbox.add(robin, ["hi"], origin="reply", source="s")

    async with running(registry, sender, clock):
        await until(registry, OutboxState.FAILED)
