"""Who may wake now: a few at once, only with memory for it, and in the order in which they came.

Owns the queue. Whoever is waited for comes before those who only wrote lately; these do not wait at all where the host
is short of memory. Nobody is overtaken for want of memory. Where nobody is awake, one is let in however little there
is: waiting would free nothing.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from clawkakad.errors import Transient
from clawkakad.sandboxes.hostmemory import MemoryOf
from clawkakad.sandboxes.rest import Rules

WAKES_AT_ONCE = 4  # each reads some hundred MB back from swap
STARTS_AT_ONCE = 2  # a gateway that boots takes all of a CPU for ten seconds
LOOK_S = 0.5  # memory comes back without a word
LONG_S = 10.0  # a wait that its person is told of


class Crowded(Transient):
    """There is no room now, and nobody waits for it."""


@dataclass(eq=False)
class _Waiting:
    """`cold`: it is started, not only let go on; `is_waited_for`: a person, or somebody for them, waits.

    `has_memory`: it runs, and is started anew.
    """

    cold: bool
    has_memory: bool
    is_waited_for: Callable[[], bool]
    granted: asyncio.Event = field(default_factory=asyncio.Event)


class Admission:
    """One for all sandboxes. `nobody_awake`: no sandbox has memory that it could give back."""

    def __init__(
        self,
        memory: MemoryOf,
        rules: Rules,
        *,
        nobody_awake: Callable[[], bool],
        wakes_at_once: int = WAKES_AT_ONCE,
        starts_at_once: int = STARTS_AT_ONCE,
        long_s: float = LONG_S,
    ) -> None:
        self._memory = memory
        self._rules = rules
        self._nobody_awake = nobody_awake
        self._wakes_at_once = wakes_at_once
        self._starts_at_once = starts_at_once
        self._long_s = long_s
        self._queue: list[_Waiting] = []
        self._inside: list[_Waiting] = []

    @property
    def wanted_mb(self) -> int:
        """How much memory those take who wait, and somebody for them."""
        return sum(self._rules.awake_mb for waiting in self._queue if waiting.is_waited_for())

    def has_room(self, more: int = 1) -> bool:
        """Whether the host has memory for so many more, those counted who are on their way."""
        if not self._rules.on:
            return True  # nobody would ever make room
        left_mb = self._memory().available_mb - self._rules.awake_mb * len(self._inside)
        return left_mb >= self._rules.reserve_mb + more * self._rules.awake_mb

    @contextlib.asynccontextmanager
    async def place(
        self,
        *,
        cold: bool,
        has_memory: bool = False,
        is_waited_for: Callable[[], bool],
        on_long: Callable[[], Awaitable[None]],
    ) -> AsyncIterator[None]:
        """A place while the block lasts; waits for it. `on_long` is called once, when the wait gets long.

        Raises Crowded where there is no memory, and nobody waits for it.
        """
        waiting = _Waiting(cold, has_memory, is_waited_for)
        self._queue.append(waiting)
        try:
            await self._wait(waiting, on_long)
            yield
        finally:
            for place in (self._queue, self._inside):
                if waiting in place:
                    place.remove(waiting)
            self._grant()

    async def _wait(self, waiting: _Waiting, on_long: Callable[[], Awaitable[None]]) -> None:
        told, since = False, time.monotonic()
        while True:
            self._grant()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await waiting.granted.wait()
            if waiting.granted.is_set():
                return
            if not (waiting.has_memory or waiting.is_waited_for() or self.has_room()):
                raise Crowded("the host is short of memory")
            if not told and time.monotonic() - since >= self._long_s:
                told = True
                await on_long()

    def _grant(self) -> None:
        for waiting in sorted(self._queue, key=lambda one: not one.is_waited_for()):
            has_memory = waiting.has_memory or self.has_room() or (waiting.is_waited_for() and self._alone())
            if len(self._inside) >= self._wakes_at_once or not has_memory:
                return
            if waiting.cold and sum(one.cold for one in self._inside) >= self._starts_at_once:
                continue
            self._queue.remove(waiting)
            self._inside.append(waiting)
            waiting.granted.set()

    def _alone(self) -> bool:
        return not self._inside and self._nobody_awake()
