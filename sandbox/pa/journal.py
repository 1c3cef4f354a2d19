"""Rows written so that they can be taken back: each change and its journal entry in one transaction.

Owns insert, update and delete of one row, and undoing the newest of them. Table and column names come from the program
or from the database's own catalogue, values are always bound.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import PaError

KEPT_ENTRIES = 1000  # how far back undo can go; some months of a busy person

Value = str | int | float | None
Row = Mapping[str, Value]


@dataclass(frozen=True)
class Entry:
    """One change that can be taken back."""

    id: int
    action: str
    table: str
    row_id: int
    before: dict[str, Value]
    after: dict[str, Value]
    summary: str
    created_at: str


def insert(db: sqlite3.Connection, table: str, values: Row) -> int:
    """A new row; its id. The caller holds the transaction and adds the journal entry."""
    names = ", ".join(_name(n) for n in values)
    marks = ", ".join("?" for _ in values)
    cursor = db.execute(f"INSERT INTO {_name(table)} ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608 - quoted names
    return int(cursor.lastrowid or 0)


def update(db: sqlite3.Connection, table: str, row_id: int, values: Row) -> None:
    """New values of some columns of a row."""
    marks = ", ".join(f"{_name(n)} = ?" for n in values)
    db.execute(f"UPDATE {_name(table)} SET {marks} WHERE rowid = ?", (*values.values(), row_id))  # noqa: S608 - quoted names


def delete(db: sqlite3.Connection, table: str, row_id: int) -> None:
    """The row is gone."""
    db.execute(f"DELETE FROM {_name(table)} WHERE rowid = ?", (row_id,))  # noqa: S608 - quoted names


def fetch(db: sqlite3.Connection, table: str, row_id: int) -> dict[str, Value] | None:
    """The whole row, or None."""
    row = db.execute(f"SELECT * FROM {_name(table)} WHERE rowid = ?", (row_id,)).fetchone()  # noqa: S608 - quoted names
    return None if row is None else dict(row)


def record(
    db: sqlite3.Connection,
    action: str,
    table: str,
    row_id: int,
    summary: str,
    now: str,
    before: Row | None = None,
    after: Row | None = None,
) -> None:
    """The journal entry of a change made in the same transaction. `summary` is the line that undo will show."""
    db.execute(
        """INSERT INTO journal (action, table_name, row_id, before, after, summary, created_at)
           VALUES (?, ?, ?, ?, ?, ?, ?)""",
        (action, table, row_id, _json(before), _json(after), summary, now),
    )
    db.execute("DELETE FROM journal WHERE id <= (SELECT max(id) FROM journal) - ?", (KEPT_ENTRIES,))


def newest(db: sqlite3.Connection) -> Entry | None:
    """The last change that has not been taken back."""
    row = db.execute("SELECT * FROM journal WHERE undone_at IS NULL ORDER BY id DESC LIMIT 1").fetchone()
    if row is None:
        return None
    return Entry(
        id=row["id"],
        action=row["action"],
        table=row["table_name"],
        row_id=row["row_id"],
        before=json.loads(row["before"] or "{}"),
        after=json.loads(row["after"] or "{}"),
        summary=row["summary"],
        created_at=row["created_at"],
    )


def mark_undone(db: sqlite3.Connection, entry: Entry, now: str) -> None:
    """The entry will not be taken back again."""
    db.execute("UPDATE journal SET undone_at = ? WHERE id = ?", (now, entry.id))


def take_back(db: sqlite3.Connection, entry: Entry, now: str) -> None:
    """Undoes a change of a row and marks the entry, in the caller's transaction."""
    try:
        if entry.action == "add":
            delete(db, entry.table, entry.row_id)
        elif entry.action == "edit":
            update(db, entry.table, entry.row_id, entry.before)
        else:
            insert(db, entry.table, entry.before)
    except sqlite3.IntegrityError as error:
        raise PaError(f"cannot undo {entry.summary}: other rows depend on it ({error})") from error
    mark_undone(db, entry, now)


def _json(values: Row | None) -> str | None:
    return None if values is None else json.dumps(dict(values), ensure_ascii=False)


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'
