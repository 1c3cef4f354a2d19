"""When the assistant may speak up by itself. Pure: a decision from times and counts."""

import random
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

WINDOW = timedelta(hours=23, minutes=50)  # Meta's 24 hours of free-form text, less a margin ("Service messages")


def is_active(now: datetime, zone: ZoneInfo, hours: tuple[time, time]) -> bool:
    """True inside the active hours on the person's wall clock; hours may span midnight (22:00-06:00)."""
    begin, end = hours
    wall = now.astimezone(zone).time()
    return begin <= wall < end if begin <= end else wall >= begin or wall < end


def in_window(now: datetime, last_inbound_at: datetime | None) -> bool:
    """True while free-form text may be sent."""
    return last_inbound_at is not None and now - last_inbound_at < WINDOW


def next_time(now: datetime, interval: timedelta) -> datetime:
    """The next heartbeat: one interval on, a tenth earlier or later, so that people's do not fall together."""
    return now + interval * random.uniform(0.9, 1.1)  # noqa: S311 (spreading load, not a secret)
