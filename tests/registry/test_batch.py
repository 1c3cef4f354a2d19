"""Works that share a commit, and what those who wait for them are told."""

import asyncio
import sqlite3

import pytest

from clawkakad.registry.batch import Batch, Waiting
from clawkakad.registry.transaction import Transaction


@pytest.fixture
def connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE said (word TEXT)")
    connection.execute("BEGIN")
    return connection


def good(tx: Transaction) -> int:
    return tx.execute("INSERT INTO said VALUES ('good')")


def bad(_: Transaction) -> None:
    raise ZeroDivisionError


async def test_who_gives_up_between_two_tries_is_told_what_became_of_it(connection: sqlite3.Connection) -> None:
    told: list[int | None] = []
    failing, waiting = Waiting(bad, None, None), Waiting(good, None, told.append)
    batch = Batch([failing, waiting])

    assert batch.all_at_once(connection) is None
    waiting.done.cancel()
    await asyncio.sleep(0)
    connection.execute("BEGIN")
    batch.tell(batch.one_by_one(connection))

    assert told == [1]
    assert isinstance(failing.done.exception(), ZeroDivisionError)


async def test_who_gave_up_before_is_not_carried_out(connection: sqlite3.Connection) -> None:
    told: list[int | None] = []
    gone, waiting = Waiting(good, None, told.append), Waiting(good, None, None)
    gone.done.cancel()
    await asyncio.sleep(0)

    results = Batch([gone, waiting]).all_at_once(connection)

    assert (results, told) == ([1], [None])
