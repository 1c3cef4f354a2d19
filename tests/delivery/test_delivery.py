"""Delivery: each outcome of a send has one reaction, order holds, nobody waits for somebody else's trouble.

WhatsApp is a fake on a real socket, asked by the real client; the clocks are the test's.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from clawkakad.delivery import circuit, planning, steps
from clawkakad.delivery.circuit import FIRST_WIDTH
from clawkakad.delivery.delivery import Delivery, SendRules
from clawkakad.delivery.judging import MOST_FOREIGN
from clawkakad.delivery.lookout import LOOK_AGAIN_S
from clawkakad.delivery.pacing import BURST
from clawkakad.delivery.receipts import Receipts
from clawkakad.delivery.settling import Verdict
from clawkakad.delivery.steps import Step
from clawkakad.model import Hold, IdentifierKind, OutboxState, UserId, Wamid
from clawkakad.registry import Registry, lateness, outbox, pauses, sends, users
from clawkakad.registry.lateness import LATE
from clawkakad.registry.outbox import OutboxRow
from clawkakad.registry.pauses import NEXT_TRY
from clawkakad.whatsapp.delivery import Status
from clawkakad.whatsapp.graph import GraphClient
from clawkakad.whatsapp.origin import Deadline
from tests.conftest import Clock
from tests.fakes.graph import FakeGraph, Fault, Reply, fake_graph
from tests.support import NOWHERE, counted_commits, eventually, free_port, held_by_another

QUEUED, SENT, FAILED = OutboxState.QUEUED, OutboxState.SENT, OutboxState.FAILED
AMBIGUOUS, HELD, DELIVERED = OutboxState.AMBIGUOUS, OutboxState.HELD, OutboxState.DELIVERED
ROBIN = "+15550100123"
LATE_REMINDER = "⏰ stretch\n_(this was for 2026-11-22 10:00; I couldn't send it then)_"
UNKNOWN = Reply(status=502, body=b"<html>bad gateway</html>")


@dataclass
class Post:
    """A registry, a WhatsApp, and the delivery between them."""

    registry: Registry
    graph: FakeGraph
    clock: Clock
    rules: SendRules = field(default_factory=SendRules)
    caught_up: bool = True
    delivery: Delivery | None = None
    url: str = ""
    receipts: Receipts = field(default_factory=Receipts)

    def monotonic(self) -> float:
        return self.clock.now.timestamp()

    @asynccontextmanager
    async def running(self, **rules: object) -> AsyncIterator[None]:
        """The loop, until the block ends."""
        client = GraphClient(
            base_url=self.url or self.graph.base_url,
            version="v25.0",
            phone_number_id="100",
            access_token="EAA-test",
            deadline=Deadline(total_s=20, connect_s=2),
        )
        self.delivery = Delivery(
            self.registry,
            client,
            self.clock,
            rules=SendRules(**rules),  # type: ignore[arg-type]
            caught_up=lambda: self.caught_up,
            lag_s=lambda: 0.0,
            on_sent=self.receipts.sent,
            monotonic=self.monotonic,
            dice=lambda: 0.0,
        )
        task = asyncio.create_task(self.delivery.run())
        try:
            yield
        finally:
            self.graph.open.set()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await client.aclose()

    def pass_time(self, seconds: float) -> None:
        """Seconds pass at once."""
        assert self.delivery is not None
        self.clock.advance(seconds=seconds)
        self.delivery.wake()

    async def listen_for(self, seconds: int) -> None:
        """Seconds pass one by one, each with a look by the delivery: time in which a status could have come."""
        for _ in range(seconds):
            await self.quiet()
            self.pass_time(1)
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until the delivery has done what it can do now: two looks at the registry end with no change."""
        assert self.delivery is not None
        for _ in range(2):
            self.delivery.wake()
            before = await self.rows()
            await asyncio.sleep(0.01)
            if await self.rows() != before:
                await eventually(self.is_still)

    async def is_still(self) -> bool:
        before = await self.rows()
        await asyncio.sleep(0.03)
        return await self.rows() == before

    async def add(self, user: UserId, *parts: str, source: str = "s", origin: str = "reply") -> None:
        await self.registry.outbox.add(user, parts, origin=origin, source=source)
        if self.delivery is not None:
            self.delivery.wake()

    async def reminds(self, user: UserId, *, due: timedelta = timedelta(0)) -> None:
        """A reminder fires, as long after it was due as is said."""
        due_at = self.clock() - due
        wall = f"{due_at:%Y-%m-%d %H:%M}"
        reminder, _ = await self.registry.reminders.add(
            user, key="k", due_at=due_at, wall=wall, zone="UTC", text="stretch"
        )
        await self.registry.reminders.fire(reminder, lateness.message(reminder.text, wall, due))

    async def rows(self) -> list[OutboxRow]:
        return list(reversed(await self.registry.outbox.all(1000)))

    async def states(self) -> list[OutboxState]:
        return [row.state for row in await self.rows()]

    async def until(self, *wanted: OutboxState, within_s: float = 5) -> None:
        async def as_wanted() -> bool:
            return await self.states() == list(wanted)

        try:
            await eventually(as_wanted, within_s=within_s)
        except AssertionError as error:
            raise AssertionError([(row.text, row.state, row.reason) for row in await self.rows()]) from error

    async def status(self, row: OutboxRow, state: OutboxState = DELIVERED) -> None:
        wamid = Wamid(f"w{row.id}")
        await self.registry.db.write(
            lambda tx: outbox.apply_status(
                tx, outbox.find(tx, wamid, row.key), wamid=wamid, state=state, reason="", now=self.clock()
            )
        )
        if self.delivery is not None:
            self.delivery.wake()

    async def hears(self, word: str, row: OutboxRow, code: int | None = None) -> bool:
        """A status comes, and what it says is acted on; False where it was no news."""
        assert row.wamid is not None
        status = Status(row.wamid, word, self.clock(), row.key, code, "")
        if self.receipts.is_no_news(status, self.clock()):
            return False
        if await self.registry.db.write(lambda tx: self.receipts.take(tx, status, self.clock())):
            assert self.delivery is not None
            self.delivery.wake()
        return True

    async def writes(self, user: UserId) -> None:
        """The person writes."""
        now = self.clock()

        def work(tx):  # type: ignore[no-untyped-def]
            users.touch(tx, user, now)
            outbox.release(tx, user, now)

        await self.registry.db.write(work)
        if self.delivery is not None:
            self.delivery.wake()

    async def person(self, number: int) -> UserId:
        known = [(IdentifierKind.WA_ID, f"1555020{number:04}")]
        user = await self.registry.db.write(lambda tx: users.add(tx, known, NOWHERE, self.clock()))
        await self.writes(user)
        return user

    async def is_paused(self) -> bool:
        return bool(await self.pauses())

    async def pauses(self) -> list[pauses.Pause]:
        return list(await self.registry.db.read(pauses.current))


