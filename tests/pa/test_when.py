"""WHEN, seen from 08:30 on Monday 2026-11-23 in India unless a test says otherwise."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pa.days import Lean
from pa.errors import PaError
from pa.when import Moment, noon, parse_when, stamp

INDIA = ZoneInfo("Asia/Kolkata")
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")  # changes its clocks by half an hour
MONDAY = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def wall(words: str, lean: Lean = Lean.FUTURE, now: datetime = MONDAY, zone: ZoneInfo = INDIA) -> str:
    """The wall time meant, or only the day."""
    moment = parse_when(words, now, zone, lean)
    return moment.at.astimezone(zone).strftime("%Y-%m-%d %H:%M") if moment.at else moment.day.isoformat()


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("2026-11-23 09:00", "2026-11-23 09:00"),
        ("2026-11-23T09:00", "2026-11-23 09:00"),
        ("2026-11-23T09:00:00Z", "2026-11-23 14:30"),
        ("2026-11-23T09:00+01:00", "2026-11-23 13:30"),
        ("2026-11-25", "2026-11-25"),
        ("09:00", "2026-11-23 09:00"),
        ("08:00", "2026-11-24 08:00"),
        ("08:30", "2026-11-24 08:30"),
        ("9am", "2026-11-23 09:00"),
        ("9:15 PM", "2026-11-23 21:15"),
        ("12am", "2026-11-24 00:00"),
        ("12 p.m.", "2026-11-23 12:00"),
        ("noon", "2026-11-23 12:00"),
        ("tomorrow 9:00", "2026-11-24 09:00"),
        ("tomorrow at 9am", "2026-11-24 09:00"),
        ("9am tomorrow", "2026-11-24 09:00"),
        ("today 18:00", "2026-11-23 18:00"),
        ("tonight 9pm", "2026-11-23 21:00"),
        ("day after tomorrow 7:15", "2026-11-25 07:15"),
        ("monday 18:30", "2026-11-23 18:30"),
        ("monday 08:00", "2026-11-30 08:00"),
        ("monday", "2026-11-30"),
        ("this monday 18:30", "2026-11-23 18:30"),
        ("this friday", "2026-11-27"),
        ("next monday 18:30", "2026-11-30 18:30"),
        ("on fri at 5pm", "2026-11-27 17:00"),
        ("5pm on friday", "2026-11-27 17:00"),
        ("23 nov", "2026-11-23"),
        ("22nd November", "2027-11-22"),
        ("March 3rd 2027, 10:00", "2027-03-03 10:00"),
        ("29 feb", "2028-02-29"),
        ("in 20m", "2026-11-23 08:50"),
        ("20 min", "2026-11-23 08:50"),
        ("in 2h", "2026-11-23 10:30"),
        ("in 1h30m", "2026-11-23 10:00"),
        ("in 1 hour and 30 minutes", "2026-11-23 10:00"),
        ("in an hour", "2026-11-23 09:30"),
        ("in half an hour", "2026-11-23 09:00"),
        ("in 3 days", "2026-11-26 08:30"),
        ("in 3 days at 9:00", "2026-11-26 09:00"),
        ("in 2 weeks", "2026-12-07 08:30"),
        ("in 1 month", "2026-12-23 08:30"),
    ],
)
def test_what_is_to_come(words: str, meant: str) -> None:
    assert wall(words) == meant


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("08:00", "2026-11-23 08:00"),
        ("09:00", "2026-11-22 09:00"),
        ("yesterday", "2026-11-22"),
        ("yesterday 8pm", "2026-11-22 20:00"),
        ("monday 8:00", "2026-11-23 08:00"),
        ("monday 9:00", "2026-11-16 09:00"),
        ("friday", "2026-11-20"),
        ("last friday", "2026-11-20"),
        ("this monday 8:00", "2026-11-23 08:00"),
        ("24 nov", "2025-11-24"),
        ("29 feb", "2024-02-29"),
        ("2h ago", "2026-11-23 06:30"),
        ("3 days ago", "2026-11-20 08:30"),
        ("now", "2026-11-23 08:30"),
    ],
)
def test_what_has_been(words: str, meant: str) -> None:
    assert wall(words, Lean.PAST) == meant


@pytest.mark.parametrize(
    "words",
    [
        *(
            "",
            "later",
            "9",
            "25:00",
            "13pm",
            "0am",
            "2026-13-01",
            "2026-02-30",
            "23/11/2026",
            "30 feb",
            "monday tuesday",
        ),
        *("in 99999 months", "in 20m ago", "0001-01-01", "9999-12-31 23:59", "09:00 tomorrow 10:00"),
        *("tonight 8:30", "8:30 tonight", "half a day", "'; DROP TABLE tasks"),
    ],
)
def test_what_is_no_time_is_refused_with_the_forms(words: str) -> None:
    with pytest.raises(PaError) as refused:
        parse_when(words, MONDAY, INDIA, Lean.FUTURE)
    assert "WHEN is such as" in str(refused.value) or "too far away" in str(refused.value)


def test_today_is_the_persons_own_day_not_the_servers() -> None:
    late = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)  # already the 23rd in India
    assert wall("today 09:00", now=late) == "2026-11-23 09:00"
    assert wall("today 09:00", now=late, zone=NEW_YORK) == "2026-11-22 09:00"


class TestChangeOfClocks:
    """New York goes forward on 2026-03-08 at 02:00 and back on 2026-11-01 at 02:00."""

    def moment(self, words: str, now: datetime) -> Moment:
        return parse_when(words, now, NEW_YORK, Lean.FUTURE)

    def test_a_skipped_wall_time_moves_forward_by_the_gap(self) -> None:
        moment = self.moment("2026-03-08 02:30", datetime(2026, 3, 1, tzinfo=UTC))
        assert moment.stamp == "2026-03-08T07:30:00Z"  # 03:30 EDT

    def test_a_doubled_wall_time_is_the_first_one(self) -> None:
        moment = self.moment("2026-11-01 01:30", datetime(2026, 10, 1, tzinfo=UTC))
        assert moment.stamp == "2026-11-01T05:30:00Z"  # EDT

    def test_tomorrow_keeps_the_wall_time_across_the_change(self) -> None:
        before = datetime(2026, 3, 7, 14, 0, tzinfo=UTC)  # 09:00 EST
        assert self.moment("tomorrow 9:00", before).stamp == "2026-03-08T13:00:00Z"
        assert self.moment("in 1 day", before).stamp == "2026-03-08T13:00:00Z"

    def test_hours_count_real_time_across_the_change(self) -> None:
        before = datetime(2026, 3, 7, 14, 0, tzinfo=UTC)
        assert self.moment("in 24h", before).stamp == "2026-03-08T14:00:00Z"

    def test_minutes_within_the_doubled_hour_are_exact(self) -> None:
        second_time = datetime(2026, 11, 1, 6, 10, tzinfo=UTC)  # 01:10 for the second time
        assert self.moment("in 20m", second_time).stamp == "2026-11-01T06:30:00Z"

    def test_noon_stands_for_a_day_whose_midnight_does_not_exist(self) -> None:
        beirut = ZoneInfo("Asia/Beirut")  # goes forward at midnight, 2026-03-29
        day = parse_when("2026-03-29", datetime(2026, 3, 20, tzinfo=UTC), beirut, Lean.FUTURE)
        assert stamp(noon(day, beirut)) == "2026-03-29T09:00:00Z"


@given(words=st.text(max_size=40), lean=st.sampled_from(Lean))
def test_no_text_breaks_it(words: str, lean: Lean) -> None:
    with suppress(PaError):
        parse_when(words, MONDAY, INDIA, lean)


@given(
    words=st.lists(
        st.sampled_from(
            [
                "in",
                "ago",
                "20m",
                "3",
                "days",
                "monday",
                "next",
                "last",
                "tomorrow",
                "9:00",
                "at",
                "on",
                "9",
                "am",
                "pm",
                "29",
                "feb",
                "2026-11-23",
                "a",
                "half",
                "an",
                "hour",
            ]
        ),
        max_size=6,
    ),
    lean=st.sampled_from(Lean),
)
def test_no_order_of_known_words_breaks_it(words: list[str], lean: Lean) -> None:
    with suppress(PaError):
        parse_when(" ".join(words), MONDAY, INDIA, lean)


@given(at=st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)), zone=st.sampled_from([INDIA, NEW_YORK, LORD_HOWE]))
def test_a_wall_time_that_exists_once_comes_back_as_it_was(at: datetime, zone: ZoneInfo) -> None:
    at = at.replace(second=0, microsecond=0)
    moment = parse_when(at.isoformat(), MONDAY, zone, Lean.FUTURE)
    assert moment.at is not None
    back = moment.at.astimezone(zone).replace(tzinfo=None)
    skipped = at.replace(tzinfo=zone).utcoffset() != at.replace(tzinfo=zone, fold=1).utcoffset() and back != at
    assert back == at or (skipped and timedelta() < back - at <= timedelta(hours=1))
