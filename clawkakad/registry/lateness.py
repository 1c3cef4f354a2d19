"""A reminder that goes out late says so, whatever kept it: a downtime of ours, an outage, the service window, a backup.

Its words are those of the moment in which its send begins, but for one that may have gone out before.
"""

from datetime import datetime, timedelta

from clawkakad.model import UserId
from clawkakad.registry import times
from clawkakad.registry.transaction import Row, Transaction

LATE = timedelta(minutes=5)  # later than this, the message says so

# The state is said twice, so that the index of what is open serves.
_QUEUED = (
    "SELECT o.id, o.text AS queued, r.text, r.wall, r.due_at FROM outbox o"
    " JOIN reminders r ON r.id = CAST(substr(o.source, length('reminder:') + 1) AS INTEGER)"
    " WHERE o.state IN ('queued', 'sending', 'ambiguous') AND o.state = 'queued' AND o.origin = 'reminder'"
)


def message(text: str, wall: str, late_by: timedelta) -> str:
    """A reminder as it is sent. `wall`: the wall time that it was meant for."""
    return f"⏰ {text}" + (f"\n_(this was for {wall}; I couldn't send it then)_" if late_by > LATE else "")


def tell(tx: Transaction, now: datetime, user_id: UserId | None = None) -> None:
    """Whatever reminder is queued by now, for this person or for anybody, tells that it is late, where it is."""
    whose = "" if user_id is None else " AND o.user_id = :user"
    for row in tx.all(_QUEUED + whose, {"user": user_id}):
        _tell(tx, row, now)


def tell_at_last(tx: Transaction, row_id: int, now: datetime) -> None:
    """The same for one whose send begins. What may have gone out before goes in the same words again."""
    row = tx.one(_QUEUED + " AND o.id = :id AND o.unknowns = 0", {"id": row_id})
    if row is not None:
        _tell(tx, row, now)


def _tell(tx: Transaction, row: Row, now: datetime) -> None:
    in_time = message(row["text"], row["wall"], timedelta(0))
    text = message(row["text"], row["wall"], now - times.from_text(row["due_at"]))
    if row["queued"] == in_time != text:
        tx.execute("UPDATE outbox SET text = :text WHERE id = :id", {"id": row["id"], "text": text})
