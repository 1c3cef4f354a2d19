"""A transaction as the works in it see it: statements, and nothing that waits.

A work is a plain function: it never holds the file across the network, and a cancellation cannot leave it half done.
"""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

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


def look(connection: sqlite3.Connection, work: Work[T]) -> T:
    """Carry out a work that only reads, on one committed state."""
    connection.execute("BEGIN")
    try:
        return work(Transaction(connection))
    finally:
        connection.execute("ROLLBACK")


def roll_back(connection: sqlite3.Connection) -> None:
    """Undo what was begun; a full disk may have done so by itself."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
