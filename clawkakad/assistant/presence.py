"""Presence: the blue ticks and "typing…" while somebody waits. Best effort: a failure here is never the person's."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
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


class Presence:
    """Shows that messages were read and are being answered."""

    def __init__(self, graph: Marker, *, refresh_s: float = REFRESH_S) -> None:
        self._graph = graph
        self._refresh_s = refresh_s
        self._room = asyncio.Semaphore(AT_ONCE)

    @contextlib.contextmanager
    def typing(self, wamid: Wamid) -> Iterator["Typing"]:
        """Read and typing, refreshed until the block ends, however it ends."""
        typing = Typing(self._mark, wamid, self._refresh_s)
        try:
            yield typing
        finally:
            typing.end()

    async def _mark(self, wamid: Wamid) -> None:
        async with self._room:
            try:
                await self._graph.mark_read(wamid, typing=True)
            except ClawkakaError as error:
                logger.debug("typing indicator not shown", error=type(error).__name__)


class Typing:
    """What is shown to one person now. Between two requests there is a timer, and no task that waits."""

    def __init__(self, mark: Callable[[Wamid], Awaitable[None]], wamid: Wamid, refresh_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._mark = mark
        self._wamid = wamid
        self._refresh_s = refresh_s
        self._shown = 0
        self._task: asyncio.Task[None] | None = None
        # To write this request takes the loop 1 ms, which is better spent on asking the agent first.
        self._timer: asyncio.Handle = self._loop.call_later(FIRST_S, self._begin)

    def show(self, wamid: Wamid) -> None:
        """The turn is begun; this is its newest message. Never waits."""
        is_news = wamid != self._wamid or not self._shown
        self._wamid = wamid
        if is_news and self._task is None:
            self._timer.cancel()
            self._timer = self._loop.call_soon(self._begin)

    def end(self) -> None:
        """Nothing is asked for any more."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._show(), name=f"typing {self._wamid[-8:]}")

    async def _show(self) -> None:
        shown = None
        while shown != self._wamid and self._shown < MOST_SHOWN:  # while it was asked for, a newer one may have come
            shown = self._wamid
            self._shown += 1
            await self._mark(shown)
        self._task = None
        if self._shown < MOST_SHOWN:
            self._timer = self._loop.call_later(self._refresh_s, self._begin)
