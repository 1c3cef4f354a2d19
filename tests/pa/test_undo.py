"""`pa undo`: the last change of any kind, one after the other."""

import sqlite3
import subprocess
import time
from contextlib import closing

import pytest

from .program import Program


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("expenses", ("expense", "add", "280")),
        ("income", ("income", "add", "280")),
        ("meals", ("meal", "add", "idli", "--kcal", "100")),
        ("tasks", ("task", "add", "rent")),
        ("contacts", ("contact", "add", "Asha")),
        ("goals", ("goal", "set", "kcal", "2000")),
    ],
)
def test_an_addition_is_taken_back_and_named(pa: Program, table: str, words: tuple[str, ...]) -> None:
    added = pa.line(*words)
    assert pa.line("undo") == f"ok undone: {added.removeprefix('ok ')}"
    assert pa.rows(f"SELECT * FROM {table}") == []
    assert pa.refusal("undo") == "error: there is nothing to undo"


def test_an_edit_and_a_deletion_are_taken_back_whole(pa: Program) -> None:
    pa.line("expense", "add", "280", "--what", "Uber", "--category", "Transport", "--from", "it’s 280")
    before = pa.row("SELECT * FROM expenses")
    pa.line("expense", "edit", "1", "--amount", "5 USD", "--what", "Lyft", "--at", "yesterday")
    pa.line("expense", "delete", "1")
    assert pa.line("undo").startswith('ok undone: deleted expense 1: 5.00 USD, Transport, "Lyft"')
    assert pa.line("undo") == (
        'ok undone: expense 1: 5.00 USD, Transport, "Lyft", 2026-11-22 (was: 280.00 INR, Transport, "Uber", 2026-11-23)'
    )
    assert pa.row("SELECT * FROM expenses") == before


def test_undo_goes_back_one_change_at_a_time_and_never_twice(pa: Program) -> None:
    for what in ("one", "two", "three"):
        pa.line("task", "add", what)
    assert '"three"' in pa.line("undo")
    assert '"two"' in pa.line("undo")
    pa.line("task", "add", "four")
    assert '"four"' in pa.line("undo")
    assert '"one"' in pa.line("undo")
    assert "nothing to undo" in pa.refusal("undo")


def test_undo_of_a_certain_row_does_not_take_back_another(pa: Program) -> None:
    pa.line("expense", "add", "280")
    pa.line("task", "add", "rent")
    assert "only the last change" in pa.refusal("undo", "expense", "1")
    assert len(pa.rows("SELECT * FROM tasks")) == 1


def test_two_undos_at_once_take_back_two_changes(pa: Program) -> None:
    for what in ("one", "two", "three"):
        pa.line("task", "add", what)
    with closing(sqlite3.connect(pa.database_path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")  # both look, and wait for their turn
        running = [subprocess.Popen(pa.command("undo"), env=pa.environment, stdout=subprocess.PIPE) for _ in range(2)]
        time.sleep(1)
        db.execute("ROLLBACK")
    said = sorted(process.communicate(timeout=30)[0] for process in running)
    assert said == [b'ok undone: task 2: "two"\n', b'ok undone: task 3: "three"\n']
    assert [row["what"] for row in pa.rows("SELECT what FROM tasks")] == ["one"]


def test_a_goal_goes_back_to_what_it_was(pa: Program) -> None:
    pa.line("goal", "set", "kcal", "2200")
    pa.line("goal", "set", "kcal", "2000")
    assert pa.line("undo") == "ok undone: goal kcal: 2000 (was: 2200)"
    assert pa.lines("goal", "list") == ["goal kcal: 2200"]


def test_an_edit_that_changes_nothing_is_not_a_change(pa: Program) -> None:
    pa.line("task", "add", "rent")
    pa.line("task", "edit", "1", "--what", "rent")
    pa.line("undo")
    assert pa.rows("SELECT * FROM tasks") == []
