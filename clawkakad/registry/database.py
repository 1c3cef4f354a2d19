"""The SQLite file: how it is opened, how a transaction is made, how its schema moves forward.

One connection writes, behind a lock, so that no task can ever join another task's transaction; a second one reads.
A commit is on disk when it returns (WAL with synchronous=FULL): a 200 to Meta is a promise.
Never held across a wait on the network.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import aiosqlite

from clawkakad.errors import RegistryUnavailable, UsageError

BUSY_TIMEOUT_MS = 5000  # another process (the CLI, a backup) may hold the lock for a moment

Row = sqlite3.Row
Params = Mapping[str, Any]


class Transaction:
    """What may be done inside `Database.transaction()`."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection

    async def execute(self, sql: str, params: Params = {}) -> int:  # noqa: B006 (never written to)
        """Run one statement; returns the number of rows that it changed."""
        async with self._connection.execute(sql, params) as cursor:
            return cursor.rowcount

    async def one(self, sql: str, params: Params = {}) -> Row | None:  # noqa: B006
        """The first row, or None."""
        rows = await self.all(sql, params)
        return rows[0] if rows else None

    async def all(self, sql: str, params: Params = {}) -> list[Row]:  # noqa: B006
        """All rows.

        In one step: a cursor left open by a cancellation would hold the connection in the state of its moment.
        """
        return list(await self._connection.execute_fetchall(sql, params))


class Database:
    """One writer and one reader on the same file."""

    def __init__(self, writer: aiosqlite.Connection, reader: aiosqlite.Connection) -> None:
        self._writer = writer
        self._lock = asyncio.Lock()
        self._read = Transaction(reader)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """BEGIN IMMEDIATE … COMMIT; anything raised inside, cancellation included, rolls back.

        Raises RegistryUnavailable where SQLite cannot write now (locked by another process, disk full). When the
        task is cancelled during the commit itself, the commit may have happened: writes are idempotent by their keys.
        """
        async with self._lock:
            with _as_unavailable():
                try:
                    # Inside the try: cancelled while it waits, it begins all the same, on the connection's thread.
                    await self._writer.execute("BEGIN IMMEDIATE")
                    yield Transaction(self._writer)
                    await self._writer.execute("COMMIT")
                except BaseException:
                    # Shielded: a second cancellation must not leave the connection inside the transaction.
                    await asyncio.shield(self._roll_back())
                    raise

    async def _roll_back(self) -> None:
        # A full disk has already rolled back by itself; then there is nothing left to undo.
        with contextlib.suppress(sqlite3.OperationalError):
            await self._writer.execute("ROLLBACK")

    async def one(self, sql: str, params: Params = {}) -> Row | None:  # noqa: B006
        """The first row of a committed state, or None. Raises RegistryUnavailable."""
        with _as_unavailable():
            return await self._read.one(sql, params)

    async def all(self, sql: str, params: Params = {}) -> list[Row]:  # noqa: B006
        """All rows of a committed state. Raises RegistryUnavailable."""
        with _as_unavailable():
            return await self._read.all(sql, params)


@contextlib.asynccontextmanager
async def open_database(path: Path) -> AsyncIterator[Database]:
    """Open the file, made with mode 0600 if it is new, and bring its schema up to date.

    Raises UsageError where the file is of a newer clawkakad, or is no database.
    """
    path.touch(mode=0o600, exist_ok=True)
    async with _connection(path) as writer:
        await _migrate(writer, path)
        async with _connection(path) as reader:
            await reader.execute("PRAGMA query_only = ON")
            yield Database(writer, reader)


@contextlib.asynccontextmanager
async def open_readonly(path: Path) -> AsyncIterator[Database]:
    """Open for a look from another process, beside a running daemon. Raises UsageError where there is nothing yet."""
    if not path.exists():
        raise UsageError(f"no registry at {path}: has the daemon ever run with this CLAWKAKA_STATE_DIR?")
    async with _connection(path) as reader:
        yield Database(reader, reader)


@contextlib.asynccontextmanager
async def _connection(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    connection = await aiosqlite.connect(path, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        await _set_pragmas(connection, path)
        yield connection
    finally:
        await connection.close()


async def _set_pragmas(connection: aiosqlite.Connection, path: Path) -> None:
    try:
        await connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        await connection.execute("PRAGMA journal_mode = WAL")
        await connection.execute("PRAGMA synchronous = FULL")
        await connection.execute("PRAGMA foreign_keys = ON")
        await connection.execute("PRAGMA secure_delete = ON")
    except sqlite3.DatabaseError as error:
        raise UsageError(f"{path} cannot be used as the registry: {error}") from error
    for pragma, wanted in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
        async with connection.execute(f"PRAGMA {pragma}") as cursor:
            row = await cursor.fetchone()
        if row is None or row[0] != wanted:  # some builds of SQLite keep their own defaults
            raise UsageError(f"this SQLite refuses PRAGMA {pragma} = {wanted}: the registry would not be safe")


async def _migrate(connection: aiosqlite.Connection, path: Path) -> None:
    async with connection.execute("PRAGMA user_version") as cursor:
        row = await cursor.fetchone()
    version = int(row[0]) if row else 0
    migrations = list(_migrations())
    if version > len(migrations):
        raise UsageError(f"{path} was made by a newer clawkakad (schema {version}): upgrade clawkakad, or use a backup")
    for number, script in migrations[version:]:
        await connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements(script):
                await connection.execute(statement)
            await connection.execute(f"PRAGMA user_version = {number}")
            await connection.execute("COMMIT")
        except BaseException:
            await connection.execute("ROLLBACK")
            raise


def _migrations() -> Iterator[tuple[int, str]]:
    folder = resources.files("clawkakad.registry") / "migrations"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    for number, file in enumerate(files, start=1):
        if int(file.name[:4]) != number:
            raise AssertionError(f"migration {file.name} is not number {number}")
        yield number, file.read_text(encoding="utf-8")


def statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would commit an open transaction first."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        raise AssertionError("a migration ends in the middle of a statement")


@contextlib.contextmanager
def _as_unavailable() -> Iterator[None]:
    """Locked, full, unreadable: operational errors are for later; a broken constraint is a bug and stays one."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise RegistryUnavailable(f"the registry cannot be used now: {error}") from error
