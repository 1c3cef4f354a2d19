"""The outbox as the one who sends sees it: what is due, and what became of each request.

A row leaves `queued` only by `begin`, which is on disk before the request is written. Each of the others says what an
answer means for its row, and does nothing where a status, or the operator, has settled the row meanwhile.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from clawkakad.model import Hold, IdentifierKind, OutboxState, UserId, Wamid
from clawkakad.registry import lateness, pauses, times
from clawkakad.registry.outbox import OutboxRow, get, outbound
from clawkakad.registry.pauses import Pause
from clawkakad.registry.transaction import Row, Transaction
from clawkakad.registry.users import Identifier

_RECENT = 20_000  # rows that are looked through for the sends of the last minutes: those of 4 minutes at 80 a second


class Way(NamedTuple):
    """How a person can be sent to.

    `address`: the phone number that came with the latest business-scoped id or after it, else that id.
    """

    address: Identifier | None
    last_inbound_at: datetime | None
    is_unreachable: bool


class Head(NamedTuple):
    """A person's oldest message that is not settled yet, and the way to the person."""

    row: OutboxRow
    way: Way


@dataclass(frozen=True)
class Due:
    """What there is to do."""

    heads: Sequence[Head]
    pauses: Sequence[Pause]


# The id changes when the number does: a number from before the latest id may be somebody else's by now.
_WAY = (
    "u.last_inbound_at AS inbound_at, u.unreachable_at AS unreachable_at,"
    " coalesce((SELECT 'wa_id ' || value FROM identifiers i WHERE i.user_id = u.id AND kind = 'wa_id' AND added_at >="
    "   coalesce((SELECT max(added_at) FROM identifiers WHERE user_id = u.id AND kind = 'bsuid'), '')"
    "   ORDER BY added_at DESC LIMIT 1),"
    "  (SELECT kind || ' ' || value FROM identifiers i WHERE i.user_id = u.id ORDER BY kind, added_at DESC LIMIT 1)"
    " ) AS address"
)
_HEADS = (
    "SELECT o.*, {way} FROM outbox o JOIN users u ON u.id = o.user_id WHERE o.id"
    " {chosen} (SELECT min(id) FROM outbox WHERE state IN ('queued', 'sending', 'ambiguous') {whose})"
)
_CLEAR = (
    "SELECT {way} FROM users u WHERE u.id = :user AND NOT EXISTS"
    " (SELECT 1 FROM outbox WHERE user_id = :user AND state IN ('queued', 'sending', 'ambiguous'))"
)
_ALL_HEADS = _HEADS.format(way=_WAY, chosen="IN", whose="GROUP BY user_id") + " ORDER BY o.id"
_HEAD_OF = _HEADS.format(way=_WAY, chosen="=", whose="AND user_id = :user")
_CLEAR_WAY = _CLEAR.format(way=_WAY)


def due(tx: Transaction) -> Due:
    """For each person the oldest message that is not settled: nothing behind it may overtake it."""
    rows = tx.all(_ALL_HEADS)
    return Due([_head(row) for row in rows], pauses.current(tx))


def head_of(tx: Transaction, user_id: UserId) -> Head | None:
    """One person's oldest message that is not settled."""
    row = tx.one(_HEAD_OF, {"user": user_id})
    return None if row is None else _head(row)


def clear_way(tx: Transaction, user_id: UserId) -> Way | None:
    """How a person can be sent to, where nothing of theirs is open; None where something is, or nobody is there."""
    row = tx.one(_CLEAR_WAY, {"user": user_id})
    return None if row is None else _way(row)


def begin(tx: Transaction, heads: Iterable[Head], now: datetime) -> list[Head]:
    """Their requests are about to be written: after a crash the rows tell that they may have been sent.

    Returns those that were still queued, in the words in which they go out; the others must not be sent.
    """
    return [
        head
        for head in (_in_last_words(tx, head, now) for head in heads)
        if tx.execute(
            "UPDATE outbox SET state = 'sending', attempt = attempt + 1, changed_at = :now"
            " WHERE id = :id AND state = 'queued'",
            {"id": head.row.id, "now": times.to_text(now)},
        )
    ]


def sent(tx: Transaction, row: OutboxRow, wamid: Wamid, now: datetime) -> bool:
    """The Graph API took it; a status may have come first. True where more waits for the same person.

    This is the last send, and the row's id is that of it, also where such a status was about the send before. An id
    that Meta has given before is left to the message that has it: this one was taken all the same.
    """
    tx.execute(
        "UPDATE outbox SET wamid = CASE WHEN EXISTS (SELECT 1 FROM outbox WHERE wamid = :wamid AND id <> :id)"
        " THEN wamid WHEN state IN ('sending', 'ambiguous', 'sent') THEN :wamid ELSE coalesce(wamid, :wamid) END,"
        " changed_at = :now, sent_at = iif(state = 'sending', :now, coalesce(sent_at, :now)),"
        " reason = iif(state IN ('sending', 'ambiguous'), '', reason),"
        " state = iif(state IN ('sending', 'ambiguous'), 'sent', state) WHERE id = :id",
        {"id": row.id, "wamid": wamid, "now": times.to_text(now)},
    )
    # Said twice, so that the index of what is open serves: that of the person would bring all that they ever got.
    more = tx.one(
        "SELECT 1 FROM outbox WHERE user_id = :user AND state IN ('queued', 'sending', 'ambiguous')"
        " AND state = 'queued' LIMIT 1",
        {"user": row.user_id},
    )
    return more is not None


