"""How much of the disk a sandbox may take, and how much room the host has left: rules, tried on everything."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.registry.disks import DiskRow
from clawkakad.sandboxes.disk import GRACE, Found, Quota, forgiven, in_words, is_over, judge, share, why_stopped
from clawkakad.sandboxes.policy import PARKED_FOR
from clawkakad.sandboxes.room import GIB, MIB, Room, Space, fell_fast

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
QUOTA = Quota(100 * MIB)
NONE = Quota(0)
FEW = 10
STOPPED = DiskRow(120 * MIB, FEW, "", QUOTA.bytes, NOON, warned=True, full_at=NOON)


def found(mb: float, *, inodes: int = FEW, cut: str = "") -> Found:
    return Found(int(mb * MIB), inodes, cut)


@pytest.mark.parametrize(
    ("seen", "stop", "warn"),
    [
        (found(0), False, False),
        (found(79), False, False),
        (found(80), False, True),
        (found(99.9), False, True),
        (found(100), True, False),
        (found(1, inodes=QUOTA.inodes * 8 // 10 + 1), False, True),
        (found(1, inodes=QUOTA.inodes), True, False),
        (found(100, cut="seconds"), True, False),  # and perhaps more
        (found(1, inodes=QUOTA.inodes + 1, cut="inodes"), True, False),
        (found(1, cut="seconds"), False, False),
    ],
)
def test_what_follows_from_a_first_look(seen: Found, stop: bool, warn: bool) -> None:
    judged = judge(NOON, seen, None, QUOTA, host_full=False)

    assert (judged.stop, judged.warn) == (stop, warn)
    assert (judged.disk.full_at is not None) is stop
    assert bool(why_stopped(judged.disk, QUOTA)) is stop


@given(st.integers(0, 2**50), st.integers(0, 2**40), st.sampled_from(["", "seconds", "inodes"]), st.booleans())
def test_without_a_quota_nobody_is_stopped_or_warned_of(size: int, inodes: int, cut: str, host_full: bool) -> None:
    row = None
    for _ in range(5):
        judged = judge(NOON, Found(size, inodes, cut), row, NONE, host_full=host_full)
        row = judged.disk
        assert (judged.stop, judged.warn, why_stopped(row, NONE)) == (False, False, "")


def test_that_it_is_nearly_full_is_news_once_and_again_after_it_was_not() -> None:
    row, news = None, []
    for mb in (80, 85, 75, 81, 69, 80):
        judged = judge(NOON, found(mb), row, QUOTA, host_full=False)
        row = judged.disk
        news.append(judged.warn)

    assert news == [True, False, False, False, False, True]


def test_what_cannot_be_measured_three_times_in_a_row_is_stopped() -> None:
    stops, row = [], None
    for cut in ("seconds", "exit code 137", "", "depth", "depth", "depth"):
        judged = judge(NOON, found(1, cut=cut), row, QUOTA, host_full=False)
        row = judged.disk
        stops.append(judged.stop)

    assert stops == [False, False, False, False, False, True]


def test_who_is_started_again_may_clean_up_and_may_not_grow() -> None:
    row = forgiven(NOON, STOPPED, QUOTA)
    soon, late = NOON + timedelta(minutes=14), NOON + timedelta(minutes=16)
    assert why_stopped(row, QUOTA) == ""

    assert not judge(soon, found(129), row, QUOTA, host_full=False).stop
    assert judge(soon, found(131), row, QUOTA, host_full=False).stop
    assert judge(late, found(101), row, QUOTA, host_full=False).stop
    assert judge(soon, found(101), row, QUOTA, host_full=True).stop

    cleaned = judge(soon, found(99), row, QUOTA, host_full=False)
    assert not cleaned.stop
    assert judge(soon, found(101), cleaned.disk, QUOTA, host_full=False).stop  # a grace is for cleaning up, once


def test_a_smaller_volume_or_a_larger_quota_ends_it() -> None:
    assert why_stopped(STOPPED, QUOTA)
    assert not why_stopped(STOPPED, Quota(130 * MIB))
    assert not why_stopped(STOPPED, NONE)
    assert not why_stopped(judge(NOON, found(90), STOPPED, QUOTA, host_full=False).disk, QUOTA)


@given(
    st.lists(st.tuples(st.floats(1, 900), st.floats(0, 300), st.integers(0, 9000), st.booleans()), max_size=80),
    st.booleans(),
)
def test_it_never_flaps(looks: list[tuple[float, float, int, bool]], host_full: bool) -> None:
    """However it grows and shrinks, and whoever writes: from one stop to the next it takes an hour, or somebody's hand.

    A stopped one is started again when its volume is smaller, which nothing inside can do, or when its person writes
    an hour later; it is over its quota and runs in a grace only, or until the next look.
    """
    now, row, stops = NOON, None, list[datetime]()
    for seconds, mb, inodes, cut in looks:
        now += timedelta(seconds=seconds)
        was_stopped = row is not None and row.full_at is not None
        if row is not None and row.full_at is not None:
            if now - row.full_at < PARKED_FOR:
                row = replace(row, measured_at=now)
                continue
            row = forgiven(now, row, QUOTA)
        judged = judge(now, found(mb, inodes=inodes, cut="seconds" if cut else ""), row, QUOTA, host_full=host_full)
        row = judged.disk
        assert judged.stop == (row.full_at is not None)
        if judged.stop:
            stops.append(now)
        elif is_over(row, QUOTA):
            assert row.grace_until is not None
            assert now < row.grace_until <= now + GRACE
            assert share(row, QUOTA) <= row.grace_share
            assert not host_full
        assert not (judged.stop and judged.warn)
        assert not was_stopped or judged.stop or row.full_at is None
    assert all(later - earlier >= PARKED_FOR for earlier, later in itertools.pairwise(stops))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (STOPPED, "120 MB of 100 MB"),
        (replace(STOPPED, bytes=0, inodes=7000), "7000 of 6400 files"),
        (replace(STOPPED, cut="seconds"), "more than 120 MB of 100 MB"),
        (replace(STOPPED, quota=0, bytes=12 * GIB), "12 GB"),
    ],
)
def test_it_is_told_in_words(row: DiskRow, words: str) -> None:
    assert in_words(row) == words


# The host


@pytest.mark.parametrize(
    ("free", "total", "space"),
    [
        (50 * GIB, 100 * GIB, Space.ENOUGH),
        (10 * GIB, 100 * GIB, Space.ENOUGH),  # a tenth, but a lot
        (9 * GIB, 100 * GIB, Space.LOW),
        (2 * GIB, 100 * GIB, Space.LOW),
        (1 * GIB, 100 * GIB, Space.FULL),
        (3 * MIB, 16 * MIB, Space.ENOUGH),
        (2 * MIB, 16 * MIB, Space.LOW),
        (MIB // 2, 16 * MIB, Space.FULL),
        (0, 16 * MIB, Space.FULL),
        (0, 0, Space.ENOUGH),  # such as /proc
    ],
)
def test_how_a_host_stands(free: int, total: int, space: Space) -> None:
    assert Room(free, total).space() is space


def test_files_run_out_too() -> None:
    assert Room(50, 100, free_inodes=14, inodes=100).space() is Space.LOW
    assert Room(50, 100, free_inodes=4, inodes=100).space() is Space.FULL


@given(st.integers(0, 2**44), st.integers(1, 2**44), st.sampled_from(Space))
def test_it_takes_more_room_to_get_better_than_to_get_worse(free: int, total: int, before: Space) -> None:
    room = Room(min(free, total), total)

    assert room.space() <= room.space(before) <= max(before, room.space())
    assert Room(total, total).space(before) is Space.ENOUGH


def test_somebody_who_fills_it_quickly_is_noticed() -> None:
    before = Room(10 * GIB, 20 * GIB, 10**6, 10**6)

    assert not fell_fast(before, replace(before, free=10 * GIB - 255 * MIB))
    assert fell_fast(before, replace(before, free=10 * GIB - 256 * MIB))
    assert fell_fast(before, replace(before, free_inodes=10**6 - 16384))
    assert not fell_fast(before, replace(before, free=20 * GIB))
