"""The outbox: adding twice adds once, statuses only move forward, order per person holds."""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from clawkakad.model import Hold, OutboxState, UserId, Wamid
from clawkakad.registry import Registry, outbox, overview, quotes, sends
from clawkakad.registry.outbox import OutboxRow
from clawkakad.registry.transaction import Transaction
from tests.conftest import Clock

WAMID = Wamid("wamid.out")
SECOND = Wamid("wamid.out.2")
SENT = OutboxState.SENT


class Queue:
    """The outbox of one person, changed as the delivery does."""

    def __init__(self, registry: Registry, clock: Clock, user: UserId) -> None:
        self.registry = registry
        self.clock = clock
        self.user = user

    async def add(self, *parts: str, source: str = "inbox:1") -> None:
        await self.registry.outbox.add(self.user, parts or ("hi",), origin="reply", source=source)

    async def heads(self) -> list[OutboxRow]:
        return [head.row for head in (await self.registry.db.read(sends.due)).heads]

    async def begin(self) -> OutboxRow:
        (head,) = await self.registry.db.write(lambda tx: sends.begin(tx, sends.due(tx).heads, self.clock()))
        return head.row

    async def sent(self, row: OutboxRow, wamid: Wamid = WAMID) -> bool:
        return await self.registry.db.write(lambda tx: sends.sent(tx, row, wamid, self.clock()))

    async def taken_back(self, why: Hold | None = None) -> OutboxRow:
        """One that was sent, and that a status says was not delivered."""
        await self.add()
        await self.sent(await self.begin())
        return await self.retracted(WAMID, why)

    async def retracted(self, wamid: Wamid, why: Hold | None = None) -> OutboxRow:
        """A status says that it was not delivered, and it may be sent again."""
        now = self.clock()

        def work(tx: Transaction) -> None:
            row = outbox.find(tx, wamid, None)
            assert row is not None
            outbox.retract(tx, row, wamid, why, "131057", not_before=now, now=now)

        await self.registry.db.write(work)
        (row,) = await self.rows()
        return row

    async def unknown(self, row: OutboxRow) -> None:
        await self.registry.db.write(lambda tx: sends.unknown(tx, row, "reset", self.clock()))

    async def again(self, row: OutboxRow) -> None:
        await self.registry.db.write(lambda tx: sends.again(tx, row, self.clock()))

    async def status(self, state: OutboxState, *, wamid: Wamid = WAMID, key: str | None = None) -> bool:
        def work(tx: Transaction) -> bool:
            row = outbox.find(tx, wamid, key)
            return row is not None and outbox.apply_status(
                tx, row, wamid=wamid, state=state, reason="", now=self.clock()
            )

        return await self.registry.db.write(work)

    async def rows(self) -> Sequence[OutboxRow]:
        return list(reversed(await self.registry.outbox.all()))

    async def state(self) -> OutboxState:
        (row,) = await self.rows()
        return row.state


@pytest.fixture
def queue(registry: Registry, clock: Clock, robin: UserId) -> Queue:
    return Queue(registry, clock, robin)


async def test_the_same_source_is_queued_once(queue: Queue) -> None:
    await queue.add()
    await queue.add()

    assert len(await queue.rows()) == 1


async def test_the_same_source_adds_nothing_also_where_it_is_in_more_parts_now(queue: Queue) -> None:
    await queue.add("one")
    await queue.add("the first of two", "the second of two")

    assert [row.text for row in await queue.rows()] == ["one"]


async def test_nothing_overtakes_the_oldest(queue: Queue) -> None:
    await queue.add("one", "two")

    first = await queue.begin()
    assert [row.text for row in await queue.heads()] == ["one"]

    assert await queue.sent(first)
    assert [row.text for row in await queue.heads()] == ["two"]
    assert not await queue.sent(await queue.begin(), Wamid("wamid.2"))


async def test_an_id_that_was_given_twice_makes_nothing_unknown(queue: Queue) -> None:
    await queue.add("one", "two")
    await queue.sent(await queue.begin())
    await queue.sent(await queue.begin())

    assert [(row.state, row.wamid) for row in await queue.rows()] == [(SENT, WAMID), (SENT, None)]


async def test_what_is_held_lets_others_pass(queue: Queue, registry: Registry, clock: Clock) -> None:
    await queue.add("one", "two")
    first = await queue.begin()
    await registry.db.write(lambda tx: sends.hold(tx, first, Hold.UNKNOWN, "who knows", clock()))

    assert [row.text for row in await queue.heads()] == ["two"]


