"""WHEN as people say it, to an instant and a calendar day. No input or output.

Rules:

* words are read in the person's own zone; what is stored is UTC beside that zone and the calendar day there;
* `09:00` alone leans: for what is to come today or, when past, tomorrow; for what has been today or, when still ahead,
  yesterday. Weekdays and dates without a year lean the same way; `monday` said on a Monday without a time is a week off;
* minutes and hours (`in 20m`) count real time; days and weeks keep the clock's wall time across a change of clocks;
* a wall time that a change of clocks skips moves forward by the gap (02:30 becomes 03:30), one that comes twice is the
  first one (Python's fold=0, PEP 495).
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

from .errors import PaError

TEACH = (
    'WHEN must be such as "2026-11-23 09:00", "09:00", "tomorrow 9:00", "monday 18:30", "in 20m", "in 2h" or "in 3 days"'
)


class Lean(Enum):
    """Which way an unfinished date leans."""

    FUTURE = "future"  # due dates and reminders
    PAST = "past"  # meals eaten, money spent


@dataclass(frozen=True)
class Moment:
    """A point that was named: always a day, and an instant (aware UTC) if a time was named too."""

    day: date
    at: datetime | None
    zone: str
    wall: bool  # named by the clock on the wall, rather than as an instant ("in 20m", an offset)

    @property
    def stamp(self) -> str | None:
        """The instant as it is stored, or None."""
        return None if self.at is None else stamp(self.at)


WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NEAR_DAYS = {"today": 0, "tonight": 0, "tomorrow": 1, "tmrw": 1, "tmr": 1, "yesterday": -1}
NEAR_DAYS |= {"day after tomorrow": 2, "day before yesterday": -2}

TIME = r"(?:\d{1,2}[:.]\d{2}(?::\d{2})?(?: ?[ap]m)?|\d{1,2} ?[ap]m|noon)"
SPLIT = re.compile(rf"(?:(?P<early>{TIME})(?: on)?(?: |$))?(?:on )?(?P<day>.*?)(?:(?:^| )(?P<late>{TIME}))?")
CLOCK = re.compile(r"(?P<hour>\d{1,2})(?:[:.](?P<minute>\d{2})(?::(?P<second>\d{2}))?)? ?(?P<half>[ap]m)?")
ISO_DATE = re.compile(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})")
INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[t ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:z|[+-]\d{2}:?\d{2})")
WEEKDAY = re.compile(r"(?P<which>next |this |last |coming |past )?(?P<name>[a-z]{3,9})")
DAY_MONTH = re.compile(r"(?P<day>\d{1,2})(?:st|nd|rd|th)? (?:of )?(?P<month>[a-z]{3,9})(?: (?P<year>\d{4}))?")
MONTH_DAY = re.compile(r"(?P<month>[a-z]{3,9}) (?P<day>\d{1,2})(?:st|nd|rd|th)?(?: (?P<year>\d{4}))?")
STEP = r"(?P<count>\d{1,5}|an?|half an?) ?(?P<unit>m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?|months?)"
STEPS = re.compile(STEP)
DISTANCE = re.compile(rf"(?P<steps>{re.sub('[?]P<[a-z]+>', '?:', STEP)}(?:(?: and)? ?{re.sub('[?]P<[a-z]+>', '?:', STEP)})*)")


def stamp(instant: datetime) -> str:
    """An aware instant as it is stored: `2026-11-22T03:30:00Z`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant(stored: str) -> datetime:
    """The aware instant behind a stored stamp."""
    return datetime.strptime(stored, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def wall_to_instant(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """The aware UTC instant of a wall time; the rule for skipped and doubled times is in the module's first lines."""
    return datetime.combine(day, clock, zone).astimezone(UTC)


def parse_when(text: str, now: datetime, zone: ZoneInfo, lean: Lean) -> Moment:
    """What the words mean, seen from `now` (aware) in `zone`. Raises PaError, which teaches the forms."""
    words = _tidy(text)
    try:
        return _instant_form(words, now, zone) or _distance(words, now, zone, lean) or _wall(words, now, zone, lean)
    except (ValueError, OverflowError) as error:
        raise PaError(f'"{text.strip()[:60]}" is no date or time; {TEACH}') from error


def noon(moment: Moment, zone: ZoneInfo) -> datetime:
    """The instant that stands for a whole day: noon there, which every zone has and no change of clocks moves away."""
    return wall_to_instant(moment.day, time(12), zone)


def _tidy(text: str) -> str:
    """Lower case, no commas, `at` or dots in `a.m.`, single blanks."""
    words = unicodedata.normalize("NFKC", text).casefold().replace(",", " ")
    words = re.sub(r"\b([ap])\.m\.?", r"\1m", words)
    return " ".join(re.sub(r"\bat\b", " ", words).split())


def _instant_form(words: str, now: datetime, zone: ZoneInfo) -> Moment | None:
    """`now`, or a date and time with an offset."""
    if words == "now":
        return _at(now, zone)
    if INSTANT.fullmatch(words):
        return _at(datetime.fromisoformat(words.replace(" ", "t").upper()), zone)
    return None


def _at(when: datetime, zone: ZoneInfo) -> Moment:
    local = when.astimezone(zone)
    return Moment(day=local.date(), at=when.astimezone(UTC).replace(microsecond=0), zone=zone.key, wall=False)


def _distance(words: str, now: datetime, zone: ZoneInfo, lean: Lean) -> Moment | None:
    """`in 20m`, `2h ago`, `in 3 days 9:00`; bare `20m` where things lie ahead."""
    match = re.fullmatch(rf"(?P<way>in )?{DISTANCE.pattern}(?P<ago> ago)?(?: (?P<clock>{TIME}))?", words)
    if match is None or bool(match["way"]) + bool(match["ago"]) > 1:
        return None
    if not match["way"] and not match["ago"] and lean is Lean.PAST:
        return None
    sign = -1 if match["ago"] else 1
    days, months, real = _lengths(match["steps"])
    here = now.astimezone(zone)
    day = _add_months(here.date(), sign * months) + timedelta(days=sign * days)
    if match["clock"]:
        return _on(day, _clock(match["clock"]), zone)
    if not days and not months:
        return _at(now + sign * real, zone)
    return _at(wall_to_instant(day, here.time().replace(microsecond=0), zone) + sign * real, zone)


def _lengths(steps: str) -> tuple[int, int, timedelta]:
    """Whole days, whole months, and the real time of minutes and hours."""
    days, months, real = 0, 0, timedelta()
    for match in STEPS.finditer(steps):
        count, unit = _count(match["count"]), match["unit"]
        if unit.startswith("mo"):
            months += int(count)
        elif unit[0] in "dw":
            days += int(count * (7 if unit[0] == "w" else 1))
        else:
            real += timedelta(minutes=count * (60 if unit[0] == "h" else 1))
    return days, months, real


def _count(word: str) -> float:
    if word.isdecimal():
        return int(word)
    return 0.5 if word.startswith("half") else 1


def _add_months(day: date, months: int) -> date:
    """The same day of a later month, or that month's last day."""
    index = day.year * 12 + day.month - 1 + months
    first = date(index // 12, index % 12 + 1, 1)
    following = date((index + 1) // 12, (index + 1) % 12 + 1, 1)
    return first + timedelta(days=min(day.day, (following - first).days) - 1)


def _wall(words: str, now: datetime, zone: ZoneInfo, lean: Lean) -> Moment:
    """A day, a time, or both in either order. Raises ValueError for anything else."""
    match = SPLIT.fullmatch(words.replace("t", " ", 1) if re.match(r"\d{4}-\d{2}-\d{2}t", words) else words)
    if match is None or (match["early"] and match["late"]) or not words:
        raise ValueError(words)
    spoken, today = match["early"] or match["late"], now.astimezone(zone).date()
    clock = _clock(spoken) if spoken else None
    if match["day"]:
        return _on(_day(match["day"].strip(), today, clock, now, zone, lean), clock, zone)
    return _bare_time(clock, today, now, zone, lean)


def _on(day: date, clock: time | None, zone: ZoneInfo) -> Moment:
    if clock is None:
        return Moment(day=day, at=None, zone=zone.key, wall=True)
    at = wall_to_instant(day, clock, zone)
    return Moment(day=at.astimezone(zone).date(), at=at, zone=zone.key, wall=True)


def _bare_time(clock: time | None, today: date, now: datetime, zone: ZoneInfo, lean: Lean) -> Moment:
    if clock is None:
        raise ValueError("neither day nor time")
    at = wall_to_instant(today, clock, zone)
    if lean is Lean.FUTURE and at <= now:
        today += timedelta(days=1)
    if lean is Lean.PAST and at > now:
        today -= timedelta(days=1)
    return _on(today, clock, zone)


def _clock(spoken: str) -> time:
    if spoken == "noon":
        return time(12)
    match = CLOCK.fullmatch(spoken)
    if match is None:
        raise ValueError(spoken)
    hour = int(match["hour"])
    if match["half"]:
        if not 1 <= hour <= 12:
            raise ValueError(spoken)
        hour = hour % 12 + (12 if match["half"] == "pm" else 0)
    return time(hour, int(match["minute"] or 0), int(match["second"] or 0))


def _day(words: str, today: date, clock: time | None, now: datetime, zone: ZoneInfo, lean: Lean) -> date:
    """The calendar day that words such as `tomorrow`, `next friday`, `23 nov`, `2026-11-23` name."""
    if words in NEAR_DAYS:
        return today + timedelta(days=NEAR_DAYS[words])
    if match := ISO_DATE.fullmatch(words):
        return date(int(match["year"]), int(match["month"]), int(match["day"]))
    if (match := WEEKDAY.fullmatch(words)) and (number := _name_in(match["name"], WEEKDAYS)) is not None:
        back = match["which"] in ("last ", "past ") or (lean is Lean.PAST and match["which"] is None)
        same_day_counts = match["which"] is None and clock is not None
        return _weekday(number, today, clock, now, zone, back=back, same_day_counts=same_day_counts)
    if match := DAY_MONTH.fullmatch(words) or MONTH_DAY.fullmatch(words):
        return _in_year(match["day"], match["month"], match["year"], today, lean)
    raise ValueError(words)


def _weekday(
    number: int, today: date, clock: time | None, now: datetime, zone: ZoneInfo, *, back: bool, same_day_counts: bool
) -> date:
    """The nearest such weekday before or after today; today itself only if its time lies that way."""
    if number == today.weekday() and same_day_counts and clock is not None:
        at = wall_to_instant(today, clock, zone)
        if (at <= now) if back else (at > now):
            return today
    ahead = (number - today.weekday()) % 7 or 7
    return today + timedelta(days=ahead - (7 if ahead < 7 else 14) if back else ahead)


def _in_year(day: str, month: str, year: str | None, today: date, lean: Lean) -> date:
    number = _name_in(month, MONTHS)
    if number is None:
        raise ValueError(month)
    if year:
        return date(int(year), number + 1, int(day))
    years = range(today.year, today.year + 9) if lean is Lean.FUTURE else range(today.year, today.year - 9, -1)
    for candidate in years:  # nine years: 29 February comes at most eight years apart
        try:
            found = date(candidate, number + 1, int(day))
        except ValueError:
            continue
        if (found >= today) if lean is Lean.FUTURE else (found <= today):
            return found
    raise ValueError(day)


def _name_in(word: str, names: tuple[str, ...]) -> int | None:
    """The position of the name that `word` is, or is a shortening of at least three letters of (`mon`, `sept`)."""
    for position, name in enumerate(names):
        if word.startswith(name[:3]) and (name.startswith(word) or _long_month(word, name)):
            return position
    return None


def _long_month(word: str, short: str) -> bool:
    """`november` for `nov`."""
    whole = "january february march april may june july august september october november december".split()
    return len(short) == 3 and any(name.startswith(word) and name.startswith(short) for name in whole)
