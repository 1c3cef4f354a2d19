"""A batch: works that share one commit, each for itself, and those who wait for them.

What one work raises undoes what it did, and nobody else's. Everybody is told once: what it returned, what it raised,
or why nothing of the batch is on disk. Knows nothing of when a batch is written (`writer.py`).
"""

import asyncio
import contextvars
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from loguru import logger

from clawkakad.errors import RegistryUnavailable
from clawkakad.registry.transaction import Transaction, Work, roll_back

T = TypeVar("T")
Ahead = Callable[[T], bool]
"""Called with what a work returned (never None), when all but the commit is done. True: it began something that is to
get away before that, which takes it one round of the event loop."""
Then = Callable[[T | None], None]
"""Called at once with what a work returned (never None), when that is on disk; with None where it is not, as far as
is known."""


class Failed(NamedTuple):
    """Stands for the result of a work that raised."""

    error: Exception


class Waiting:
    """A work that is to be written, who waits for it, and what is to be done first, in the context of who asked."""

    __slots__ = ("_ahead", "_context", "_is_begun", "_then", "_work", "done")

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
        return ahead is not None and not isinstance(result, Failed) and bool(self._do(ahead, result))

    def follow(self, result: Any) -> None:
        """Do what was to be done first, once."""
        then, self._then = self._then, None
        if then is not None:
            self._do(then, None if isinstance(result, Failed) else result)

    def tell(self, result: Any) -> None:
        """What became of it."""
        if self.done.done():
            return  # cancelled meanwhile
        if isinstance(result, Failed):
            self.done.set_exception(converted(result.error))
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


class Batch:
    """What is written together. Each of `all_at_once` and `one_by_one` runs in a transaction that was begun for it."""

    def __init__(self, waiting: Iterable[Waiting] = ()) -> None:
        self._waiting: Sequence[Waiting] = tuple(waiting)
        self.leave_out_the_gone()

    def __len__(self) -> int:
        return len(self._waiting)

    def leave_out_the_gone(self) -> None:
        """Those that nobody waits for any more: they were not carried out, or that was undone."""
        gone = [waiting for waiting in self._waiting if waiting.done.cancelled()]
        if gone:
            self._waiting = tuple(waiting for waiting in self._waiting if waiting not in gone)
        for waiting in gone:
            waiting.drop()

    def all_at_once(self, connection: sqlite3.Connection) -> list[Any] | None:
        """What the works returned. None: one of several failed, and all are undone, to be done again `one_by_one`."""
        works = [waiting.begin() for waiting in self._waiting]  # all: also those that another one undoes will be told
        transaction = Transaction(connection)
        try:
            return [work(transaction) for work in works]
        except Exception as error:
            roll_back(connection)
            if len(self) == 1:
                raise
            logger.debug("a work failed among others, which are carried out again", error=type(error).__name__)
            return None

    def one_by_one(self, connection: sqlite3.Connection) -> list[Any]:
        """What became of each of the works, `Failed` where it raised."""
        return [_carry_out(connection, waiting.begin()) for waiting in self._waiting]

    def foresee(self, results: Sequence[Any]) -> bool:
        """All but the commit is done; whether anybody began something that is to get away before that."""
        begun = [waiting.foresee(result) for waiting, result in zip(self._waiting, results, strict=True)]
        return any(begun)

    def tell(self, results: Sequence[Any]) -> None:
        """It is on disk. What follows is first in the event loop's next round, before anybody who waited."""
        told = list(zip(self._waiting, results, strict=True))
        for waiting, result in told:
            waiting.follow(result)
        for waiting, result in told:
            waiting.tell(result)

    def fail(self, error: Exception) -> None:
        """Nothing of it is on disk."""
        self.tell([Failed(error)] * len(self))

    def end(self) -> None:
        """Whoever was not told never will be."""
        for waiting in self._waiting:
            waiting.drop()  # of one that was told, this is nothing


def _carry_out(connection: sqlite3.Connection, work: Work[Any]) -> Any:
    connection.execute("SAVEPOINT work")
    try:
        result = work(Transaction(connection))
    except Exception as error:
        if not connection.in_transaction:
            raise  # a full disk has rolled everything back
        connection.execute("ROLLBACK TO work")
        result = Failed(error)
    connection.execute("RELEASE work")
    return result


def converted(error: Exception) -> Exception:
    """Locked, full, unreadable: operational errors are for later; a broken constraint is a bug and stays one."""
    if isinstance(error, sqlite3.OperationalError):
        unavailable = RegistryUnavailable(f"the registry cannot be used now: {error}")
        unavailable.__cause__ = error
        return unavailable
    if isinstance(error, StopIteration):  # no future takes one
        return RuntimeError("a work raised StopIteration")
    return error