async def test_the_address_is_the_latest_number_unless_the_scoped_id_is_later(queue: Queue, registry: Registry) -> None:
    await queue.add()
    assert (await registry.db.read(sends.due)).heads[0].way.address == ("wa_id", "15550100123")

    await registry.db.execute(
        "INSERT INTO identifiers (kind, value, user_id, added_at)"
        " SELECT 'wa_id', '15550100199', id, '2030' FROM users UNION ALL SELECT 'bsuid', 'US.1', id, '2030' FROM users"
    )
    assert (await registry.db.read(sends.due)).heads[0].way.address == ("wa_id", "15550100199")

    await registry.db.execute(
        "INSERT INTO identifiers (kind, value, user_id, added_at) SELECT 'bsuid', 'US.2', id, '2031' FROM users"
    )
    assert (await registry.db.read(sends.due)).heads[0].way.address == ("bsuid", "US.2")

    await registry.db.execute("DELETE FROM identifiers WHERE kind = 'wa_id'")
    assert (await registry.db.read(sends.due)).heads[0].way.address == ("bsuid", "US.2")


@pytest.mark.parametrize(
    "order", list(itertools.permutations([OutboxState.SENT, OutboxState.DELIVERED, OutboxState.READ]))
)
async def test_statuses_in_every_order_end_at_read(queue: Queue, order: Sequence[OutboxState]) -> None:
    await queue.add()
    await queue.sent(await queue.begin())

    for state in order:
        await queue.status(state)

    assert await queue.state() is OutboxState.READ


@pytest.mark.parametrize("state", [s for s in OutboxState if s not in (OutboxState.DELIVERED, OutboxState.READ)])
async def test_good_news_is_believed_in_any_state(queue: Queue, registry: Registry, state: OutboxState) -> None:
    await queue.add()
    hold = "'unknown'" if state is OutboxState.HELD else "NULL"
    await registry.db.execute(f"UPDATE outbox SET state = '{state}', hold = {hold}")
    (row,) = await queue.rows()

    assert await queue.status(OutboxState.DELIVERED, key=row.key)

    assert await queue.state() is OutboxState.DELIVERED
    assert await queue.heads() == []


async def test_a_status_before_the_answer_settles_the_row_by_our_key(queue: Queue) -> None:
    await queue.add()
    row = await queue.begin()

    await queue.status(OutboxState.DELIVERED, key=row.key)
    await queue.sent(row)

    assert await queue.state() is OutboxState.DELIVERED


async def test_what_was_in_flight_at_a_crash_is_ambiguous_and_a_late_status_settles_it(
    queue: Queue, registry: Registry, clock: Clock
) -> None:
    await queue.add()
    row = await queue.begin()

    assert await registry.db.write(lambda tx: sends.interrupted(tx)) == 1
    assert await queue.state() is OutboxState.AMBIGUOUS
    assert (await queue.rows())[0].unknowns == 1

    await queue.status(OutboxState.SENT, key=row.key)
    assert await queue.state() is OutboxState.SENT
    assert await queue.heads() == []


async def test_a_status_that_comes_while_it_waits_to_be_sent_once_more_keeps_it_from_being_sent(queue: Queue) -> None:
    await queue.add()
    row = await queue.begin()
    await queue.unknown(row)
    await queue.again(row)

    await queue.status(OutboxState.SENT, key=row.key)

    assert await queue.heads() == []


async def test_a_failure_after_delivery_is_not_believed(queue: Queue) -> None:
    await queue.add()
    await queue.sent(await queue.begin())
    await queue.status(OutboxState.DELIVERED)

    assert not await queue.status(OutboxState.FAILED)

    assert await queue.state() is OutboxState.DELIVERED


async def test_a_failure_of_a_send_whose_answer_was_lost_is_found_by_our_key(queue: Queue) -> None:
    await queue.add()
    row = await queue.begin()
    await queue.unknown(row)

    assert await queue.status(OutboxState.FAILED, key=row.key)

    assert await queue.state() is OutboxState.FAILED


async def test_a_failure_of_the_first_send_says_nothing_of_the_second(queue: Queue) -> None:
    await queue.add()
    row = await queue.begin()
    await queue.unknown(row)
    await queue.again(row)
    await queue.begin()

    assert not await queue.status(OutboxState.FAILED, wamid=Wamid("first"), key=row.key)
    await queue.sent(row, Wamid("second"))
    assert not await queue.status(OutboxState.FAILED, wamid=Wamid("first"), key=row.key)
    assert await queue.state() is OutboxState.SENT
    assert await queue.status(OutboxState.FAILED, wamid=Wamid("second"), key=row.key)


