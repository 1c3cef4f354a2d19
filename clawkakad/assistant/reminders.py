"""The clock of reminders: sends each at its minute by itself; no model call, and the sandbox may sleep."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime

from loguru import logger

from clawkakad.errors import RegistryUnavailable
from clawkakad.registry import Registry, lateness

LONGEST_SLEEP_S = 30.0  # also the time after which a jump of the wall clock is noticed


class ReminderClock:
    """Sleeps until the next reminder of anybody, then fires all that are due."""

    def __init__(self, registry: Registry, clock: Callable[[], datetime], *, on_outbox: Callable[[], None]) -> None:
        self._registry = registry
        self._clock = clock
        self._on_outbox = on_outbox
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """A reminder was made or cancelled. Never waits."""
        self._changed.set()

    async def run(self) -> None:
        """Fire for ever. After a downtime the missed ones fire once, marked late."""
        while True:
            self._changed.clear()
            try:
                pause_s = await self._fire_due()
            except RegistryUnavailable as error:
                logger.warning("reminders cannot be read or written now", error=str(error))
                pause_s = 1.0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()

    async def _fire_due(self) -> float:
        """Returns the seconds until the next look."""
        now = self._clock()
        for reminder in await self._registry.reminders.due(now):
            text = lateness.message(reminder.text, reminder.wall, now - reminder.due_at)
            if await self._registry.reminders.fire(reminder, text):
                logger.info("reminder fired", reminder=reminder.id, user=reminder.user_id)
                self._on_outbox()
        next_due = await self._registry.reminders.next_due()
        if next_due is None:
            return LONGEST_SLEEP_S
        return min(LONGEST_SLEEP_S, max(0.0, (next_due - self._clock()).total_seconds()))
