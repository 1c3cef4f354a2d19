"""Silence: noticed in time, however often the timer had to be put off before, and never after it was lifted."""

import asyncio

import pytest

from clawkakad.gateway.silence import Silence
from tests.support import SCALE


async def test_silence_ends_the_block_and_not_its_task() -> None:
    silence = Silence()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5 * SCALE), silence:
            silence.limit(0.02)
            await asyncio.Event().wait()

    assert asyncio.current_task().cancelling() == 0


async def test_what_is_heard_puts_it_off() -> None:
    silence, loop = Silence(), asyncio.get_running_loop()
    began_at = loop.time()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5 * SCALE), silence:
            silence.limit(0.1)
            for _ in range(10):
                await asyncio.sleep(0.03)
                silence.heard()
            await asyncio.Event().wait()

    assert loop.time() - began_at >= 0.4 - 0.01


async def test_without_a_limit_and_after_it_was_lifted_silence_is_nothing() -> None:
    silence = Silence()

    async with silence:
        await asyncio.sleep(0.02)
        silence.limit(0.03)
        silence.lift()
        await asyncio.sleep(0.06)
        silence.limit(0.5)

    await asyncio.sleep(0)


async def test_a_limit_that_has_passed_already_ends_the_block_at_once() -> None:
    silence = Silence()
    await asyncio.sleep(0.02)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5 * SCALE), silence:
            silence.limit(0.01)
            await asyncio.Event().wait()


async def test_a_cancellation_stays_one() -> None:
    silence = Silence()

    async def wait() -> None:
        async with silence:
            silence.limit(5)
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
