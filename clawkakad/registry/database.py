"""The SQLite file: how it is opened, how it is read and written.

A transaction is a plain function: it cannot wait for anything, so it never holds the file across the network, and a
cancellation cannot leave it half done. What is written at the same moment shares one commit (group commit).
Statements run on the event loop's thread, some 20 us each: on a thread of their own each of them would have to wait for
the interpreter. Only what the disk, or another process, makes slow is done on the writer's thread (`commits.py`). A
second connection reads, on its own thread; a third one copies the log.
A commit is on disk when `write` returns (WAL with synchronous=FULL): a 200 to Meta is a promise.
"""

import asyncio
import contextlib
import contextvars
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import aiosqlite
from loguru import logger

from clawkakad.errors import RegistryUnavailable, UsageError
from clawkakad.registry.commits import BUSY_TIMEOUT_MS, Commits, on_thread
from clawkakad.registry.logroom import make_room
from clawkakad.registry.schema import check_version, migrate

MOST_TOGETHER = 64  # works in one commit: the first of them waits for the last, and so does the event loop
# After so long without a commit there is no crowd: whoever comes is written at once, and waits for no company. Two
# rounds of the event loop less; the others of a crowd that begins just then have company in the next commit.
QUIET_S = 0.002
# Of a new file; an older one keeps its own. A commit writes whole pages, a dozen for some hundred bytes: with a quarter
# of SQLite's own size the way takes 7 % less time, and a message 5 % less CPU (light load, in turn, medians of seven).
PAGE_BYTES = 1024

Row = sqlite3.Row
Params = Mapping[str, Any]
T = TypeVar("T")


