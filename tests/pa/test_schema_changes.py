"""`pa evolve` and `pa row`: the database grows, nothing that is there gets lost or narrower."""

import sqlite3
import subprocess
import time
from contextlib import closing

import pytest

from .program import Program

BOOKS = "CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT NOT NULL, pages INTEGER)"


def test_a_change_is_recorded_with_its_reason_beside_a_copy(pa: Program) -> None:
    pa.line("expense", "add", "280")
    assert pa.line("evolve", BOOKS, "--why", "tracks reading") == f"ok schema changed: {BOOKS}"
    change = pa.row("SELECT * FROM schema_changes")
    assert (change["statement"], change["why"], change["created_at"]) == (
        BOOKS,
        "tracks reading",
        "2026-11-23T03:00:00Z",
    )
    with closing(sqlite3.connect(pa.database_path.parent / "copies" / change["copy_file"])) as copy:
        assert copy.execute("SELECT amount_minor FROM expenses").fetchall() == [(28000,)]
        assert copy.execute("SELECT * FROM sqlite_schema WHERE name = 'books'").fetchall() == []


def test_columns_and_indexes_are_added(pa: Program) -> None:
    pa.line("evolve", "alter table expenses add column shop TEXT DEFAULT ''", "--why", "asks where")
    pa.line("evolve", "ALTER TABLE tasks ADD place TEXT;", "--why", "errands by place")
    pa.line("evolve", "CREATE INDEX expenses_by_shop ON expenses (shop, day DESC)", "--reason", "asks where")
    assert pa.line("expense", "add", "280").startswith("ok expense 1")
    assert pa.row("SELECT shop FROM expenses") == {"shop": ""}
    assert len(pa.rows("SELECT * FROM schema_changes")) == 3


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE expenses",
        "ALTER TABLE expenses DROP COLUMN what",
        "ALTER TABLE expenses RENAME TO gone",
        "ALTER TABLE expenses RENAME COLUMN what TO that",
        "ALTER TABLE expenses ADD COLUMN shop TEXT NOT NULL",
        "ALTER TABLE expenses ADD COLUMN shop TEXT CHECK (amount_minor < 5)",
        "ALTER TABLE expenses ADD COLUMN t INTEGER REFERENCES tasks(id)",
        "CREATE UNIQUE INDEX one_a_day ON expenses (day)",
        "CREATE INDEX by_what ON tasks (json_extract(what, '$.a'))",
        "CREATE INDEX some ON tasks (what) WHERE json_extract(what, '$.a') = 1",
        "ALTER TABLE expenses ADD COLUMN rowid INTEGER",
        "ALTER TABLE journal ADD COLUMN x TEXT",
        "CREATE INDEX j ON schema_changes (why)",
        "CREATE TRIGGER t AFTER INSERT ON expenses BEGIN DELETE FROM expenses; END",
        "CREATE VIEW v AS SELECT 1",
        "CREATE TABLE x AS SELECT * FROM expenses",
        "CREATE TABLE x (title TEXT)",
        "CREATE TABLE x (id INTEGER PRIMARY KEY) WITHOUT ROWID",
        "CREATE TEMP TABLE x (id INTEGER PRIMARY KEY)",
        "CREATE TABLE temp.x (id INTEGER PRIMARY KEY)",
        "CREATE VIRTUAL TABLE x USING fts5(a)",
        "DELETE FROM expenses",
        "UPDATE expenses SET amount_minor = 1",
        "PRAGMA user_version = 9",
        "ATTACH 'x' AS y",
        "ALTER TABLE books ADD COLUMN a TEXT; DROP TABLE expenses",
        "CREATE TABLE expenses (id INTEGER PRIMARY KEY)",
        "CREATE TABLE broken (id INTEGER PRIMARY KEY,,)",
    ],
)
def test_whatever_is_no_growth_is_refused_and_changes_nothing(pa: Program, statement: str) -> None:
    pa.line("evolve", BOOKS, "--why", "tracks reading")
    pa.line("expense", "add", "280")
    before = pa.rows("SELECT * FROM sqlite_schema")
    pa.refusal("evolve", statement, "--why", "because")
    assert pa.rows("SELECT * FROM sqlite_schema") == before
    assert len(pa.rows("SELECT * FROM expenses")) == 1
    assert len(pa.rows("SELECT * FROM schema_changes")) == 1
    assert len(list((pa.database_path.parent / "copies").iterdir())) == 1


def test_a_reason_is_needed(pa: Program) -> None:
    assert "a statement and --why are needed" in pa.refusal("evolve", BOOKS)


def test_what_is_there_already_is_no_change(pa: Program) -> None:
    again = BOOKS.replace("TABLE", "TABLE IF NOT EXISTS")
    pa.line("evolve", again, "--why", "tracks reading")
    assert pa.line("evolve", again, "--why", "again") == "ok nothing to change, it is there already"
    assert len(pa.rows("SELECT * FROM schema_changes")) == 1


