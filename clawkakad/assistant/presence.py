"""Presence: the blue ticks and "typing…" while somebody waits. Best effort: a failure here is never the person's."""

import asyncio
from collections.abc import Callable
from typing import Protocol, Self

from loguru import logger

from clawkakad.errors import ClawkakaError
from clawkakad.model import Wamid

REFRESH_S = 20.0  # Meta drops the indicator after 25 s ("Typing indicators")
FIRST_S = 0.05  # nobody sees that it comes so much later, and a turn is begun before (5 ms) if nothing is in its way
# Requests, some thirteen a second where Meta takes 0.3 s: more turns than any server has agents for. With a thousand
# people who write in one second, storing what they write comes first.
AT_ONCE = 4
MOST_SHOWN = 45  # times, a quarter of an hour: then nobody looks any more, and what they wait for is broken


class Marker(Protocol):
    """The one call of the Graph client that is needed here."""

    async def mark_read(self, wamid: Wamid, *, typing: bool) -> None:
        """Mark it and all before it as read, and show that somebody types. Within seconds, or it raises."""


class Presence:
    """Shows that messages were read and are being answered."""

    def __init__(self, graph: Marker, *, refresh_s: float = REFRESH_S) -> None:
        self._graph = graph
        self._refresh_s = refresh_s
        self._room = asyncio.Semaphore(AT_ONCE)
        self._asking: set[asyncio.Task[None]] = set()

    def typing(self, wamid: Wamid) -> "Typing":
        """Read and typing; as a block: refreshed until that ends, however it ends."""
        return Typing(self._ask, wamid, self._refresh_s)

    def _ask(self, typing: "Typing") -> None:
        task = asyncio.create_task(self._show(typing), name=f"typing {typing.wamid[-8:]}")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _show(self, typing: "Typing") -> None:
        """What is being asked for is never cut off: that would end the connection, and Meta has read it."""
        shown = None
        try:
            async with self._room:
                while shown != typing.wamid and typing.may_be_shown():  # a newer one may have come meanwhile
                    shown = typing.wamid
                    await self._mark(shown)
        finally:
            typing.was_shown()

    async def _mark(self, wamid: Wamid) -> None:
        try:
            await self._graph.mark_read(wamid, typing=True)
        except ClawkakaError as error:
            logger.debug("typing indicator not shown", error=type(error).__name__)


class Typing:
    """What is shown to one person during a block. `ask` shows it; between two times a timer runs, and no task waits."""

    def __init__(self, ask: Callable[["Typing"], None], wamid: Wamid, refresh_s: float) -> None:
        self.wamid = wamid
        self._loop = asyncio.get_running_loop()
        self._ask = ask
        self._refresh_s = refresh_s
        self._times = 0
        self._is_asked = False
        self._timer: asyncio.Handle | None = None

    def __enter__(self) -> Self:
        # To write this request takes the loop 1 ms, which is better spent on asking the agent first.
        self._timer = self._loop.call_later(FIRST_S, self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        self._wait_no_more()
        self._times = MOST_SHOWN

    def show(self, wamid: Wamid) -> None:
        """The turn is begun; this is its newest message. Never waits."""
        is_news = wamid != self.wamid or not self._times
        self.wamid = wamid
        if is_news and not self._is_asked:
            self._wait_no_more()
            self._timer = self._loop.call_soon(self._begin)  # once the agent has been asked

    def may_be_shown(self) -> bool:
        """Counts as shown where it may: not after the end, and not for ever."""
        self._times += 1
        return self._times <= MOST_SHOWN

    def was_shown(self) -> None:
        """From now on it is left alone for a while."""
        self._is_asked = False
        if self._times < MOST_SHOWN:
            self._timer = self._loop.call_later(self._refresh_s, self._begin)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        self._is_asked = True
        self._ask(self)
