"""Identifiers: what stands for a user at WhatsApp, and whose it is.

Of the identifiers that a message carries the strongest one decides: the business-scoped id, else the parent's, else
the phone number. One that nobody has means somebody new. So two business-scoped ids are one user only where a change
notice of Meta said so, and whoever comes with somebody's old number inherits nothing: numbers get recycled. The weaker
identifiers that came along are linked, for sending and for the list of who is let in. Nothing that people choose or
say (names, usernames, cards) is an identifier.

https://developers.facebook.com/docs/whatsapp/business-scoped-user-ids
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from loguru import logger

from clawkakad.model import IdentifierKind, UserId
from clawkakad.registry import times
from clawkakad.registry.transaction import Row, Transaction

Identifier = tuple[IdentifierKind, str]

# How long a number alone says in a change notice who it is, counted from when its person was last heard of: carriers
# give a number to somebody else after 45 days at the earliest (47 CFR 52.15(f)(1)(ii)), most much later.
NUMBER_SPEAKS_FOR = timedelta(days=30)
# Meta delivers for seven days: so much older than its notice can the first message under a new id be.
NOTICE_COMES_WITHIN = timedelta(days=7)

Latest = Mapping[str, Row]  # of each kind the identifier that was seen last

_STRENGTH = {IdentifierKind.BSUID: 0, IdentifierKind.PARENT_BSUID: 1, IdentifierKind.WA_ID: 2}
_OF_USER = (
    "SELECT user_id, kind, value, added_at FROM identifiers WHERE user_id = :id"
    " ORDER BY kind, added_at DESC, rowid DESC"
)
_OF_OWNER = (
    "SELECT user_id, kind, value, added_at FROM identifiers WHERE user_id ="
    " (SELECT user_id FROM identifiers WHERE kind = :kind AND value = :value)"
    " ORDER BY kind, added_at DESC, rowid DESC"
)


class Known(NamedTuple):
    """Somebody who was here before. `identifiers`: all that stands for them, old numbers too."""

    id: UserId
    identifiers: tuple[Identifier, ...]


def of_user(tx: Transaction, user_id: UserId) -> tuple[Identifier, ...]:
    """Everything that stands for a person, business-scoped ids first, the latest seen first."""
    return _identifiers(tx.all(_OF_USER, {"id": user_id}))


def recognise(tx: Transaction, seen: Sequence[Identifier], at: datetime) -> Known | None:
    """Who wrote a message at `at`; what came along with the strongest identifier is theirs from now on.

    `seen`: of each kind one at most.

    None for somebody new: also behind a number that its person had left for another one by then.
    """
    strongest, when = min(seen, key=_strength), times.to_text(at)
    rows = tx.all(_OF_OWNER, _params(strongest))
    if rows and _are_just(rows, seen):
        return Known(UserId(rows[0]["user_id"]), tuple(seen))
    latest = _latest(rows)
    if not rows or _had_left(latest, strongest, when):
        return None
    user_id = UserId(rows[0]["user_id"])
    news = [
        identifier
        for identifier in seen
        if _is_news(latest, identifier, when) or _is_confirmed(latest, strongest, identifier, when)
    ]
    for identifier in news:
        _link(tx, user_id, identifier, when)
    return Known(user_id, of_user(tx, user_id) if news else _identifiers(rows))


def give(tx: Transaction, user_id: UserId, seen: Sequence[Identifier], at: datetime) -> None:
    """The identifiers of somebody new, who wrote at `at`."""
    strongest = min(seen, key=_strength)
    for identifier in seen:
        _link(tx, user_id, identifier, times.to_text(at), surely=identifier == strongest)


def move(tx: Transaction, old: Identifier, new: Sequence[Identifier], now: datetime) -> UserId | None:
    """A change notice of Meta: the person behind `old` has `new` from now on. None where that changes nothing.

    What is left stays with its person until somebody else comes with it: a number on the list of who is let in still
    counts for the one who had it.
    """
    user_id = _person_behind(tx, old, now)
    if user_id is None or not all(_may_pass(tx, identifier, user_id, new, now) for identifier in new):
        return None
    for identifier in new:
        before = _owner(tx, identifier)
        if before != user_id or identifier[0] is IdentifierKind.WA_ID:
            _link(tx, user_id, identifier, times.to_text(now), surely=True)
        if before not in (None, user_id) and identifier[0] is IdentifierKind.BSUID:
            _pass_on(tx, before, user_id)
    logger.info("a person has a new number or id", user=user_id, kinds=[kind.value for kind, _ in new])
    return user_id


def _strength(identifier: Identifier) -> int:
    return _STRENGTH[identifier[0]]


def _are_just(rows: Sequence[Row], seen: Sequence[Identifier]) -> bool:
    """Whether somebody came with all that is known of them, and it came together the first time: nothing is news."""
    known = {(kind, value): added_at for _, kind, value, added_at in rows}
    return known.keys() == set(seen) and len(set(known.values())) == 1


def _latest(rows: Sequence[Row]) -> Latest:
    """Of rows with the latest seen first."""
    return {row["kind"]: row for row in reversed(rows)}


def _had_left(latest: Latest, identifier: Identifier, when: str) -> bool:
    """Whether its person had another one of its kind by then. Business-scoped ids are never somebody else's."""
    kind, value = identifier
    return kind is not IdentifierKind.BSUID and _replaces(latest.get(kind.value), value, when)


