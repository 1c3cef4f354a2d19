"""WHEN as people say it, to an instant and a calendar day. No input or output.

Rules:

* words are read in the person's own zone; what is stored is UTC beside that zone and the calendar day there;
* `09:00` alone leans: for what is to come today or, when past, tomorrow; for what has been today or, when still ahead,
  yesterday. Weekdays and dates without a year lean the same way; `monday` on a Monday without a time is a week off;
* minutes and hours (`in 20m`) count real time; days and weeks keep the clock's wall time across a change of clocks;
* a wall time that a change of clocks skips moves forward by the gap (02:30 becomes 03:30), one that comes twice is the
  first one (Python's fold=0, PEP 495).
"""

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from .days import Lean, add_months, parse_day
from .errors import PaError

TEACH = 'WHEN is such as "2026-11-23 09:00", "09:00", "tomorrow 9:00", "monday 18:30", "in 20m", "in 2h", "in 3 days"'
EVENING = time(17)
FARTHEST_YEARS = 150  # somebody's birthday, somebody's last pension payment


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


TIME = r"(?:\d{1,2}[:.]\d{2}(?::\d{2})?(?: ?[ap]m)?|\d{1,2} ?[ap]m|noon)"
SPLIT = re.compile(rf"(?:(?P<early>{TIME})(?: on)?(?: |$))?(?:on )?(?P<day>.*?)(?:(?:^| )(?P<late>{TIME}))?")
CLOCK = re.compile(r"(?P<hour>\d{1,2})(?:[:.](?P<minute>\d{2})(?::(?P<second>\d{2}))?)? ?(?P<half>[ap]m)?")
INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}[t ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:z|[+-]\d{2}:?\d{2})")
ISO_T = re.compile(r"(?<=^\d{4}-\d{2}-\d{2})t")
STEP = r"(?:\d{1,5}|an?|half an?) ?(?:m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?|months?)"
DISTANCE = re.compile(rf"(?P<way>in )?(?P<steps>{STEP}(?:(?: and)? ?{STEP})*)(?P<ago> ago)?(?: (?P<clock>{TIME}))?")
EACH_STEP = re.compile(r"(?P<count>\d+|\bhalf an?\b|\ban?\b) ?(?P<unit>[a-z]+)")


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
        moment = _instant_form(words, now, zone) or _distance(words, now, zone, lean) or _wall(words, now, zone, lean)
    except (ValueError, OverflowError) as error:
        raise PaError(f'"{text.strip()[:60]}" is no date or time; {TEACH}') from error
    if abs(moment.day.year - now.year) > FARTHEST_YEARS:
        raise PaError(f'"{text.strip()[:60]}" is too far away; check the year')
    return moment


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
    match = DISTANCE.fullmatch(words)
    if match is None or (match["way"] and match["ago"]):
        return None
    if not match["way"] and not match["ago"] and lean is Lean.PAST:
        return None
    sign = -1 if match["ago"] else 1
    days, months, real = _lengths(match["steps"])
    here = now.astimezone(zone)
    day = add_months(here.date(), sign * months) + timedelta(days=sign * days)
    if match["clock"]:
        return _on(day, _clock(match["clock"]), zone)
    if not days and not months:
        return _at(now + sign * real, zone)
    return _at(wall_to_instant(day, here.time().replace(microsecond=0), zone) + sign * real, zone)


def _lengths(steps: str) -> tuple[int, int, timedelta]:
    """Whole days, whole months, and the real time of minutes and hours."""
    days, months, real = 0, 0, timedelta()
    for match in EACH_STEP.finditer(steps):
        count, unit = _count(match["count"], match["unit"]), match["unit"]
        if unit.startswith("mo"):
            months += count
        elif unit[0] in "dw":
            days += count * (7 if unit[0] == "w" else 1)
        elif match["count"].startswith("half"):
            real += timedelta(minutes=30)
        else:
            real += timedelta(minutes=count * (60 if unit[0] == "h" else 1))
    return days, months, real


def _count(word: str, unit: str) -> int:
    if word.startswith("half") and not unit.startswith("h"):
        raise ValueError(word)
    return int(word) if word.isdecimal() else 1


def _wall(words: str, now: datetime, zone: ZoneInfo, lean: Lean) -> Moment:
    """A day, a time, or both in either order. Raises ValueError for anything else."""
    match = SPLIT.fullmatch(ISO_T.sub(" ", words))
    if match is None or (match["early"] and match["late"]) or not words:
        raise ValueError(words)
    spoken = match["early"] or match["late"]
    clock = _clock(spoken) if spoken else None
    if match["day"].strip() == "tonight" and clock is not None and clock < EVENING:
        raise ValueError(words)  # 8:30 tonight is 20:30, and 1:00 tomorrow's
    today = now.astimezone(zone).date()
    if match["day"]:
        today_counts = clock is not None and _lies(wall_to_instant(today, clock, zone), now, lean)
        return _on(parse_day(match["day"].strip(), today, lean, today_counts=today_counts), clock, zone)
    if clock is None:
        raise ValueError(words)
    return _on(_day_of_bare_time(clock, today, now, zone, lean), clock, zone)


def _lies(at: datetime, now: datetime, lean: Lean) -> bool:
    """On the side of now that it leans to."""
    return at > now if lean is Lean.FUTURE else at <= now


def _day_of_bare_time(clock: time, today: date, now: datetime, zone: ZoneInfo, lean: Lean) -> date:
    """Today, or the day beside it if that time of today lies on the wrong side of now."""
    if _lies(wall_to_instant(today, clock, zone), now, lean):
        return today
    return today + timedelta(days=1 if lean is Lean.FUTURE else -1)


def _on(day: date, clock: time | None, zone: ZoneInfo) -> Moment:
    if clock is None:
        return Moment(day=day, at=None, zone=zone.key, wall=True)
    at = wall_to_instant(day, clock, zone)
    return Moment(day=at.astimezone(zone).date(), at=at, zone=zone.key, wall=True)


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
