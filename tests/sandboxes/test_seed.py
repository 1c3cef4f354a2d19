"""The first start of a sandbox: what is laid out, and what is never touched again."""

import contextlib
import sqlite3
import subprocess
from pathlib import Path

import pytest

from clawkakad.sandboxes import image


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """What the image holds: a schema and two files of the workspace."""
    share = tmp_path / "share"
    (share / "workspace/skills/money").mkdir(parents=True)
    (share / "schema.sql").write_text("PRAGMA journal_mode = WAL;\nCREATE TABLE tasks (id INTEGER PRIMARY KEY);\n")
    (share / "workspace/SOUL.md").write_text("who you are\n")
    (share / "workspace/skills/money/SKILL.md").write_text("how to count\n")
    return share


@pytest.fixture
def data(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    return data


def seed(share: Path, data: Path) -> subprocess.CompletedProcess[str]:
    command = [str(image.source_directory() / "seed"), str(share), str(data)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_a_first_start_lays_out_everything(share: Path, data: Path) -> None:
    assert seed(share, data).returncode == 0

    assert files(data) == {"seeded", "pa/pa.sqlite", "workspace/SOUL.md", "workspace/skills/money/SKILL.md"}
    assert {path.name for path in data.iterdir() if path.is_dir()} == {"state", "home", "workspace", "pa"}
    with sqlite3.connect(data / "pa/pa.sqlite") as database:
        assert database.execute("SELECT count(*) FROM tasks").fetchone() == (0,)
    database.close()


def test_a_second_start_changes_nothing(share: Path, data: Path) -> None:
    seed(share, data)
    (data / "workspace/SOUL.md").write_text("who I have become\n")
    database = sqlite3.connect(data / "pa/pa.sqlite")
    with database:
        database.execute("INSERT INTO tasks DEFAULT VALUES")
    database.close()
    (share / "workspace/SOUL.md").write_text("who a newer image says you are\n")

    assert seed(share, data).returncode == 0

    assert (data / "workspace/SOUL.md").read_text() == "who I have become\n"
    database = sqlite3.connect(data / "pa/pa.sqlite")
    assert database.execute("SELECT count(*) FROM tasks").fetchone() == (1,)
    database.close()


def test_a_file_that_was_deleted_stays_deleted(share: Path, data: Path) -> None:
    seed(share, data)
    (data / "workspace/SOUL.md").unlink()

    seed(share, data)

    assert not (data / "workspace/SOUL.md").exists()


def test_a_file_that_a_newer_image_adds_is_given_once(share: Path, data: Path) -> None:
    seed(share, data)
    (share / "workspace/NEW.md").write_text("new\n")

    seed(share, data)

    assert (data / "workspace/NEW.md").read_text() == "new\n"
    assert (data / "seeded").read_text().splitlines().count("./NEW.md") == 1


def test_what_a_killed_start_left_is_made_anew(share: Path, data: Path) -> None:
    (data / "pa").mkdir()
    (data / "pa/pa.sqlite.new").write_bytes(b"half a database")
    (data / "pa/pa.sqlite.new-wal").write_bytes(b"half a log")

    assert seed(share, data).returncode == 0

    assert files(data / "pa") == {"pa.sqlite"}


def test_the_log_of_a_database_that_was_deleted_is_not_the_new_ones(share: Path, data: Path) -> None:
    seed(share, data)
    path, log = data / "pa/pa.sqlite", data / "pa/pa.sqlite-wal"
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("INSERT INTO tasks DEFAULT VALUES")
    killed_with = log.read_bytes()
    database.close()
    path.unlink()
    log.write_bytes(killed_with)

    assert seed(share, data).returncode == 0

    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM tasks").fetchone() == (0,)


def test_a_broken_schema_leaves_no_database_and_says_so(share: Path, data: Path) -> None:
    (share / "schema.sql").write_text("CREATE TABLE tasks (id INTEGER PRIMARY KEY);\nCREATE NONSENSE;\n")

    outcome = seed(share, data)

    assert outcome.returncode != 0
    assert "NONSENSE" in outcome.stderr
    assert not (data / "pa/pa.sqlite").exists()


def test_the_schema_and_workspace_of_this_checkout_are_laid_out(tmp_path: Path, data: Path) -> None:
    assert seed(image.source_directory(), data).returncode == 0

    assert {"AGENTS.md", "SOUL.md", "USER.md"} <= files(data / "workspace")
    database = sqlite3.connect(data / "pa/pa.sqlite")
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()
    assert {"expenses", "meals", "tasks"} <= tables