class Transaction:
    """What a work may do. Nothing here waits."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, params: Params = {}) -> int:  # noqa: B006 (never written to)
        """Run one statement; returns the number of rows that it changed."""
        return self._connection.execute(sql, params).rowcount

    def insert(self, sql: str, params: Params = {}) -> int | None:  # noqa: B006
        """Insert a row; its id, or None where a conflict left it out."""
        cursor = self._connection.execute(sql, params)
        return cursor.lastrowid if cursor.rowcount else None

    def one(self, sql: str, params: Params = {}) -> Row | None:  # noqa: B006
        """The first row, or None."""
        rows = self._connection.execute(sql, params).fetchall()
        return rows[0] if rows else None

    def all(self, sql: str, params: Params = {}) -> list[Row]:  # noqa: B006
        """All rows."""
        return self._connection.execute(sql, params).fetchall()


Work = Callable[[Transaction], T]
Ahead = Callable[[T], bool]
"""Called with what a work returned (never None), when all but the commit is done. True: it began something that is to
get away before that, which takes it one round of the event loop."""
Then = Callable[[T | None], None]
"""Called at once with what a work returned (never None), when that is on disk; with None where it is not, as far as
is known."""


class _Failed(NamedTuple):
    """Stands for the result of a work that raised."""

    error: Exception


class _Waiting:
    """A work that is to be written, who waits for it, and what is to be done first, in the context of who asked."""

    def __init__(self, work: Work[Any], ahead: Ahead[Any] | None, then: Then[Any] | None) -> None:
        self._work = work
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._ahead = ahead
        self._then = then
        self._is_begun = False
        self._context = contextvars.copy_context()
        if then is not None:
            self.done.add_done_callback(self._given_up)

    def begin(self) -> Work[Any]:
        """It is carried out now: what becomes of it is told, also to who waits no more."""
        self._is_begun = True
        return self._work

    def foresee(self, result: Any) -> bool:
        """All but the commit is done; whether that is to wait for a round."""
        ahead, self._ahead = self._ahead, None
        return ahead is not None and not isinstance(result, _Failed) and bool(self._do(ahead, result))

    def follow(self, result: Any) -> None:
        """Do what was to be done first, once."""
        then, self._then = self._then, None
        if then is not None:
            self._do(then, None if isinstance(result, _Failed) else result)

    def tell(self, result: Any) -> None:
        """What became of it."""
        if self.done.done():
            return  # cancelled meanwhile
        if isinstance(result, _Failed):
            self.done.set_exception(_converted(result.error))
        else:
            self.done.set_result(result)

    def drop(self) -> None:
        """Nobody will tell."""
        self.follow(None)
        self.done.cancel()

    def _given_up(self, done: asyncio.Future[Any]) -> None:
        if done.cancelled() and not self._is_begun:
            self.follow(None)

    def _do(self, what: Callable[[Any], T], result: Any) -> T | None:
        try:
            return self._context.run(what, result)
        except Exception:  # a mistake of one caller's is not to be the others'
            logger.exception("what was to come with a commit failed")
            return None


class Database:
    """One writer and one reader on the same file."""

    def __init__(self, commits: Commits, reader: aiosqlite.Connection) -> None:
        self._commits = commits
        self._reader = reader
        self._waiting: deque[_Waiting] = deque()
        self._is_writing = False  # or about to
        self._ended_at = float("-inf")  # the last writing
        self._alarm: asyncio.TimerHandle | None = None  # when what has time is written at the latest
        self._batch: Sequence[_Waiting] = ()  # what is being written
        self._patient: asyncio.Task[None] | None = None  # the writing, where it has to wait for something

    async def write(
        self, work: Work[T], *, ahead: Ahead[T] | None = None, then: Then[T] | None = None, within_s: float = 0.0
    ) -> T:
        """Carry out a work in a transaction and return what it returned, once that is on disk.

        What it raises undoes it, and nobody else's. `ahead` is called before the commit, and `then` first after it,
        whatever comes. `within_s`: it has so much time to wait for company in its commit.
        Raises RegistryUnavailable where SQLite cannot write now (locked by another process, disk full). Cancelled, the
        work may have been carried out: writes are idempotent by their keys.
        """
        return await self._submit(work, ahead, then, within_s)

    async def write_through(self, work: Work[T], then: Then[T], *, within_s: float) -> T:
        """`write`; cancelled meanwhile, this waits `within_s` for what is under way."""
        done = self._submit(work, None, then)
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
            return await on_thread(self._reader, lambda connection: _look(connection, work))

    async def one(self, sql: str, params: Params = {}) -> Row | None:  # noqa: B006
        """The first row of a committed state, or None. Raises RegistryUnavailable."""
        return await self.read(lambda tx: tx.one(sql, params))

    async def all(self, sql: str, params: Params = {}) -> list[Row]:  # noqa: B006
        """All rows of a committed state. Raises RegistryUnavailable."""
        return await self.read(lambda tx: tx.all(sql, params))

    async def settle(self) -> None:
        """Wait until everything that was asked for is written."""
        while self._waiting or self._is_writing or self._commits.is_copying:
            if self._waiting:
                self._begin_writing()
            await asyncio.sleep(0)
            if self._patient is not None:
                await asyncio.wait([self._patient])
            await self._commits.settle()

    def _submit(
        self, work: Work[T], ahead: Ahead[T] | None, then: Then[T] | None, within_s: float = 0.0
    ) -> asyncio.Future[T]:
        waiting = _Waiting(work, ahead, then)
        self._waiting.append(waiting)
        if not within_s:
            self._begin_writing()
        elif self._alarm is None and not self._is_writing:
            self._alarm = asyncio.get_running_loop().call_later(within_s, self._begin_writing)
        return waiting.done

    def _begin_writing(self) -> None:
        """What waits is written now, or after what is being written."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._is_writing:
            return
        self._is_writing = True
        if time.monotonic() - self._ended_at > QUIET_S:
            self._write_next()
        else:
            asyncio.get_running_loop().call_soon(self._write_next)

    def _write_next(self) -> None:
        """One commit for what waits at this moment: here, or by a task where something has to be waited for."""
        self._batch = self._next_batch()
        try:
            results = self._carry_out_now()
            if results is None:
                self._patient = asyncio.create_task(self._write_all(), name="registry writer")
                self._patient.add_done_callback(self._over)
            elif _foresee_all(self._batch, results):
                asyncio.get_running_loop().call_soon(self._commit_next, results)
            else:
                self._commit_now(results)
        except BaseException as error:
            self._fail(error)

    def _commit_next(self, results: Sequence[Any]) -> None:
        try:
            self._commit_now(results)
        except BaseException as error:
            self._fail(error)

    def _commit_now(self, results: Sequence[Any]) -> None:
        self._commits.commit_now(len(results))
        _tell_all(self._batch, results)
        self._over()

    def _fail(self, error: BaseException) -> None:
        """Nothing of the batch is on disk: what was done is undone, and all of them are told."""
        with contextlib.suppress(sqlite3.Error, ValueError):  # closed, say
            _roll_back(self._commits.connection)
        if isinstance(error, Exception):
            _tell_all(self._batch, _all_failed(error, self._batch))
            self._over()
        else:  # the program's end: the loop may go on for a while
            self._over()
            raise error

    def _over(self, _: object = None) -> None:
        """Nothing is being written now, however that ended. Who came meanwhile is next, but not at once."""
        for waiting in self._batch:
            waiting.drop()  # of one that was told, this is nothing
        self._batch, self._patient = (), None
        self._ended_at = time.monotonic()
        self._is_writing = bool(self._waiting)
        if self._is_writing:
            asyncio.get_running_loop().call_soon(self._write_next)

    def _next_batch(self) -> list[_Waiting]:
        """What is written next, together."""
        count = min(len(self._waiting), MOST_TOGETHER)
        return _wanted([self._waiting.popleft() for _ in range(count)])

    def _carry_out_now(self) -> list[Any] | None:
        """What became of the batch, but for the commit. None: nothing is done, and something has to be waited for."""
        connection, count = self._commits.connection, len(self._batch)
        if not self._commits.begin_now(count):
            return None
        works = [waiting.begin() for waiting in self._batch]
        results = _all_at_once(connection, works)
        if results is None:
            if not self._commits.begin_now(count):
                return None
            results = [_carry_out(connection, work) for work in works]
        return results

    async def _write_all(self) -> None:
        """Go on until nothing waits."""
        await self._write_patiently()
        while self._waiting:
            await asyncio.sleep(0)  # a quick commit is no pause
            self._batch = self._next_batch()
            await self._write_patiently()

    async def _write_patiently(self) -> None:
        try:
            results = await self._commit_patiently()
        except Exception as error:
            results = _all_failed(error, self._batch)
        _tell_all(self._batch, results)

    async def _commit_patiently(self) -> list[Any]:
        """What became of the works of the batch, each for itself. Raises where nothing of it is on disk."""
        with _undone_on_failure(self._commits.connection) as connection:
            await self._commits.begin()
            # Who has given up since, while another process had the lock, was told that nothing is stored.
            self._batch = _wanted(self._batch)
            works = [waiting.begin() for waiting in self._batch]
            results = _all_at_once(connection, works)
            if results is None:
                await self._commits.begin()
                results = [_carry_out(connection, work) for work in works]
            _foresee_all(self._batch, results)  # what that begins gets away while another thread commits
            await self._commits.commit(len(works))
        return results


