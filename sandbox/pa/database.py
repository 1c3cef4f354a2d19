"""The person's SQLite file: made from the schema when it is missing, opened with the same settings each time.

Owns opening, pragmas, transactions. Never knows what the rows mean. A change is on disk when its transaction ends
(WAL with `synchronous=FULL`), because the agent tells the person so.
"""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from .errors import PaError

BUSY_TIMEOUT_MS = 5000  # the agent may run two commands at once; each holds the file for milliseconds
SCHEMA_PLACES = (
    Path("/usr/local/share/clawkaka/schema.sql"),
    Path(__file__).resolve().parent.parent / "schema.sql",  # in a checkout
)


def open_database(path: Path) -> sqlite3.Connection:
    """The database for reading and writing, made first when it is missing. The caller closes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = _connect(path)
    try:
        if _version(connection) == 0:
            _create(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def open_read_only(path: Path) -> sqlite3.Connection:
    """The same database, unable to write. The caller closes it."""
    open_database(path).close()  # so that there is one
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All or nothing; waits its turn for the one writer's place at the start, so it never fails half way for a lock.

    Inside of another one it is a part of that.
    """
    if connection.in_transaction:
        yield connection
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.rollback()
        raise
    connection.execute("COMMIT")


def copy_database(connection: sqlite3.Connection, target: Path) -> None:
    """A whole, consistent copy at `target`, which appears only when complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    _remove(partial)
    try:
        with closing(sqlite3.connect(partial)) as copy:
            connection.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, no companions
        partial.replace(target)
    except BaseException:
        _remove(partial)  # what fills a full disk
        raise


def _remove(path: Path) -> None:
    for companion in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + companion).unlink(missing_ok=True)


def first_columns(table: str) -> set[str]:
    """The columns that the table has in a new database."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_schema())
        return {row[0] for row in db.execute("SELECT name FROM pragma_table_info(?)", (table,))}


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _create(connection: sqlite3.Connection, path: Path) -> None:
    """Loads the schema. Two programs may come here at once, and the switch to WAL waits for nobody: so a lock does."""
    with open(path.with_name(path.name + ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _version(connection) == 0:
            connection.executescript(_schema())


def _schema() -> str:
    for place in SCHEMA_PLACES:
        if place.is_file():
            return place.read_text(encoding="utf-8")
    raise PaError("there is no database yet and its schema is not installed")
