"""The table `sandboxes`: one row per person who has one; it outlives its container.

Which move from state to state is allowed is not known here: see `sandboxes/policy.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from clawkakad.model import Rest, SandboxId, SandboxState, UserId
from clawkakad.registry import ids, inbox, outbox, spares, times
from clawkakad.registry.database import Database
from clawkakad.registry.transaction import Row, Transaction


@dataclass(frozen=True)
class SandboxRow:
    """One sandbox. `user_id`: None where it is a spare; `reason`: why it is in its state, in words for the operator.

    `parked_with`: what it was to be made of when it was parked; `ooms`: how often something in it ran out of memory.
    `pinned`: the image that it is made of until an upgrade; None until it has been ready once.
    `rehearsing`: its session holds a rehearsal, or a part of one.
    """

    id: SandboxId
    user_id: UserId | None
    state: SandboxState
    reason: str
    container_id: str | None
    image_id: str | None
    config_hash: str | None
    key_hash: str | None
    remove_wanted: bool
    retry_wanted: bool
    rest_wanted: Rest | None
    parked_at: datetime | None
    parked_with: str | None
    ooms: int
    oom_at: datetime | None
    created_at: datetime
    changed_at: datetime
    pinned: str | None = None
    rehearsing: bool = False


@dataclass(frozen=True)
class Standing:
    """A sandbox's row, when its person wrote last, and whether a message of theirs waits or is being answered."""

    row: SandboxRow
    wrote_at: datetime | None
    waiting: bool


