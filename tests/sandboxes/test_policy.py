"""What becomes of a sandbox: the moves there are, and a policy that never runs wild."""

import itertools
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.model import SandboxState
from clawkakad.sandboxes.policy import (
    MOVES,
    Do,
    History,
    Host,
    Limits,
    Observed,
    Wanted,
    allowed,
    decide,
    is_at_rest,
    is_needed,
)

S = SandboxState
LIMITS = Limits()
STATUSES = (None, "created", "running", "paused", "restarting", "removing", "exited", "dead")
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
WANTED = Wanted(needed=True, made_of="p i")
GONE = Observed(S.UNHEALTHY, exists=False, running=False)
ENDED = Observed(S.UNHEALTHY, exists=True, running=False)
RUNS = Observed(S.STARTING, exists=True, running=True)
FROZEN = Observed(S.DOZING, exists=True, running=False, frozen=True)
FULL = replace(WANTED, full="its disk is full")
PARKED = replace(ENDED, state=S.PARKED, parked_at=NOON, parked_with="p i")


def full(_: object = None) -> float:
    return 1.0


# The moves


def test_every_pair_of_states_is_a_move_or_is_none() -> None:
    assert set(MOVES) == set(S)
    for before, after in itertools.product(S, S):
        assert allowed(before, after) == (before is after or after in MOVES[before])


def test_the_moves_that_must_not_be() -> None:
    for state in set(S) - {S.STARTING, S.READY}:
        assert not allowed(state, S.READY), "nobody is ready who did not start"
    for state in set(S) - {S.UNHEALTHY, S.PARKED}:
        assert not allowed(state, S.PARKED), "nobody is parked who did not fail"
    for state in set(S) - {S.READY, S.DOZING, S.STOPPING}:
        assert not allowed(state, S.STOPPING)
    for state in set(S) - {S.ABSENT}:
        assert not allowed(state, S.ABSENT), "who had a container never becomes new again"


def test_every_state_is_reached_and_has_a_way_on_to_ready() -> None:
    for start in S:
        seen, edge = {start}, {start}
        while edge := {after for before in edge for after in MOVES[before]} - seen:
            seen |= edge
        assert S.READY in seen
        assert seen >= set(S) - {S.ABSENT}


# The decisions


