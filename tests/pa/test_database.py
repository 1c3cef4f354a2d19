"""The file itself: made when missing, safe under several programs at once, holding its own rules."""

import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from .program import Program

CORE = ("tasks", "reminders", "meals", "goals", "expenses", "income", "contacts", "schema_changes", "journal")


def schema(pa: Program) -> str:
    return (pa.sandbox / "schema.sql").read_text(encoding="utf-8")


def test_it_is_made_from_the_schema_when_missing(pa: Program) -> None:
    pa.lines("pulse")
    tables = {row["name"] for row in pa.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert set(CORE) <= tables
    assert pa.row("PRAGMA user_version") == {"user_version": 1}
    assert pa.row("PRAGMA journal_mode") == {"journal_mode": "wal"}


def test_an_empty_file_left_by_a_crash_is_filled(pa: Program) -> None:
    pa.database_path.parent.mkdir()
    pa.database_path.touch()
    assert pa.line("task", "add", "x").startswith("ok task 1")


def test_the_schema_loads_twice_in_python_and_keeps_the_rows(pa: Program) -> None:
    pa.line("task", "add", "x")
    with closing(sqlite3.connect(pa.database_path)) as db:
        db.executescript(schema(pa))
        assert db.execute("SELECT count(*) FROM tasks").fetchone() == (1,)


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 program is not installed")
def test_the_schema_loads_with_the_sqlite3_program(pa: Program) -> None:
    pa.database_path.parent.mkdir()
    for _ in range(2):
        with open(pa.sandbox / "schema.sql", "rb") as script:
            subprocess.run(["sqlite3", "-bail", str(pa.database_path)], stdin=script, check=True, capture_output=True)
    assert pa.line("task", "add", "x").startswith("ok task 1")


def test_every_table_is_strict(pa: Program) -> None:
    pa.lines("pulse")
    loose = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND strict = 0 AND name NOT LIKE 'sqlite_%'"
    assert pa.rows(loose) == []


@pytest.mark.parametrize(
    "values",
    [
        "'x', 0, 'INR', '2026-11-23T03:00:00Z', 'UTC', '2026-11-23', '2026-11-23T03:00:00Z'",
        "'x', 1.5, 'INR', '2026-11-23T03:00:00Z', 'UTC', '2026-11-23', '2026-11-23T03:00:00Z'",
        "'x', 100, 'inr', '2026-11-23T03:00:00Z', 'UTC', '2026-11-23', '2026-11-23T03:00:00Z'",
        "'x', 100, 'INR', '2026-11-23 03:00', 'UTC', '2026-11-23', '2026-11-23T03:00:00Z'",
        "'x', 100, 'INR', '2026-11-23T03:00:00Z', '', '2026-11-23', '2026-11-23T03:00:00Z'",
        "'x', 100, 'INR', '2026-11-23T03:00:00Z', 'UTC', 'today', '2026-11-23T03:00:00Z'",
    ],
)
def test_the_file_itself_refuses_money_that_is_none(pa: Program, values: str) -> None:
    pa.lines("pulse")
    columns = "what, amount_minor, currency, spent_at, zone, day, created_at"
    with pytest.raises(sqlite3.IntegrityError):
        pa.write(f"INSERT INTO expenses ({columns}) VALUES ({values})")


def test_many_programs_at_once_on_a_missing_file_all_succeed(pa: Program) -> None:
    running = [
        subprocess.Popen(pa.command("expense", "add", str(n)), env=pa.environment, stderr=subprocess.PIPE)
        for n in range(1, 9)
    ]
    for process in running:
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, b"")
    assert pa.row("SELECT count(*) AS n, sum(amount_minor) AS total FROM expenses") == {"n": 8, "total": 3600}


def test_a_writer_in_the_way_is_waited_for_and_then_named(pa: Program) -> None:
    pa.lines("pulse")
    with closing(sqlite3.connect(pa.database_path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        assert "database is locked; nothing was saved" in pa.refusal("task", "add", "x")
        db.execute("ROLLBACK")
    assert pa.line("task", "add", "x").startswith("ok task 1")


def test_a_folder_that_cannot_be_written_is_one_line(pa: Program) -> None:
    pa.database_path = Path("/proc/pa.sqlite")  # where not even root may make a file
    pa.refusal("task", "add", "x")


def test_a_file_that_is_no_database_is_one_line(pa: Program) -> None:
    pa.database_path.parent.mkdir()
    pa.database_path.write_bytes(b"not a database at all, whatever it looks like" * 100)
    assert "the database said: file is not a database" in pa.refusal("task", "add", "x")
