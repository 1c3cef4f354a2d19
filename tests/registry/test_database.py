"""The file: pragmas that hold, transactions that roll back, migrations that only go forward."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from clawkakad.errors import RegistryUnavailable, UsageError
from clawkakad.model import InboxState, OutboxState, ReminderState, SandboxState
from clawkakad.registry import Registry, locked, open_registry, read_registry
from clawkakad.registry.database import statements


@pytest.fixture
async def registry(registry: Registry) -> Registry:
    """With a table to write into."""
    async with registry.db.transaction() as tx:
        await tx.execute("CREATE TABLE scratch (at TEXT) STRICT")
    return registry


async def test_the_file_is_private_and_safe(registry: Registry, tmp_path: Path) -> None:
    assert (tmp_path / "registry.sqlite").stat().st_mode & 0o777 == 0o600
    async with registry.db.transaction() as tx:
        assert (await tx.one("PRAGMA journal_mode"))[0] == "wal"
        assert (await tx.one("PRAGMA synchronous"))[0] == 2
        assert (await tx.one("PRAGMA foreign_keys"))[0] == 1


async def test_an_error_rolls_back(registry: Registry) -> None:
    with pytest.raises(ZeroDivisionError):
        async with registry.db.transaction() as tx:
            await tx.execute("INSERT INTO scratch VALUES ('t')")
            raise ZeroDivisionError

    assert await registry.db.all("SELECT * FROM scratch") == []


async def test_a_cancelled_transaction_rolls_back_and_frees_the_writer(registry: Registry) -> None:
    entered = asyncio.Event()

    async def hang() -> None:
        async with registry.db.transaction() as tx:
            await tx.execute("INSERT INTO scratch VALUES ('t')")
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(hang())
    await entered.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    async with registry.db.transaction() as tx:
        assert await tx.all("SELECT * FROM scratch") == []


async def test_tasks_never_share_a_transaction(registry: Registry) -> None:
    async def insert(number: int, fail: bool) -> None:
        async with registry.db.transaction() as tx:
            await tx.execute("INSERT INTO scratch VALUES (:n)", {"n": str(number)})
            await asyncio.sleep(0)
            if fail:
                raise ZeroDivisionError

    await asyncio.gather(*(insert(n, n % 2 == 1) for n in range(10)), return_exceptions=True)

    rows = await registry.db.all("SELECT at FROM scratch ORDER BY at")
    assert [row["at"] for row in rows] == ["0", "2", "4", "6", "8"]


async def test_a_lock_of_another_process_is_unavailable_not_a_crash(registry: Registry, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(RegistryUnavailable, match="locked"):
            async with registry.db.transaction():
                pass
    finally:
        other.execute("ROLLBACK")
        other.close()

    async with registry.db.transaction() as tx:
        assert await tx.one("SELECT 1") is not None


async def test_a_newer_file_is_refused(tmp_path: Path, clock) -> None:
    path = tmp_path / "newer.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()

    with pytest.raises(UsageError, match="newer clawkakad"):
        async with open_registry(path, clock):
            pass


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path, clock) -> None:
    path = tmp_path / "text.sqlite"
    path.write_text("this is a letter, not a database, and long enough to be read as a header\n" * 20)

    with pytest.raises(UsageError, match="cannot be used as the registry"):
        async with open_registry(path, clock):
            pass


async def test_looking_needs_a_registry(tmp_path: Path, clock) -> None:
    with pytest.raises(UsageError, match="has the daemon ever run"):
        async with read_registry(tmp_path / "none.sqlite", clock):
            pass


def test_one_daemon_per_state_directory(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UsageError, match="another clawkakad"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


async def test_states_of_code_and_schema_agree(registry: Registry) -> None:
    rows = await registry.db.all("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
    sql = {row["name"]: row["sql"] for row in rows}
    pairs = {"inbox": InboxState, "outbox": OutboxState, "sandboxes": SandboxState, "reminders": ReminderState}

    for table, states in pairs.items():
        check = sql[table].split("CHECK (state IN (")[1].split("))")[0]
        assert {word.strip(" '") for word in check.split(",")} == {state.value for state in states}


def test_statements_are_cut_at_their_ends_only() -> None:
    script = "CREATE TABLE a (b TEXT DEFAULT ';');\nINSERT INTO a VALUES ('x;\ny');\n"

    assert len(list(statements(script))) == 2


@pytest.mark.parametrize("ticks", range(12))
async def test_a_cancellation_at_any_moment_of_a_transaction_leaves_the_writer_free(
    registry: Registry, ticks: int
) -> None:
    async def write() -> None:
        async with registry.db.transaction() as tx:
            await tx.execute("INSERT INTO scratch VALUES ('t')")

    task = asyncio.create_task(write())
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    await write()
    assert len(await registry.db.all("SELECT * FROM scratch")) in (1, 2)


@pytest.mark.parametrize("ticks", range(8))
async def test_a_cancelled_read_does_not_make_the_next_one_stale(registry: Registry, ticks: int) -> None:
    async with registry.db.transaction() as tx:
        for number in range(50):
            await tx.execute("INSERT INTO scratch VALUES (:n)", {"n": str(number)})
    task = asyncio.create_task(registry.db.one("SELECT * FROM scratch"))
    for _ in range(ticks):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with registry.db.transaction() as tx:
        await tx.execute("DELETE FROM scratch")

    assert await registry.db.all("SELECT * FROM scratch") == []
