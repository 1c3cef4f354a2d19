"""Bursts: what goes together, and that nobody waits longer than they must."""

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from clawkakad.assistant.burst import MOST_CHARACTERS, MOST_MESSAGES, MOST_WINDOWS, Quiet, turn_of
from clawkakad.model import InboxState, UserId, Wamid
from clawkakad.registry.inbox import InboxRow

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
LENGTHS = st.lists(st.integers(0, 5_000) | st.just(20_000), max_size=60)
SECONDS = st.floats(0, 30)


def row(number: int, *, text: str = "", received_s: float = 0, turn: int | None = None) -> InboxRow:
    return InboxRow(
        id=number,
        run_key=f"key-{number}",
        wamid=Wamid(f"wamid.{number}"),
        user_id=UserId("u1"),
        kind="text",
        text=text,
        media_id=None,
        reply_to=None,
        forwarded=False,
        sent_at=NOW,
        received_at=NOW + timedelta(seconds=received_s),
        state=InboxState.RECEIVED if turn is None else InboxState.RUNNING,
        turn=turn,
        attempt=0 if turn is None else 1,
        prompt=None,
        reason="",
    )


@given(LENGTHS)
def test_every_message_has_its_turn_in_order_and_no_turn_is_too_large(lengths: list[int]) -> None:
    waiting = [row(number, text="x" * length) for number, length in enumerate(lengths)]
    turns: list[list[InboxRow]] = []
    while rest := waiting[sum(len(turn) for turn in turns) :]:
        turns.append(turn_of(rest, window_s=1))
        assert turns[-1]

    assert list(itertools.chain(*turns)) == waiting
    for turn in turns:
        assert len(turn) <= MOST_MESSAGES
        assert len(turn) == 1 or sum(len(row.text or "") for row in turn) <= MOST_CHARACTERS


def test_a_turn_that_was_begun_stays_what_it_is() -> None:
    waiting = [row(1, turn=1), row(2, turn=1), row(3)]

    assert turn_of(waiting, window_s=1) == waiting[:2]
    assert Quiet(5).left_s(waiting, now=NOW, tick=0) == 0


def test_without_a_window_each_message_is_a_turn_and_waits_for_nothing() -> None:
    waiting = [row(1), row(2)]

    assert turn_of(waiting, window_s=0) == waiting[:1]
    assert Quiet(0).left_s(waiting, now=NOW, tick=0) == 0


def test_what_waited_already_waits_no_longer() -> None:
    assert Quiet(2).left_s([row(1)], now=NOW + timedelta(seconds=0.5), tick=100) == 1.5
    assert Quiet(2).left_s([row(1)], now=NOW + timedelta(seconds=3), tick=100) == 0


def test_a_full_turn_waits_for_nothing() -> None:
    assert Quiet(2).left_s([row(number) for number in range(MOST_MESSAGES + 1)], now=NOW, tick=0) == 0


@given(st.lists(SECONDS, min_size=1, max_size=MOST_MESSAGES), st.floats(0.1, 5), st.floats(-90_000, 90_000))
def test_nobody_waits_longer_than_they_must_whatever_the_clock_does(
    pauses: list[float], window_s: float, jump_s: float
) -> None:
    """Messages come after these pauses, each looked at when it comes; the clock jumps after the first."""
    quiet, waiting, tick, began = Quiet(window_s), [], 0.0, 0.0
    for number, pause_s in enumerate(pauses):
        clock_s = tick if number == 0 else tick + jump_s
        waiting.append(row(number, received_s=clock_s))
        left_s = quiet.left_s(waiting, now=NOW + timedelta(seconds=clock_s), tick=tick)

        assert 0 <= left_s <= window_s + 1e-3
        assert tick + left_s <= began + MOST_WINDOWS * window_s + 1e-3 or left_s == 0
        if pause_s > left_s:
            break  # quiet, or long enough: the turn begins
        tick += pause_s


@given(SECONDS, st.floats(0.1, 5))
def test_a_single_message_waits_exactly_the_rest_of_its_window(age_s: float, window_s: float) -> None:
    left_s = Quiet(window_s).left_s([row(1)], now=NOW + timedelta(seconds=age_s), tick=7)

    assert abs(left_s - max(0.0, window_s - age_s)) < 1e-3
