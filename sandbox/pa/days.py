"""The calendar day that words name, `tomorrow`, `next friday`, `23 nov`, seen from a day. No input or output.

The rules of leaning are those of `when`: an unfinished date lies ahead for what is to come, behind for what has been.
"""

import re
from datetime import date, timedelta
from enum import Enum


class Lean(Enum):
    """Which way an unfinished date leans."""

    FUTURE = "future"  # due dates and reminders
    PAST = "past"  # meals eaten, money spent


NEAR_DAYS = {
    "today": 0,
    "tonight": 0,
    "tomorrow": 1,
    "tmrw": 1,
    "tmr": 1,
    "day after tomorrow": 2,
    "yesterday": -1,
    "day before yesterday": -2,
}
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
ISO_DATE = re.compile(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})")
WEEKDAY = re.compile(r"(?:this |(?P<which>next|coming|last|past) )?(?P<name>[a-z]{3,9})")
DAY_MONTH = re.compile(r"(?P<day>\d{1,2})(?:st|nd|rd|th)? (?:of )?(?P<month>[a-z]{3,9})(?: (?P<year>\d{4}))?")
MONTH_DAY = re.compile(r"(?P<month>[a-z]{3,9}) (?P<day>\d{1,2})(?:st|nd|rd|th)?(?: (?P<year>\d{4}))?")
YEARS_TO_A_LEAP_DAY = 8  # 1896 to 1904, and 2096 to 2104


def parse_day(words: str, today: date, lean: Lean, *, today_counts: bool) -> date:
    """The day meant by lower-case words. `today_counts`: today's own weekday name still means today.

    Raises ValueError for words that name no day.
    """
    if words in NEAR_DAYS:
        return today + timedelta(days=NEAR_DAYS[words])
    if match := ISO_DATE.fullmatch(words):
        return date(int(match["year"]), int(match["month"]), int(match["day"]))
    if (match := WEEKDAY.fullmatch(words)) and (number := _position(match["name"], WEEKDAYS)) is not None:
        return _weekday(number, match["which"], today, lean, today_counts)
    if match := DAY_MONTH.fullmatch(words) or MONTH_DAY.fullmatch(words):
        return _in_year(match["day"], match["month"], match["year"], today, lean)
    raise ValueError(words)


def add_months(day: date, months: int) -> date:
    """The same day of a later (or earlier) month, or that month's last day."""
    first, following = (_first_of(day.year * 12 + day.month - 1 + months + step) for step in (0, 1))
    return first + timedelta(days=min(day.day, (following - first).days) - 1)


def _first_of(month_number: int) -> date:
    return date(month_number // 12, month_number % 12 + 1, 1)


def _weekday(number: int, which: str | None, today: date, lean: Lean, today_counts: bool) -> date:
    """The nearest such weekday ahead or behind; today only by its bare name (or with `this`), and only if it counts."""
    if which is None and number == today.weekday() and today_counts:
        return today
    ahead = (number - today.weekday()) % 7 or 7
    back = which in ("last", "past") or (which is None and lean is Lean.PAST)
    if back:
        return today - timedelta(days=7 - ahead if ahead < 7 else 7)
    return today + timedelta(days=ahead)


def _in_year(day: str, month: str, year: str | None, today: date, lean: Lean) -> date:
    """That day of the year named, or of the nearest year on the side that it leans to."""
    number = _position(month, MONTHS)
    if number is None:
        raise ValueError(month)
    if year:
        return date(int(year), number + 1, int(day))
    step = 1 if lean is Lean.FUTURE else -1
    for distance in range(YEARS_TO_A_LEAP_DAY + 1):
        try:
            found = date(today.year + step * distance, number + 1, int(day))
        except ValueError:  # 29 February of a year without one
            continue
        if (found - today).days * step >= 0:
            return found
    raise ValueError(day)


def _position(word: str, names: tuple[str, ...]) -> int | None:
    """The position of the name that begins with the word (`mon`, `sept`, `november`)."""
    return next((position for position, name in enumerate(names) if name.startswith(word)), None)
