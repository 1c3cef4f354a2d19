"""How a transaction begins and ends on the writer's connection: on which thread, and what becomes of the log.

Owns the writer's place in SQLite's write-ahead log. A commit waits for the disk. Where that is quick it is done on the
event loop's thread: to hand it to another one, and to come back, costs more than it takes, unless many works share it.
Where it is slow on average, commits are handed over for a while, longer each time, so that a slow disk holds up nobody
but who waits for it; that one among quick ones is late is no reason. (How long one takes on another thread
cannot be told there: it has to wait for the interpreter when it is done.)
The log is copied into the file beside the commits, by a connection of its own.

https://www.sqlite.org/wal.html#ckpt
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar, cast

import aiosqlite
from loguru import logger

from clawkakad import faults

BUSY_TIMEOUT_MS = 5000  # another process (the CLI, a backup) may hold the lock for a moment
BEGIN = "BEGIN IMMEDIATE"
QUICK_S = 0.005  # of commits on average; half a millisecond where the disk is an SSD
LATELY = 16  # commits that the average is about: one of them alone has to take 80 ms
MANY = 8  # works in a commit: so many can wait for a thread, and the event loop works meanwhile
FIRST_DETOUR_S, LAST_DETOUR_S = 1.0, 60.0  # how long commits are handed over
CHECKPOINT_WORKS = 1000  # works that have written some thousand pages, as often as SQLite does it by itself
LEAST_WORKS = 4  # that one commit counts for: a work by itself writes as many pages as four of many
# Bytes. What is committed during a copy is behind it, so that under steady writing the log would never begin anew, and
# grow: from here on the writer waits for the last of it.
LONG_LOG = 32 * 1024 * 1024

T = TypeVar("T")


class Commits:
    """Of one writer. `checkpointer`: who copies the log; None: SQLite does it in some commits."""

    def __init__(
        self,
        writer: aiosqlite.Connection,
        checkpointer: aiosqlite.Connection | None,
        *,
        quick_s: float = QUICK_S,
        long_log: int = LONG_LOG,
    ) -> None:
        self._writer = writer
        self._checkpointer = checkpointer
        self._quick_s = quick_s
        self._long_log = long_log
        self._usual_s = 0.0
        self._detour_s = 0.0
        self._detour_until = 0.0
        self._uncopied = 0  # works
        self._is_long = False
        self._checkpoint: asyncio.Task[None] | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """For the statements between the two."""
        return self._writer._conn

    def begin_now(self, works: int) -> bool:
        """`begin` for so many works, where neither it nor `commit` would wait for anything but the disk; else False."""
        return not self._is_long and self._is_quick(works) and self._took_lock()

    def commit_now(self, works: int) -> None:
        """`commit` of what was begun so."""
        faults.reached("work")
        self._note(_commit(self.connection))
        self._count(works)

    async def begin(self) -> None:
        """Take the write lock: at once, or on the thread where another process has it. Raises sqlite3.Error."""
        if self._is_long:
            self._is_long = False
            with contextlib.suppress(sqlite3.Error):  # the disk is full, say: the statements will tell
                await on_thread(self._writer, _copy)
        if not self._took_lock():
            await on_thread(self._writer, _begin_patiently)

    async def commit(self, works: int) -> None:
        """Put a transaction of so many works on the disk. Raises sqlite3.Error where it is not there."""
        if self._is_quick(works):
            self.commit_now(works)
        else:
            faults.reached("work")
            await on_thread(self._writer, _commit)
            self._count(works)

    def _is_quick(self, works: int) -> bool:
        """Whether a commit of so many is worth no other thread."""
        return works < MANY and time.monotonic() >= self._detour_until

    def _took_lock(self) -> bool:
        """False where another process has it."""
        try:
            self.connection.execute(BEGIN)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:  # the rest says which kind of busy
                raise
            return False
        return True

    def _count(self, works: int) -> None:
        """They are on disk, in the log, which is copied once in a while."""
        faults.reached("commit")
        self._uncopied += max(works, LEAST_WORKS)
        if self._checkpointer is not None and not self.is_copying and self._uncopied >= CHECKPOINT_WORKS:
            self._checkpoint = asyncio.create_task(self._copy_beside(self._checkpointer), name="registry checkpoint")

    def _note(self, took_s: float) -> None:
        """How long one took that everybody waited for."""
        self._usual_s += (took_s - self._usual_s) / LATELY
        if self._usual_s <= self._quick_s:
            self._detour_s = 0.0
            return
        self._usual_s = self._quick_s  # what decides next time is whether the first one is quick
        self._detour_s = min(LAST_DETOUR_S, max(FIRST_DETOUR_S, 2 * self._detour_s))
        self._detour_until = time.monotonic() + self._detour_s

    @property
    def is_copying(self) -> bool:
        """Whether the log is being copied."""
        return self._checkpoint is not None and not self._checkpoint.done()

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        if self._checkpoint is not None:
            await asyncio.wait([self._checkpoint])

    async def _copy_beside(self, checkpointer: aiosqlite.Connection) -> None:
        self._uncopied = 0
        try:
            self._is_long = await on_thread(checkpointer, _copy) > self._long_log
        except sqlite3.Error as error:  # the disk is full, say: the log grows, and nothing is lost
            logger.debug("the registry's log was not copied", error=str(error))


def _commit(connection: sqlite3.Connection) -> float:
    """Seconds that it took."""
    began = time.perf_counter()
    connection.execute("COMMIT")
    return time.perf_counter() - began


def _begin_patiently(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    try:
        connection.execute(BEGIN)
    finally:
        connection.execute("PRAGMA busy_timeout = 0")


def _copy(connection: sqlite3.Connection) -> int:
    """Copy what there is of the log; its bytes when that began. Waits for nobody."""
    pages = int(connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1])
    return pages * int(connection.execute("PRAGMA page_size").fetchone()[0])


async def on_thread(connection: aiosqlite.Connection, function: Callable[[sqlite3.Connection], T]) -> T:
    """Run a function on a connection's thread, in one hop.

    aiosqlite's public calls are a hop each (some 0.1 ms), and a transaction has ten of them. Its version is pinned,
    and a test watches this call.
    """
    return cast(T, await connection._execute(lambda: function(connection._conn)))  # type: ignore[no-untyped-call]