async def test_a_failure_that_is_told_twice_takes_nothing_back_that_is_sent_anew(queue: Queue) -> None:
    row = await queue.taken_back()

    for begin in (False, True):
        if begin:
            await queue.begin()
        assert not await queue.status(OutboxState.FAILED, key=row.key)

    await queue.sent(row, Wamid("second"))
    assert [(r.state, r.wamid) for r in await queue.rows()] == [(OutboxState.SENT, "second")]


@pytest.mark.parametrize("why", [None, Hold.WINDOW])
async def test_that_a_message_was_sent_is_no_news_after_it_was_taken_back(queue: Queue, why: Hold | None) -> None:
    row = await queue.taken_back(why)

    assert not await queue.status(OutboxState.SENT, key=row.key)
    assert await queue.state() is (OutboxState.QUEUED if why is None else OutboxState.HELD)

    assert await queue.status(OutboxState.DELIVERED, key=row.key)


async def test_that_the_first_send_was_taken_says_nothing_of_the_second_in_flight(queue: Queue) -> None:
    row = await queue.taken_back()
    await queue.begin()

    assert not await queue.status(OutboxState.SENT, key=row.key)
    assert await queue.state() is OutboxState.SENDING

    assert await queue.status(OutboxState.SENT, wamid=Wamid("second"), key=row.key)


@pytest.mark.parametrize("news", [OutboxState.SENT, OutboxState.DELIVERED])
@pytest.mark.parametrize("answer", ["taken", "lost", "not there yet"])
async def test_news_of_a_second_send_before_its_answer_gives_the_row_its_id_and_time(
    queue: Queue, clock: Clock, registry: Registry, news: OutboxState, answer: str
) -> None:
    row = await queue.taken_back()
    clock.advance(hours=1)
    await queue.begin()

    assert await queue.status(news, wamid=SECOND, key=row.key)
    if answer == "taken":
        await queue.sent(row, SECOND)
    elif answer == "lost":
        await queue.unknown(row)

    assert [(r.state, r.wamid, r.sent_at) for r in await queue.rows()] == [(news, SECOND, clock())]
    assert await registry.db.read(lambda tx: quotes.said(tx, queue.user, [SECOND])) == {SECOND: "hi"}
    assert not await queue.status(OutboxState.FAILED, key=row.key)
    assert await queue.status(OutboxState.FAILED, wamid=SECOND) is (news is OutboxState.SENT)


async def test_the_answer_to_a_second_send_counts_more_than_late_news_of_the_first(queue: Queue) -> None:
    await queue.add()
    row = await queue.begin()
    await queue.unknown(row)
    await queue.again(row)
    await queue.begin()

    await queue.status(OutboxState.SENT, key=row.key)
    await queue.sent(row, SECOND)

    assert [(r.state, r.wamid) for r in await queue.rows()] == [(OutboxState.SENT, SECOND)]
    assert not await queue.status(OutboxState.FAILED, key=row.key)
    assert await queue.status(OutboxState.FAILED, wamid=SECOND)


@pytest.mark.parametrize("is_lost", [False, True])
async def test_a_failure_of_a_second_send_is_believed_before_its_answer(queue: Queue, is_lost: bool) -> None:
    row = await queue.taken_back()
    await queue.begin()
    if is_lost:
        await queue.unknown(row)

    assert await queue.status(OutboxState.FAILED, wamid=SECOND, key=row.key)
    await queue.sent(row, SECOND)

    assert [(r.state, r.wamid) for r in await queue.rows()] == [(OutboxState.FAILED, SECOND)]


async def test_a_failure_is_not_believed_where_it_may_be_that_of_a_send_before_the_last_two(queue: Queue) -> None:
    row = await queue.taken_back()
    await queue.sent(await queue.begin(), SECOND)
    await queue.retracted(SECOND)
    await queue.begin()

    assert not await queue.status(OutboxState.FAILED, key=row.key)


@pytest.mark.parametrize("begin", [False, True])
async def test_a_failure_of_an_unknown_send_says_nothing_after_a_later_one_was_answered(
    queue: Queue, begin: bool
) -> None:
    await queue.add()
    row = await queue.begin()
    await queue.unknown(row)
    await queue.again(row)
    await queue.sent(await queue.begin(), SECOND)
    await queue.retracted(SECOND)
    if begin:
        await queue.begin()

    assert not await queue.status(OutboxState.FAILED, key=row.key)


async def test_a_status_of_somebody_elses_message_changes_nothing(queue: Queue) -> None:
    assert not await queue.status(OutboxState.READ, key="not-ours")


async def test_what_was_put_back_does_not_count_as_a_request(queue: Queue, registry: Registry, clock: Clock) -> None:
    await queue.add()
    row = await queue.begin()
    await registry.db.write(lambda tx: sends.put_back(tx, row, "refused", not_before=clock(), now=clock()))

    assert [(r.attempt, r.state) for r in await queue.rows()] == [(0, OutboxState.QUEUED)]


