"""Receipts: a failed status is acted on like a refusal, once, and only where it is about the last send."""

from datetime import UTC, datetime

import pytest

from clawkakad.delivery.receipts import MOST_REMEMBERED, MOST_TRIES, Receipts
from clawkakad.model import Hold, OutboxState, UserId, Wamid
from clawkakad.registry import Registry, outbox, pauses, sends, users
from clawkakad.registry.outbox import OutboxRow
from clawkakad.whatsapp.delivery import Status
from tests.conftest import Clock


class Desk:
    """One message that was sent, and the statuses that come for it."""

    def __init__(self, registry: Registry, clock: Clock, user: UserId) -> None:
        self.registry = registry
        self.clock = clock
        self.user = user
        self.receipts = Receipts()

    async def send(self, wamid: str = "w1") -> OutboxRow:
        await self.answered(await self.begin(), wamid)
        return await self.row()

    async def begin(self) -> OutboxRow:
        await self.registry.outbox.add(self.user, ["hi"], origin="reply", source="s")
        row = await self.row()
        await self.registry.db.write(lambda tx: sends.begin(tx, sends.due(tx).heads, self.clock()))
        return row

    async def answered(self, row: OutboxRow, wamid: str) -> None:
        await self.registry.db.write(lambda tx: sends.sent(tx, row, Wamid(wamid), self.clock()))

    async def status(
        self,
        word: str,
        code: int | None = None,
        wamid: str = "w1",
        key: str | None = None,
        at: datetime | None = None,
    ) -> bool:
        text = "words of Meta" if code else ""
        status = Status(Wamid(wamid), word, at or self.clock(), key, code, text)
        return await self.registry.db.write(lambda tx: self.receipts.take(tx, status, self.clock()))

    async def person_writes(self) -> None:
        await self.registry.db.write(lambda tx: users.touch(tx, self.user, self.clock()))

    async def is_unreachable(self) -> bool:
        return bool(await self.registry.db.all("SELECT 1 FROM users WHERE unreachable_at IS NOT NULL"))

    async def row(self) -> OutboxRow:
        (row,) = await self.registry.outbox.all()
        return row

    async def is_paused_by_status(self) -> None:
        now = self.clock()
        await self.registry.db.write(
            lambda tx: pauses.pause(tx, pauses.Scope.ALL, 131048, "spam", now=now, until=now, by_status=True)
        )

    async def is_tried(self) -> None:
        """The delivery is about to try a message alone."""
        await self.registry.db.write(lambda tx: pauses.trying(tx, self.clock()))

    async def pauses(self) -> list[tuple[pauses.Scope, int | None]]:
        found = await self.registry.db.read(pauses.current)
        return [(pause.scope, pause.code) for pause in found]


@pytest.fixture
def desk(registry: Registry, clock: Clock, robin: UserId) -> Desk:
    return Desk(registry, clock, robin)


async def test_good_news_moves_it_on_and_gives_the_delivery_nothing_to_do(desk: Desk) -> None:
    await desk.send()

    assert [await desk.status(word) for word in ("sent", "delivered", "read", "teleported")] == [False] * 4
    assert (await desk.row()).state is OutboxState.READ


async def test_news_of_an_unsettled_message_wakes_the_delivery(desk: Desk, registry: Registry, clock: Clock) -> None:
    row = await desk.send()
    await registry.db.execute("UPDATE outbox SET state = 'ambiguous', wamid = NULL")

    assert await desk.status("delivered", key=row.key)


async def test_news_that_come_before_the_answer_give_the_delivery_nothing_to_do(desk: Desk) -> None:
    """Under load most do, and whoever sends the message looks when its answer is there."""
    row = await desk.begin()

    assert not await desk.status("sent", key=row.key)
    assert (await desk.row()).state is OutboxState.SENT


async def test_the_lag_is_learned_from_the_first_news(desk: Desk, clock: Clock) -> None:
    await desk.send()
    clock.advance(seconds=4)
    await desk.status("sent")
    clock.advance(hours=3)
    await desk.status("read")

    assert desk.receipts.lags.p99_s() == 4


async def test_news_of_a_second_send_before_its_answer_teaches_no_lag(desk: Desk, clock: Clock) -> None:
    await desk.send()
    await desk.status("failed", 131000)
    clock.advance(hours=3)
    row = await desk.begin()

    await desk.status("sent", wamid="w2", key=row.key)

    assert desk.receipts.lags.p99_s() == 0


