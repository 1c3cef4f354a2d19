"""`pa profile`."""

import pytest

from .fake_host import FakeHost
from .program import Program


def test_it_shows_what_is_known_and_the_persons_time(pa: Program) -> None:
    assert pa.lines("profile") == [
        "profile: name unknown, zone Asia/Kolkata, currency INR, language en, country unknown",
        "now: 2026-11-23 08:30",
    ]


def test_it_is_set_at_the_daemon(pa: Program, host: FakeHost) -> None:
    line = pa.line(
        "profile", "set", "--name", "Zoë", "--zone", "Europe/Berlin", "--currency", "eur", "--language", "de"
    )
    assert line == "ok profile: name Zoë, zone Europe/Berlin, currency EUR, language de"
    assert host.requests == [
        ("PUT", "/pa/v1/profile", {"name": "Zoë", "time_zone": "Europe/Berlin", "currency": "EUR", "language": "de"})
    ]
    assert pa.line("expense", "add", "10") == "ok expense 1: 10.00 EUR, Other, 2026-11-23"
    assert pa.row("SELECT zone FROM expenses") == {"zone": "Europe/Berlin"}


def test_undo_sets_what_was_there_before(pa: Program, host: FakeHost) -> None:
    pa.line("profile", "set", "--name", "Zoë", "--zone", "Europe/Berlin")
    assert pa.line("undo").startswith(
        "ok undone: profile: name Zoë, time_zone Europe/Berlin; it is now name Zoë, zone Asia/"
    )


def test_wrong_values_never_reach_the_daemon(pa: Program, host: FakeHost) -> None:
    assert "Asia/Kolkata or Europe/Berlin" in pa.refusal("profile", "set", "--zone", "India")
    assert "Asia/Kolkata or Europe/Berlin" in pa.refusal("profile", "set", "--zone", "../../etc/passwd")
    assert "three-letter code" in pa.refusal("profile", "set", "--currency", "rupees")
    assert "--name is empty" in pa.refusal("profile", "set", "--name", " ")
    assert "say what to set" in pa.refusal("profile", "set", "Zoë")
    assert host.requests == []


def test_a_daemon_that_is_away_confirms_nothing(pa: Program) -> None:
    assert "nothing is confirmed" in pa.refusal("profile", "set", "--name", "Zoë")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"time_zone": 5, "currency": null}', '{"time_zone": "Asia"}'])
def test_an_odd_profile_falls_back_to_utc(pa: Program, content: str) -> None:
    pa.profile_path.write_text(content, encoding="utf-8")
    assert "zone UTC, currency unknown" in pa.lines("profile")[0]
    assert pa.line("task", "add", "x", "--due", "tomorrow 9:00") == 'ok task 1: "x", due 2026-11-24 09:00'


def test_a_missing_profile_is_no_reason_to_stop(pa: Program) -> None:
    pa.profile_path.unlink()
    assert "zone UTC" in pa.lines("profile")[0]
