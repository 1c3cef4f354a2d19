"""When the assistant may speak up by itself. Pure: a decision from times and counts."""

import random
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from clawkakad.model import SandboxState

WOKEN_EVERY = timedelta(hours=3)  # at least, between two looks for which a sandbox is woken


def is_active(now: datetime, zone: ZoneInfo, hours: tuple[time, time]) -> bool:
    """True inside the active hours on the person's wall clock; hours may span midnight (22:00-06:00)."""
    begin, end = hours
    wall = now.astimezone(zone).time()
    return begin <= wall < end if begin <= end else wall >= begin or wall < end


def may_wake(state: SandboxState, now: datetime, last_at: datetime | None) -> bool:
    """Whether a sandbox that rests is woken for a look: one that dozes, some times a day; one that sleeps never."""
    return state is SandboxState.DOZING and (last_at is None or now - last_at >= WOKEN_EVERY)


def next_time(now: datetime, interval: timedelta) -> datetime:
    """The next heartbeat: one interval on, a tenth earlier or later, so that people's do not fall together."""
    return now + interval * random.uniform(0.9, 1.1)  # noqa: S311 (spreading load, not a secret)
