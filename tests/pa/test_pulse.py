"""`pa pulse`: speaks when something needs attention, and does not nag."""

import subprocess
from datetime import datetime

from clawkakad.sandboxes.pulse import LIMIT, look

from .program import Program


def days_later(pa: Program, days: int) -> None:
    """The same time of day, days after Monday 2026-11-23."""
    pa.now = f"2026-11-{23 + days:02d}T03:00:00+00:00" if days < 8 else f"2026-12-{days - 7:02d}T03:00:00+00:00"


def test_nothing_is_printed_when_nothing_needs_attention(pa: Program) -> None:
    assert pa.lines("pulse") == []
    pa.line("task", "add", "someday")
    pa.line("task", "add", "next week", "--due", "in 7 days")
    pa.line("task", "add", "tonight", "--due", "21:00")
    pa.line("contact", "add", "Asha", "--birthday", "1990-12-23")
    assert pa.lines("pulse") == []
    assert pa.lines("pulse", "--mark") == []


def test_what_needs_attention_comes_most_pressing_first(pa: Program) -> None:
    pa.line("contact", "add", "Asha", "--birthday", "1990-11-24")
    pa.line("contact", "add", "Ravi", "--birthday", "11-23")
    pa.line("task", "add", "Renew visa", "--due", "tomorrow")
    pa.line("task", "add", "Pay bill", "--due", "today")
    pa.line("task", "add", "Call bank", "--due", "11:00")
    pa.line("task", "add", "Pay rent", "--due", "2026-11-20 09:00")
    assert pa.lines("pulse") == [
        'overdue task 4: "Pay rent", due 2026-11-20 09:00',
        'due soon task 3: "Call bank", due 2026-11-23 11:00',
        'due today task 2: "Pay bill", due 2026-11-23',
        'due tomorrow task 1: "Renew visa", due 2026-11-24',
        'birthday today: "Ravi"',
        'birthday tomorrow: "Asha", turns 36',
    ]


def test_a_birthday_on_29_february_is_kept_in_every_year(pa: Program) -> None:
    pa.line("contact", "add", "Leap", "--birthday", "2000-02-29")
    pa.now = "2027-02-28T03:00:00+00:00"
    assert pa.lines("pulse") == ['birthday today: "Leap", turns 27']
    pa.now = "2028-02-28T03:00:00+00:00"
    assert pa.lines("pulse") == ['birthday tomorrow: "Leap", turns 28']


def test_done_is_done(pa: Program) -> None:
    pa.line("task", "add", "Pay rent", "--due", "yesterday")
    pa.line("task", "done", "1")
    assert pa.lines("pulse") == []


def test_marked_findings_are_told_once_a_day(pa: Program) -> None:
    pa.line("task", "add", "Pay rent", "--due", "yesterday")
    finding = ['overdue task 1: "Pay rent", due 2026-11-22']
    assert pa.lines("pulse", "--mark") == finding
    assert pa.lines("pulse", "--mark") == []
    assert pa.lines("pulse") == finding, "looking without a mark shows everything"
    pa.now = "2026-11-23T18:00:00+00:00"
    assert pa.lines("pulse", "--mark") == []
    pa.now = "2026-11-23T18:31:00+00:00"  # past midnight in India
    assert pa.lines("pulse", "--mark") == finding


def test_looking_for_news_marks_nothing(pa: Program) -> None:
    pa.line("task", "add", "Pay rent", "--due", "yesterday")
    for how in ((), ("--new",), ("--new",), ("--mark",)):
        assert len(pa.lines("pulse", *how)) == 1
    assert pa.lines("pulse", "--new") == []
    assert len(pa.lines("pulse")) == 1


def looked(pa: Program, *, mark: bool, at: str) -> list[str]:
    """What the daemon's look of that time prints, but for where `pa` is."""
    *before, _, pulse, how = look(mark=mark, at=datetime.fromisoformat(at))
    command = [*before, *pa.command(pulse, how)]
    return subprocess.run(command, env=pa.environment, capture_output=True, text=True, check=True).stdout.splitlines()


def test_marking_as_of_a_look_leaves_what_fell_due_since(pa: Program) -> None:
    pa.line("task", "add", "Pay rent", "--due", "yesterday")
    pa.line("task", "add", "Call bank", "--due", "11:31")
    at = "2026-11-23T03:00:30.5+00:00"
    rent = ['overdue task 1: "Pay rent", due 2026-11-22']
    assert looked(pa, mark=False, at=at) == rent
    pa.now = "2026-11-23T03:03:00+00:00"
    assert looked(pa, mark=True, at=at) == rent
    assert pa.lines("pulse", "--new") == ['due soon task 2: "Call bank", due 2026-11-23 11:31']


def test_a_changed_finding_is_news(pa: Program) -> None:
    pa.line("task", "add", "Pay rent", "--due", "yesterday")
    pa.lines("pulse", "--mark")
    pa.line("task", "edit", "1", "--due", "today 08:00")
    assert pa.lines("pulse", "--mark") == ['overdue task 1: "Pay rent", due 2026-11-23 08:00']
    assert pa.lines("pulse", "--mark") == []


def test_due_soon_that_becomes_overdue_is_news(pa: Program) -> None:
    pa.line("task", "add", "Call bank", "--due", "09:00")
    assert pa.lines("pulse", "--mark") == ['due soon task 1: "Call bank", due 2026-11-23 09:00']
    pa.now = "2026-11-23T03:29:59+00:00"
    assert pa.lines("pulse", "--mark") == []
    pa.now = "2026-11-23T03:30:01+00:00"
    assert pa.lines("pulse", "--mark") == ['overdue task 1: "Call bank", due 2026-11-23 09:00']


def test_after_three_days_it_is_told_once_a_week(pa: Program) -> None:
    pa.line("task", "add", "Pay rent", "--due", "yesterday")
    told = []
    for day in range(12):
        days_later(pa, day)
        if pa.lines("pulse", "--mark"):
            told.append(day)
    assert told == [0, 1, 2, 9]


def test_many_findings_are_told_in_parts(pa: Program) -> None:
    pa.line("task", "add", "0", "--due", "yesterday")
    pa.write(
        """WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 11)
           INSERT INTO tasks (what, due_day, zone, created_at)
           SELECT value, '2026-11-22', 'Asia/Kolkata', '2026-11-22T00:00:00Z' FROM n"""
    )
    first = pa.lines("pulse", "--mark")
    assert (len(first), first[-1]) == (11, "... and 2 more")
    assert len(pa.lines("pulse", "--mark")) == 2
    assert pa.lines("pulse", "--mark") == []


def test_the_longest_findings_fit_into_what_the_daemon_takes(pa: Program) -> None:
    """They are marked as told, all of them."""
    for _ in range(12):
        pa.run("task", "add", "🙏" * 300, "--due", "today 08:00")
    lines = pa.lines("pulse", "--new")
    assert lines[-1] == "... and 2 more"
    assert len("\n".join(lines).encode()) < LIMIT
