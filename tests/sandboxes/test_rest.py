"""Who rests next: whatever there is, never one that is at work, and never more than is due or needed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.model import SandboxId, SandboxState
from clawkakad.sandboxes.rest import Leaving, Order, Pressure, Resident, Rules, due

S = SandboxState
RULES = Rules(doze_after_s=600, sleep_after_s=3600, reserve_mb=500, awake_mb=450, dozing_mb=80)
PLENTY = Pressure(available_mb=9000, swap_free_mb=9000)


def awake(name: str, idle_s: float, *, busy: bool = False) -> Resident:
    return Resident(SandboxId(name), S.READY, idle_s, busy)


def dozing(name: str, idle_s: float) -> Resident:
    return Resident(SandboxId(name), S.DOZING, idle_s)


def to(orders: list[Order]) -> list[tuple[str, SandboxState]]:
    return [(order.id, order.to) for order in orders]


# By time


def test_who_was_not_needed_for_a_while_dozes_and_after_a_long_doze_sleeps() -> None:
    people = [awake("a", 599), awake("b", 600), dozing("c", 3599), dozing("d", 3600), awake("e", 3600)]

    assert to(due(people, PLENTY, RULES)) == [("d", S.ASLEEP), ("e", S.ASLEEP), ("b", S.DOZING)]


@pytest.mark.parametrize("people", [[awake("a", 1e9)], [dozing("a", 1e9)]])
def test_zero_is_never(people: list[Resident]) -> None:
    assert due(people, PLENTY, replace(RULES, doze_after_s=0, sleep_after_s=0)) == []


def test_where_nobody_dozes_they_sleep_at_their_time() -> None:
    rules = replace(RULES, doze_after_s=0)

    assert to(due([awake("a", 700), awake("b", 3601)], PLENTY, rules)) == [("b", S.ASLEEP)]


# Under pressure


def test_the_one_used_longest_ago_dozes_first_and_no_more_than_it_takes() -> None:
    people = [awake("a", 30), awake("b", 90), awake("c", 60)]
    short = replace(PLENTY, available_mb=RULES.reserve_mb - 400)

    assert to(due(people, short, RULES)) == [("b", S.DOZING), ("c", S.DOZING)]
    assert to(due(people, replace(short, available_mb=RULES.reserve_mb - 370), RULES)) == [("b", S.DOZING)]


def test_without_swap_for_it_they_sleep() -> None:
    short = Pressure(available_mb=100, swap_free_mb=449)

    assert to(due([awake("a", 30)], short, RULES)) == [("a", S.ASLEEP)]


def test_swap_is_given_out_once() -> None:
    short = Pressure(available_mb=0, swap_free_mb=RULES.awake_mb + 100)

    assert to(due([awake("a", 90), awake("b", 30)], short, RULES)) == [("a", S.DOZING), ("b", S.ASLEEP)]


def test_those_who_doze_sleep_when_nobody_awake_can_be_spared() -> None:
    short = replace(PLENTY, available_mb=RULES.reserve_mb - 10)

    assert to(due([awake("a", 90, busy=True), dozing("b", 5), dozing("c", 50)], short, RULES)) == [("c", S.ASLEEP)]


def test_nobody_is_frozen_between_two_messages() -> None:
    short = replace(PLENTY, available_mb=0)

    assert due([awake("a", RULES.pressed_idle_s - 1)], short, RULES) == []


def test_those_who_wait_to_wake_are_pressure_too() -> None:
    enough = replace(PLENTY, available_mb=RULES.reserve_mb)

    assert due([awake("a", 90)], enough, RULES) == []
    assert to(due([awake("a", 90)], replace(enough, wanted_mb=450), RULES)) == [("a", S.DOZING)]


def test_those_who_are_being_put_to_rest_are_counted() -> None:
    short = replace(PLENTY, available_mb=RULES.reserve_mb - 370)

    assert due([awake("a", 90)], replace(short, leaving=[Leaving(S.READY, S.DOZING)]), RULES) == []
    assert due([awake("a", 90)], replace(short, leaving=[Leaving(S.DOZING, S.ASLEEP)] * 5), RULES) == []
    assert due([awake("a", 90)], replace(short, leaving=[Leaving(S.DOZING, S.ASLEEP)] * 4), RULES)


# Whatever there is

IDLE = st.floats(0, 1e6)
PEOPLE = st.lists(
    st.builds(
        Resident, st.text("abc", min_size=5, max_size=5), st.sampled_from([S.READY, S.DOZING]), IDLE, st.booleans()
    ),
    max_size=12,
    unique_by=lambda one: one.id,
)
HOSTS = st.builds(Pressure, st.integers(0, 9000), st.integers(0, 9000), st.integers(0, 2000))
RULE = st.builds(
    Rules,
    st.sampled_from([0.0, 60.0, 600.0]),
    st.sampled_from([0.0, 3600.0]),
    st.integers(0, 3000),
    st.integers(200, 900),
)


@given(PEOPLE, HOSTS, RULE)
def test_nobody_at_work_rests_and_nobody_comes_up_or_is_told_twice(
    people: list[Resident], host: Pressure, rules: Rules
) -> None:
    orders = due(people, host, rules)
    states = {one.id: one.state for one in people}

    assert len({order.id for order in orders}) == len(orders)
    assert {order.id for order in orders}.isdisjoint(one.id for one in people if one.busy)
    for order in orders:
        assert order.reason
        assert order.to in ({S.DOZING, S.ASLEEP} if states[order.id] is S.READY else {S.ASLEEP})
        assert rules.doze_after_s or order.to is S.ASLEEP


@given(PEOPLE, HOSTS, RULE)
def test_without_pressure_only_those_rest_whose_time_has_come(
    people: list[Resident], host: Pressure, rules: Rules
) -> None:
    host = replace(host, available_mb=rules.reserve_mb + host.wanted_mb)
    idle = {one.id: one.idle_s for one in people}

    for order in due(people, host, rules):
        after_s = rules.doze_after_s if order.to is S.DOZING else rules.sleep_after_s
        assert after_s
        assert idle[order.id] >= after_s


@given(PEOPLE, HOSTS, RULE)
def test_under_pressure_nobody_rests_before_somebody_used_longer_ago(
    people: list[Resident], host: Pressure, rules: Rules
) -> None:
    resting = {order.id for order in due(people, host, rules)}
    for state in (S.READY, S.DOZING):
        free = [one for one in people if not one.busy and one.state is state]
        first_spared = max((one.idle_s for one in free if one.id not in resting), default=-1.0)
        assert all(one.idle_s >= first_spared for one in free if one.id in resting)


@given(PEOPLE, HOSTS, RULE)
def test_no_more_rest_than_it_takes(people: list[Resident], host: Pressure, rules: Rules) -> None:
    """Without the last of those who rest before their time, the host would still be short."""
    orders = due(people, host, rules)
    by_time = {order.id for order in due(people, replace(host, available_mb=10**6), rules)}
    early = [order for order in orders if order.id not in by_time]
    if not early:
        return
    states = {one.id: one.state for one in people}

    def gains(some: list[Order]) -> int:
        return sum(
            (rules.awake_mb if states[order.id] is S.READY else rules.dozing_mb)
            - (rules.dozing_mb if order.to is S.DOZING else 0)
            for order in some
        )

    short = rules.reserve_mb + host.wanted_mb - host.available_mb
    smallest = min(gains([order]) for order in early)
    assert gains(orders) - smallest < short or len(early) == 1
