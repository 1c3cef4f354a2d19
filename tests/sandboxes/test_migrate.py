"""A person's database meets a newer image: brought to its schema whole, or not at all, with a copy beside it."""

import shutil
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from clawkakad.sandboxes import image
from tests.support import DATA, SCALE

SECOND = "ALTER TABLE expenses ADD COLUMN shared_with TEXT;\n"
THIRD = (
    "CREATE TABLE pets (id INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;\n"
    "CREATE INDEX pets_by_name ON pets (name);\n"
)
ROW = (
    "INSERT INTO expenses (what, amount_minor, currency, spent_at, zone, day, created_at) VALUES"
    " ('tea', 28000, 'INR', '2026-11-23T03:00:00Z', 'UTC', '2026-11-23', '2026-11-23T03:00:00Z')"
)
LONG = (
    "CREATE TABLE numbers (n INTEGER);\nINSERT INTO numbers WITH RECURSIVE c(n) AS"
    " (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 30000000) SELECT n FROM c;\n"
)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """What an image of the first schema holds."""
    share = tmp_path / "share"
    (share / "migrations").mkdir(parents=True)
    (share / "workspace").mkdir()
    shutil.copy(DATA / "pa" / "schema-1.sql", share / "schema.sql")
    return share


@pytest.fixture
def data(tmp_path: Path, share: Path) -> Path:
    """The data of somebody whose assistant has kept a few things, and books in a table of its own."""
    data = tmp_path / "data"
    data.mkdir()
    assert seed(share, data).returncode == 0
    write(data, ROW, "CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT)", "INSERT INTO books VALUES (1, 'Emma')")
    return data


def newer(share: Path, *migrations: str) -> None:
    """A newer image."""
    for number, text in enumerate(migrations, start=2):
        (share / "migrations" / f"{number:04d}_more.sql").write_text(text)
    schema = (DATA / "pa" / "schema-1.sql").read_text()
    version = f"PRAGMA user_version = {len(migrations) + 1};"
    (share / "schema.sql").write_text(schema.replace("PRAGMA user_version = 1;", version))


def seed(share: Path, data: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line(share, data), capture_output=True, text=True, timeout=60, check=False)


def line(share: Path, data: Path) -> list[str]:
    return [str(image.source_directory() / "seed"), str(share), str(data)]


