"""Reminders: at their minute, once, whatever was down; and what `pa` may ask for."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import pytest

from clawkakad.assistant.reminders import ReminderClock
from clawkakad.assistant.services import PaServices
from clawkakad.errors import Rejected
from clawkakad.model import UserId
from clawkakad.registry import Registry, outbox, sends, users
from clawkakad.registry.reminders import MOST_AN_HOUR, MOST_PENDING
from clawkakad.registry.transaction import Transaction
from tests.conftest import Clock
from tests.support import eventually


@pytest.fixture
def services(registry: Registry, clock: Clock) -> PaServices:
    return PaServices(registry, clock, on_reminder=lambda: None)


@contextlib.asynccontextmanager
async def ticking(registry: Registry, clock: Clock) -> AsyncIterator[ReminderClock]:
    reminder_clock = ReminderClock(registry, clock, on_outbox=lambda: None)
    task = asyncio.create_task(reminder_clock.run())
    try:
        yield reminder_clock
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def texts(registry: Registry) -> list[str]:
    return [row.text for row in reversed(await registry.outbox.all())]


async def test_it_fires_at_its_time_and_once(
    registry: Registry, services: PaServices, clock: Clock, robin: UserId
) -> None:
    await services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="stretch", key="k")

    async with ticking(registry, clock) as reminder_clock:
        clock.advance(minutes=4, seconds=59)
        reminder_clock.wake()
        await asyncio.sleep(0.05)
        assert await texts(registry) == []
        clock.advance(seconds=1)
        for _ in range(3):
            reminder_clock.wake()
            await asyncio.sleep(0.02)
        await eventually(lambda: registry.outbox.all())

    assert await texts(registry) == ["⏰ stretch"]


async def test_after_a_downtime_it_fires_once_and_says_so(
    registry: Registry, services: PaServices, clock: Clock, robin: UserId
) -> None:
    await services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="stretch", key="k")
    clock.advance(hours=3)

    for _ in range(2):
        async with ticking(registry, clock):
            await eventually(lambda: registry.outbox.all())

    (text,) = await texts(registry)
    assert "2026-11-22 10:05" in text


async def fire_and_hold(registry: Registry, services: PaServices, clock: Clock, user: UserId) -> None:
    """A reminder for 10:05 that fired at its minute, and fell outside the service window."""
    await services.add_reminder(user, at="2026-11-22 10:05", zone=None, text="stretch", key="k")
    clock.advance(minutes=5)
    async with ticking(registry, clock):
        await eventually(lambda: registry.outbox.all())
    await registry.db.execute("UPDATE outbox SET state = 'held', hold = 'window'")
    await registry.db.write(lambda tx: users.touch(tx, user, clock()))


@pytest.mark.parametrize(
    "let_go",
    [
        outbox.release,
        lambda tx, user, now: outbox.retry(tx, [1], now),
        lambda tx, user, now: sends.release_open(tx, now - timedelta(days=1), now),
    ],
    ids=["they write", "the operator sends it after all", "the window was never closed"],
)
async def test_one_that_was_held_says_what_time_it_was_for(
    registry: Registry,
    services: PaServices,
    clock: Clock,
    robin: UserId,
    let_go: Callable[[Transaction, UserId, datetime], int],
) -> None:
    await fire_and_hold(registry, services, clock, robin)
    clock.advance(minutes=6)

    assert await registry.db.write(lambda tx: let_go(tx, robin, clock())) == 1

    (text,) = await texts(registry)
    assert text.startswith("⏰ stretch\n")
    assert "2026-11-22 10:05" in text


async def test_one_that_was_held_for_a_moment_says_nothing_of_it(
    registry: Registry, services: PaServices, clock: Clock, robin: UserId
) -> None:
    await fire_and_hold(registry, services, clock, robin)
    clock.advance(minutes=4)

    await registry.db.write(lambda tx: outbox.release(tx, robin, clock()))

    assert await texts(registry) == ["⏰ stretch"]


async def test_a_cancelled_one_does_not_fire(
    registry: Registry, services: PaServices, clock: Clock, robin: UserId
) -> None:
    made, _ = await services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="stretch", key="k")
    assert await services.cancel_reminder(robin, int(str(made["id"]))) is not None
    assert await services.cancel_reminder(robin, int(str(made["id"]))) is None
    clock.advance(hours=1)

    async with ticking(registry, clock):
        await asyncio.sleep(0.05)

    assert await texts(registry) == []


async def test_the_same_key_is_the_same_reminder(services: PaServices, robin: UserId) -> None:
    first = await services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="stretch", key="k")
    again = await services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="stretch", key="k")

    assert (first[1], again[1]) == (True, False)
    assert first[0] == again[0]


async def test_the_same_key_is_the_same_reminder_also_where_no_other_could_be_set_now(
    services: PaServices, clock: Clock, robin: UserId
) -> None:
    """The agent asks again where it did not get the answer."""
    first, _ = await services.add_reminder(robin, at="2026-11-22 10:01", zone=None, text="stretch", key="k")
    for number in range(MOST_AN_HOUR - 1):
        await services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="x", key=str(number))
    clock.advance(minutes=3)

    again = await services.add_reminder(robin, at="2026-11-22 10:01", zone=None, text="stretch", key="k")

    assert again == (first, False)


async def test_the_same_key_tells_what_became_of_it(services: PaServices, robin: UserId) -> None:
    made, _ = await services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="stretch", key="k")
    await services.cancel_reminder(robin, int(str(made["id"])))

    again, new = await services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="stretch", key="k")

    assert (made["state"], again["state"], new) == ("pending", "cancelled", False)


async def test_nobody_sees_or_cancels_anothers(services: PaServices, robin: UserId) -> None:
    made, _ = await services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="stretch", key="k")
    other = UserId("u-other")

    assert await services.list_reminders(other) == []
    assert await services.cancel_reminder(other, int(str(made["id"]))) is None


async def test_wall_times_are_of_the_persons_zone(services: PaServices, robin: UserId) -> None:
    await services.change_profile(robin, {"time_zone": "Asia/Kolkata"})

    made, _ = await services.add_reminder(robin, at="2026-11-22 18:30", zone=None, text="stretch", key="k")

    assert (made["due_at"], made["wall"], made["zone"]) == (
        "2026-11-22T13:00:00.000Z",
        "2026-11-22 18:30",
        "Asia/Kolkata",
    )


@pytest.mark.parametrize(
    ("at", "zone", "text", "says"),
    [
        ("2026-11-22 09:00", None, "x", "has passed"),
        ("2026-11-22 18:00", "Mars/Base", "x", "no time zone"),
        ("2026-11-22 18:00", None, "  ", "needs a text"),
        ("2026-11-22 18:00", None, "x" * 1001, "at most 1000"),
    ],
)
async def test_what_cannot_be_done_is_refused_in_a_sentence(
    services: PaServices, robin: UserId, at: str, zone: str | None, text: str, says: str
) -> None:
    with pytest.raises(Rejected, match=says):
        await services.add_reminder(robin, at=at, zone=zone, text=text, key="k")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"currency": "gold"}, "no currency"),
        ({"time_zone": "here"}, "no time zone"),
        ({"language": "en; rm"}, "no language"),
        ({"name": ""}, "1 to 80"),
        ({"country": "XX"}, "a profile has no country"),
    ],
)
async def test_a_profile_takes_only_what_is_true(
    services: PaServices, robin: UserId, change: dict[str, str], says: str
) -> None:
    before = await services.profile(robin)

    with pytest.raises(Rejected, match=says):
        await services.change_profile(robin, change)
    assert await services.profile(robin) == before

    assert (await services.change_profile(robin, {"currency": "inr"})).currency == "INR"


async def test_two_changes_of_a_profile_at_once_both_stay(services: PaServices, robin: UserId) -> None:
    await asyncio.gather(
        services.change_profile(robin, {"name": "Robin"}),
        services.change_profile(robin, {"time_zone": "Asia/Kolkata"}),
    )

    profile = await services.profile(robin)
    assert (profile.name, profile.time_zone) == ("Robin", "Asia/Kolkata")


async def test_the_clock_sleeps_until_the_next_one(registry: Registry, services: PaServices, robin: UserId) -> None:
    """On the real clock: a reminder half a second away comes without anybody waking the loop."""
    real = PaServices(registry, lambda: datetime.now(UTC), on_reminder=lambda: None)
    due_at = datetime.now(UTC) + timedelta(seconds=0.5)
    await real.add_reminder(robin, at=due_at.isoformat(), zone=None, text="now", key="k")
    reminder_clock = ReminderClock(registry, lambda: datetime.now(UTC), on_outbox=lambda: None)
    task = asyncio.create_task(reminder_clock.run())

    await eventually(lambda: registry.outbox.all(), within_s=2)

    task.cancel()
    assert datetime.now(UTC) >= due_at


async def test_an_agent_in_a_loop_cannot_set_reminders_without_end(
    services: PaServices, clock: Clock, robin: UserId
) -> None:
    for number in range(30):
        await services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="x", key=str(number))

    with pytest.raises(Rejected, match="within an hour"):
        await services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="x", key="one more")

    clock.advance(hours=2)
    await services.add_reminder(robin, at="2026-11-22 18:05", zone=None, text="x", key="later")


async def test_an_agent_that_asks_for_many_at_once_gets_no_more_of_them(
    registry: Registry, services: PaServices, robin: UserId
) -> None:
    await services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="x", key="first")
    asked = [
        services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="x", key=str(number))
        for number in range(MOST_AN_HOUR + 10)
    ]

    answers = await asyncio.gather(*asked, return_exceptions=True)

    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(error) for error in refused] == 11 * [Rejected]
    assert {str(error) for error in refused} == {"30 reminders were set within an hour; wait a little before the next"}
    assert len(await registry.reminders.pending(robin)) == MOST_AN_HOUR


async def test_of_reminders_that_are_still_to_come_there_are_so_many_and_no_more(
    registry: Registry, services: PaServices, clock: Clock, robin: UserId
) -> None:
    for number in range(MOST_PENDING - 1):
        if number % MOST_AN_HOUR == 0:
            clock.advance(hours=2)
        await services.add_reminder(robin, at="2026-12-22 10:05", zone=None, text="x", key=str(number))
    clock.advance(hours=2)

    answers = await asyncio.gather(
        *(services.add_reminder(robin, at="2026-12-22 10:05", zone=None, text="x", key=f"more {n}") for n in range(3)),
        return_exceptions=True,
    )

    assert [str(answer) for answer in answers if isinstance(answer, BaseException)] == [
        "there are 200 reminders already; cancel some first"
    ] * 2
    assert len(await registry.reminders.pending(robin)) == MOST_PENDING


async def test_one_of_many_that_is_asked_for_twice_at_once_is_not_refused(services: PaServices, robin: UserId) -> None:
    for number in range(MOST_AN_HOUR - 1):
        await services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="x", key=str(number))

    first, again = await asyncio.gather(
        *(services.add_reminder(robin, at="2026-11-22 10:05", zone=None, text="x", key="last") for _ in range(2))
    )

    assert (first[0], first[1], again[1]) == (again[0], True, False)
