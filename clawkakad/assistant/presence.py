"""Presence: the blue ticks and "typing…" while somebody waits. Best effort: a failure here is never the person's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

from loguru import logger

from clawkakad.errors import ClawkakaError
from clawkakad.model import Wamid

REFRESH_S = 20.0  # Meta drops the indicator after 25 s ("Typing indicators")
FIRST_S = 0.05  # nobody sees that it comes so much later, and a turn is begun before (5 ms) if nothing is in its way
AT_ONCE = 16  # requests: with a thousand people who write in one second, storing what they write comes first
MOST_SHOWN = 45  # times, a quarter of an hour: then nobody looks any more, and what they wait for is broken


class Marker(Protocol):
    """The one call of the Graph client that is needed here."""

    async def mark_read(self, wamid: Wamid, *, typing: bool) -> None:
        """Mark it and all before it as read, and show that somebody types."""


class Typing:
    """What is shown to one person now."""

    def __init__(self, wamid: Wamid) -> None:
        self.wamid = wamid
        self.begun = asyncio.Event()
        self.changed = asyncio.Event()

    def show(self, wamid: Wamid) -> None:
        """The turn is begun; this is its newest message. Never waits."""
        self.begun.set()
        if wamid != self.wamid:
            self.wamid = wamid
            self.changed.set()


class Presence:
    """Shows that messages were read and are being answered."""

    def __init__(self, graph: Marker, *, refresh_s: float = REFRESH_S) -> None:
        self._graph = graph
        self._refresh_s = refresh_s
        self._room = asyncio.Semaphore(AT_ONCE)

    @contextlib.asynccontextmanager
    async def typing(self, wamid: Wamid) -> AsyncIterator[Typing]:
        """Read and typing, refreshed until the block ends, however it ends."""
        typing = Typing(wamid)
        task = asyncio.create_task(self._refresh(typing), name=f"typing {wamid[-8:]}")
        try:
            yield typing
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _refresh(self, typing: Typing) -> None:
        # To write this request takes the loop 1 ms, which is better spent on asking the agent first.
        await _set_within(typing.begun, FIRST_S)
        for _ in range(MOST_SHOWN):
            typing.changed.clear()
            await self._show(typing)
            await _set_within(typing.changed, self._refresh_s)

    async def _show(self, typing: Typing) -> None:
        async with self._room:
            try:
                await self._graph.mark_read(typing.wamid, typing=True)
            except ClawkakaError as error:
                logger.debug("typing indicator not shown", error=type(error).__name__)


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Wait until it is set: by somebody, or by the time. A timeout would be an exception, which takes 50 us."""
    if event.is_set():
        return
    timer = asyncio.get_running_loop().call_later(seconds, event.set)
    try:
        await event.wait()
    finally:
        timer.cancel()
