"""Presence: the blue ticks and "typing…" while somebody waits. Best effort: a failure here is never the person's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

from loguru import logger

from clawkakad.errors import ClawkakaError
from clawkakad.model import Wamid

REFRESH_S = 20.0  # Meta drops the indicator after 25 s ("Typing indicators")
MOST_SHOWN = 45  # times, a quarter of an hour: then nobody looks any more, and what they wait for is broken


class Marker(Protocol):
    """The one call of the Graph client that is needed here."""

    async def mark_read(self, wamid: Wamid, *, typing: bool) -> None:
        """Mark it and all before it as read, and show that somebody types."""


class Typing:
    """What is shown to one person now."""

    def __init__(self, wamid: Wamid) -> None:
        self.wamid = wamid
        self.changed = asyncio.Event()

    def show(self, wamid: Wamid) -> None:
        """A newer message is being answered, too. Never waits."""
        if wamid != self.wamid:
            self.wamid = wamid
            self.changed.set()


class Presence:
    """Shows that messages were read and are being answered."""

    def __init__(self, graph: Marker, *, refresh_s: float = REFRESH_S) -> None:
        self._graph = graph
        self._refresh_s = refresh_s

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
        for _ in range(MOST_SHOWN):
            typing.changed.clear()
            try:
                await self._graph.mark_read(typing.wamid, typing=True)
            except ClawkakaError as error:
                logger.debug("typing indicator not shown", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._refresh_s):
                    await typing.changed.wait()
