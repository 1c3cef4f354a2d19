"""Commits: on which thread, and that the log does not grow for ever. On a real file."""

import asyncio
import contextlib
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import aiosqlite

from clawkakad.registry.commits import CHECKPOINT_WORKS, LONG_LOG, MANY, Commits
from clawkakad.registry.database import open_database

PAGE = 4096
HERE = threading.get_ident()


@contextlib.asynccontextmanager
async def connection(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    async with aiosqlite.connect(path, isolation_level=None, check_same_thread=False) as opened:
        await opened.execute("PRAGMA journal_mode = WAL")
        await opened.execute("PRAGMA wal_autocheckpoint = 0")
        await opened.execute("CREATE TABLE IF NOT EXISTS scratch (at BLOB)")
        yield opened


async def write(commits: Commits, count: int, *, size: int = 10, works: int = 1) -> None:
    for _ in range(count):
        await commits.begin()
        commits.connection.execute("INSERT INTO scratch VALUES (zeroblob(?))", (size,))
        await commits.commit(works)


async def threads(
    path: Path, *, quick_s: float, count: int, works: int = 1, late: Collection[int] = (), late_s: float = 0.0
) -> list[bool]:
    """Of commits in a row: whether each was on the event loop's thread. `late`: which of them take `late_s` longer."""
    seen: list[bool] = []

    def note(sql: str) -> None:
        if sql == "COMMIT":
            seen.append(threading.get_ident() == HERE)
            time.sleep(late_s if len(seen) in late else 0)

    async with connection(path) as writer:
        writer._conn.set_trace_callback(note)
        await write(Commits(writer, None, quick_s=quick_s), count, works=works)
        writer._conn.set_trace_callback(None)
    return seen


async def test_where_the_disk_is_quick_commits_stay_on_the_loops_thread(tmp_path: Path) -> None:
    assert [True] * 20 == await threads(tmp_path / "f", quick_s=60.0, count=20)


async def test_what_many_works_share_holds_up_nobody_else(tmp_path: Path) -> None:
    assert [True] * 3 == await threads(tmp_path / "f", quick_s=60.0, count=3, works=MANY - 1)
    assert [False] * 3 == await threads(tmp_path / "f", quick_s=60.0, count=3, works=MANY)


async def test_where_it_is_slow_one_commit_in_a_while_tells_and_no_other_holds_up_the_loop(tmp_path: Path) -> None:
    assert [True] + [False] * 19 == await threads(tmp_path / "f", quick_s=0.0, count=20)


async def test_one_late_commit_among_quick_ones_is_no_reason_to_hand_the_next_over(tmp_path: Path) -> None:
    assert [True] * 20 == await threads(tmp_path / "f", quick_s=0.05, count=20, late=[5], late_s=0.3)


async def test_commits_that_are_slow_on_average_are_handed_over(tmp_path: Path) -> None:
    seen = await threads(tmp_path / "f", quick_s=0.05, count=16, late=range(99), late_s=0.1)

    assert seen[:2] == [True, True]
    assert seen[-3:] == [False, False, False]


async def test_the_log_is_copied_beside_the_commits_and_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "f"
    async with connection(path) as writer, connection(path) as checkpointer:
        commits = Commits(writer, checkpointer)
        for _ in range(6):
            await write(commits, CHECKPOINT_WORKS, size=PAGE)
            await commits.settle()
        assert (tmp_path / "f-wal").stat().st_size < 4 * CHECKPOINT_WORKS * 3 * PAGE
        assert path.stat().st_size > 5 * CHECKPOINT_WORKS * PAGE


async def test_a_log_that_is_never_caught_up_with_makes_the_writer_wait_for_it(tmp_path: Path) -> None:
    """As in a flood: there is always one commit more when the copying ends."""
    path = tmp_path / "f"
    async with connection(path) as writer, connection(path) as checkpointer, connection(path) as reader:
        commits = Commits(writer, checkpointer, long_log=300 * PAGE)
        await reader.execute("BEGIN")
        await (await reader.execute("SELECT count(*) FROM scratch")).fetchone()  # so that nothing is copied
        await write(commits, 4 * CHECKPOINT_WORKS, size=PAGE)
        await commits.settle()
        long = (tmp_path / "f-wal").stat().st_size
        await reader.execute("ROLLBACK")
        await write(commits, 4 * CHECKPOINT_WORKS, size=PAGE)
        await commits.settle()
        assert (tmp_path / "f-wal").stat().st_size < 1.5 * long


async def test_under_steady_writing_the_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    """There is always one commit more when a copy ends, and no moment at which all of it is copied."""
    async with open_database(tmp_path / "f") as db:
        await db.execute("CREATE TABLE scratch (at BLOB) STRICT")
        for _ in range(20):
            await db.execute(
                "INSERT INTO scratch SELECT zeroblob(1000) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
                " SELECT i + 1 FROM n WHERE i < 100) SELECT i FROM n)"
            )

        async def write_often() -> None:
            for _ in range(3000):
                await db.execute("UPDATE scratch SET at = randomblob(1000) WHERE rowid = 1 + abs(random()) % 2000")

        await asyncio.gather(*(write_often() for _ in range(8)))
        assert (tmp_path / "f-wal").stat().st_size < 2 * LONG_LOG


async def test_a_copy_that_fails_costs_nothing_but_room(tmp_path: Path) -> None:
    path = tmp_path / "f"
    async with connection(path) as writer:
        checkpointer = await aiosqlite.connect(path, isolation_level=None)
        await checkpointer.execute("BEGIN")  # one in a transaction cannot copy
        commits = Commits(writer, checkpointer)
        await write(commits, CHECKPOINT_WORKS + 1)
        await commits.settle()
        await checkpointer.close()
        with contextlib.closing(sqlite3.connect(path)) as other:
            assert (CHECKPOINT_WORKS + 1,) == other.execute("SELECT count(*) FROM scratch").fetchone()