def unknown(tx: Transaction, row: OutboxRow, reason: str, now: datetime) -> bool:
    """It may be on its way."""
    return 1 == tx.execute(
        "UPDATE outbox SET state = 'ambiguous', unknowns = unknowns + 1, reason = :reason, changed_at = :now"
        " WHERE id = :id AND state = 'sending'",
        {"id": row.id, "reason": reason, "now": times.to_text(now)},
    )


def last_unsettled(tx: Transaction) -> datetime | None:
    """When the last of the messages went out, or may have, whose outcome nobody knows; None: there is no such one."""
    row = tx.one("SELECT max(changed_at) AS at FROM outbox WHERE state IN ('sending', 'ambiguous')")
    return None if row is None else times.maybe(row["at"])


def interrupted(tx: Transaction) -> int:
    """At start: what the last process left in `sending` may have gone out, when it says. Returns how many these are."""
    return tx.execute(
        "UPDATE outbox SET state = 'ambiguous', unknowns = unknowns + 1,"
        " reason = 'the daemon stopped while it was sent' WHERE state = 'sending'",
    )


def put_back(tx: Transaction, row: OutboxRow, reason: str, *, not_before: datetime, now: datetime) -> bool:
    """Nothing was sent: the request does not count, and the row waits until `not_before`."""
    return 1 == tx.execute(
        "UPDATE outbox SET state = 'queued', attempt = attempt - 1, reason = :reason, changed_at = :now,"
        " not_before = :not_before WHERE id = :id AND state = 'sending'",
        {"id": row.id, "reason": reason, "now": times.to_text(now), "not_before": times.to_text(not_before)},
    )


def again(tx: Transaction, row: OutboxRow, now: datetime) -> bool:
    """No status came for it: it is sent again."""
    return _move(tx, row, OutboxState.QUEUED, None, row.reason, now)


def hold(tx: Transaction, row: OutboxRow, why: Hold, reason: str, now: datetime) -> bool:
    """It waits, and nothing behind it waits for it."""
    return _move(tx, row, OutboxState.HELD, why, reason, now)


def fail(tx: Transaction, row: OutboxRow, reason: str, now: datetime) -> bool:
    """It will never be sent."""
    return _move(tx, row, OutboxState.FAILED, None, reason, now)


def release_open(tx: Transaction, since: datetime, now: datetime) -> int:
    """What was held and never refused, of people who have written after `since` after all: the clock was wrong, say."""
    released = tx.execute(
        "UPDATE outbox SET state = 'queued', hold = NULL, reason = '', not_before = :now, changed_at = :now"
        " WHERE state = 'held' AND hold = 'window' AND attempt = unknowns AND user_id IN"
        " (SELECT id FROM users WHERE last_inbound_at > :since AND unreachable_at IS NULL)",
        {"since": times.to_text(since), "now": times.to_text(now)},
    )
    if released:
        lateness.tell(tx, now)
    return released


def set_unreachable(tx: Transaction, user_id: UserId, reason: str, now: datetime) -> None:
    """WhatsApp cannot deliver to this person. Their next message clears it."""
    tx.execute(
        "UPDATE users SET unreachable_at = coalesce(unreachable_at, :now), unreachable_reason = :reason WHERE id = :id",
        {"id": user_id, "reason": reason, "now": times.to_text(now)},
    )


def recent(tx: Transaction, since: datetime) -> list[tuple[UserId, datetime]]:
    """Who was sent to after `since`, and when, oldest first; sends of unknown outcome count."""
    rows = tx.all(
        "SELECT user_id, coalesce(sent_at, changed_at) AS at FROM outbox"
        " WHERE id > (SELECT coalesce(max(id), 0) FROM outbox) - :recent"
        " AND (sent_at IS NOT NULL OR state = 'ambiguous') AND coalesce(sent_at, changed_at) > :since ORDER BY at",
        {"recent": _RECENT, "since": times.to_text(since)},
    )
    return [(UserId(row["user_id"]), times.from_text(row["at"])) for row in rows]


def _in_last_words(tx: Transaction, head: Head, now: datetime) -> Head:
    """A reminder may have become late since the head was read."""
    if head.row.origin != "reminder":
        return head
    lateness.tell_at_last(tx, head.row.id, now)
    row = get(tx, head.row.id)
    return head if row is None else head._replace(row=row)


def _move(tx: Transaction, row: OutboxRow, state: OutboxState, why: Hold | None, reason: str, now: datetime) -> bool:
    """False where a status, or the operator, has settled the row meanwhile."""
    return 1 == tx.execute(
        "UPDATE outbox SET state = :state, hold = :hold, reason = :reason, not_before = :now, changed_at = :now"
        " WHERE id = :id AND state IN ('queued', 'sending', 'ambiguous')",
        {
            "id": row.id,
            "state": state.value,
            "hold": None if why is None else why.value,
            "reason": reason,
            "now": times.to_text(now),
        },
    )


def _head(row: Row) -> Head:
    return Head(outbound(row), _way(row))


def _way(row: Row) -> Way:
    kind, _, value = (row["address"] or "").partition(" ")
    return Way(
        address=(IdentifierKind(kind), value) if kind else None,
        last_inbound_at=times.maybe(row["inbound_at"]),
        is_unreachable=row["unreachable_at"] is not None,
    )
