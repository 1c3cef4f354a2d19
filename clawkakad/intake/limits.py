"""How much of whom: messages of one person in an hour, and what strangers get. No I/O.

The registry counts, so that a restart forgives nothing. What is kept here only saves counting at each message, and
errs on the side of counting.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clawkakad.config import Strangers
from clawkakad.model import UserId

HOUR = timedelta(hours=1)
RECOUNT = timedelta(seconds=10)  # with what is kept of a flood a count takes long, and each message would wait for one
LINES_TO_STRANGERS = 50  # a day, to all of them together: each is paid for, and a number can get known to many
KEPT_OF_A_STRANGER = 20  # rows a day: enough for the operator to see who knocks, too few to fill a disk
STRANGER_LINE_WITHIN = timedelta(hours=1)  # of the message; what comes later answers nothing any more
MOST_REMEMBERED = 10_000  # people; some hundred bytes each


@dataclass(frozen=True)
class Limits:
    """The operator's settings. `messages_per_hour`: 0 is no limit."""

    messages_per_hour: int
    strangers: Strangers


class Hourly:
    """Whether one more message of a person is within the hour's limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._left: dict[UserId, int] = {}  # what surely is left: more may be, as the hour moves on
        self._full_at: dict[UserId, datetime] = {}  # when it was last counted that nothing is

    def allows(self, user_id: UserId, now: datetime, count: Callable[[], int]) -> bool:
        """`count`: the messages of the last hour in the registry; asked only where what is left is not sure."""
        if not self._most:
            return True
        full_at = self._full_at.get(user_id)
        if full_at is not None and timedelta(0) <= now - full_at < RECOUNT:
            return False
        left = self._left.pop(user_id, 0)
        if left <= 0:
            left = self._most - count()
        if max(len(self._left), len(self._full_at)) >= MOST_REMEMBERED:
            self._left.clear()
            self._full_at.clear()
        self._full_at.pop(user_id, None)
        if left > 0:
            self._left[user_id] = left - 1
        else:
            self._full_at[user_id] = now
        return left > 0


class Tally:
    """Counts what is not even kept, and says when a count is worth a line: the 1st, 10th, 100th …"""

    def __init__(self) -> None:
        self._counts: dict[UserId, int] = {}

    def add(self, user_id: UserId) -> int | None:
        """One more; the count where it is worth a line."""
        if len(self._counts) >= MOST_REMEMBERED:
            self._counts.clear()
        count = self._counts[user_id] = self._counts.get(user_id, 0) + 1
        return count if str(count).rstrip("0") == "1" else None


def day_of(now: datetime) -> str:
    """What "a day" means for lines that are sent once a day: the date in UTC."""
    return now.astimezone(UTC).date().isoformat()


def start_of_day(now: datetime) -> datetime:
    """When it began."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def limit_line(user_id: UserId, now: datetime) -> str:
    """The source of the line that says that it was too much, in the outbox: one a day for each person."""
    return f"limit:{user_id}:{day_of(now)}"


def stranger_lines(now: datetime) -> str:
    """What the sources of all lines to strangers of a day begin with."""
    return f"stranger:{day_of(now)}:"


def stranger_line(user_id: UserId, now: datetime) -> str:
    """The source of the line to one of them: one a day."""
    return f"{stranger_lines(now)}{user_id}"
