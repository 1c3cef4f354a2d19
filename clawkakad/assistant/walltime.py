"""From a wall time in somebody's zone to an instant, DST included. Pure."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from clawkakad.errors import Rejected

FARTHEST = timedelta(days=5 * 366)
GRACE = timedelta(seconds=60)  # "now" said a moment ago is still now


def zone_named(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises Rejected where there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Rejected(f"{name!r} is no time zone; use a name such as Europe/Berlin or Asia/Kolkata") from error


def instant(text: str, zone_name: str) -> datetime:
    """The instant of an ISO time: wall time in the zone where it carries no offset.

    A wall time that a clock change skips means the hour after it (PEP 495: fold 0 keeps the old offset); one that
    happens twice means the first. Raises Rejected where it cannot be read.
    """
    zone = zone_named(zone_name)
    try:
        parsed = datetime.fromisoformat(text)
        there = parsed.replace(tzinfo=zone) if parsed.tzinfo is None else parsed.astimezone(zone)
        return there.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Rejected(f"{text!r} is no time; use YYYY-MM-DD HH:MM") from error


def upcoming(text: str, zone_name: str, now: datetime) -> datetime:
    """`instant`, for something that is to come. Raises Rejected for the past and for more than five years ahead."""
    due_at = instant(text, zone_name)
    if due_at < now - GRACE:
        raise Rejected(f"{wall(due_at, zone_name)} has passed already; it is {wall(now, zone_name)} there now")
    if due_at > now + FARTHEST:
        raise Rejected("that is more than five years away; set it nearer")
    return max(due_at, now)


def wall(at: datetime, zone_name: str) -> str:
    """An instant as the wall shows it in the zone, to the minute: 2026-11-23 09:00."""
    return at.astimezone(zone_named(zone_name)).strftime("%Y-%m-%d %H:%M")
