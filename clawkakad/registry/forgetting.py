"""How a person leaves the registry, in steps that may be repeated, beside a running daemon. Nothing stays on disk."""

import contextlib
import sqlite3
import time
from datetime import datetime
from pathlib import Path

from clawkakad.errors import RegistryUnavailable
from clawkakad.model import UserId
from clawkakad.registry import times
from clawkakad.registry.transaction import Transaction

WIPE_S = 30.0  # how long others may keep the log in use


def close(tx: Transaction, user_id: UserId, now: datetime) -> None:
    """Nothing is answered, sent or remembered for them any more: first, so that nothing asks for a new sandbox."""
    values = {"user": user_id, "now": times.to_text(now)}
    tx.execute(
        "UPDATE inbox SET state = 'ignored', reason = 'removed by the operator', changed_at = :now"
        " WHERE user_id = :user AND state IN ('received', 'running')",
        values,
    )
    tx.execute(
        "UPDATE outbox SET state = 'dropped', hold = NULL, reason = 'removed by the operator', changed_at = :now"
        " WHERE user_id = :user AND state IN ('queued', 'ambiguous', 'held')",
        values,
    )
    for table in ("reminders", "heartbeats", "usage"):
        tx.execute(f"DELETE FROM {table} WHERE user_id = :user", values)  # noqa: S608 (constants above)


def purge(tx: Transaction, user_id: UserId) -> bool:
    """Delete the person with all messages and identifiers. False where they have a sandbox (again): it goes first."""
    if tx.one("SELECT 1 FROM sandboxes WHERE user_id = :user", {"user": user_id}) is not None:
        return False
    tx.execute("DELETE FROM users WHERE id = :user", {"user": user_id})  # the other tables cascade
    return True


def wipe(path: Path) -> None:
    """What was deleted is nowhere in the file or its log any more. Raises RegistryUnavailable: then once more later."""
    deadline = time.monotonic() + WIPE_S
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=WIPE_S, isolation_level=None)) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("VACUUM")
            while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > deadline:
                    raise RegistryUnavailable(
                        f"{path} is in use: what was deleted is not wiped from its log; repeat this"
                    )
                time.sleep(0.1)
    except sqlite3.OperationalError as error:
        raise RegistryUnavailable(f"what was deleted is not wiped yet: {error}; repeat this") from error
