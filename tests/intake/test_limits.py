"""Limits: counting, and when a count is asked for."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from clawkakad.intake import limits
from clawkakad.intake.limits import Hourly, Tally
from clawkakad.model import UserId

ROBIN, SASCHA = UserId("u1"), UserId("u2")
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def test_the_registry_is_asked_once_for_as_many_as_are_left() -> None:
    asked: list[int] = []

    def count() -> int:
        asked.append(1)
        return 2

    hourly = Hourly(5)
    assert [hourly.allows(ROBIN, NOON, count) for _ in range(3)] == [True] * 3
    assert len(asked) == 1


def test_in_a_flood_the_registry_is_asked_once_in_a_while() -> None:
    asked: list[int] = []

    def count() -> int:
        asked.append(1)
        return 5

    hourly = Hourly(5)
    assert not any(hourly.allows(ROBIN, NOON, count) for _ in range(100))
    assert len(asked) == 1
    assert hourly.allows(ROBIN, NOON + limits.RECOUNT, lambda: 4)
    assert hourly.allows(SASCHA, NOON, lambda: 0)


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    hourly = Hourly(5)
    assert not hourly.allows(ROBIN, NOON, lambda: 5)
    assert hourly.allows(ROBIN, NOON - limits.HOUR, lambda: 0)


def test_no_limit_asks_nothing() -> None:
    def count() -> int:
        raise AssertionError("asked")

    assert Hourly(0).allows(ROBIN, NOON, count)


@given(st.integers(1, 6), st.lists(st.tuples(st.sampled_from([ROBIN, SASCHA]), st.booleans())))
def test_nobody_ever_gets_more_than_the_limit(most: int, life: list[tuple[UserId, bool]]) -> None:
    """Each message, or the end of an hour for that person."""
    hourly, counts, now = Hourly(most), {ROBIN: 0, SASCHA: 0}, NOON
    for user_id, is_message in life:
        if not is_message:
            counts[user_id] = 0
            now += limits.HOUR
        elif hourly.allows(user_id, now, lambda who=user_id: counts[who]):
            counts[user_id] += 1
        else:
            assert counts[user_id] == most
        assert counts[user_id] <= most


def test_a_tally_speaks_up_ever_more_rarely() -> None:
    tally = Tally()

    told = [count for _ in range(1234) if (count := tally.add(ROBIN)) is not None]

    assert told == [1, 10, 100, 1000]
    assert tally.add(SASCHA) == 1


def test_a_day_is_one_of_utc_and_names_its_lines() -> None:
    assert limits.start_of_day(NOON) == datetime(2026, 11, 22, tzinfo=UTC)
    assert limits.limit_line(ROBIN, NOON) == "limit:u1:2026-11-22"
    assert limits.stranger_line(ROBIN, NOON) == "stranger:2026-11-22:u1"
    assert limits.stranger_line(ROBIN, NOON).startswith(limits.stranger_lines(NOON))
