"""What is decided without I/O: who is let in, where somebody lives, when the clock strikes, when to speak."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.assistant import pace, walltime
from clawkakad.config import Access
from clawkakad.delivery.window import in_window
from clawkakad.errors import Rejected
from clawkakad.intake import places
from clawkakad.intake.access import Door
from clawkakad.model import IdentifierKind

NUMBER = (IdentifierKind.WA_ID, "4915123456789")
BSUID = (IdentifierKind.BSUID, "DE.1")
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("access", "allow", "let_in"),
    [
        (Access.LISTED, (), False),
        (Access.LISTED, ("4915123456789",), True),
        (Access.LISTED, ("DE.1",), True),
        (Access.LISTED, ("15550100123",), False),
        (Access.OPEN, (), True),
    ],
)
def test_the_door(access: Access, allow: tuple[str, ...], let_in: bool) -> None:
    assert Door(access, allow).lets_in([BSUID, NUMBER]) is let_in


@pytest.mark.parametrize(
    ("number", "zone", "currency", "country"),
    [
        ("4915123456789", "Europe/Berlin", "EUR", "DE"),
        ("919876543210", "Asia/Kolkata", "INR", "IN"),
        ("447700900123", "Europe/London", "GBP", "GB"),
        ("819012345678", "Asia/Tokyo", "JPY", "JP"),
    ],
)
def test_a_number_tells_where_its_person_probably_lives(number: str, zone: str, currency: str, country: str) -> None:
    profile = places.guess([(IdentifierKind.WA_ID, number)], "Robin")

    assert profile.time_zone == zone
    assert (profile.currency, profile.country, profile.name) == (currency, country, "Robin")


def test_without_a_number_the_business_scoped_id_tells_the_country() -> None:
    assert places.guess([(IdentifierKind.BSUID, "IN.1")], None).currency == "INR"


def test_nonsense_gives_the_plain_defaults() -> None:
    assert places.guess([(IdentifierKind.WA_ID, "0")], None).time_zone == "UTC"


@pytest.mark.parametrize(
    ("text", "zone", "at"),
    [
        ("2026-11-23 09:00", "Asia/Kolkata", datetime(2026, 11, 23, 3, 30, tzinfo=UTC)),
        ("2026-11-23T09:00:00+01:00", "Asia/Kolkata", datetime(2026, 11, 23, 8, 0, tzinfo=UTC)),
        ("2027-03-28 02:30", "Europe/Berlin", datetime(2027, 3, 28, 1, 30, tzinfo=UTC)),  # skipped: the hour after
        ("2027-10-31 02:30", "Europe/Berlin", datetime(2027, 10, 31, 0, 30, tzinfo=UTC)),  # twice: the first
    ],
)
def test_wall_times_become_instants(text: str, zone: str, at: datetime) -> None:
    assert walltime.upcoming(text, zone, NOW) == at


@pytest.mark.parametrize("text", ["2026-11-22 09:00", "2040-01-01 00:00", "soon", "2026-13-01 00:00", ""])
def test_what_is_no_time_to_come_is_refused_in_words(text: str) -> None:
    with pytest.raises(Rejected):
        walltime.upcoming(text, "UTC", NOW)


@pytest.mark.parametrize(
    ("text", "zone"),
    [("0001-01-01 00:00+00:00", "America/New_York"), ("9999-12-31 23:00+00:00", "Asia/Kolkata")],
)
def test_what_no_clock_there_can_show_is_refused_in_words(text: str, zone: str) -> None:
    with pytest.raises(Rejected):
        walltime.upcoming(text, zone, NOW)


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd", "Europe"])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(Rejected, match="no time zone"):
        walltime.zone_named(zone)


@given(st.datetimes(datetime(2026, 11, 23), datetime(2031, 1, 1)), st.sampled_from(["UTC", "Asia/Kolkata"]))
def test_where_clocks_never_change_walls_and_instants_are_one_to_one(wall: datetime, zone: str) -> None:
    text = wall.strftime("%Y-%m-%d %H:%M")

    assert walltime.wall(walltime.upcoming(text, zone, NOW), zone) == text


@pytest.mark.parametrize(
    ("wall", "hours", "active"),
    [
        (time(8), (time(8), time(22)), True),
        (time(22), (time(8), time(22)), False),
        (time(23), (time(22), time(6)), True),
        (time(5, 59), (time(22), time(6)), True),
        (time(12), (time(22), time(6)), False),
    ],
)
def test_active_hours_may_span_midnight(wall: time, hours: tuple[time, time], active: bool) -> None:
    zone = ZoneInfo("Asia/Kolkata")
    now = datetime.combine(datetime(2026, 11, 22), wall, zone)

    assert pace.is_active(now.astimezone(UTC), zone, hours) is active


def test_the_service_window_has_a_margin() -> None:
    assert in_window(NOW, NOW - timedelta(hours=23, minutes=49))
    assert not in_window(NOW, NOW - timedelta(hours=23, minutes=51))
    assert not in_window(NOW, None)
