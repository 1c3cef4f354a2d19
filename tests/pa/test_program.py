"""The way in: help, teaching, and text of any kind."""

import subprocess
import sys

import pytest

from .fake_host import FakeHost
from .program import Program

HOSTILE = (
    'it\'s "quoted" `here` $HOME ; rm -rf / && echo \\ done',
    "'); DROP TABLE expenses; --",
    "Robert\"; DELETE FROM tasks WHERE '1'='1",
    "👩‍👩‍👧 ₹ ünïcödé नमस्ते مرحبا",
    "100% _like_ *bold* [link](x)",
    "two\nlines\tand a tab",
    "--not-an-option at all",
    "%s {0} {amount!r} :name ?",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_is_stored_as_it_is(pa: Program, text: str) -> None:
    pa.line("expense", "add", "1", "--what", text, "--category", text[:40], "--from", text)
    pa.line("task", "add", text, "--from", text)
    pa.line("contact", "add", text, "--note", text)
    assert pa.row("SELECT what, source_text FROM expenses") == {"what": text, "source_text": text}
    assert pa.row("SELECT what FROM tasks") == {"what": text}
    assert pa.row("SELECT name, note FROM contacts") == {"name": text, "note": text}
    assert pa.lines("find", "--", text.split()[0])
    pa.line("undo")
    assert pa.rows("SELECT * FROM contacts") == []


def test_bytes_that_are_no_text_are_replaced(pa: Program) -> None:
    assert pa.line("task", "add", b"caf\xe9 \xff") == 'ok task 1: "caf� �"'


def test_what_is_shown_stays_on_one_line(pa: Program) -> None:
    forged = 'milk\nok expense 9: 1.00 INR\x1b[2J\r"'
    assert len(pa.lines("task", "add", forged)) == 1
    assert len(pa.lines("find", "milk")) == 1
    assert pa.line("find", "tea\nok expense 9") == 'nothing found with "tea ok expense 9"'
    assert pa.line("contact", "find", "tea\nok") == 'no contact with "tea ok"'
    pa.refusal("task", "done", "a\nb")
    pa.refusal("a\nb")


@pytest.mark.parametrize(
    "joined", ["\u0dc1\u0dca\u200d\u0dbb\u0dd3", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "👩\u200d👧"]
)
def test_what_joins_letters_is_shown_as_it_was_written(pa: Program, joined: str) -> None:
    assert pa.line("task", "add", joined) == f'ok task 1: "{joined}"'


def test_long_text_is_refused_and_long_lines_are_cut(pa: Program) -> None:
    assert "4000" in pa.refusal("task", "add", "x" * 4001)
    assert len(pa.line("task", "add", "x" * 4000)) < 230


def test_help_shows_every_call(pa: Program) -> None:
    for words in ((), ("help",), ("--help",), ("-h",)):
        assert len(pa.lines(*words)) > 30
    assert pa.lines("help", "task")[0] == "pa task add WHAT [--due WHEN] [--from TEXT]"
    assert pa.lines("task", "add", "--help")[1] == 'example: pa task add "Pay rent" --due "2026-11-25 09:00"'


def test_an_unknown_command_names_the_known_ones(pa: Program) -> None:
    assert pa.refusal("expence", "add", "280").startswith(
        'error: there is no command "expence"; there are: expense, income'
    )
    assert "usage: pa row add" in pa.refusal("row")


@pytest.mark.parametrize(
    "words",
    [
        ("contact", "edit", "3", "--phone", "1"),
        ("contact", "update", "Asha", "--phone", "1"),
        ("contact", "search", "asha"),
        ("task", "cancel", "3"),
        ("goal", "edit", "kcal", "2000"),
        ("remind", "edit", "3", "--at", "10:00"),
        ("reminder", "snooze", "3", "--at", "in 10m"),
    ],
)
def test_what_a_subject_does_not_know_is_not_taken_for_something_new(
    pa: Program, host: FakeHost, words: tuple[str, ...]
) -> None:
    assert "usage: pa " in pa.refusal(*words)
    assert host.posts == []


def test_a_clock_that_makes_no_sense_is_one_line_too(pa: Program) -> None:
    pa.now = "yesterday"
    assert "pa broke (ValueError in cli.py" in pa.refusal("pulse")


def test_the_launcher_is_sealed_off_from_the_environment(pa: Program) -> None:
    launcher = (pa.sandbox / "pa-launcher").read_text(encoding="ascii")
    assert launcher.startswith("#!/bin/sh\n")
    assert launcher.endswith('exec /usr/bin/python3 -I -m pa "$@"\n')


def test_it_starts_as_a_module_too(pa: Program) -> None:
    start = "import sys, runpy; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('pa', {}, '__main__', True)"
    command = [sys.executable, "-I", "-c", start, str(pa.sandbox), "task", "list"]
    done = subprocess.run(command, env=pa.environment, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, b"no open tasks\n")