@pytest.mark.parametrize("words", [["failed"], ["sent", "failed"]])
@pytest.mark.parametrize("is_answered", [False, True])
async def test_a_second_send_that_fails_before_its_answer_is_sent_once_more(
    desk: Desk, words: list[str], is_answered: bool
) -> None:
    await desk.send()
    await desk.status("failed", 131000)
    row = await desk.begin()

    for word in words:
        await desk.status(word, 131000 if word == "failed" else None, wamid="w2", key=row.key)
    if is_answered:
        await desk.answered(row, "w2")

    assert ((await desk.row()).state, (await desk.row()).wamid) == (OutboxState.QUEUED, "w2")


async def test_a_message_of_somebody_else_is_none_of_ours(desk: Desk) -> None:
    await desk.send()

    assert not await desk.status("failed", 131042, wamid="another", key="another")
    assert (await desk.row()).state is OutboxState.SENT
    assert await desk.pauses() == []


async def test_outside_the_window_it_is_held_and_not_failed(desk: Desk) -> None:
    await desk.send()

    assert await desk.status("failed", 131047)

    row = await desk.row()
    assert (row.state, row.hold, row.reason) == (OutboxState.HELD, Hold.WINDOW, "error 131047: words of Meta")


async def test_who_wrote_after_the_window_closed_gets_it_now_and_once(desk: Desk) -> None:
    await desk.send()
    failed_at = desk.clock()
    desk.clock.advance(seconds=60)
    await desk.person_writes()

    await desk.status("failed", 131047, at=failed_at)
    row = await desk.row()
    assert (row.state, row.hold, row.not_before) == (OutboxState.QUEUED, None, desk.clock())

    await desk.send("w2")
    await desk.status("failed", 131047, wamid="w2")
    assert (await desk.row()).hold is Hold.WINDOW


async def test_a_time_that_makes_no_sense_sends_nothing_for_ever(desk: Desk) -> None:
    failed_at = desk.clock()
    desk.clock.advance(seconds=60)
    await desk.person_writes()

    for attempt in range(1, MOST_TRIES + 1):
        assert (await desk.send(f"w{attempt}")).state is OutboxState.SENT
        await desk.status("failed", 131047, wamid=f"w{attempt}", at=failed_at)

    assert (await desk.row()).hold is Hold.WINDOW


async def test_who_has_written_since_can_be_reached(desk: Desk) -> None:
    await desk.send()
    failed_at = desk.clock()
    desk.clock.advance(seconds=60)
    await desk.person_writes()

    await desk.status("failed", 131026, at=failed_at)

    assert (await desk.row()).state is OutboxState.FAILED
    assert not await desk.is_unreachable()


async def test_who_wrote_at_the_moment_of_the_failure_cannot(desk: Desk) -> None:
    await desk.send()
    await desk.person_writes()

    await desk.status("failed", 131026)

    assert await desk.is_unreachable()


@pytest.mark.parametrize("code", [131042, 131048, 190, 368])
async def test_a_failure_that_concerns_all_pauses_sending_and_keeps_the_message(desk: Desk, code: int) -> None:
    await desk.send()

    assert await desk.status("failed", code)

    assert (await desk.row()).state is OutboxState.QUEUED
    assert await desk.pauses() == [(pauses.Scope.ALL, code)]


async def test_a_pause_that_a_status_began_ends_with_news_of_what_was_sent_since_its_first_try(desk: Desk) -> None:
    await desk.send()
    await desk.status("failed", 131042)
    desk.clock.advance(minutes=31)
    await desk.is_tried()
    row = await desk.send("w2")
    desk.clock.advance(seconds=5)

    assert not await desk.status("sent", wamid="w1", key=row.key)
    assert await desk.pauses() != []
    assert await desk.status("sent", wamid="w2")
    assert await desk.pauses() == []


async def test_a_message_that_began_a_pause_ends_it_also_where_news_of_its_second_send_came_before_the_answer(
    desk: Desk,
) -> None:
    await desk.send()
    await desk.status("failed", 131042)
    desk.clock.advance(minutes=31)
    await desk.is_tried()
    row = await desk.begin()
    desk.clock.advance(seconds=1)

    await desk.status("sent", wamid="w2", key=row.key)
    await desk.answered(row, "w2")

    assert await desk.status("delivered", wamid="w2", key=row.key)
    assert await desk.pauses() == []


@pytest.mark.parametrize("word", ["sent", "delivered", "read"])
async def test_late_news_of_what_was_sent_before_a_pause_does_not_end_it(desk: Desk, word: str) -> None:
    await desk.send()
    desk.clock.advance(seconds=1)
    await desk.is_paused_by_status()
    await desk.is_tried()

    assert not await desk.status(word)

    assert await desk.pauses() == [(pauses.Scope.ALL, 131048)]


@pytest.mark.parametrize("words", [["sent"], ["delivered"], ["read"], ["read", "delivered", "sent"]])
async def test_any_good_news_of_what_was_sent_since_the_first_try_ends_it(desk: Desk, words: list[str]) -> None:
    await desk.is_paused_by_status()
    await desk.is_tried()
    await desk.send()

    assert [await desk.status(word) for word in words] == [True, False, False][: len(words)]

    assert await desk.pauses() == []