@pytest.mark.parametrize(
    ("wanted", "observed", "history", "does"),
    [
        (WANTED, RUNS, History(), Do.CONNECT),
        (replace(WANTED, needed=False), RUNS, History(), Do.CONNECT),
        (WANTED, replace(RUNS, usable=False), History(), Do.START),
        (WANTED, GONE, History(), Do.START),
        (WANTED, ENDED, History(), Do.START),
        (replace(WANTED, needed=False), ENDED, History(), Do.SLEEP),
        (replace(WANTED, needed=False), GONE, History(), Do.SLEEP),
        (replace(WANTED, made_of=None), GONE, History(), Do.WAIT),
        (replace(WANTED, made_of=None), ENDED, History(), Do.START),  # the engine knows the image by its id
        (WANTED, replace(ENDED, refused=True), History(), Do.START),  # who knows what was changed meanwhile
        (WANTED, replace(ENDED, refused=True), History(failures=1), Do.PARK),
        (replace(WANTED, needed=False), replace(ENDED, refused=True), History(failures=1), Do.PARK),
        (WANTED, ENDED, History(failures=1), Do.START),
        (WANTED, replace(RUNS, refused=True), History(failures=1), Do.CONNECT),
        (replace(WANTED, retry=True), replace(ENDED, refused=True), History(failures=1), Do.FORGIVE),
        (WANTED, replace(ENDED, refused=True), History(failures=1, not_before=101.0), Do.WAIT),
        (WANTED, ENDED, History(failures=1, not_before=101.0), Do.WAIT),
        (WANTED, RUNS, History(failures=1, not_before=101.0, reconnect_at=101.0), Do.WAIT),
        (WANTED, RUNS, History(failures=9, not_before=300.0, reconnect_at=100.0), Do.CONNECT),
        (WANTED, replace(RUNS, usable=False), History(failures=9, not_before=300.0, reconnect_at=100.0), Do.WAIT),
        (WANTED, ENDED, History(failures=9, not_before=300.0, reconnect_at=100.0), Do.WAIT),
        (WANTED, ENDED, History(failures=6, restarts=(91.0, 92.0, 94.0, 96.0, 98.0)), Do.PARK),
        (WANTED, ENDED, History(failures=6, restarts=(-600.0, 92.0, 94.0, 96.0, 98.0)), Do.START),
        (WANTED, FROZEN, History(), Do.WAKE),
        (replace(WANTED, needed=False), FROZEN, History(), Do.DOZE),
        (replace(WANTED, needed=False, asleep=True), FROZEN, History(), Do.STOP),
        (replace(WANTED, asleep=True), FROZEN, History(), Do.WAKE),
        (replace(WANTED, made_of=None), FROZEN, History(), Do.WAKE),
        (WANTED, replace(FROZEN, state=S.READY), History(), Do.WAKE),
        (WANTED, replace(FROZEN, usable=False), History(), Do.START),
        (replace(WANTED, needed=False), replace(FROZEN, usable=False), History(), Do.STOP),
        (WANTED, FROZEN, History(failures=1, not_before=101.0), Do.WAIT),
        (WANTED, replace(PARKED, running=False, frozen=True), History(), Do.WAIT),
        (FULL, RUNS, History(), Do.PARK),
        (replace(FULL, needed=False), ENDED, History(), Do.PARK),
        (FULL, replace(PARKED, was_full=True), History(), Do.WAIT),
        (replace(FULL, retry=True), replace(PARKED, was_full=True), History(), Do.FORGIVE),
        (replace(FULL, wrote_at=NOON + timedelta(minutes=61)), replace(PARKED, was_full=True), History(), Do.FORGIVE),
        (WANTED, replace(PARKED, was_full=True), History(), Do.FORGIVE),
        (WANTED, PARKED, History(), Do.WAIT),
        (WANTED, replace(PARKED, running=True), History(), Do.WAIT),
        (replace(WANTED, made_of=None), PARKED, History(), Do.WAIT),
        (replace(WANTED, made_of="p other"), PARKED, History(), Do.FORGIVE),
        (replace(WANTED, retry=True), PARKED, History(), Do.FORGIVE),
        (replace(WANTED, wrote_at=NOON + timedelta(minutes=59)), PARKED, History(), Do.WAIT),
        (replace(WANTED, wrote_at=NOON + timedelta(minutes=61)), PARKED, History(), Do.FORGIVE),
    ],
)
def test_what_is_done(wanted: Wanted, observed: Observed, history: History, does: Do) -> None:
    assert decide(100.0, wanted, observed, history, Host(), LIMITS).do is does


def test_where_the_disk_is_low_only_who_is_new_is_held_back() -> None:
    low, new = Host(has_room=False), Observed(S.ABSENT, exists=False, running=False, new=True)

    assert decide(0.0, WANTED, new, History(), low).do is Do.HOLD_BACK
    assert decide(0.0, WANTED, new, History(), low).after_s is None
    assert decide(0.0, WANTED, new, History(), Host()).do is Do.START
    assert decide(0.0, replace(WANTED, needed=False), new, History(), low).do is Do.SLEEP
    for observed, does in ((GONE, Do.START), (ENDED, Do.START), (RUNS, Do.CONNECT), (PARKED, Do.WAIT)):
        assert decide(0.0, WANTED, observed, History(), low).do is does


def test_what_no_timer_can_mend_is_not_tried_by_a_timer() -> None:
    for wanted, observed in ((replace(WANTED, made_of=None), GONE), (WANTED, PARKED)):
        assert decide(0.0, wanted, observed, History(), Host()).after_s is None


@given(
    st.booleans(),
    st.sampled_from(S),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 9),
    st.booleans(),
)
def test_an_engine_that_does_not_answer_decides_nothing(
    needed: bool, state: S, exists: bool, running: bool, refused: bool, failures: int, retry: bool
) -> None:
    decision = decide(
        0.0,
        Wanted(needed, None, retry=retry),
        Observed(state, exists, running, refused=refused),
        History(failures=failures),
        Host(answers=False),
    )
    assert (decision.do, decision.state) == (Do.WAIT, None)