def write(data: Path, *statements: str) -> None:
    with closing(sqlite3.connect(data / "pa/pa.sqlite", isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def read(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def test_an_older_database_gets_what_is_missing_and_keeps_what_it_has(share: Path, data: Path) -> None:
    newer(share, SECOND, THIRD)
    outcome = seed(share, data)
    path = data / "pa/pa.sqlite"

    assert (0, "") == (outcome.returncode, outcome.stderr)
    assert "schema 1 became 3" in outcome.stdout
    assert [(3,)] == read(path, "PRAGMA user_version")
    assert [("tea", None)] == read(path, "SELECT what, shared_with FROM expenses")
    assert [("Emma",)] == read(path, "SELECT title FROM books")
    assert [] == read(path, "SELECT name FROM pets")
    assert [("wal",)] == read(path, "PRAGMA journal_mode")
    (copy,) = (data / "pa/copies").iterdir()
    assert [(1,)] == read(copy, "PRAGMA user_version")
    assert [("tea",)] == read(copy, "SELECT what FROM expenses")


def test_a_later_start_does_nothing(share: Path, data: Path) -> None:
    newer(share, SECOND)
    seed(share, data)
    outcome = seed(share, data)

    assert (0, "", "") == (outcome.returncode, outcome.stdout, outcome.stderr)
    assert 1 == len(list((data / "pa/copies").iterdir()))


def test_a_start_that_is_killed_in_the_middle_has_changed_nothing_and_the_next_one_does_it(
    share: Path, data: Path
) -> None:
    newer(share, SECOND, LONG)
    process = subprocess.Popen(line(share, data), start_new_session=True)
    deadline = time.monotonic() + 20 * SCALE
    while not list((data / "pa").glob("copies/*.sqlite")) or not _has_log(data):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    subprocess.run(["kill", "-9", "--", f"-{process.pid}"], check=True)
    assert -signal.SIGKILL == process.wait(20)

    path = data / "pa/pa.sqlite"
    assert [(1,)] == read(path, "PRAGMA user_version")
    assert [("tea",)] == read(path, "SELECT what FROM expenses")
    assert [] == read(path, "SELECT 1 FROM pragma_table_info('expenses') WHERE name = 'shared_with'")
    newer(share, SECOND, THIRD)
    assert seed(share, data).returncode == 0
    assert [(3,)] == read(path, "PRAGMA user_version")
    assert [("tea", None)] == read(path, "SELECT what, shared_with FROM expenses")


def _has_log(data: Path) -> bool:
    log = data / "pa/pa.sqlite-wal"
    return log.exists() and log.stat().st_size > 0


def test_a_newer_database_is_refused_and_left_alone(share: Path, data: Path) -> None:
    write(data, "PRAGMA user_version = 7")
    outcome = seed(share, data)

    assert 78 == outcome.returncode
    assert "pa.sqlite has schema 7, and this image knows 1" in outcome.stderr
    assert [("tea",)] == read(data / "pa/pa.sqlite", "SELECT what FROM expenses")


def test_a_migration_that_fails_changes_nothing_and_says_why(share: Path, data: Path) -> None:
    newer(share, SECOND, "CREATE TABLE books (id INTEGER PRIMARY KEY);\n")
    outcome = seed(share, data)

    assert 1 == outcome.returncode
    assert "books already exists" in outcome.stderr
    assert [(1,)] == read(data / "pa/pa.sqlite", "PRAGMA user_version")
    assert [] == read(data / "pa/pa.sqlite", "SELECT 1 FROM pragma_table_info('expenses') WHERE name = 'shared_with'")


def test_a_copy_that_finds_no_room_leaves_nothing(share: Path, data: Path) -> None:
    newer(share, SECOND)
    small = ["sh", "-c", 'ulimit -f 100; exec "$@"', "sh"]  # no file may grow beyond 50 KiB
    full = subprocess.run([*small, *line(share, data)], capture_output=True, check=False)
    assert full.returncode == 1
    assert list((data / "pa" / "copies").iterdir()) == []


def test_a_column_that_the_agent_added_itself_is_no_obstacle(share: Path, data: Path) -> None:
    write(data, "ALTER TABLE expenses ADD COLUMN Shared_With TEXT", "UPDATE expenses SET shared_with = 'Bo'")
    newer(share, f"-- Who shares it.\n{SECOND}")

    assert seed(share, data).returncode == 0
    assert [("Bo",)] == read(data / "pa/pa.sqlite", "SELECT shared_with FROM expenses")


def test_the_last_three_copies_stay(share: Path, data: Path) -> None:
    steps = [f"CREATE TABLE own_{number} (id INTEGER PRIMARY KEY);\n" for number in range(5)]
    for count in range(1, len(steps) + 1):
        newer(share, *steps[:count])
        assert seed(share, data).returncode == 0

    names = sorted(path.name for path in (data / "pa/copies").iterdir())
    assert [f"pa-of-schema-{number:04d}.sqlite" for number in (3, 4, 5)] == names


def test_a_database_that_cannot_be_read_keeps_nobody_from_starting(share: Path, data: Path) -> None:
    for path in (data / "pa").iterdir():
        path.unlink()
    (data / "pa/pa.sqlite").write_bytes(b"not a database at all, whatever it looks like" * 100)
    outcome = seed(share, data)

    assert 0 == outcome.returncode
    assert "left as it is" in outcome.stderr


def test_the_first_schema_brought_up_to_date_is_the_newest_one(share: Path, data: Path, tmp_path: Path) -> None:
    """Of this checkout: every change of schema.sql needs its migration."""
    write(data, "DROP TABLE books")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert seed(image.source_directory(), data).returncode == 0
    assert seed(image.source_directory(), fresh).returncode == 0

    assert _shape(fresh / "pa/pa.sqlite") == _shape(data / "pa/pa.sqlite")
    assert read(fresh / "pa/pa.sqlite", "PRAGMA user_version") == read(data / "pa/pa.sqlite", "PRAGMA user_version")


def _shape(path: Path) -> list[tuple[object, ...]]:
    return read(
        path,
        'SELECT t.type, t.name, c.cid, c.name, c.type, c."notnull", c.dflt_value, c.pk FROM sqlite_schema t'
        " LEFT JOIN pragma_table_info(t.name) c ORDER BY t.type, t.name, c.name",
    )
