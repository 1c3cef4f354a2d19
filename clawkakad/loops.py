"""The daemon's endless loops: each has a name, none may end unnoticed, and they are stopped one by one in order."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from loguru import logger


class Loops:
    """Owns the tasks. A loop that returns or raises is a failure of the daemon: it ends, and systemd restarts it."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, loop: Coroutine[Any, Any, None]) -> None:
        """Start a loop under its name."""
        self._tasks[name] = asyncio.create_task(loop, name=name)

    async def watch(self, stop: asyncio.Event) -> None:
        """Wait for `stop`, or for the first loop that ends: then raise what it raised, or RuntimeError."""
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait([stopping, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        for name, task in self._tasks.items():
            if task in done:
                logger.error("a loop has ended; the daemon stops", loop=name)
                task.result()
                raise RuntimeError(f"the loop {name} returned")

    async def stop(self, name: str, *, within_s: float) -> None:
        """Cancel one loop and wait for its own cleaning up. One that was never started is no error."""
        task = self._tasks.pop(name, None)
        if task is None:
            return
        task.cancel()
        _, late = await asyncio.wait([task], timeout=within_s)
        if late:
            logger.warning("a loop did not stop in time", loop=name, within_s=within_s)
        elif not task.cancelled() and task.exception() is not None:
            logger.opt(exception=task.exception()).error("a loop ended badly", loop=name)