def _is_news(latest: Latest, identifier: Identifier, when: str) -> bool:
    """Whether it has to be linked: it is not the latest of its kind already, nor from before that one."""
    kind, value = identifier
    known = latest.get(kind.value)
    return kind is not IdentifierKind.BSUID and (known is None or _replaces(known, value, when))


def _is_confirmed(latest: Latest, strongest: Identifier, identifier: Identifier, when: str) -> bool:
    """Whether a number that is older than the latest id comes along with it: so it was not left with the id before."""
    id_, number = latest.get(IdentifierKind.BSUID.value), latest.get(IdentifierKind.WA_ID.value)
    if id_ is None or number is None or not number["added_at"] < id_["added_at"] <= when:
        return False
    both = ((IdentifierKind.BSUID, id_["value"]), (IdentifierKind.WA_ID, number["value"]))
    return (strongest, identifier) == both


def _replaces(latest: Row | None, value: str, when: str) -> bool:
    """Whether the latest of a kind and the one that was seen at `when` are two, and the latest was there first."""
    return latest is not None and latest["value"] != value and bool(latest["added_at"] <= when)


def _owner(tx: Transaction, identifier: Identifier) -> UserId | None:
    row = tx.one("SELECT user_id FROM identifiers WHERE kind = :kind AND value = :value", _params(identifier))
    return None if row is None else UserId(row["user_id"])


def _person_behind(tx: Transaction, old: Identifier, now: datetime) -> UserId | None:
    """Whom a change notice is about. A number says it only while it cannot have been given to somebody else."""
    rows = tx.all(_OF_OWNER, _params(old))
    if not rows:
        return None
    user_id = UserId(rows[0]["user_id"])
    if old[0] is not IdentifierKind.WA_ID:
        return user_id
    if _had_left(_latest(rows), old, times.to_text(now)):
        return None
    if now - _last_heard_of(tx, user_id, old) > NUMBER_SPEAKS_FOR:
        logger.warning("a change of a number ignored: its person was not heard of for too long", user=user_id)
        return None
    return user_id


def _last_heard_of(tx: Transaction, user_id: UserId, number: Identifier) -> datetime:
    row = tx.one(
        "SELECT max(added_at, coalesce(last_inbound_at, '')) AS at FROM identifiers JOIN users ON users.id = user_id"
        " WHERE user_id = :id AND kind = :kind AND value = :value",
        {"id": user_id, **_params(number)},
    )
    assert row is not None
    return times.from_text(row["at"])


def _may_pass(
    tx: Transaction, identifier: Identifier, user_id: UserId, new: Sequence[Identifier], now: datetime
) -> bool:
    """Whether a change notice may give it to this user.

    A number always. An id only if it is nobody's yet, or of a newcomer who has no other one: then they are the same
    person, whose first message under the new id came before the notice.
    """
    owner = _owner(tx, identifier)
    if identifier[0] is IdentifierKind.WA_ID or owner is None or owner == user_id:
        return True
    others = [known for known in of_user(tx, owner) if known[0] is identifier[0] and known not in new]
    row = tx.one("SELECT created_at FROM users WHERE id = :id", {"id": owner})
    assert row is not None
    if not others and now - times.from_text(row["created_at"]) <= NOTICE_COMES_WITHIN:
        return True
    logger.warning("a change of an id ignored: the new one is somebody else's", user=user_id, other=owner)
    return False


def _pass_on(tx: Transaction, newcomer: UserId | None, user_id: UserId) -> None:
    """The newcomer was this user all along: what waits for an answer, for its time, or to be sent, is theirs.

    A turn that goes on is asked for again, of the agent who knows them; what the newcomer's says comes too late.
    """
    both = {"from": newcomer, "to": user_id}
    tx.execute("UPDATE inbox SET user_id = :to WHERE user_id = :from AND state IN ('received', 'running')", both)
    tx.execute("UPDATE reminders SET user_id = :to WHERE user_id = :from AND state = 'pending'", both)
    tx.execute(
        "UPDATE outbox SET user_id = :to WHERE user_id = :from AND state IN ('queued', 'sending', 'ambiguous', 'held')",
        both,
    )
    tx.execute(
        "UPDATE users SET last_inbound_at ="
        " nullif(max(coalesce(last_inbound_at, ''), coalesce((SELECT n.last_inbound_at FROM users n"
        " WHERE n.id = :from), '')), '') WHERE id = :to",
        both,
    )


def _link(tx: Transaction, user_id: UserId, identifier: Identifier, when: str, *, surely: bool = False) -> None:
    """It is theirs from now on; unless `surely`, only if nobody else came with it after `when`."""
    params = {**_params(identifier), "id": user_id, "when": when}
    before = tx.one("SELECT user_id, added_at FROM identifiers WHERE kind = :kind AND value = :value", params)
    if before is not None:
        if before["added_at"] > when and not surely:
            return
        tx.execute("DELETE FROM identifiers WHERE kind = :kind AND value = :value", params)
        if before["user_id"] != user_id:
            logger.warning("an identifier is somebody else's now", kind=identifier[0].value, user=user_id)
    tx.execute("INSERT INTO identifiers (kind, value, user_id, added_at) VALUES (:kind, :value, :id, :when)", params)


def _identifiers(rows: Sequence[Row]) -> tuple[Identifier, ...]:
    return tuple((IdentifierKind(row["kind"]), row["value"]) for row in rows)


def _params(identifier: Identifier) -> dict[str, str]:
    return {"kind": identifier[0].value, "value": identifier[1]}