async def test_what_the_window_held_is_released_in_order_and_what_is_unknown_stays_held(
    queue: Queue, registry: Registry, clock: Clock, robin: UserId
) -> None:
    await queue.add("one", "two", "perhaps sent")
    await registry.db.execute("UPDATE outbox SET state = 'held', hold = iif(text LIKE 'p%', 'unknown', 'window')")

    assert await registry.db.write(lambda tx: outbox.release(tx, robin, clock())) == 2

    assert [row.state for row in await queue.rows()] == [OutboxState.QUEUED, OutboxState.QUEUED, OutboxState.HELD]
    assert [row.text for row in await queue.heads()] == ["one"]
    assert await registry.db.write(lambda tx: outbox.release(tx, robin, clock())) == 0


async def test_what_a_wrong_clock_held_is_let_go_and_what_meta_refused_is_not(
    queue: Queue, registry: Registry, clock: Clock
) -> None:
    await queue.add("never sent", "refused by Meta", "nobody knows")
    await registry.db.execute("UPDATE users SET last_inbound_at = '2026-11-22T09:00:00.000Z'")
    await registry.db.execute("UPDATE outbox SET state = 'held', hold = 'window', attempt = text NOT LIKE 'never%'")
    await registry.db.execute("UPDATE outbox SET unknowns = 1 WHERE text LIKE 'nobody%'")
    since = clock().replace(hour=8)

    assert await registry.db.write(lambda tx: sends.release_open(tx, since, clock())) == 2

    states = {row.text: row.state for row in await queue.rows()}
    assert states.pop("refused by Meta") is OutboxState.HELD
    assert states == {"never sent": OutboxState.QUEUED, "nobody knows": OutboxState.QUEUED}


@pytest.mark.parametrize("state", list(OutboxState))
async def test_the_operator_may_send_again_what_is_not_on_its_way(
    queue: Queue, registry: Registry, clock: Clock, state: OutboxState
) -> None:
    await queue.add()
    await registry.db.execute(f"UPDATE outbox SET state = '{state}', attempt = 3, unknowns = 2")
    (row,) = await queue.rows()
    allowed = state in (OutboxState.HELD, OutboxState.FAILED, OutboxState.DROPPED)

    assert await registry.db.write(lambda tx: outbox.retry(tx, [row.id], clock())) == allowed

    (after,) = await queue.rows()
    assert after.state is (OutboxState.QUEUED if allowed else state)
    assert (after.attempt, after.unknowns) == (2 if allowed else 3, 2)


@pytest.mark.parametrize("state", list(OutboxState))
async def test_the_operator_may_drop_what_is_not_being_sent_at_this_moment(
    queue: Queue, registry: Registry, clock: Clock, state: OutboxState
) -> None:
    await queue.add()
    await registry.db.execute(f"UPDATE outbox SET state = '{state}'")
    (row,) = await queue.rows()
    allowed = state in (OutboxState.QUEUED, OutboxState.AMBIGUOUS, OutboxState.HELD, OutboxState.FAILED)

    assert await registry.db.write(lambda tx: outbox.drop(tx, [row.id], clock())) == allowed
    assert await queue.state() is (OutboxState.DROPPED if allowed else state)


async def test_who_was_sent_to_lately_is_known_after_a_restart(
    queue: Queue, registry: Registry, clock: Clock, robin: UserId
) -> None:
    await queue.add("one", "two", "three")
    await queue.sent(await queue.begin())
    clock.advance(minutes=3)
    await queue.unknown(await queue.begin())

    recent = await registry.db.read(lambda tx: sends.recent(tx, clock().replace(minute=1)))
    assert recent == [(robin, clock())]


async def test_what_may_have_arrived_twice_is_listed_for_a_day(registry: Registry, clock: Clock, robin: UserId) -> None:
    for text in ("doubtful", "plain"):
        await registry.outbox.add(robin, [text], origin="reply", source=text)
    await registry.db.execute("UPDATE outbox SET state = 'delivered', attempt = iif(text = 'doubtful', 2, 1)")
    await registry.db.execute("UPDATE outbox SET unknowns = attempt - 1")

    async def listed(since: datetime) -> list[str | None]:
        entries = await registry.db.read(lambda tx: overview.messages(tx, "outbox", overview.Wanted(since)))
        return [entry.text for entry in entries]

    assert await listed(clock() - timedelta(days=1)) == ["doubtful"]
    assert await listed(clock() + timedelta(seconds=1)) == []
