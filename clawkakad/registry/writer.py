"""The writer: when what waits is written, and on which thread.

What is asked for at the same moment shares one commit (group commit). Statements run on the event loop's thread, some
20 us each: on a thread of their own each of them would have to wait for the interpreter. Only what the disk, or another
process, makes slow is done on the writer's thread (`commits.py`), and a task waits for it here.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, TypeVar

from clawkakad.registry.batch import Ahead, Batch, Then, Waiting
from clawkakad.registry.commits import Commits
from clawkakad.registry.transaction import Work, roll_back

MOST_TOGETHER = 64  # works in one commit: the first of them waits for the last, and so does the event loop
# After so long without a commit there is no crowd: whoever comes is written at once, and waits for no company. Two
# rounds of the event loop less; the others of a crowd that begins just then have company in the next commit.
QUIET_S = 0.002

T = TypeVar("T")


class Writer:
    """Owns the queue of what is to be written, and the one place at which it is."""

    def __init__(self, commits: Commits) -> None:
        self._commits = commits
        self._waiting: deque[Waiting] = deque()
        self._is_writing = False  # or about to
        self._ended_at = float("-inf")  # the last writing
        self._alarm: asyncio.TimerHandle | None = None  # when what has time is written at the latest
        self._batch = Batch()  # what is being written
        self._patient: asyncio.Task[None] | None = None  # the writing, where it has to wait for something

    def submit(
        self, work: Work[T], ahead: Ahead[T] | None, then: Then[T] | None, within_s: float = 0.0
    ) -> asyncio.Future[T]:
        """What the work will have returned, once that is on disk. `within_s`: how long it may wait for company."""
        waiting = Waiting(work, ahead, then)
        self._waiting.append(waiting)
        if not within_s:
            self._begin()
        elif self._alarm is None and not self._is_writing:
            self._alarm = asyncio.get_running_loop().call_later(within_s, self._begin)
        return waiting.done

    async def settle(self) -> None:
        """Wait until everything that was asked for is written."""
        while self._waiting or self._is_writing or self._commits.is_copying:
            if self._waiting:
                self._begin()
            await asyncio.sleep(0)
            if self._patient is not None:
                await asyncio.wait([self._patient])
            await self._commits.settle()

    def _begin(self) -> None:
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

    def _next_batch(self) -> Batch:
        """What waits at this moment."""
        count = min(len(self._waiting), MOST_TOGETHER)
        return Batch(self._waiting.popleft() for _ in range(count))

    def _over(self, _: object = None) -> None:
        """Nothing is being written now, however that ended. Who came meanwhile is next, but not at once."""
        self._batch.end()
        self._batch, self._patient = Batch(), None
        self._ended_at = time.monotonic()
        self._is_writing = bool(self._waiting)
        if self._is_writing:
            asyncio.get_running_loop().call_soon(self._write_next)

    # Where nothing but the disk has to be waited for ------------------------------------------------------------------

    def _write_next(self) -> None:
        """One commit: here, or by a task where something has to be waited for."""
        self._batch = self._next_batch()
        try:
            results = self._carry_out_now()
            if results is None:
                self._patient = asyncio.create_task(self._write_all(), name="registry writer")
                self._patient.add_done_callback(self._over)
            elif self._batch.foresee(results):
                asyncio.get_running_loop().call_soon(self._commit_next, results)
            else:
                self._commit_now(results)
        except BaseException as error:
            self._fail(error)

    def _carry_out_now(self) -> list[Any] | None:
        """What became of the works, but for the commit. None: nothing is done, and it has to be done patiently."""
        connection, count = self._commits.connection, len(self._batch)
        if not self._commits.begin_now(count):
            return None
        results = self._batch.all_at_once(connection)
        if results is None and self._commits.begin_now(count):
            results = self._batch.one_by_one(connection)
        return results

    def _commit_next(self, results: Sequence[Any]) -> None:
        try:
            self._commit_now(results)
        except BaseException as error:
            self._fail(error)

    def _commit_now(self, results: Sequence[Any]) -> None:
        self._commits.commit_now(len(results))
        self._batch.tell(results)
        self._over()

    def _fail(self, error: BaseException) -> None:
        """Nothing of the batch is on disk: what was done is undone, and all of them are told."""
        with contextlib.suppress(sqlite3.Error, ValueError):  # closed, say
            roll_back(self._commits.connection)
        if isinstance(error, Exception):
            self._batch.fail(error)
            self._over()
        else:  # the program's end: the loop may go on for a while
            self._over()
            raise error

    # Where another process, or a slow disk, has to be waited for ------------------------------------------------------

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
            self._batch.fail(error)
        else:
            self._batch.tell(results)

    async def _commit_patiently(self) -> list[Any]:
        """What became of the works of the batch, each for itself. Raises where nothing of it is on disk."""
        connection = self._commits.connection
        try:
            await self._commits.begin()
            # Who has given up since, while another process had the lock, was told that nothing is stored.
            self._batch.leave_out_the_gone()
            results = self._batch.all_at_once(connection)
            if results is None:
                await self._commits.begin()
                results = self._batch.one_by_one(connection)
            self._batch.foresee(results)  # what that begins gets away while another thread commits
            await self._commits.commit(len(results))
        except asyncio.CancelledError:
            raise  # the thread may be at its commit
        except BaseException:  # the program's end too: the loop may go on for a while
            roll_back(connection)
            raise
        return results
