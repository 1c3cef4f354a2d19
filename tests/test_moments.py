"""The moments that periodic looks share."""

import asyncio

import pytest

from clawkakad import moments
from clawkakad.moments import APART_S, moment_after


@pytest.mark.parametrize("seconds", [0.5, 0.9, 1.0, 3.0, 10.1, 67.5])
async def test_what_is_due_is_due_at_a_moment_near_its_time(seconds: float) -> None:
    due = moment_after(seconds)

    assert due / APART_S == pytest.approx(round(due / APART_S))
    assert abs(due - asyncio.get_running_loop().time() - seconds) <= APART_S / 2 + 0.05


async def test_what_is_due_sooner_has_its_own_time() -> None:
    now = asyncio.get_running_loop().time()

    assert now + 0.02 <= moment_after(0.02) <= asyncio.get_running_loop().time() + 0.02
    assert moment_after(-1.0) <= now


async def test_who_looks_each_second_is_woken_with_the_others() -> None:
    due = set[float]()
    for _ in range(5):
        due.add(moment_after(1.0))
        await asyncio.sleep(0.02)

    assert len(due) <= 2  # two where the border between two moments has just passed


async def test_a_sleeper_sleeps_as_long_as_it_is_told_to() -> None:
    began = asyncio.get_running_loop().time()

    await moments.sleep(0.05)

    assert asyncio.get_running_loop().time() - began >= 0.05


async def test_a_sleeper_that_is_cancelled_wakes_at_once() -> None:
    sleeper = asyncio.create_task(moments.sleep(60))
    await asyncio.sleep(0)
    sleeper.cancel()

    with pytest.raises(asyncio.CancelledError):
        await sleeper
