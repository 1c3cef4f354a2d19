"""Room in the write-ahead log: commits write over it, nothing that is in the log is lost, and no room is no harm."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from clawkakad.registry.database import open_database
from clawkakad.registry.logroom import LOG_ROOM, make_room


def log_of(path: Path) -> Path:
    return Path(f"{path}-wal")


async def test_the_log_has_room_and_is_not_made_longer(tmp_path: Path) -> None:
    path = tmp_path / "f"
    async with open_database(path, log_room=LOG_ROOM) as db:
        await db.execute("CREATE TABLE scratch (at BLOB) STRICT")
        for _ in range(200):
            await db.execute("INSERT INTO scratch VALUES (randomblob(4000))")

        assert log_of(path).stat().st_size == LOG_ROOM
        assert log_of(path).stat().st_mode & 0o777 == 0o600
        rows = await db.all("SELECT length(at) AS size FROM scratch")
        assert [row["size"] for row in rows] == [4000] * 200


async def test_what_is_in_the_log_of_a_killed_process_stays(tmp_path: Path) -> None:
    path, killed = tmp_path / "f", tmp_path / "killed"
    async with open_database(path, log_room=LOG_ROOM) as db:
        await db.execute("CREATE TABLE scratch (number INTEGER) STRICT")
        for number in range(50):
            await db.execute("INSERT INTO scratch VALUES (:number)", {"number": number})
        shutil.copy(path, killed)
        log_of(killed).write_bytes(log_of(path).read_bytes().rstrip(b"\0"))  # as it is without room

    async with open_database(killed, log_room=LOG_ROOM) as db:
        await db.execute("INSERT INTO scratch VALUES (50)")
        assert log_of(killed).stat().st_size == LOG_ROOM
        rows = await db.all("SELECT number FROM scratch ORDER BY number")
        assert [row["number"] for row in rows] == list(range(51))


async def test_a_log_that_is_longer_already_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "f"
    async with open_database(path) as db:
        await db.execute("CREATE TABLE scratch (at BLOB) STRICT")
        await db.execute("INSERT INTO scratch VALUES (randomblob(100000))")
        before = log_of(path).read_bytes()
        make_room(path, 4096)
        assert log_of(path).read_bytes() == before


@pytest.mark.parametrize("size", [0, 2**60])
async def test_where_there_is_no_room_to_spare_none_is_made(tmp_path: Path, size: int) -> None:
    path = tmp_path / "f"
    async with open_database(path, log_room=size) as db:
        await db.execute("CREATE TABLE scratch (at BLOB) STRICT")
        assert log_of(path).stat().st_size < 2**20


def test_a_database_without_a_log_gets_none(tmp_path: Path) -> None:
    path = tmp_path / "f"
    sqlite3.connect(path).close()
    path.touch()
    make_room(path, 4096)

    assert not log_of(path).exists()