async def test_a_clock_that_was_set_back_does_not_keep_a_pause(desk: Desk) -> None:
    await desk.is_paused_by_status()
    await desk.is_tried()
    desk.clock.advance(hours=-8)
    await desk.is_tried()
    await desk.send()

    assert await desk.status("sent")


async def test_a_pause_that_a_status_confirmed_is_one_that_a_status_began(desk: Desk) -> None:
    now = desk.clock()
    await desk.registry.db.write(lambda tx: pauses.pause(tx, pauses.Scope.ALL, 190, "token", now=now, until=now))
    await desk.send()
    await desk.status("failed", 131042)
    await desk.registry.db.write(lambda tx: pauses.pause(tx, pauses.Scope.ALL, 190, "token", now=now, until=now))

    assert not await desk.registry.db.write(lambda tx: pauses.taken(tx, now))
    assert await desk.pauses() == [(pauses.Scope.ALL, 190)]


async def test_told_twice_it_happens_once(desk: Desk) -> None:
    await desk.send()
    await desk.status("failed", 131042)
    await desk.registry.db.execute("DELETE FROM pauses")

    assert not await desk.status("failed", 131042, key=(await desk.row()).key)

    assert await desk.pauses() == []


async def test_a_failure_of_templates_pauses_those_only(desk: Desk) -> None:
    await desk.send()

    await desk.status("failed", 131064)

    assert (await desk.row()).state is OutboxState.FAILED
    assert await desk.pauses() == [(pauses.Scope.TEMPLATES, 131064)]


async def test_whoever_cannot_be_reached_is_marked(desk: Desk) -> None:
    await desk.send()

    await desk.status("failed", 131026)

    assert (await desk.row()).state is OutboxState.FAILED
    user = await desk.registry.db.one("SELECT unreachable_reason FROM users WHERE unreachable_at IS NOT NULL")
    assert user is not None
    assert "131026" in user["unreachable_reason"]


@pytest.mark.parametrize("code", [131000, 131016, 131056, 130429])
async def test_a_passing_failure_is_tried_again_a_little_later_and_not_for_ever(desk: Desk, code: int) -> None:
    for attempt in range(1, MOST_TRIES):
        row = await desk.send(f"w{attempt}")
        await desk.status("failed", code, wamid=f"w{attempt}")
        row = await desk.row()
        assert row.state is OutboxState.QUEUED
        assert row.not_before > desk.clock()

    await desk.send("last")
    await desk.status("failed", code, wamid="last")
    assert (await desk.row()).state is OutboxState.FAILED


@pytest.mark.parametrize(("unknowns", "state"), [(2, OutboxState.QUEUED), (4, OutboxState.FAILED)])
async def test_what_the_operator_sends_again_may_fail_in_passing_as_any_other(
    desk: Desk, unknowns: int, state: OutboxState
) -> None:
    row = await desk.begin()
    await desk.registry.db.execute(
        "UPDATE outbox SET state = 'held', hold = 'unknown', attempt = :n, unknowns = :n", {"n": unknowns}
    )
    await desk.registry.db.write(lambda tx: outbox.retry(tx, [row.id], desk.clock()))

    await desk.send()
    await desk.status("failed", 131000)

    assert (await desk.row()).state is state


@pytest.mark.parametrize("code", [131051, 424242, None])
async def test_what_will_never_go_is_failed_with_its_reason(desk: Desk, code: int | None) -> None:
    await desk.send()

    await desk.status("failed", code)

    row = await desk.row()
    assert row.state is OutboxState.FAILED
    assert str(code) in row.reason


def sent(wamid: str, word: str = "sent") -> Status:
    return Status(Wamid(wamid), word, datetime(2026, 11, 22, 10, tzinfo=UTC), None, None, "")


def test_that_a_message_was_sent_is_no_news_once_where_its_send_is_on_disk(clock: Clock) -> None:
    receipts = Receipts()
    receipts.sent(Wamid("w1"), clock())
    clock.advance(seconds=2)

    told = [receipts.is_no_news(status, clock()) for status in (sent("w2"), sent("w1", "read"), sent("w1"), sent("w1"))]

    assert told == [False, False, True, False]
    assert receipts.lags.p99_s() == 2


def test_sends_without_any_status_are_not_remembered_for_ever(clock: Clock) -> None:
    receipts = Receipts()
    for number in range(MOST_REMEMBERED + 1):
        receipts.sent(Wamid(f"w{number}"), clock())

    assert not receipts.is_no_news(sent("w0"), clock())
    assert receipts.is_no_news(sent("w1"), clock())
