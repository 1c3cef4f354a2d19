"""Pacing: never more than Meta's limits over any stretch of time, and no slower than they ask for."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.delivery.pacing import BURST, EVERY_S, FULL_AFTER_S, Brake, Pacer
from clawkakad.model import UserId

ROBIN, MIKA = UserId("u1"), UserId("u2")
STEPS = st.lists(st.floats(0, 30), min_size=1, max_size=400)


def greedy(pacer: Pacer, user: UserId, steps: list[float]) -> list[float]:
    """When somebody goes who asks after each step and takes whatever there is."""
    now, taken = 0.0, []
    for step in steps:
        now += step
        if pacer.wait_s(user, now) == 0:
            pacer.take(user, now)
            taken.append(now)
    return taken


@given(STEPS)
def test_no_stretch_of_time_has_more_than_the_burst_and_the_rate(steps: list[float]) -> None:
    taken = greedy(Pacer(1e9, 0), ROBIN, steps)

    for first, begin in enumerate(taken):
        for count, end in enumerate(taken[first:], start=1):
            assert count <= BURST + (end - begin) / EVERY_S + 1e-6


@given(STEPS)
def test_whoever_waits_as_long_as_told_may_go(steps: list[float]) -> None:
    pacer, now = Pacer(1e9, 0), 0.0
    for step in steps:
        now += step / 100
        now += pacer.wait_s(ROBIN, now) + 1e-9
        assert pacer.wait_s(ROBIN, now) < 1e-6
        pacer.take(ROBIN, now)


@given(st.floats(10, 1000), st.lists(st.floats(0, 0.1), min_size=1, max_size=600))
def test_no_second_has_more_than_the_number_may_send(rate: float, steps: list[float]) -> None:
    pacer, now, taken = Pacer(rate, 0), 0.0, []
    for index, step in enumerate(steps):
        now += step
        if pacer.number_wait_s(now) == 0:
            pacer.take(UserId(f"u{index}"), now)
            taken.append(now)

    for begin in taken:
        assert sum(begin <= at < begin + 1 for at in taken) <= math.ceil(rate)


def test_a_burst_goes_at_once_and_then_one_each_six_seconds() -> None:
    pacer = Pacer(1e9, 0)
    for _ in range(BURST):
        assert pacer.wait_s(ROBIN, 0) == 0
        pacer.take(ROBIN, 0)

    assert pacer.wait_s(ROBIN, 0) == EVERY_S
    assert pacer.wait_s(ROBIN, 4) == pytest.approx(2)
    assert pacer.wait_s(MIKA, 0) == 0


def test_what_the_last_process_sent_counts() -> None:
    pacer = Pacer(1e9, 1000)
    pacer.remember((ROBIN, 999.0 + number / 100) for number in range(BURST))

    assert pacer.wait_s(ROBIN, 1000) == pytest.approx(EVERY_S - 1)


def test_people_who_are_idle_are_forgotten_and_others_are_not() -> None:
    pacer = Pacer(1e9, 0)
    for number in range(1000):
        pacer.take(UserId(f"u{number}"), 0)
    for _ in range(BURST):
        pacer.take(ROBIN, 0)

    pacer.forget_idle(EVERY_S + 0.01)
    assert len(pacer) == 1
    pacer.forget_idle(FULL_AFTER_S + EVERY_S)
    assert len(pacer) == 0


def test_whoever_had_enough_elsewhere_gets_one_try() -> None:
    pacer = Pacer(1e9, 0)
    pacer.drain(ROBIN, 0)

    assert pacer.wait_s(ROBIN, 0) == 0
    pacer.take(ROBIN, 0)
    assert pacer.wait_s(ROBIN, 0) == EVERY_S


def test_a_clock_that_stands_still_or_goes_back_gives_nothing_away() -> None:
    pacer = Pacer(1e9, 100)
    for _ in range(BURST):
        pacer.take(ROBIN, 100)

    assert pacer.wait_s(ROBIN, 50) >= EVERY_S


def test_the_brake_is_held_longer_each_time_until_something_is_taken() -> None:
    brake, now, waits = Brake(lambda: 0.0), 0.0, []
    for _ in range(10):
        waits.append(brake.hit(now, first_s=2, asked_s=None))
        now += waits[-1]

    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    brake.taken()
    assert brake.hit(now, first_s=2, asked_s=None) == 2


def test_those_in_flight_together_hit_the_brake_once() -> None:
    brake = Brake(lambda: 0.0)
    for _ in range(20):
        brake.hit(0, first_s=2, asked_s=None)

    assert brake.wait_s(0) == 2


def test_what_meta_asks_for_is_the_least() -> None:
    brake = Brake(lambda: 1.0)

    assert brake.hit(0, first_s=2, asked_s=17) == 17
    assert brake.hit(1, first_s=2, asked_s=30) == 30
    assert brake.wait_s(31) == 0
