"""Settling: never twice, never a heartbeat, never what is old; and only time in which we listened counts."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.delivery.settling import (
    LONGEST_TICK_S,
    LONGEST_WAIT_S,
    MOST_BEHIND_S,
    Lags,
    Patience,
    Verdict,
    decide,
    wait_s,
)

AGES = st.timedeltas(timedelta(days=-400), timedelta(days=400))
ORIGINS = st.sampled_from(["reply", "notice", "reminder", "late", "heartbeat"])


@given(AGES, st.integers(1, 50), ORIGINS, st.integers(0, 10))
def test_a_message_is_sent_again_only_while_young_asked_for_and_as_often_as_wanted(
    age: timedelta, unknowns: int, origin: str, resends: int
) -> None:
    if decide(age=age, unknowns=unknowns, origin=origin, resends=resends) is Verdict.RESEND:
        assert unknowns <= resends
        assert timedelta(minutes=-1) <= age < timedelta(minutes=10)
        assert origin != "heartbeat"


@given(
    st.lists(st.timedeltas(timedelta(0), timedelta(minutes=3)), min_size=2, max_size=20), ORIGINS, st.integers(0, 10)
)
def test_however_often_its_outcome_is_unknown_its_sends_are_bounded(
    waits: list[timedelta], origin: str, resends: int
) -> None:
    sends, unknowns, age = 1, 1, timedelta(0)
    for wait in waits:
        age += wait
        if decide(age=age, unknowns=unknowns, origin=origin, resends=resends) is Verdict.HOLD:
            break
        sends, unknowns = sends + 1, unknowns + 1

    assert sends <= 1 + resends


@pytest.mark.parametrize("origin", ["reply", "notice", "reminder", "late"])
def test_a_young_message_is_sent_again(origin: str) -> None:
    age = timedelta(minutes=9, seconds=59)

    assert decide(age=age, unknowns=1, origin=origin, resends=1) is Verdict.RESEND


def test_the_wait_is_the_setting_or_five_times_the_lag_within_bounds() -> None:
    assert wait_s(60, 0) == 60
    assert wait_s(60, 20) == 100
    assert wait_s(60, 10_000) == LONGEST_WAIT_S
    assert wait_s(1000, 10_000) == 1000


def test_the_lag_is_that_of_nearly_all_lately() -> None:
    lags = Lags(most=200)
    assert lags.p99_s() == 0
    for _ in range(198):
        lags.note(2)
    lags.note(-3)  # a clock was set
    lags.note(500)
    assert lags.p99_s() == 2
    lags.note(400)
    lags.note(300)
    assert lags.p99_s() == 400


def test_only_time_in_which_we_listened_counts() -> None:
    patience = Patience()
    patience.tick(0, listening=True)
    assert patience.waited_s(7) == 0
    patience.tick(1, listening=True)
    patience.tick(2, listening=False)
    patience.tick(3, listening=True)
    patience.tick(5, listening=True)
    assert patience.waited_s(7) == 1  # for as long as we did not listen, what was sent then may still come

    patience.tick(6, listening=True)
    assert patience.waited_s(7) == 2
    assert patience.waited_s(8) == 0


@pytest.mark.parametrize(("away_s", "deaf_s"), [(20, 20), (-5, 0), (-90_000, MOST_BEHIND_S), (90_000, MOST_BEHIND_S)])
def test_as_long_as_nobody_listened_nothing_counts_after_a_start(away_s: float, deaf_s: float) -> None:
    patience = Patience()
    patience.was_away(away_s)
    patience.tick(0, listening=True)
    patience.waited_s(7)
    for second in range(1, int(deaf_s) + 1):
        patience.tick(second, listening=True)
        assert patience.waited_s(7) == 0

    patience.tick(deaf_s + 1, listening=True)
    assert patience.waited_s(7) == 1


@given(st.lists(st.tuples(st.floats(0.1, 20), st.booleans()), min_size=1, max_size=12), st.integers(0, 600))
def test_however_little_is_heard_no_message_waits_for_ever(rounds: list[tuple[float, bool]], wait: int) -> None:
    patience, now, heard = Patience(), 0.0, 0.0
    patience.tick(now, listening=False)
    patience.waited_s(7)
    was = False
    for passed, listening in [*rounds, (1.0, True), (1.0, True)] * 1000:
        now += passed
        patience.tick(now, listening=listening)
        heard += min(passed, LONGEST_TICK_S) if was and listening else 0.0
        was = listening
        if heard > wait + MOST_BEHIND_S + 1:
            break

    assert patience.waited_s(7) >= wait


def test_a_process_that_stood_still_did_not_listen() -> None:
    patience = Patience()
    patience.tick(0, listening=True)
    patience.waited_s(7)
    patience.tick(3600, listening=True)
    assert patience.waited_s(7) == LONGEST_TICK_S

    for second in range(1, int(MOST_BEHIND_S) + 1):
        patience.tick(3600 + second, listening=True)
    assert patience.waited_s(7) == LONGEST_TICK_S
    patience.tick(3600 + MOST_BEHIND_S + 1, listening=True)
    assert patience.waited_s(7) == LONGEST_TICK_S + 1


def test_who_is_settled_is_forgotten() -> None:
    patience = Patience()
    patience.tick(0, listening=True)
    patience.waited_s(7)
    patience.waited_s(8)
    patience.tick(2, listening=True)
    patience.keep_only({8})

    assert patience.waited_s(7) == 0
    assert patience.waited_s(8) == 2