def _wanted(batch: Sequence[_Waiting]) -> list[_Waiting]:
    """Those that somebody waits for still; the others were not carried out, or that was undone."""
    for waiting in batch:
        if waiting.done.cancelled():
            waiting.drop()
    return [waiting for waiting in batch if not waiting.done.cancelled()]


def _all_failed(error: Exception, batch: Sequence[object]) -> list[Any]:
    """Nothing was written: each of those who wait is told, and nobody else."""
    return [_Failed(error) for _ in batch]


@contextlib.contextmanager
def _undone_on_failure(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """What was done in a block that is left by an exception is undone."""
    try:
        yield connection
    except asyncio.CancelledError:
        raise  # the thread may be at its commit
    except BaseException:  # the program's end too: the loop may go on for a while
        _roll_back(connection)
        raise


def _foresee_all(batch: Sequence[_Waiting], results: Sequence[Any]) -> bool:
    """Whether anybody began something that is to get away before the commit."""
    begun = [waiting.foresee(result) for waiting, result in zip(batch, results, strict=True)]
    return any(begun)


def _tell_all(batch: Sequence[_Waiting], results: Sequence[Any]) -> None:
    """What follows a commit is first in the event loop's next round, before anybody who waited for it."""
    told = list(zip(batch, results, strict=True))
    for waiting, result in told:
        waiting.follow(result)
    for waiting, result in told:
        waiting.tell(result)


def _all_at_once(connection: sqlite3.Connection, works: Sequence[Work[Any]]) -> list[Any] | None:
    """The works one after the other. None: one of several failed, and all are undone, to be done again one by one."""
    transaction = Transaction(connection)
    try:
        return [work(transaction) for work in works]
    except Exception as error:
        _roll_back(connection)
        if len(works) == 1:
            raise
        logger.debug("a work failed among others, which are carried out again", error=type(error).__name__)
        return None


def _carry_out(connection: sqlite3.Connection, work: Work[Any]) -> Any:
    """One work of several: what it raises undoes what it did, and no more."""
    connection.execute("SAVEPOINT work")
    try:
        result = work(Transaction(connection))
    except Exception as error:
        if not connection.in_transaction:
            raise  # a full disk has rolled everything back
        connection.execute("ROLLBACK TO work")
        result = _Failed(error)
    connection.execute("RELEASE work")
    return result


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:  # a full disk may have rolled back by itself
        connection.execute("ROLLBACK")


def _look(connection: sqlite3.Connection, work: Work[T]) -> T:
    connection.execute("BEGIN")
    try:
        return work(Transaction(connection))
    finally:
        connection.execute("ROLLBACK")


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
        database = Database(Commits(writer, checkpointer), reader)
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


def _converted(error: Exception) -> Exception:
    """Locked, full, unreadable: operational errors are for later; a broken constraint is a bug and stays one."""
    if isinstance(error, sqlite3.OperationalError):
        unavailable = RegistryUnavailable(f"the registry cannot be used now: {error}")
        unavailable.__cause__ = error
        return unavailable
    if isinstance(error, StopIteration):  # no future takes one
        return RuntimeError("a work raised StopIteration")
    return error


@contextlib.contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise _converted(error) from error
