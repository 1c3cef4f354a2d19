"""Moments that all periodic looks of the daemon share.

With a time of its own for each look, a daemon of 300 people to whom nobody writes woke up 30 times a second; each
waking costs as much as several looks. So they are not due when their time is over, but at the moment that is nearest to
it.
"""

import asyncio
import contextlib

APART_S = 0.5


def moment_after(seconds: float) -> float:
    """The moment nearest to so many seconds from now, on the running loop's clock; what is more often has its own."""
    now = asyncio.get_running_loop().time()
    if seconds < APART_S:
        return now + seconds
    return round((now + seconds) / APART_S) * APART_S


async def sleep(seconds: float) -> None:
    """`asyncio.sleep` for so long, more or less."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(moment_after(seconds)):
            await asyncio.get_running_loop().create_future()