@pytest.fixture
async def post(registry: Registry, clock: Clock, robin: UserId) -> AsyncIterator[Post]:
    async with fake_graph() as graph:
        made = Post(registry, graph, clock)
        await made.writes(robin)
        yield made


async def any_reason(post: Post) -> bool:
    return any(row.reason for row in await post.rows())


async def count(post: Post, requests: int) -> None:
    await eventually(lambda: len(post.graph.texts) == requests)


async def test_parts_go_out_in_order_each_after_the_one_before_is_accepted(post: Post, robin: UserId) -> None:
    await post.add(robin, "one", "two", "three")
    post.graph.open.clear()

    async with post.running():
        await count(post, 1)
        await post.quiet()
        assert post.graph.texts == ["one"]
        post.graph.open.set()
        await post.until(SENT, SENT, SENT)

    assert post.graph.texts == ["one", "two", "three"]


async def test_a_send_takes_two_commits(post: Post, robin: UserId) -> None:
    async with post.running():
        await post.quiet()
        with counted_commits() as commits:
            await post.add(robin, "one")
            await post.until(SENT)

    assert commits == ["commit"] * (1 + 2)  # adding it, and the send


async def test_many_people_are_begun_in_one_commit(post: Post) -> None:
    people = [await post.person(number) for number in range(8)]
    for number, person in enumerate(people):
        await post.add(person, "hi", source=str(number))
    post.graph.open.clear()

    async with post.running():
        with counted_commits() as commits:
            await count(post, FIRST_WIDTH)

    assert len(commits) <= 3  # taking over, tidying, and these