def test_only_the_last_copies_are_kept(pa: Program) -> None:
    for number in range(7):
        pa.line("evolve", f"ALTER TABLE tasks ADD COLUMN c{number} TEXT", "--why", "trying")
    copies = sorted(path.name for path in (pa.database_path.parent / "copies").iterdir())
    assert copies == [f"pa-before-change-000{number}.sqlite" for number in range(3, 8)]


def test_a_copy_that_finds_no_room_leaves_nothing(pa: Program) -> None:
    pa.line("task", "add", "x")
    small = ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh"]  # no file may grow beyond 50 KiB
    full = subprocess.run(
        [*small, *pa.command("evolve", BOOKS, "--why", "x")], env=pa.environment, capture_output=True, check=False
    )
    assert (full.returncode, full.stderr[:6]) == (2, b"error:")
    assert list((pa.database_path.parent / "copies").iterdir()) == []


def test_two_changes_at_once_have_a_copy_each(pa: Program) -> None:
    pa.line("task", "add", "x")
    statements = (BOOKS, "CREATE TABLE walks (id INTEGER PRIMARY KEY, km REAL)")
    with closing(sqlite3.connect(pa.database_path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")  # both come so far, and wait for their turn
        running = [
            subprocess.Popen(pa.command("evolve", statement, "--why", "x"), env=pa.environment, stdout=subprocess.PIPE)
            for statement in statements
        ]
        time.sleep(1)
        db.execute("ROLLBACK")
    said = [process.communicate(timeout=30)[0] for process in running]
    assert all(line.startswith(b"ok schema changed") for line in said), said
    named = {row["copy_file"] for row in pa.rows("SELECT copy_file FROM schema_changes")}
    there = {path.name for path in (pa.database_path.parent / "copies").iterdir()}
    assert (len(named), there) == (2, named)


def test_rows_of_an_own_table_are_added_edited_deleted_and_undone(pa: Program) -> None:
    pa.line("evolve", BOOKS, "--why", "tracks reading")
    assert (
        pa.line("row", "add", "books", "title=Dune = good", "pages=600") == "ok books 1: title=Dune = good, pages=600"
    )
    assert pa.row("SELECT * FROM books") == {"id": 1, "title": "Dune = good", "pages": 600}
    assert pa.line("row", "edit", "books", "1", "title=Dune") == "ok books 1: title=Dune, pages=600"
    assert pa.line("row", "delete", "books", "1") == "ok deleted books 1: title=Dune, pages=600"
    for _ in range(2):
        pa.line("undo")
    assert pa.row("SELECT title FROM books") == {"title": "Dune = good"}
    pa.line("undo")
    assert pa.rows("SELECT * FROM books") == []


def test_an_added_column_of_a_core_table_is_filled_and_undone(pa: Program) -> None:
    pa.line("evolve", "ALTER TABLE expenses ADD COLUMN shop TEXT", "--why", "asks where")
    pa.line("expense", "add", "280")
    pa.line("row", "edit", "expenses", "1", "shop=DMart")
    assert pa.row("SELECT shop FROM expenses") == {"shop": "DMart"}
    pa.line("undo")
    assert pa.row("SELECT shop, amount_minor FROM expenses") == {"shop": None, "amount_minor": 28000}


def test_an_added_column_may_have_a_name_that_another_table_knows(pa: Program) -> None:
    pa.line("evolve", "ALTER TABLE tasks ADD COLUMN category TEXT", "--why", "sorts errands")
    pa.line("task", "add", "milk")
    pa.line("row", "edit", "tasks", "1", "category=Shop")
    assert pa.row("SELECT category FROM tasks") == {"category": "Shop"}
    assert "columns here: category" in pa.refusal("row", "edit", "tasks", "1", "what=eggs")


def test_core_columns_and_the_programs_own_books_are_out_of_reach(pa: Program) -> None:
    pa.line("expense", "add", "280")
    assert "is not column=value" in pa.refusal("row", "edit", "expenses", "1", "amount_minor=1")
    assert "have their own command" in pa.refusal("row", "add", "expenses", "what=x")
    assert "have their own command" in pa.refusal("row", "delete", "expenses", "1")
    for table in ("journal", "schema_changes", "sqlite_schema", "nothing"):
        assert "there is no table" in pa.refusal("row", "edit", table, "1", "id=2")


def test_a_tables_own_rules_are_told(pa: Program) -> None:
    pa.line("evolve", BOOKS, "--why", "tracks reading")
    assert "the table refuses that: NOT NULL" in pa.refusal("row", "add", "books", "pages=3")
    assert "columns here: pages, title" in pa.refusal("row", "add", "books", "author=Herbert")


def test_a_row_that_others_depend_on_is_not_undone(pa: Program) -> None:
    pa.line("task", "add", "rent")
    notes = "CREATE TABLE notes (id INTEGER PRIMARY KEY, task INTEGER REFERENCES tasks(id))"
    pa.line("evolve", notes, "--why", "notes on tasks")
    pa.write("INSERT INTO notes (task) VALUES (1)")
    assert "other rows depend on it" in pa.refusal("undo")
    assert len(pa.rows("SELECT * FROM tasks")) == 1
