"""The SQLite file: how it is opened, how it is read and written.

One connection writes (`writer.py`), a second one reads, on its own thread; a third one copies the log.
A commit is on disk when `write` returns (WAL with synchronous=FULL): a 200 to Meta is a promise.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TypeVar

import aiosqlite

from clawkakad.errors import UsageError
from clawkakad.registry.batch import Ahead, Then, converted
from clawkakad.registry.commits import BUSY_TIMEOUT_MS, Commits, on_thread
from clawkakad.registry.logroom import make_room
from clawkakad.registry.schema import check_version, migrate
from clawkakad.registry.transaction import Params, Row, Work, look
from clawkakad.registry.writer import Writer

# Of a new file; an older one keeps its own. A commit writes whole pages, a dozen for some hundred bytes: with a quarter
# of SQLite's own size the way takes 7 % less time, and a message 5 % less CPU (light load, in turn, medians of seven).
PAGE_BYTES = 1024

T = TypeVar("T")


class Database:
    """One writer and one reader on the same file."""

    def __init__(self, writer: Writer, reader: aiosqlite.Connection) -> None:
        self._writer = writer
        self._reader = reader

    async def write(
        self, work: Work[T], *, ahead: Ahead[T] | None = None, then: Then[T] | None = None, within_s: float = 0.0
    ) -> T:
        """Carry out a work in a transaction and return what it returned, once that is on disk.

        What it raises undoes it, and nobody else's. `ahead` is called before the commit, and `then` first after it,
        whatever comes. `within_s`: it has so much time to wait for company in its commit.
        Raises RegistryUnavailable where SQLite cannot write now (locked by another process, disk full). Cancelled, the
        work may have been carried out: writes are idempotent by their keys.
        """
        return await self._writer.submit(work, ahead, then, within_s)

    async def write_through(self, work: Work[T], then: Then[T], *, within_s: float) -> T:
        """`write`; cancelled meanwhile, this waits `within_s` for what is under way."""
        done = self._writer.submit(work, None, then)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            await asyncio.wait([done], timeout=within_s)
            done.cancel()
            raise

    async def execute(self, sql: str, params: Params = {}) -> int:  # noqa: B006
        """`write` of a single statement; returns the number of rows that it changed."""
        return await self.write(lambda tx: tx.execute(sql, params))

    async def read(self, work: Work[T]) -> T:
        """Carry out a work that only reads, on one committed state. Raises RegistryUnavailable."""
        with _as_unavailable():
            return await on_thread(self._reader, lambda connection: look(connection, work))

    async def one(self, sql: str, params: Params = {}) -> Row | None:  # noqa: B006
        """The first row of a committed state, or None. Raises RegistryUnavailable."""
        return await self.read(lambda tx: tx.one(sql, params))

    async def all(self, sql: str, params: Params = {}) -> list[Row]:  # noqa: B006
        """All rows of a committed state. Raises RegistryUnavailable."""
        return await self.read(lambda tx: tx.all(sql, params))

    async def settle(self) -> None:
        """Wait until everything that was asked for is written."""
        await self._writer.settle()


@contextlib.asynccontextmanager
async def open_database(path: Path, *, log_room: int = 0) -> AsyncIterator[Database]:
    """Open the file, made with mode 0600 if it is new, and bring its schema up to date.

    `log_room`: bytes of its log that are made before they are needed. Raises UsageError where the file is of a newer
    clawkakad, or is no database.
    """
    path.touch(mode=0o600, exist_ok=True)
    async with _connection(path) as writer:
        await on_thread(writer, lambda connection: migrate(connection, path))
        await asyncio.to_thread(make_room, path, log_room)
        async with _connection(path) as checkpointer, _beside(writer, path, checkpointer) as database:
            yield database


@contextlib.asynccontextmanager
async def open_beside(path: Path, *, writing: bool) -> AsyncIterator[Database]:
    """Open from another process, beside a running daemon; its schema is left as it is.

    Raises UsageError where there is no file yet, or one of another version.
    """
    if not path.exists():
        raise UsageError(f"no registry at {path}: has the daemon ever run with this CLAWKAKA_STATE_DIR?")
    async with _connection(path) as writer:
        await on_thread(writer, lambda connection: check_version(connection, path))
        if not writing:
            await writer.execute_fetchall("PRAGMA query_only = ON")
        async with _beside(writer, path) as database:
            yield database


@contextlib.asynccontextmanager
async def _beside(
    writer: aiosqlite.Connection, path: Path, checkpointer: aiosqlite.Connection | None = None
) -> AsyncIterator[Database]:
    """The database of a writer, with a reader of its own."""
    async with _connection(path) as reader:
        await reader.execute_fetchall("PRAGMA query_only = ON")
        await writer.execute_fetchall("PRAGMA busy_timeout = 0")  # only `Commits.begin` may wait for a lock
        if checkpointer is not None:
            await writer.execute_fetchall("PRAGMA wal_autocheckpoint = 0")
        database = Database(Writer(Commits(writer, checkpointer)), reader)
        try:
            yield database
        finally:
            await database.settle()


@contextlib.asynccontextmanager
async def _connection(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    # Two threads use it, one after the other.
    connection = await aiosqlite.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.row_factory = sqlite3.Row
        await on_thread(connection, lambda opened: _set_pragmas(opened, path))
        yield connection
    finally:
        await connection.close()


def _set_pragmas(connection: sqlite3.Connection, path: Path) -> None:
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")
    except sqlite3.DatabaseError as error:
        transient = isinstance(error, sqlite3.OperationalError)  # locked, full, no rights: a backup is no help
        way_out = "" if transient else ": stop the daemon, then clawkakad restore FILE puts a backup back"
        raise UsageError(f"{path} cannot be used as the registry: {error}{way_out}") from error
    for pragma, wanted in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
        if connection.execute(f"PRAGMA {pragma}").fetchone()[0] != wanted:  # some builds keep their own defaults
            raise UsageError(f"this SQLite refuses PRAGMA {pragma} = {wanted}: the registry would not be safe")


@contextlib.contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise converted(error) from error
