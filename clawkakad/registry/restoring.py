"""A registry that comes out of a backup: what happened since then is not known, so nothing in it goes on by itself.

Works on a file that no daemon uses. Everything here may be repeated.
"""

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from clawkakad.errors import UsageError
from clawkakad.model import SandboxId, UserId
from clawkakad.registry import ids, lateness, times

_OF_A_USER = ("identifiers", "sandboxes", "inbox", "reminders", "heartbeats", "usage")
_NUMBERED = ("inbox", "outbox", "reminders")  # their ids are this file's own
_NAMED = {  # by id in the source of a message, and what else tells such a row from all others
    **dict.fromkeys(("inbox", "still", "waking"), ("inbox", "wamid")),
    "reminder": ("reminders", "key"),
}
_INSTEAD = {("sandboxes", "key_hash"): "NULL", ("inbox", "turn"): "NULL", ("outbox", "source"): ":source"}
_SEEN = ("container_id", "image_id", "config_hash", "parked_at", "parked_with")  # of a sandbox, by another daemon


def settle(path: Path, made_at: str, now: datetime) -> None:
    """Nothing is sent again, nothing is asked again: what was open when the backup was made waits for the operator.

    Messages to people are held; messages from people are parked, begun or not (they may have been answered since);
    reminders whose time has passed count as fired, and their messages are held. Sandboxes have no container yet, and
    an upgrade that was going on is over.
    """
    since = f"restored from the backup of {made_at[:16]}"
    with _opened(path) as connection:
        values = {"now": times.to_text(now), "sent": f"{since}: may have been sent", "run": f"{since}: may be answered"}
        connection.execute(
            "UPDATE outbox SET state = 'held', hold = 'unknown', reason = :sent, changed_at = :now"
            " WHERE state IN ('queued', 'sending', 'ambiguous', 'held')",
            values,
        )
        # Without `turn` nobody looks in the gateway's history for their answers, to send them after all.
        connection.execute(
            "UPDATE inbox SET state = 'parked', turn = NULL, reason = :run, changed_at = :now"
            " WHERE state IN ('received', 'running')",
            values,
        )
        connection.execute("UPDATE inbox SET turn = NULL WHERE state IN ('failed', 'parked')")
        _fire_late(connection, values, now)
        connection.execute("DELETE FROM sandboxes WHERE user_id IS NULL")  # spares hold nobody's data
        connection.execute(
            "UPDATE upgrades SET state = 'failed', reason = 'restored', changed_at = :now"
            " WHERE state IN ('wanted', 'running')",
            values,
        )
        if connection.execute("PRAGMA table_info(disks)").fetchone():
            connection.execute("DELETE FROM disks")  # of the volumes of another time
        present = {row[1] for row in connection.execute("PRAGMA table_info(sandboxes)")}
        seen = ", ".join(f"{column} = NULL" for column in _SEEN if column in present)
        connection.execute(
            f"UPDATE sandboxes SET state = 'absent', reason = 'restored', changed_at = :now, {seen}",  # noqa: S608
            values,
        )


def add_user(path: Path, source: Path, user_id: UserId) -> SandboxId | None:
    """Bring one person of a settled registry into the one at `path`; which sandbox there is theirs, if any.

    What that one has of them already stays as it is. Raises UsageError where an identifier is somebody else's by now.
    """
    with _opened(path, beside=source) as connection:
        taken = connection.execute(
            "SELECT i.user_id FROM main.identifiers i JOIN old.identifiers o USING (kind, value)"
            " WHERE o.user_id = :user AND i.user_id <> :user",
            {"user": user_id},
        ).fetchone()
        if taken is not None:
            raise UsageError(
                f"the number of {user_id} is that of {taken[0]} by now: clawkakad user rm {taken[0]} --purge"
            )
        connection.execute(
            "INSERT OR IGNORE INTO main.users SELECT * FROM old.users WHERE id = :user", {"user": user_id}
        )
        for table in _OF_A_USER:
            _copy_rows(connection, table, user_id)
        _copy_messages(connection, user_id)
        row = connection.execute("SELECT id FROM sandboxes WHERE user_id = :user", {"user": user_id}).fetchone()
        if row is not None:  # what an upgrade kept of it is older than what comes back now
            connection.execute(
                "UPDATE upgrade_steps SET state = 'skipped', reason = 'restored' WHERE sandbox_id = :id"
                " AND state IN ('waiting', 'keeping', 'trying', 'returning')",
                {"id": row[0]},
            )
    return None if row is None else SandboxId(row[0])


def _copy_rows(connection: sqlite3.Connection, table: str, user_id: UserId) -> None:
    connection.execute(_copying(connection, table), {"user": user_id})


def _copy_messages(connection: sqlite3.Connection, user_id: UserId) -> None:
    """After what they are for: its ids are in their sources, and are others here."""
    copying = f"{_copying(connection, 'outbox')} AND key = :key"
    found = connection.execute("SELECT key, source FROM old.outbox WHERE user_id = ? ORDER BY id", (user_id,))
    for key, source in found.fetchall():
        here = _source_here(connection, source) or f"restored:{key}"
        connection.execute(copying, {"user": user_id, "key": key, "source": here})


def _copying(connection: sqlite3.Connection, table: str) -> str:
    """The statement that adds a person's rows, but those that are here already."""
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    if table in _NUMBERED:
        columns.remove("id")
    taken = [f"{_INSTEAD.get((table, name), name)} AS {name}" for name in columns]
    return (
        f"INSERT OR IGNORE INTO main.{table} ({', '.join(columns)})"  # noqa: S608 (names of our own schema)
        f" SELECT {', '.join(taken)} FROM old.{table} WHERE user_id = :user"
    )


def _source_here(connection: sqlite3.Connection, source: str) -> str | None:
    """What a message is for, with the id that it has here; None where it is not here.

    With the old id it would pass for the message of somebody else's row, and theirs would never be sent.
    """
    kind, _, row = source.partition(":")
    if kind not in _NAMED:
        return source
    table, unique = _NAMED[kind]
    number, _, part = row.partition("#")
    here = connection.execute(
        f"SELECT here.id FROM old.{table} was JOIN main.{table} here USING ({unique}, user_id) WHERE was.id = ?",  # noqa: S608
        (number,),
    ).fetchone()
    return None if here is None else f"{kind}:{here[0]}#{part}"


def _fire_late(connection: sqlite3.Connection, values: dict[str, str], now: datetime) -> None:
    late = "state = 'pending' AND due_at <= :now"
    missed = connection.execute(f"SELECT id, user_id, text, wall, due_at FROM reminders WHERE {late}", values)  # noqa: S608
    for id_, user_id, text, wall, due_at in missed.fetchall():
        says = lateness.message(text, wall, now - times.from_text(due_at))
        connection.execute(
            "INSERT INTO outbox (key, source, origin, user_id, text, state, hold, reason, not_before, created_at,"
            " changed_at) VALUES (:key, :source, 'reminder', :user, :text, 'held', 'unknown', :sent, :now, :now, :now)"
            " ON CONFLICT (source) DO NOTHING",
            {**values, "key": ids.new_key(), "source": f"reminder:{id_}#0", "user": user_id, "text": says},
        )
    connection.execute(f"UPDATE reminders SET state = 'fired', changed_at = :now WHERE {late}", values)  # noqa: S608


@contextlib.contextmanager
def _opened(path: Path, *, beside: Path | None = None) -> Iterator[sqlite3.Connection]:
    """One transaction. Raises UsageError where the file cannot be used."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")
        if beside is not None:
            connection.execute("ATTACH :path AS old", {"path": str(beside)})
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
