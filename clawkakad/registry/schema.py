"""The schema of the SQLite file, and how it moves forward: numbered scripts, each in a transaction with its number."""

import sqlite3
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from clawkakad import faults
from clawkakad.errors import UsageError


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_version(connection: sqlite3.Connection, path: Path) -> None:
    """Raises UsageError where the file is of another schema than this clawkakad's."""
    version, known = _version(connection), len(list(_migrations()))
    if version == 0:
        way_out = "clawkakad restore FILE puts a backup back, or the daemon begins anew in it"
        raise UsageError(f"{path} holds no registry: {way_out}")
    if version != known:
        raise UsageError(f"{path} has schema {version}, this clawkakad knows {known}: restart the daemon, or upgrade")


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a file up to date, also an empty one. Raises UsageError where it is of a newer clawkakad."""
    version = _version(connection)
    migrations = list(_migrations())
    if version > len(migrations):
        raise UsageError(f"{path} was made by a newer clawkakad (schema {version}): upgrade clawkakad, or use a backup")
    for number, script in migrations[version:]:
        connection.execute("PRAGMA foreign_keys = OFF")  # a table that is made anew is dropped first
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("PRAGMA foreign_keys = ON")
        faults.reached("migration")


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
