"""The keepsake's program on real directories: what was kept comes back, byte for byte, whatever happened since."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from clawkakad.sandboxes import keepsake_inside

PROGRAM = Path(keepsake_inside.__file__)
BIG = keepsake_inside.LARGEST + 1


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A sandbox's data, and the layer of the container."""
    data, store = tmp_path / "data", tmp_path / "store"
    for path in (data / "pa", data / "state" / "deep", data / "home", store):
        path.mkdir(parents=True)
    (data / "state/deep/notes.json").write_text("{}")
    (data / "home/link").symlink_to("../state")
    (data / "home/script").write_text("#!/bin/sh\n")
    (data / "home/script").chmod(0o700)
    (data / "home").chmod(0o500)
    with closing(_database(data)) as db:
        db.execute("CREATE TABLE tasks (what TEXT)")
        db.execute("INSERT INTO tasks VALUES ('buy milk')")
    with open(data / "film.mp4", "wb") as film:
        film.truncate(BIG)
    return data, store


def _database(data: Path) -> sqlite3.Connection:
    db = sqlite3.connect(data / "pa/pa.sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    return db


def run(places: tuple[Path, Path]) -> None:
    subprocess.run(
        [sys.executable, "-c", PROGRAM.read_text(), *map(str, places)], check=True, capture_output=True, timeout=60
    )


def look(data: Path) -> dict[str, object]:
    """Every name with what it is; of a database its rows, since its file may be laid out anew."""
    found: dict[str, object] = {}
    for where, directories, files in os.walk(data):
        for name in (*directories, *files):
            path = Path(where) / name
            key = str(path.relative_to(data))
            if path.is_symlink():
                found[key] = path.readlink()
            elif key == "pa/pa.sqlite":
                with closing(sqlite3.connect(path)) as db:
                    found[key] = list(db.iterdump())
            elif path.is_dir() or not key.startswith("pa/pa.sqlite-"):
                found[key] = (path.stat().st_mode, path.stat().st_size if path.is_file() else None)
    return found


def test_what_was_changed_removed_and_added_is_as_it_was(places: tuple[Path, Path]) -> None:
    data, _ = places
    before = look(data)
    run(places)
    _ruin(data)
    run(places)

    assert before == look(data)
    assert "#!/bin/sh\n" == (data / "home/script").read_text()


def _ruin(data: Path) -> None:
    (data / "home").chmod(0o700)
    (data / "home/link").unlink()
    (data / "home/link").mkdir()
    (data / "home/script").write_text("rm -rf /")
    (data / "state/deep/notes.json").unlink()
    (data / "state/deep").rmdir()
    (data / "state/deep").write_text("a file now")
    (data / "state/new/deeper").mkdir(parents=True)
    (data / "state/new/deeper/lock").touch()
    db = _database(data)
    db.execute("DELETE FROM tasks")
    db.execute("ALTER TABLE tasks ADD COLUMN more TEXT")
    assert (data / "pa/pa.sqlite-wal").stat().st_size > 0
    os.link(data / "pa/pa.sqlite-wal", data / "wal")  # as a killed process leaves it
    db.close()
    (data / "wal").rename(data / "pa/pa.sqlite-wal")


def test_what_is_too_large_is_neither_kept_nor_touched(places: tuple[Path, Path]) -> None:
    data, store = places
    run(places)
    assert (store / "kept.tar").stat().st_size < BIG
    with open(data / "film.mp4", "r+b") as film:
        film.write(b"changed")
    run(places)

    assert (data / "film.mp4").read_bytes()[:7] == b"changed"


@pytest.mark.parametrize("left", ["state", "pa/pa.sqlite", "home/script"])
def test_what_a_killed_return_left_is_finished_by_the_next(places: tuple[Path, Path], left: str) -> None:
    data, _ = places
    before = look(data)
    run(places)
    _ruin(data)
    run(places)
    path = data / left  # as if it had not come so far
    if path.is_dir():
        (path / "deep/notes.json").write_text("half")
        (path / ".put-back").write_text("half of another")
    else:
        path.parent.chmod(0o700)
        path.unlink()
    run(places)

    assert before == look(data)


def test_a_copy_that_was_broken_off_is_made_anew(places: tuple[Path, Path]) -> None:
    data, store = places
    before = look(data)
    (store / "kept.tar.partial").write_bytes(b"half")
    run(places)
    _ruin(data)
    run(places)

    assert before == look(data)
