"""What several commands share."""

from datetime import UTC, datetime


def clock() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


def age(then: datetime | None, now: datetime) -> str:
    """How long ago, in one unit: 5 s, 3 min, 2 h, 4 d; "never" for None."""
    if then is None:
        return "never"
    seconds = max(0, int((now - then).total_seconds()))
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // size} {unit} ago"
    return f"{seconds // 86400} d ago"
