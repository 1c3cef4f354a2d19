"""Users and their identifiers: who is it?

A user is keyed by an id of ours. The business-scoped id is looked at first; a phone number links to a known person
only while that person has no other business-scoped id, since numbers get recycled (Meta, "Business-scoped user IDs").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from clawkakad.model import IdentifierKind, Profile, UserId
from clawkakad.registry import ids, times
from clawkakad.registry.database import Database, Row, Transaction

Identifier = tuple[IdentifierKind, str]

_IDENTIFIERS = "SELECT kind, value FROM identifiers WHERE user_id = :id ORDER BY kind, added_at DESC"


@dataclass(frozen=True)
class UserRow:
    """One person. `identifiers`: business-scoped ones first."""

    id: UserId
    profile: Profile
    identifiers: tuple[Identifier, ...]
    created_at: datetime
    last_inbound_at: datetime | None


class Users:
    """The tables `users` and `identifiers`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, user_id: UserId) -> UserRow | None:
        """One person, or None."""
        return await self._db.read(lambda tx: get(tx, user_id))

    async def all(self) -> list[UserRow]:
        """Everybody who ever wrote, let in or not, oldest first."""
        return await self._db.read(_everybody)

    async def profile(self, user_id: UserId) -> Profile:
        """The profile of a person who must exist."""
        user = await self.get(user_id)
        if user is None:
            raise LookupError(user_id)
        return user.profile

    async def set_profile(self, user_id: UserId, profile: Profile) -> None:
        """Replace the whole profile."""
        await self._db.execute(
            "UPDATE users SET name = :name, time_zone = :zone, currency = :currency, language = :language,"
            " country = :country WHERE id = :id",
            {"id": user_id, **_profile_params(profile)},
        )


def get(tx: Transaction, user_id: UserId) -> UserRow | None:
    """One person, or None."""
    row = tx.one("SELECT * FROM users WHERE id = :id", {"id": user_id})
    return None if row is None else _user(row, identifiers_of(tx, user_id))


def ensure_user(tx: Transaction, identifiers: Sequence[Identifier], fresh: Profile, now: datetime) -> UserId:
    """The user behind these identifiers, made with the profile `fresh` if they are nobody's; new aliases are linked."""
    user_id = _find(tx, identifiers)
    if user_id is None:
        user_id = ids.new_user_id()
        tx.execute(
            "INSERT INTO users (id, name, time_zone, currency, language, country, created_at)"
            " VALUES (:id, :name, :zone, :currency, :language, :country, :now)",
            {"id": user_id, "now": times.to_text(now), **_profile_params(fresh)},
        )
    _link(tx, user_id, identifiers, now)
    return user_id


def identifiers_of(tx: Transaction, user_id: UserId) -> tuple[Identifier, ...]:
    """Everything that stands for a person, business-scoped ids first, the latest seen first."""
    return _identifiers(tx.all(_IDENTIFIERS, {"id": user_id}))


def move_identifiers(tx: Transaction, old: Identifier, new: Sequence[Identifier], now: datetime) -> UserId | None:
    """A change notice of Meta: the person behind `old` now has `new` too. None where nobody has `old`."""
    user_id = _owner(tx, old)
    if user_id is not None:
        tx.execute("DELETE FROM identifiers WHERE kind = :kind AND value = :value", _identifier_params(old))
        _link(tx, user_id, new, now)
    return user_id


def touch(tx: Transaction, user_id: UserId, at: datetime) -> None:
    """The service window counts from the last message of a person: keep the latest."""
    tx.execute(
        "UPDATE users SET last_inbound_at = max(coalesce(last_inbound_at, ''), :at) WHERE id = :id",
        {"id": user_id, "at": times.to_text(at)},
    )


def _everybody(tx: Transaction) -> list[UserRow]:
    rows = tx.all("SELECT * FROM users ORDER BY created_at, id")
    return [_user(row, identifiers_of(tx, UserId(row["id"]))) for row in rows]


def _find(tx: Transaction, identifiers: Sequence[Identifier]) -> UserId | None:
    """The owner of the strongest identifier; of two owners who are one person, the one who has a sandbox."""
    found: list[UserId] = []
    for identifier in sorted(identifiers, key=_strongest_first):
        user_id = _owner(tx, identifier)
        if user_id is not None and not _is_somebody_else(tx, user_id, identifiers):
            found.append(user_id)
    for user_id in found:
        if tx.one("SELECT 1 FROM sandboxes WHERE user_id = :id", {"id": user_id}) is not None:
            return user_id
    return found[0] if found else None


def _strongest_first(identifier: Identifier) -> int:
    return (IdentifierKind.BSUID, IdentifierKind.PARENT_BSUID, IdentifierKind.WA_ID).index(identifier[0])


def _owner(tx: Transaction, identifier: Identifier) -> UserId | None:
    row = tx.one(
        "SELECT user_id FROM identifiers WHERE kind = :kind AND value = :value", _identifier_params(identifier)
    )
    return None if row is None else UserId(row["user_id"])


def _is_somebody_else(tx: Transaction, user_id: UserId, identifiers: Sequence[Identifier]) -> bool:
    """A known number with a business-scoped id that is not its owner's: the number was recycled."""
    named = {value for kind, value in identifiers if kind is IdentifierKind.BSUID}
    rows = tx.all("SELECT value FROM identifiers WHERE user_id = :id AND kind = 'bsuid'", {"id": user_id})
    known = {row["value"] for row in rows}
    return bool(named) and bool(known) and not named & known


def _link(tx: Transaction, user_id: UserId, identifiers: Sequence[Identifier], now: datetime) -> None:
    for identifier in identifiers:
        tx.execute(
            "INSERT INTO identifiers (kind, value, user_id, added_at) VALUES (:kind, :value, :id, :now)"
            " ON CONFLICT (kind, value) DO UPDATE SET user_id = excluded.user_id, added_at = excluded.added_at",
            {**_identifier_params(identifier), "id": user_id, "now": times.to_text(now)},
        )


def _identifiers(rows: Sequence[Row]) -> tuple[Identifier, ...]:
    return tuple((IdentifierKind(row["kind"]), row["value"]) for row in rows)


def _identifier_params(identifier: Identifier) -> dict[str, str]:
    return {"kind": identifier[0].value, "value": identifier[1]}


def _profile_params(profile: Profile) -> dict[str, str | None]:
    return {
        "name": profile.name,
        "zone": profile.time_zone,
        "currency": profile.currency,
        "language": profile.language,
        "country": profile.country,
    }


def _user(row: Row, identifiers: tuple[Identifier, ...]) -> UserRow:
    return UserRow(
        id=UserId(row["id"]),
        profile=Profile(row["name"], row["time_zone"], row["currency"], row["language"], row["country"]),
        identifiers=identifiers,
        created_at=times.from_text(row["created_at"]),
        last_inbound_at=times.maybe(row["last_inbound_at"]),
    )
