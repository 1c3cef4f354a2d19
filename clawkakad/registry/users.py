"""Users: one row for each person, keyed by an id of ours. `identifiers.py` has what stands for them at WhatsApp."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from clawkakad.model import Profile, UserId
from clawkakad.registry import identifiers, ids, times
from clawkakad.registry.database import Database
from clawkakad.registry.identifiers import Identifier
from clawkakad.registry.transaction import Row, Transaction

__all__ = ["Identifier", "UserRow", "Users", "add", "ensure_user", "get", "touch", "wrote_after"]


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

    async def change_profile(self, user_id: UserId, changes: Mapping[str, str]) -> Profile:
        """Change these fields of the profile of a person who must exist; the whole of it after that."""
        return await self._db.write(lambda tx: _change_profile(tx, user_id, changes))


def get(tx: Transaction, user_id: UserId) -> UserRow | None:
    """One person, or None."""
    row = tx.one("SELECT * FROM users WHERE id = :id", {"id": user_id})
    return None if row is None else _user(row, identifiers.of_user(tx, user_id))


def ensure_user(tx: Transaction, known_as: Sequence[Identifier], fresh: Profile, at: datetime) -> UserId:
    """Who wrote a message at `at`; somebody new is made with the profile `fresh`."""
    known = identifiers.recognise(tx, known_as, at)
    return add(tx, known_as, fresh, at) if known is None else known.id


def add(tx: Transaction, known_as: Sequence[Identifier], fresh: Profile, at: datetime) -> UserId:
    """Somebody new, who wrote at `at`."""
    user_id = ids.new_user_id()
    tx.execute(
        "INSERT INTO users (id, name, time_zone, currency, language, country, created_at)"
        " VALUES (:id, :name, :zone, :currency, :language, :country, :at)",
        {"id": user_id, "at": times.to_text(at), **_profile_params(fresh)},
    )
    identifiers.give(tx, user_id, known_as, at)
    return user_id


def touch(tx: Transaction, user_id: UserId, at: datetime) -> None:
    """A person wrote at `at`: the service window counts from the latest, and they can be reached."""
    tx.execute(
        "UPDATE users SET last_inbound_at = max(coalesce(last_inbound_at, ''), :at),"
        " unreachable_at = NULL, unreachable_reason = NULL WHERE id = :id",
        {"id": user_id, "at": times.to_text(at)},
    )


def wrote_after(tx: Transaction, user_id: UserId, at: datetime | None) -> bool:
    """Whether a person has written later than at `at`; None: at all."""
    sql = "SELECT 1 FROM users WHERE id = :id AND last_inbound_at > :at"
    return tx.one(sql, {"id": user_id, "at": "" if at is None else times.to_text(at)}) is not None


def _change_profile(tx: Transaction, user_id: UserId, changes: Mapping[str, str]) -> Profile:
    user = get(tx, user_id)
    if user is None:
        raise LookupError(user_id)
    profile = dataclasses.replace(user.profile, **changes)
    tx.execute(
        "UPDATE users SET name = :name, time_zone = :zone, currency = :currency, language = :language,"
        " country = :country WHERE id = :id",
        {"id": user_id, **_profile_params(profile)},
    )
    return profile


def _everybody(tx: Transaction) -> list[UserRow]:
    rows = tx.all("SELECT * FROM users ORDER BY created_at, id")
    return [_user(row, identifiers.of_user(tx, UserId(row["id"]))) for row in rows]


def _profile_params(profile: Profile) -> dict[str, str | None]:
    return {
        "name": profile.name,
        "zone": profile.time_zone,
        "currency": profile.currency,
        "language": profile.language,
        "country": profile.country,
    }


def _user(row: Row, known_as: tuple[Identifier, ...]) -> UserRow:
    return UserRow(
        id=UserId(row["id"]),
        profile=Profile(row["name"], row["time_zone"], row["currency"], row["language"], row["country"]),
        identifiers=known_as,
        created_at=times.from_text(row["created_at"]),
        last_inbound_at=times.maybe(row["last_inbound_at"]),
    )
