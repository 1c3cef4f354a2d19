"""How lists are shown where a table has no room."""

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from clawkakad.cli.listing import packed, pause_lines, show_rows
from clawkakad.registry.pauses import Pause, Scope


def test_no_part_is_torn_apart_but_one_that_is_wider_than_the_line() -> None:
    parts = ["state: ready", "container: running", "last message: 3 min ago", "a" * 40]

    assert ["state: ready · container: running", "last message: 3 min ago", "a" * 40] == list(packed(parts, 36))
    assert [] == list(packed([], 36))


def test_wide_letters_take_two_cells() -> None:
    assert ["name: 李", "zone: 東京"] == list(packed(["name: 李", "zone: 東京"], 20))


def test_a_narrow_terminal_gets_a_few_short_lines_for_each() -> None:
    output = io.StringIO()
    console = Console(file=output, width=40)

    show_rows(console, ["id", "who", "state", "reason"], [["s1", "Ann", "ready", "-"]], folds="reason")

    assert "s1\n    who: Ann · state: ready\n" == output.getvalue()


@pytest.mark.parametrize("by_status", [False, True])
def test_a_pause_that_a_status_began_says_what_ends_it(by_status: bool) -> None:
    now = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    pause = Pause(Scope.ALL, 131042, "unpaid", now, now + timedelta(minutes=30), by_status)

    said = "\n".join(line.plain for line in pause_lines([pause], now))

    assert "One message is tried in 30 min, alone" in said
    assert ("when a status says that it has gone out" in said) is by_status