def test_who_wrote_within_a_day_or_waits_is_needed() -> None:
    for state, wrote_at, waiting, addressed, needed in (
        (S.READY, NOON - timedelta(hours=23), False, False, True),
        (S.READY, NOON - timedelta(hours=25), False, False, False),
        (S.READY, NOON - timedelta(hours=25), True, False, True),
        (S.READY, None, False, True, True),
        (S.READY, None, False, False, False),
        (S.DOZING, NOON, False, False, False),  # it was put to rest
        (S.ASLEEP, NOON, False, False, False),
        (S.DOZING, NOON, False, True, True),
        (S.ASLEEP, NOON, True, False, True),
    ):
        assert is_needed(NOON, state, wrote_at=wrote_at, waiting=waiting, addressed=addressed) is needed


def test_who_rests_as_it_was_left_is_left_alone() -> None:
    at_rest = {(state, status) for state in S for status in STATUSES if is_at_rest(state, status)}

    assert at_rest == {
        (S.DOZING, "paused"),
        *((S.ASLEEP, status) for status in (None, "created", "exited", "dead", "removing")),
    }


# Failing


def test_waits_are_1_2_4_up_to_300_seconds_and_1_again_after_ten_healthy_minutes() -> None:
    history, waits = History(), []
    for _ in range(11):
        history = history.failed(0.0, LIMITS, full)
        waits.append(history.not_before)
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert history.ready(0.0).failed(599.0, LIMITS, full).not_before == 899.0
    assert history.ready(0.0).failed(600.0, LIMITS, full) == History(failures=1, not_before=601.0, reconnect_at=601.0)


def test_one_that_runs_is_connected_to_again_within_ten_seconds() -> None:
    history, waits = History(), []
    for _ in range(6):
        history = history.failed(0.0, LIMITS, full)
        waits.append(history.reconnect_at)

    assert waits == [1, 2, 4, 8, 10, 10]


def _after(lives_s: list[float]) -> History:
    """Connections that lasted so long, one after the other."""
    history = History()
    for lasts_s in lives_s:
        history = history.ready(0.0).failed(lasts_s, LIMITS, full)
    return history


def test_a_gateway_that_ends_every_connection_at_once_fails_like_any_other() -> None:
    history = _after([0.1] * 5)
    assert history.hangs_up(LIMITS)
    assert 1.1 == history.not_before
    assert 2 == history.started(1.1, LIMITS).failed(0.0, LIMITS, full).not_before, "it is of no use until one lasts"
    assert not history.ready(0.0).failed(2.0, LIMITS, full).hangs_up(LIMITS)


@given(st.lists(st.floats(0.0, 900.0), max_size=30))
def test_connections_of_which_one_in_five_lasts_are_made_again_for_ever(lives_s: list[float]) -> None:
    lives_s[::5] = [max(LIMITS.hang_up_s, lasts_s) for lasts_s in lives_s[::5]]

    assert not _after(lives_s).hangs_up(LIMITS)


def test_waits_are_jittered() -> None:
    assert History().failed(0.0, LIMITS, lambda: 0.0).not_before == pytest.approx(0.8)


def test_a_first_start_is_no_restart() -> None:
    assert History().started(5.0, LIMITS).restarts == ()
    assert History(failures=1).started(5.0, LIMITS).restarts == (5.0,)


LIVES = st.lists(st.tuples(st.floats(0.0, 900.0), st.booleans(), st.booleans()), max_size=60)


@given(LIVES, st.integers(0, 2**32))
def test_never_more_than_five_restarts_in_ten_minutes_before_it_is_parked(
    lives: list[tuple[float, bool, bool]], seed: int
) -> None:
    dice, now, history, restarts = random.Random(seed).random, 0.0, History(), list[float]()
    observed = GONE
    for lasts_s, gets_ready, refused in lives:
        while (decision := decide(now, WANTED, observed, history, Host(), LIMITS)).do is Do.WAIT:
            assert decision.after_s is not None
            assert decision.after_s <= LIMITS.last_delay_s
            now += max(decision.after_s, 1e-3)
        if decision.do is Do.PARK:
            return
        assert decision.do is Do.START
        assert not observed.refused, "a refusal is never tried again"
        if history.failures:
            restarts.append(now)
        history = history.started(now, LIMITS)
        if gets_ready:
            history = history.ready(now)
        healthy = gets_ready and lasts_s >= LIMITS.healthy_s
        now += lasts_s
        history = history.failed(now, LIMITS, dice)
        if healthy:
            restarts.clear()
        observed = replace(ENDED, refused=refused)
        assert sum(now - at < LIMITS.window_s for at in restarts) <= LIMITS.restarts