async def test_a_refusal_that_stops_all_keeps_its_room_until_it_is_known(
    post: Post, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(circuit, "MOST_WIDTH", FIRST_WIDTH)
    for number in range(3 * FIRST_WIDTH):
        await post.add(await post.person(number), "hi", source=str(number))
    post.graph.script = [Reply.error(190, status=401) for _ in range(3 * FIRST_WIDTH)]
    post.graph.open.clear()

    async with post.running():
        await count(post, FIRST_WIDTH)
        with held_by_another(tmp_path / "registry.sqlite"):
            post.graph.open.set()
            await asyncio.sleep(0.3)
        await post.until(*[QUEUED] * 3 * FIRST_WIDTH)
        await post.quiet()

    assert len(post.graph.texts) == FIRST_WIDTH


async def test_a_limit_of_the_number_slows_everybody_down_as_long_as_it_asks(post: Post, robin: UserId) -> None:
    mika = await post.person(1)
    post.graph.script = [Reply.error(130429, status=429, headers={"Retry-After": "17"})]
    await post.add(robin, "hi")

    async with post.running():
        await count(post, 1)
        await post.until(QUEUED)
        await post.add(mika, "me too", source="m")
        post.pass_time(16)
        await post.quiet()
        assert len(post.graph.texts) == 1
        post.pass_time(1.1)
        await post.until(SENT, SENT)


async def test_the_pair_limit_makes_this_person_wait_4_to_the_n_seconds_and_nobody_else(
    post: Post, robin: UserId
) -> None:
    mika = await post.person(1)
    post.graph.scripts[ROBIN] = [Reply.error(131056)] * 3
    await post.add(robin, "hi")

    async with post.running():
        for tries, wait_s in ((1, 1), (2, 4), (3, 16)):
            await count(post, tries)
            await post.until(QUEUED)
            post.pass_time(wait_s - 0.1)
            await post.quiet()
            assert len(post.graph.texts) == tries
            if tries == 3:
                await post.add(mika, "free", source="m")
                await post.until(QUEUED, SENT)
                assert post.graph.texts.pop() == "free"
            post.pass_time(0.2)
        await post.until(SENT, SENT)


async def test_a_refusal_is_final_keeps_its_reason_and_does_not_block_what_follows(post: Post, robin: UserId) -> None:
    post.graph.script = [Reply.error(131051, error_data={"details": "not this kind"})]
    await post.add(robin, "bad", "good")

    async with post.running():
        await post.until(FAILED, SENT)

    assert (await post.rows())[0].reason == "error 131051 (HTTP 400): (#131051) refused (not this kind)"


async def test_whoever_cannot_be_reached_is_left_alone_until_they_write(post: Post, robin: UserId) -> None:
    post.graph.script = [Reply.error(131026)]
    await post.add(robin, "one", "two", "three")

    async with post.running():
        await post.until(FAILED, HELD, HELD)
        assert post.graph.texts == ["one"]
        row = await post.registry.db.one("SELECT unreachable_at, unreachable_reason FROM users")
        assert row is not None
        assert "131026" in row["unreachable_reason"]

        await post.registry.db.execute("UPDATE users SET unreachable_at = NULL, unreachable_reason = NULL")
        await post.writes(robin)
        await post.until(FAILED, SENT, SENT)

    assert post.graph.texts == ["one", "two", "three"]


async def test_refused_for_the_window_it_is_held_and_goes_out_in_order_when_they_write(
    post: Post, robin: UserId
) -> None:
    post.graph.script = [Reply.error(131047)] * 2
    await post.add(robin, "one", "two")

    async with post.running():
        await post.until(HELD, HELD)
        post.pass_time(120)
        await post.quiet()
        assert await post.states() == [HELD, HELD]
        await post.writes(robin)
        await post.until(SENT, SENT)

    assert post.graph.texts == ["one", "two", "one", "two"]


async def test_who_writes_while_it_is_refused_for_the_window_gets_it(post: Post, robin: UserId) -> None:
    post.graph.script = [Reply.error(131047)] * 2
    post.graph.open.clear()
    await post.add(robin, "one")

    async with post.running():
        await count(post, 1)
        post.clock.advance(seconds=1)
        await post.writes(robin)
        post.graph.open.set()
        await count(post, 2)
        await post.until(HELD)  # refused once more, with no newer message of theirs

        await post.writes(robin)
        await post.until(SENT)


async def test_who_writes_while_they_cannot_be_reached_can_be(post: Post, robin: UserId) -> None:
    post.graph.script = [Reply.error(131026)]
    post.graph.open.clear()
    await post.add(robin, "one", "two")

    async with post.running():
        await count(post, 1)
        post.clock.advance(seconds=1)
        await post.writes(robin)
        post.graph.open.set()
        await post.until(FAILED, SENT)


async def test_outside_the_window_nothing_is_even_tried(post: Post, robin: UserId) -> None:
    post.clock.advance(hours=23, minutes=51)
    await post.add(robin, "one", "two", origin="reminder")

    async with post.running():
        await post.until(HELD, HELD)
        assert {row.hold for row in await post.rows()} == {Hold.WINDOW}
        assert post.graph.texts == []
        await post.writes(robin)
        await post.until(SENT, SENT)

    assert post.graph.texts == ["one", "two"]


async def test_whoever_never_wrote_is_not_written_to(post: Post, robin: UserId) -> None:
    await post.registry.db.execute("UPDATE users SET last_inbound_at = NULL")
    await post.add(robin, "hi")

    async with post.running():
        await post.until(HELD)

    assert post.graph.texts == []


async def test_what_a_wrong_clock_held_goes_out_when_it_is_right_again(post: Post, robin: UserId) -> None:
    post.clock.advance(hours=25)
    await post.add(robin, "hi")

    async with post.running():
        await post.until(HELD)
    post.clock.advance(hours=-25)
    async with post.running():
        await post.until(SENT)


async def test_a_clock_that_is_set_back_holds_nothing_up(post: Post, robin: UserId) -> None:
    post.graph.script = [Reply.error(131056)]
    await post.add(robin, "hi")

    async with post.running():
        await count(post, 1)
        await post.until(QUEUED)
        monotonic = post.monotonic()
        post.monotonic = lambda: monotonic + 10  # type: ignore[method-assign]
        post.delivery._monotonic = post.monotonic  # type: ignore[union-attr]
        post.pass_time(-3600 * 8)
        await post.until(SENT)


async def test_an_expired_token_pauses_all_sending_keeps_the_queue_and_tries_one_message_alone(
    post: Post, robin: UserId
) -> None:
    others = [await post.person(number) for number in range(5)]
    post.graph.script = [Reply.error(190, status=401)]
    await post.add(robin, "hi")

    async with post.running():
        await eventually(post.is_paused)
        (pause,) = await post.pauses()
        assert (pause.code, pause.since) == (190, post.clock())
        for number, person in enumerate(others):
            await post.add(person, "hi", source=str(number))
        post.pass_time(299)
        await post.quiet()
        assert len(post.graph.texts) == 1

        post.graph.script = [Reply.error(190, status=401)]
        post.pass_time(2)
        await count(post, 2)
        await post.quiet()
        assert len(post.graph.texts) == 2, "one message alone"

        post.graph.open.clear()
        post.pass_time(301)
        await count(post, 3)
        await post.quiet()
        assert len(post.graph.texts) == 3
        post.graph.open.set()
        await post.until(*[SENT] * 6)
        assert await post.pauses() == []


async def test_a_new_process_tries_at_once_for_somebody_may_have_acted(post: Post, robin: UserId) -> None:
    now = post.clock()
    later = now.replace(hour=16)
    await post.registry.db.write(lambda tx: pauses.pause(tx, pauses.Scope.ALL, 131048, "spam", now=now, until=later))
    await post.add(robin, "hi")

    async with post.running():
        await post.until(SENT)
        assert await post.pauses() == []


async def test_a_pause_that_a_status_began_is_noticed_and_one_that_the_operator_ends_too(
    post: Post, robin: UserId
) -> None:
    async with post.running():
        await post.quiet()
        now = post.clock()
        until = now.replace(hour=12)
        await post.registry.db.write(
            lambda tx: pauses.pause(tx, pauses.Scope.ALL, 131042, "unpaid", now=now, until=until)
        )
        await post.add(robin, "hi")
        await post.quiet()
        assert await post.states() == [QUEUED]

        await post.registry.db.write(lambda tx: pauses.try_now(tx, post.clock()))
        post.clock.advance(seconds=LOOK_AGAIN_S)
        await post.until(SENT)


async def test_the_first_status_of_a_send_is_news_only_where_something_hangs_on_it(post: Post, robin: UserId) -> None:
    post.graph.script = [Reply(), Reply(status=502, body=b"")]
    await post.add(robin, "taken", "unknown")

    async with post.running():
        await post.until(SENT, AMBIGUOUS)
        taken, unknown = await post.rows()

        assert not await post.hears("sent", taken)
        assert await post.hears("sent", taken)
        assert await post.hears("delivered", taken)
        assert await post.hears("sent", unknown._replace(wamid=Wamid("wamid.new")))
        await post.until(DELIVERED, SENT)


async def test_a_pause_that_a_status_began_goes_on_until_a_status_says_that_one_has_gone_out(post: Post) -> None:
    people = [await post.person(number) for number in range(4)]
    now = post.clock()
    await post.registry.db.write(
        lambda tx: pauses.pause(tx, pauses.Scope.ALL, 131042, "unpaid", now=now, until=now, by_status=True)
    )
    for number, person in enumerate(people):
        await post.add(person, "hi", source=str(number))

    async with post.running():
        for tries in (1, 2):
            await count(post, tries)
            post.pass_time(NEXT_TRY.total_seconds() - 1)
            await post.quiet()
            assert len(post.graph.texts) == tries, "one message alone"
            post.pass_time(1 + tries)
        await count(post, 3)
        await post.until(SENT, SENT, SENT, QUEUED)
        await post.hears("sent", (await post.rows())[0])
        await post.until(SENT, SENT, SENT, SENT)
        assert await post.pauses() == []


async def test_a_pause_of_templates_stops_no_free_text(post: Post, robin: UserId) -> None:
    now = post.clock()
    await post.registry.db.write(
        lambda tx: pauses.pause(tx, pauses.Scope.TEMPLATES, 131064, "x", now=now, until=now.replace(hour=23))
    )
    await post.add(robin, "hi")

    async with post.running():
        await post.until(SENT)

    assert len(await post.pauses()) == 1


async def test_an_unknown_outcome_waits_for_a_status_and_holds_back_what_follows(post: Post, robin: UserId) -> None:
    post.graph.script = [UNKNOWN]
    await post.add(robin, "hi", "more")

    async with post.running():
        await post.until(AMBIGUOUS, QUEUED)
        await post.listen_for(20)
        assert post.graph.texts == ["hi"]
        await post.status((await post.rows())[0])
        await post.until(DELIVERED, SENT)

    assert post.graph.texts == ["hi", "more"]


async def test_without_a_status_it_is_sent_again_and_then_held(post: Post, robin: UserId) -> None:
    post.graph.script = [UNKNOWN] * 2
    await post.add(robin, "hi", "more")

    async with post.running(settle_s=5, resends=1):
        for sent in (1, 2):
            await count(post, sent)
            await post.until(AMBIGUOUS, QUEUED)
            await post.listen_for(4)
            assert post.graph.texts == ["hi"] * sent
            for _ in range(2):
                if len(post.graph.texts) == sent:
                    await post.listen_for(1)
        await post.until(HELD, SENT)

    row = (await post.rows())[0]
    assert (row.hold, row.unknowns) == (Hold.UNKNOWN, 2)
    assert post.graph.texts == ["hi", "hi", "more"]


async def test_a_round_between_two_looks_forgets_no_wait(post: Post, robin: UserId) -> None:
    """The loop's timers go off while the delivery's own clock says that there is nothing to look for yet."""
    post.graph.script = [UNKNOWN]
    await post.add(robin, "hi")

    async with post.running(settle_s=4):
        await post.until(AMBIGUOUS)
        for _ in range(3):
            await post.listen_for(2)
            await asyncio.sleep(2 * LOOK_AGAIN_S)
        await count(post, 2)


@pytest.mark.parametrize(("resends", "origin"), [(0, "reply"), (3, "heartbeat")])
async def test_where_it_is_not_wanted_nothing_is_sent_twice(
    post: Post, robin: UserId, resends: int, origin: str
) -> None:
    post.graph.script = [UNKNOWN]
    await post.add(robin, "hi", origin=origin)

    async with post.running(settle_s=3, resends=resends):
        await post.until(AMBIGUOUS)
        await post.listen_for(5)
        await post.until(HELD)

    assert post.graph.texts == ["hi"]


async def test_seconds_in_which_webhooks_wait_to_be_stored_do_not_count(post: Post, robin: UserId) -> None:
    post.graph.script = [UNKNOWN]
    await post.add(robin, "hi")

    async with post.running(settle_s=5):
        await post.until(AMBIGUOUS)
        post.caught_up = False
        await post.listen_for(10)
        assert post.graph.texts == ["hi"]
        post.caught_up = True
        await post.listen_for(10)  # as long as it did not listen Meta may need to bring again what was refused
        assert post.graph.texts == ["hi"]
        await post.listen_for(8)
        await post.until(SENT)


@pytest.mark.parametrize("away_s", [0, 20])
async def test_what_the_last_process_left_in_flight_is_not_sent_blindly(post: Post, robin: UserId, away_s: int) -> None:
    await post.add(robin, "hi")
    await post.registry.db.write(lambda tx: sends.begin(tx, sends.due(tx).heads, post.clock()))
    post.clock.advance(seconds=away_s)

    async with post.running(settle_s=5):
        await post.until(AMBIGUOUS)
        await post.listen_for(away_s)
        assert post.graph.texts == []
        await post.listen_for(7)
        await post.until(SENT)

    assert (await post.rows())[0].unknowns == 1


async def test_a_start_that_ends_at_once_is_no_time_in_which_somebody_listened(post: Post, robin: UserId) -> None:
    await post.add(robin, "hi")
    await post.registry.db.write(lambda tx: sends.begin(tx, sends.due(tx).heads, post.clock()))
    post.clock.advance(seconds=30)
    async with post.running(settle_s=5):
        await post.until(AMBIGUOUS)
    post.clock.advance(seconds=2)

    async with post.running(settle_s=5):
        await post.listen_for(32)
        assert post.graph.texts == []
        await post.listen_for(8)
        await post.until(SENT)


async def test_a_send_whose_outcome_could_not_be_stored_is_settled_like_any_unknown_one(
    post: Post, robin: UserId
) -> None:
    async with post.running(settle_s=5):
        await post.quiet()
        await post.add(robin, "hi")
        await post.until(SENT)
        await post.registry.db.execute("UPDATE outbox SET state = 'sending', wamid = NULL")
        await post.quiet()
        await post.until(AMBIGUOUS)


async def test_nobody_listening_means_nothing_sent_and_probes_until_it_is_back(post: Post) -> None:
    port = free_port()
    post.url = f"http://127.0.0.1:{port}"
    for number in range(6):
        await post.add(await post.person(number), "hi", source=str(number))

    async with post.running():
        delivery = post.delivery
        assert delivery is not None
        await eventually(lambda: delivery._circuit.probe_in_s(post.monotonic()) is not None, within_s=15)
        await post.until(*[QUEUED] * 6, within_s=15)
        assert {row.attempt for row in await post.rows()} == {0}

        async with fake_graph(port) as graph:
            post.pass_time(2)
            await eventually(lambda: graph.requests)
            assert graph.requests[0].path == "/v25.0/100"
            post.pass_time(2)
            await post.until(*[SENT] * 6)


@pytest.mark.parametrize(("minutes", "says"), [(4, "⏰ stretch"), (180, LATE_REMINDER)])
async def test_a_reminder_that_waited_for_whatsapp_says_what_time_it_was_for(
    post: Post, robin: UserId, minutes: int, says: str
) -> None:
    port = free_port()
    post.url = f"http://127.0.0.1:{port}"
    await post.reminds(robin)

    async with post.running():
        await eventually(lambda: any_reason(post), within_s=15)
        await post.until(QUEUED, within_s=15)
        async with fake_graph(port) as graph:
            for _ in range(2):  # a probe may have to come first
                post.pass_time(30 * minutes)
                await post.quiet()
            await post.until(SENT)

    assert graph.texts == [says]
    assert [row.text for row in await post.rows()] == [says]


async def test_a_reminder_of_unknown_outcome_is_sent_again_in_the_same_words(post: Post, robin: UserId) -> None:
    post.graph.script = [UNKNOWN]
    await post.reminds(robin, due=LATE - timedelta(seconds=2))

    async with post.running(settle_s=5):
        await post.until(AMBIGUOUS)
        await post.listen_for(8)
        await post.until(SENT)

    assert post.graph.texts == ["⏰ stretch"] * 2


async def test_a_reminder_that_was_not_delivered_says_when_it_is_sent_anew_what_time_it_was_for(
    post: Post, robin: UserId
) -> None:
    await post.reminds(robin)

    async with post.running():
        await post.until(SENT)
        post.pass_time(3600)
        await post.hears("failed", (await post.rows())[0], 131000)
        post.pass_time(60)
        await count(post, 2)

    assert post.graph.texts == ["⏰ stretch", LATE_REMINDER]


@pytest.mark.parametrize("people", [1, 2, 3])
async def test_something_else_that_answers_in_whatsapps_place_fails_nobodys_message(post: Post, people: int) -> None:
    post.graph.script = [Reply(status=302, body=b"<html>log in first</html>")] * 200
    for number in range(people):
        await post.add(await post.person(number), "hi", source=str(number))

    async with post.running():
        for _ in range(20):
            post.pass_time(61)
            await post.quiet()
        assert await post.states() == [QUEUED] * people

        post.graph.script = []
        post.pass_time(61)
        await post.until(*[SENT] * people)


async def test_a_message_that_never_reaches_whatsapp_while_others_do_is_given_up(post: Post, robin: UserId) -> None:
    mika = await post.person(1)
    post.graph.scripts[ROBIN] = [Reply(status=403, body=b"<html>filtered</html>")] * MOST_FOREIGN
    await post.add(robin, "filtered", "fine", source="r")

    async with post.running():
        for number in range(3 * MOST_FOREIGN):
            if number == 7:
                await post.add(mika, "free", source="m")
            post.pass_time(61)
            await post.quiet()
        await post.until(FAILED, SENT, SENT)

    assert post.graph.texts.count("filtered") == MOST_FOREIGN


async def test_an_outage_leaves_a_few_unknown_outcomes_and_not_the_whole_queue(post: Post) -> None:
    post.graph.script = [UNKNOWN] * 200
    for number in range(100):
        await post.add(await post.person(number), "hi", source=str(number))

    async with post.running(sends_per_s=10_000):
        await eventually(lambda: len(post.graph.texts) >= 3)
        await post.quiet()
        post.graph.script = [Reply(status=503, body=b"")] * 200
        for _ in range(5):
            post.pass_time(61)
            await post.quiet()
        assert (await post.states()).count(AMBIGUOUS) <= FIRST_WIDTH + 5
        assert (await post.states()).count(QUEUED) >= 95 - FIRST_WIDTH

        post.graph.script = []
        post.pass_time(61)

        async def rest_is_sent() -> bool:
            post.pass_time(0.2)
            return QUEUED not in await post.states()

        await eventually(rest_is_sent)


async def test_after_an_outage_what_is_unknown_is_settled_also_where_nothing_else_is_to_be_sent(post: Post) -> None:
    post.graph.script = [UNKNOWN] * 3
    for number in range(3):
        await post.add(await post.person(number), "hi", source=str(number))

    async with post.running(settle_s=5):
        await post.until(*[AMBIGUOUS] * 3)
        post.pass_time(2)
        await eventually(lambda: any(request.path == "/v25.0/100" for request in post.graph.requests))
        await post.listen_for(8)
        await post.until(*[SENT] * 3)


async def test_one_request_at_a_time_after_an_outage_until_it_is_answered(post: Post) -> None:
    post.graph.script = [UNKNOWN] * 3
    people = [await post.person(number) for number in range(10)]
    for number, person in enumerate(people[:3]):
        await post.add(person, "hi", source=str(number))

    async with post.running():
        await post.until(*[AMBIGUOUS] * 3)
        for number, person in enumerate(people[3:], start=3):
            await post.add(person, "hi", source=str(number))
        post.graph.open.clear()
        post.pass_time(2)
        await count(post, 4)
        await post.quiet()
        assert len(post.graph.texts) == 4
        post.graph.open.set()
        await count(post, 10)


async def test_nobody_waits_for_somebody_elses_trouble(post: Post, robin: UserId) -> None:
    mika = await post.person(1)
    post.graph.scripts[ROBIN] = [UNKNOWN]
    await post.add(robin, "stuck", "behind", source="a")
    await post.add(mika, "free", source="b")

    async with post.running():
        await post.until(AMBIGUOUS, QUEUED, SENT)


async def test_after_the_burst_one_person_gets_one_each_six_seconds_and_others_go_on(post: Post, robin: UserId) -> None:
    mika = await post.person(1)
    await post.add(robin, *[str(number) for number in range(BURST + 2)])

    async with post.running(sends_per_s=10_000):
        await post.until(*[SENT] * BURST, QUEUED, QUEUED)
        await post.add(mika, "free", source="m")
        await post.until(*[SENT] * BURST, QUEUED, QUEUED, SENT)
        post.pass_time(6.1)
        await post.until(*[SENT] * (BURST + 1), QUEUED, SENT)


async def test_the_burst_that_the_last_process_used_up_counts(post: Post, robin: UserId) -> None:
    await post.add(robin, *[str(number) for number in range(BURST + 1)])
    async with post.running(sends_per_s=10_000):
        await post.until(*[SENT] * BURST, QUEUED)

    async with post.running(sends_per_s=10_000):
        await post.quiet()
        assert await post.states() == [*[SENT] * BURST, QUEUED]
        post.pass_time(6.1)
        await post.until(*[SENT] * (BURST + 1))


async def test_people_take_turns_where_the_number_is_the_limit(post: Post, robin: UserId) -> None:
    mika = await post.person(1)
    await post.add(robin, "r1", "r2", "r3", source="a")
    await post.add(mika, "m1", "m2", "m3", source="b")

    async with post.running(sends_per_s=1):
        for requests in range(1, 7):
            await count(post, requests)
            await post.quiet()
            assert len(post.graph.texts) == requests
            post.pass_time(1.2)

    assert post.graph.texts == ["r1", "m1", "r2", "m2", "r3", "m3"]


async def test_a_row_that_a_status_settled_meanwhile_is_not_sent(post: Post, robin: UserId) -> None:
    await post.add(robin, "hi")
    (stale,) = await post.rows()
    await post.status(stale)

    async with post.running():
        await post.quiet()

    assert post.graph.texts == []


async def test_somebody_without_any_address_blocks_nothing(post: Post, robin: UserId) -> None:
    mika = await post.person(1)
    await post.registry.db.execute("DELETE FROM identifiers WHERE value = '15550100123'")
    await post.add(robin, "hi")
    await post.add(mika, "free", source="m")

    async with post.running():
        await post.until(FAILED, SENT)


async def test_what_nobody_told_of_is_noticed_within_a_second_or_two(post: Post, robin: UserId) -> None:
    post.monotonic = time.monotonic  # type: ignore[method-assign]
    async with post.running():
        await post.quiet()
        await post.registry.outbox.add(robin, ["by another process"], origin="reply", source="x")
        await post.until(SENT, within_s=2 * LOOK_AGAIN_S)


async def test_the_request_carries_our_key(post: Post, robin: UserId) -> None:
    await post.add(robin, "hi")
    async with post.running():
        await post.until(SENT)

    (row,) = await post.rows()
    assert post.graph.requests[0].body["biz_opaque_callback_data"] == row.key
    assert json.dumps(post.graph.requests[0].body).count(row.key) == 1


async def test_stopping_lets_what_is_in_flight_end(post: Post, robin: UserId) -> None:
    await post.add(robin, "hi")
    post.graph.script = [Reply(delay_s=0.3)]

    async with post.running():
        await count(post, 1)

    assert await post.states() == [SENT]


async def test_stopping_while_a_send_is_written_down_sends_it(post: Post, robin: UserId, tmp_path: Path) -> None:
    post.graph.script = [Reply.error(131056)]
    await post.add(robin, "hi", origin="heartbeat")

    with ExitStack() as stack:
        async with post.running():
            await count(post, 1)
            await post.until(QUEUED)
            let_go = stack.enter_context(held_by_another(tmp_path / "registry.sqlite"))
            post.pass_time(2)
            await eventually(lambda: post.registry.db._writer._is_writing)
            asyncio.get_running_loop().call_later(0.2, let_go)  # it is told to stop before

    assert post.graph.texts == ["hi", "hi"]
    assert await post.states() == [SENT]


async def test_a_reset_is_unknown(post: Post, robin: UserId) -> None:
    post.graph.script = [Reply(fault=Fault.DROP_AFTER_BODY)]
    await post.add(robin, "hi")

    async with post.running():
        await post.until(AMBIGUOUS)


async def test_who_writes_at_the_moment_at_which_a_message_is_held_gets_it(post: Post, robin: UserId) -> None:
    post.clock.advance(hours=25)
    await post.add(robin, "tea")
    due = await post.registry.db.read(sends.due)
    step = Step(planning.sort_out(due.heads, (), post.clock()), (), ())
    assert step.found.closed

    await post.registry.db.write(lambda tx: users.touch(tx, robin, post.clock()))
    await post.registry.db.write(lambda tx: steps.write(tx, step=step, now=post.clock()))

    assert await post.states() == [QUEUED]


@pytest.mark.parametrize("verdict", list(Verdict))
async def test_a_status_that_waits_for_company_comes_before_what_is_decided_without_it(
    post: Post, robin: UserId, verdict: Verdict
) -> None:
    post.graph.script = [UNKNOWN]
    await post.add(robin, "hi")
    async with post.running():
        await post.until(AMBIGUOUS)
    due = await post.registry.db.read(sends.due)
    (row,) = await post.rows()
    step = Step(planning.sort_out((), (), post.clock()), ((due.heads[0], verdict),), ())
    status = Status(Wamid("w1"), "delivered", post.clock(), row.key, None, "")

    await asyncio.gather(
        post.registry.db.write(lambda tx: post.receipts.take(tx, status, post.clock()), within_s=60),
        post.registry.db.write(lambda tx: steps.write(tx, step=step, now=post.clock())),
    )

    assert await post.states() == [DELIVERED]
