"""Silence: noticed in time, however often the timer had to be put off before, and never after it was lifted."""

import asyncio
import time

from clawkakad.gateway.silence import Silence
from tests.support import SCALE, eventually


async def test_silence_is_told_once() -> None:
    told: list[float] = []
    silence = Silence(lambda: told.append(time.monotonic()))
    began = time.monotonic()

    silence.limit(0.03)
    await eventually(lambda: told != [], within_s=5 * SCALE, every_s=0.005)
    await asyncio.sleep(0.1)

    assert len(told) == 1
    assert told[0] - began >= 0.03


async def test_what_is_heard_puts_it_off() -> None:
    told: list[float] = []
    silence = Silence(lambda: told.append(time.monotonic()))
    silence.limit(0.1)

    for _ in range(10):
        await asyncio.sleep(0.03)
        silence.heard(time.monotonic())
    heard_last = time.monotonic()
    await eventually(lambda: told != [], within_s=5 * SCALE, every_s=0.005)

    assert told[0] - heard_last >= 0.1 - 0.005


async def test_without_a_limit_and_after_it_was_lifted_silence_is_nothing() -> None:
    told: list[None] = []
    silence = Silence(lambda: told.append(None))

    await asyncio.sleep(0.02)
    silence.limit(0.03)
    silence.lift()
    await asyncio.sleep(0.06)
    silence.limit(0.5)

    assert told == []
    silence.lift()


async def test_a_limit_that_has_passed_already_is_told_at_once() -> None:
    told: list[None] = []
    silence = Silence(lambda: told.append(None))
    await asyncio.sleep(0.02)

    silence.limit(0.01)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert told == [None]


async def test_how_long_it_lasts() -> None:
    silence = Silence(lambda: None)
    silence.heard(time.monotonic() - 5)

    assert 5 <= silence.lasts_s < 5 + 5 * SCALE