class Sandboxes:
    """The table, by the words of the domain."""

    def __init__(self, db: Database, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._clock = clock

    async def get(self, sandbox_id: SandboxId) -> SandboxRow | None:
        """One row, or None."""
        row = await self._db.one("SELECT * FROM sandboxes WHERE id = :id", {"id": sandbox_id})
        return None if row is None else _sandbox(row)

    async def of_user(self, user_id: UserId) -> SandboxRow | None:
        """The sandbox of a person, or None."""
        row = await self._db.one("SELECT * FROM sandboxes WHERE user_id = :id", {"id": user_id})
        return None if row is None else _sandbox(row)

    async def all(self) -> list[SandboxRow]:
        """Every row, oldest first."""
        return [_sandbox(row) for row in await self._db.all("SELECT * FROM sandboxes ORDER BY created_at, id")]

    async def spares(self) -> list[SandboxRow]:
        """Those that are nobody's yet, oldest first."""
        sql = "SELECT * FROM sandboxes WHERE user_id IS NULL ORDER BY created_at, id"
        return [_sandbox(row) for row in await self._db.all(sql)]

    async def ensure(self, user_id: UserId) -> SandboxRow:
        """The person's row: where there is none, a spare becomes theirs, or one is made. Idempotent."""
        found = await self.of_user(user_id)
        if found is not None:
            return found
        now = self._clock()
        return await self._db.write(lambda tx: _ensure(tx, user_id, now))

    async def set_state(self, sandbox_id: SandboxId, state: SandboxState, reason: str) -> None:
        """Record what was observed; for PARKED there is `park`."""
        await self._update(
            sandbox_id,
            "state = :state, reason = :reason, parked_at = NULL, parked_with = NULL",
            state=state.value,
            reason=reason,
        )

    async def park(self, sandbox_id: SandboxId, reason: str, made_of: str) -> None:
        """Record that it is given up, until something changes. Again: the first time counts."""
        await self._update(
            sandbox_id,
            "state = 'parked', reason = :reason, parked_at = coalesce(parked_at, :now), parked_with = :made_of",
            reason=reason,
            made_of=made_of,
        )

    async def tell_waking(self, sandbox_id: SandboxId, text: str) -> bool:
        """Queue a line to its person that it will take a moment, once for each wait. False where nothing was added."""
        now = self._clock()
        return await self._db.write(lambda tx: _tell_waking(tx, sandbox_id, text, now))

    async def tell_parked(self, sandbox_id: SandboxId, text: str) -> bool:
        """Queue the one notice of this parking, if a message of the person waits. False where nothing was added."""
        now = self._clock()
        return await self._db.write(lambda tx: _tell_parked(tx, sandbox_id, text, now))

    async def tell_held_back(self, sandbox_id: SandboxId, text: str) -> bool:
        """Queue the one notice that it cannot be made yet, if a message of the person waits. False as above."""
        now = self._clock()
        return await self._db.write(lambda tx: _tell_held_back(tx, sandbox_id, text, now))

    async def standing(self, sandbox_id: SandboxId) -> Standing | None:
        """What counts for whether it has to run; None where it was removed."""
        return await self._db.read(lambda tx: _standing(tx, sandbox_id))

    async def count_oom(self, sandbox_id: SandboxId) -> tuple[datetime | None, datetime]:
        """Something in it ran out of memory; when it did so before, and now."""
        now = self._clock()
        return await self._db.write(lambda tx: _count_oom(tx, sandbox_id, now)), now

    async def want_retry(self, sandbox_id: SandboxId) -> None:
        """Ask the running daemon to try at once, whatever happened before."""
        await self._db.execute("UPDATE sandboxes SET retry_wanted = 1 WHERE id = :id", {"id": sandbox_id})

    async def wished_for(self) -> list[SandboxRow]:
        """The rows that an operator wants tried again, at rest or awake."""
        sql = "SELECT * FROM sandboxes WHERE retry_wanted = 1 OR rest_wanted IS NOT NULL"
        return [_sandbox(row) for row in await self._db.all(sql)]

    async def retrying(self, sandbox_id: SandboxId) -> None:
        """The operator's wish is being carried out."""
        await self._db.execute("UPDATE sandboxes SET retry_wanted = 0 WHERE id = :id", {"id": sandbox_id})

    async def want_rest(self, sandbox_id: SandboxId, rest: Rest) -> None:
        """Ask the running daemon to put it to rest, or to wake it; the last wish counts."""
        await self._db.execute(
            "UPDATE sandboxes SET rest_wanted = :rest WHERE id = :id", {"id": sandbox_id, "rest": rest.value}
        )

    async def resting(self, sandbox_id: SandboxId) -> None:
        """The operator's wish is carried out, or cannot be."""
        await self._db.execute("UPDATE sandboxes SET rest_wanted = NULL WHERE id = :id", {"id": sandbox_id})

    async def dozing(self) -> list[SandboxRow]:
        """The rows of those that doze, the longest first."""
        return [
            _sandbox(row)
            for row in await self._db.all("SELECT * FROM sandboxes WHERE state = 'dozing' ORDER BY changed_at, id")
        ]

    async def set_container(
        self, sandbox_id: SandboxId, *, container_id: str | None, image_id: str | None, config_hash: str | None
    ) -> None:
        """Record which container is this sandbox's, and what it was made from."""
        await self._update(
            sandbox_id,
            "container_id = :container, image_id = :image, config_hash = :config",
            container=container_id,
            image=image_id,
            config=config_hash,
        )

    async def pin(self, sandbox_id: SandboxId) -> None:
        """It has been ready: it stays with the image that its container is made of. Pinned already: nothing happens."""
        await self._db.execute(
            "UPDATE sandboxes SET pinned = image_id WHERE id = :id AND pinned IS NULL", {"id": sandbox_id}
        )

    async def unpin(self, sandbox_id: SandboxId) -> None:
        """Its image is gone: the next one with which it is ready will be its own."""
        await self._db.execute("UPDATE sandboxes SET pinned = NULL WHERE id = :id", {"id": sandbox_id})

    async def pinned(self, sandbox_id: SandboxId) -> str | None:
        """The image that it is to be made of; None: the one that the tag names."""
        row = await self._db.one("SELECT pinned FROM sandboxes WHERE id = :id", {"id": sandbox_id})
        return None if row is None or row["pinned"] is None else str(row["pinned"])

    async def begin_rehearsal(self, sandbox_id: SandboxId) -> bool:
        """Record that a spare rehearses. False where it is somebody's by now, or an earlier one is not forgotten."""
        return await self._db.write(lambda tx: spares.begin_rehearsal(tx, sandbox_id))

    async def rehearsed(self, sandbox_id: SandboxId) -> None:
        """Its session holds nothing of a rehearsal."""
        await self._db.execute("UPDATE sandboxes SET rehearsing = 0 WHERE id = :id", {"id": sandbox_id})

    async def set_key_hash(self, sandbox_id: SandboxId, key_hash: str | None) -> None:
        """Record the hash by which the provider knows the person's model key (never the key)."""
        await self._update(sandbox_id, "key_hash = :hash", hash=key_hash)

    async def want_removed(self, sandbox_id: SandboxId) -> None:
        """Ask the running daemon to remove this sandbox."""
        await self._update(sandbox_id, "remove_wanted = 1")

    async def removals_wanted(self) -> list[SandboxRow]:
        """The rows that an operator asked to remove."""
        return [_sandbox(row) for row in await self._db.all("SELECT * FROM sandboxes WHERE remove_wanted = 1")]

    async def remove(self, sandbox_id: SandboxId) -> None:
        """Forget the row; the last step of a removal."""
        await self._db.execute("DELETE FROM sandboxes WHERE id = :id", {"id": sandbox_id})

    async def _update(self, sandbox_id: SandboxId, assignments: str, **values: str | None) -> None:
        sql = f"UPDATE sandboxes SET {assignments}, changed_at = :now WHERE id = :id"  # noqa: S608 (constants above)
        await self._db.execute(sql, {"id": sandbox_id, "now": times.to_text(self._clock()), **values})


def _ensure(tx: Transaction, user_id: UserId, now: datetime) -> SandboxRow:
    if not spares.claim(tx, user_id, now):
        tx.execute(
            "INSERT INTO sandboxes (id, user_id, state, reason, created_at, changed_at)"
            " VALUES (:id, :user, 'absent', 'new', :now, :now) ON CONFLICT (user_id) DO NOTHING",
            {"id": ids.new_sandbox_id(), "user": user_id, "now": times.to_text(now)},
        )
    row = tx.one("SELECT * FROM sandboxes WHERE user_id = :id", {"id": user_id})
    assert row is not None
    return _sandbox(row)


def _tell_waking(tx: Transaction, sandbox_id: SandboxId, text: str, now: datetime) -> bool:
    row = tx.one("SELECT user_id FROM sandboxes WHERE id = :id AND user_id IS NOT NULL", {"id": sandbox_id})
    waiting = [] if row is None else inbox.waiting(tx, UserId(row["user_id"]))
    if row is None or not waiting:
        return False
    source = f"waking:{waiting[0].id}"
    return outbox.add(tx, UserId(row["user_id"]), [text], origin="notice", source=source, now=now)


def _tell_parked(tx: Transaction, sandbox_id: SandboxId, text: str, now: datetime) -> bool:
    row = tx.one("SELECT user_id, parked_at FROM sandboxes WHERE id = :id AND state = 'parked'", {"id": sandbox_id})
    if row is None or not inbox.waiting(tx, UserId(row["user_id"])):
        return False
    source = f"parked:{sandbox_id}:{row['parked_at']}"
    return outbox.add(tx, UserId(row["user_id"]), [text], origin="notice", source=source, now=now)


def _tell_held_back(tx: Transaction, sandbox_id: SandboxId, text: str, now: datetime) -> bool:
    row = tx.one("SELECT user_id FROM sandboxes WHERE id = :id", {"id": sandbox_id})
    if row is None or not inbox.waiting(tx, UserId(row["user_id"])):
        return False
    source = f"held back:{sandbox_id}"
    return outbox.add(tx, UserId(row["user_id"]), [text], origin="notice", source=source, now=now)


def _standing(tx: Transaction, sandbox_id: SandboxId) -> Standing | None:
    row = tx.one("SELECT * FROM sandboxes WHERE id = :id", {"id": sandbox_id})
    if row is None:
        return None
    sandbox = _sandbox(row)
    if sandbox.user_id is None:
        return Standing(sandbox, None, False)
    user = tx.one("SELECT last_inbound_at FROM users WHERE id = :id", {"id": sandbox.user_id})
    wrote_at = None if user is None else user["last_inbound_at"]
    return Standing(sandbox, times.maybe(wrote_at), inbox.is_anything_waiting(tx, sandbox.user_id))


def _count_oom(tx: Transaction, sandbox_id: SandboxId, now: datetime) -> datetime | None:
    row = tx.one("SELECT oom_at FROM sandboxes WHERE id = :id", {"id": sandbox_id})
    tx.execute(
        "UPDATE sandboxes SET ooms = ooms + 1, oom_at = :now WHERE id = :id",
        {"id": sandbox_id, "now": times.to_text(now)},
    )
    return None if row is None else times.maybe(row["oom_at"])


def _sandbox(row: Row) -> SandboxRow:
    return SandboxRow(
        id=SandboxId(row["id"]),
        user_id=None if row["user_id"] is None else UserId(row["user_id"]),
        state=SandboxState(row["state"]),
        reason=row["reason"],
        container_id=row["container_id"],
        image_id=row["image_id"],
        config_hash=row["config_hash"],
        key_hash=row["key_hash"],
        remove_wanted=bool(row["remove_wanted"]),
        retry_wanted=bool(row["retry_wanted"]),
        rest_wanted=None if row["rest_wanted"] is None else Rest(row["rest_wanted"]),
        parked_at=times.maybe(row["parked_at"]),
        parked_with=row["parked_with"],
        ooms=row["ooms"],
        oom_at=times.maybe(row["oom_at"]),
        created_at=times.from_text(row["created_at"]),
        changed_at=times.from_text(row["changed_at"]),
        pinned=row["pinned"],
        rehearsing=bool(row["rehearsing"]),
    )
