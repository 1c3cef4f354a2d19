"""Presence: the blue ticks and "typing…" while somebody waits. Best effort: a failure here is never the person's."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

from loguru import logger

from clawkakad.errors import ClawkakaError
from clawkakad.model import Wamid

REFRESH_S = 20.0  # Meta drops the indicator after 25 s ("Typing indicators")


class Marker(Protocol):
    """The one call of the Graph client that is needed here."""

    async def mark_read(self, wamid: Wamid, *, typing: bool) -> None:
        """Mark as read, and show that somebody types."""


class Presence:
    """Shows that a message was read and is being answered."""

    def __init__(self, graph: Marker, *, refresh_s: float = REFRESH_S) -> None:
        self._graph = graph
        self._refresh_s = refresh_s

    @contextlib.asynccontextmanager
    async def typing(self, wamid: Wamid) -> AsyncIterator[None]:
        """Read and typing, refreshed until the block ends, however it ends."""
        task = asyncio.create_task(self._refresh(wamid), name=f"typing {wamid[-8:]}")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _refresh(self, wamid: Wamid) -> None:
        while True:
            try:
                await self._graph.mark_read(wamid, typing=True)
            except ClawkakaError as error:
                logger.debug("typing indicator not shown", error=type(error).__name__)
            await asyncio.sleep(self._refresh_s)
