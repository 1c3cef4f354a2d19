"""The tables `upgrades` and `upgrade_steps`: what an operator asked for, and how far each sandbox has got.

A step and the image that its sandbox is pinned to change in one transaction: whoever reads them after a crash knows
what to do. At most one upgrade is open, which an index of the schema sees to.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from clawkakad.model import SandboxId, StepState, UpgradeState
from clawkakad.registry import times
from clawkakad.registry.database import Database
from clawkakad.registry.transaction import Row, Transaction

IN_HAND = (StepState.KEEPING, StepState.TRYING, StepState.RETURNING)
"""Nobody but the upgrade may touch such a sandbox."""


@dataclass(frozen=True)
class Upgrade:
    """One wish of an operator. `sandbox_id`: only this one; `image_id`: what they move to, once it is begun."""

    id: int
    sandbox_id: SandboxId | None
    image_id: str | None
    state: UpgradeState
    reason: str
    asked_at: datetime


@dataclass(frozen=True)
class Step:
    """One sandbox in it. `before`: the image that it had; `awake`: whether it ran when it was taken in hand."""

    upgrade_id: int
    sandbox_id: SandboxId
    state: StepState
    before: str
    awake: bool
    reason: str
    changed_at: datetime


class Upgrades:
    """The tables, by the words of the domain."""

    def __init__(self, db: Database, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._clock = clock

    async def ask(self, sandbox_id: SandboxId | None) -> tuple[Upgrade, bool]:
        """Ask the running daemon for one; the open one where there is one already, and whether it is a new one."""
        now = times.to_text(self._clock())
        return await self._db.write(lambda tx: _ask(tx, sandbox_id, now))

    async def get(self, upgrade_id: int) -> Upgrade | None:
        """One, or None."""
        row = await self._db.one("SELECT * FROM upgrades WHERE id = :id", {"id": upgrade_id})
        return None if row is None else _upgrade(row)

    async def open(self) -> Upgrade | None:
        """The one that is asked for or going on."""
        row = await self._db.one("SELECT * FROM upgrades WHERE state IN ('wanted', 'running')")
        return None if row is None else _upgrade(row)

    async def steps(self, upgrade_id: int) -> list[Step]:
        """Its sandboxes, in the order of their making."""
        rows = await self._db.all(
            "SELECT s.* FROM upgrade_steps s JOIN sandboxes b ON b.id = s.sandbox_id"
            " WHERE s.upgrade_id = :id ORDER BY b.created_at, b.id",
            {"id": upgrade_id},
        )
        return [_step(row) for row in rows]

    async def in_hand(self) -> set[SandboxId]:
        """The sandboxes that the open upgrade has in hand."""
        rows = await self._db.all(
            "SELECT s.sandbox_id FROM upgrade_steps s JOIN upgrades u ON u.id = s.upgrade_id"
            " WHERE u.state = 'running' AND s.state IN ('keeping', 'trying', 'returning')"
        )
        return {SandboxId(row["sandbox_id"]) for row in rows}

    async def begin(self, upgrade_id: int, image_id: str, sandboxes: Sequence[tuple[SandboxId, str]]) -> None:
        """It moves these sandboxes, each with the image that it has now, to an image."""
        now = times.to_text(self._clock())
        await self._db.write(lambda tx: _begin(tx, upgrade_id, image_id, sandboxes, now))

    async def take(self, step: Step, *, awake: bool) -> None:
        """It is in hand from now on."""
        now = times.to_text(self._clock())
        await self._db.write(lambda tx: _move(tx, step, StepState.KEEPING, "", now, awake=awake))

    async def try_new(self, step: Step, image_id: str) -> None:
        """Its data is kept: from now on it is pinned to the new image."""
        await self._move_pinned(step, StepState.TRYING, "", image_id)

    async def succeed(self, step: Step, image_id: str) -> None:
        """It has been ready with the new image."""
        await self._move_pinned(step, StepState.DONE, "", image_id)

    async def turn_back(self, step: Step, reason: str) -> None:
        """The new image did not do; `reason`: why."""
        now = times.to_text(self._clock())
        await self._db.write(lambda tx: _move(tx, step, StepState.RETURNING, reason, now))

    async def skip(self, step: Step, reason: str) -> None:
        """Nothing was changed with it, or it is going to be removed."""
        now = times.to_text(self._clock())
        await self._db.write(lambda tx: _move(tx, step, StepState.SKIPPED, reason, now))

    async def give_up(self, step: Step, reason: str) -> None:
        """It is as it was before, pinned to the image that it had, and the upgrade is over."""
        now = times.to_text(self._clock())
        await self._db.write(lambda tx: _give_up(tx, step, reason, now))

    async def finish(self, upgrade_id: int, state: UpgradeState, reason: str) -> None:
        """It is over; what was not reached is skipped."""
        now = times.to_text(self._clock())
        await self._db.write(lambda tx: _finish(tx, upgrade_id, state, reason, now))

    async def _move_pinned(self, step: Step, state: StepState, reason: str, image_id: str) -> None:
        now = times.to_text(self._clock())

        def work(tx: Transaction) -> None:
            _pin(tx, step.sandbox_id, image_id)
            _move(tx, step, state, reason, now)

        await self._db.write(work)


def _ask(tx: Transaction, sandbox_id: SandboxId | None, now: str) -> tuple[Upgrade, bool]:
    found = tx.one("SELECT * FROM upgrades WHERE state IN ('wanted', 'running')")
    if found is None:
        tx.execute(
            "INSERT INTO upgrades (sandbox_id, state, asked_at, changed_at) VALUES (:sandbox, 'wanted', :now, :now)",
            {"sandbox": sandbox_id, "now": now},
        )
    row = found or tx.one("SELECT * FROM upgrades WHERE state = 'wanted'")
    assert row is not None
    return _upgrade(row), found is None


def _begin(
    tx: Transaction, upgrade_id: int, image_id: str, sandboxes: Sequence[tuple[SandboxId, str]], now: str
) -> None:
    for sandbox_id, before in sandboxes:
        tx.execute(
            "INSERT INTO upgrade_steps (upgrade_id, sandbox_id, state, before, changed_at)"
            " VALUES (:upgrade, :sandbox, 'waiting', :before, :now)",
            {"upgrade": upgrade_id, "sandbox": sandbox_id, "before": before, "now": now},
        )
    tx.execute(
        "UPDATE upgrades SET state = 'running', image_id = :image, changed_at = :now WHERE id = :id",
        {"id": upgrade_id, "image": image_id, "now": now},
    )


def _move(tx: Transaction, step: Step, state: StepState, reason: str, now: str, *, awake: bool | None = None) -> None:
    tx.execute(
        "UPDATE upgrade_steps SET state = :state, reason = :reason, awake = coalesce(:awake, awake), changed_at = :now"
        " WHERE upgrade_id = :upgrade AND sandbox_id = :sandbox",
        {
            "state": state.value,
            "reason": reason,
            "awake": awake,
            "now": now,
            "upgrade": step.upgrade_id,
            "sandbox": step.sandbox_id,
        },
    )


def _pin(tx: Transaction, sandbox_id: SandboxId, image_id: str) -> None:
    tx.execute("UPDATE sandboxes SET pinned = :image WHERE id = :id", {"id": sandbox_id, "image": image_id})


def _give_up(tx: Transaction, step: Step, reason: str, now: str) -> None:
    _pin(tx, step.sandbox_id, step.before)
    _move(tx, step, StepState.FAILED, reason, now)
    _finish(tx, step.upgrade_id, UpgradeState.FAILED, f"{step.sandbox_id}: {reason}", now)


def _finish(tx: Transaction, upgrade_id: int, state: UpgradeState, reason: str, now: str) -> None:
    tx.execute(
        "UPDATE upgrade_steps SET state = 'skipped', reason = 'not reached', changed_at = :now"
        " WHERE upgrade_id = :id AND state = 'waiting'",
        {"id": upgrade_id, "now": now},
    )
    tx.execute(
        "UPDATE upgrades SET state = :state, reason = :reason, changed_at = :now WHERE id = :id",
        {"id": upgrade_id, "state": state.value, "reason": reason, "now": now},
    )


def _upgrade(row: Row) -> Upgrade:
    return Upgrade(
        id=row["id"],
        sandbox_id=None if row["sandbox_id"] is None else SandboxId(row["sandbox_id"]),
        image_id=row["image_id"],
        state=UpgradeState(row["state"]),
        reason=row["reason"],
        asked_at=times.from_text(row["asked_at"]),
    )


def _step(row: Row) -> Step:
    return Step(
        upgrade_id=row["upgrade_id"],
        sandbox_id=SandboxId(row["sandbox_id"]),
        state=StepState(row["state"]),
        before=row["before"],
        awake=bool(row["awake"]),
        reason=row["reason"],
        changed_at=times.from_text(row["changed_at"]),
    )
