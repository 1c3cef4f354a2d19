"""An event loop on a thread of its own, for tests that cannot be asynchronous: Hypothesis calls plain functions."""

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Background:
    """Runs what it is given, and closes at the end what was opened on it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="background")
        self._stack = AsyncExitStack()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.do(self._stack.aclose())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def do(self, work: Coroutine[Any, Any, T], *, within_s: float = 120) -> T:
        """Run it there, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within_s)

    def open(self, manager: AbstractAsyncContextManager[T]) -> T:
        """Enter it there; left when all is over."""
        return self.do(self._stack.enter_async_context(manager))
