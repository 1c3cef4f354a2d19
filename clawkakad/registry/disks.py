"""The table `disks`: how much each sandbox's volume takes, as it was seen last. What follows: `sandboxes/disk.py`."""

from dataclasses import dataclass
from datetime import datetime

from clawkakad.model import SandboxId, UserId
from clawkakad.registry import times
from clawkakad.registry.database import Database
from clawkakad.registry.transaction import Row, Transaction


@dataclass(frozen=True)
class DiskRow:
    """What is known of one volume. `cut`: why there may be more in it than was seen; `quota` in bytes, 0 is none.

    `unsure`: looks in a row that came to no end; `full_at`: since when its sandbox is stopped for it; `grace_share`:
    how much of the quota it may have until `grace_until`.
    """

    bytes: int
    inodes: int
    cut: str
    quota: int
    measured_at: datetime
    warned: bool = False
    unsure: int = 0
    full_at: datetime | None = None
    grace_until: datetime | None = None
    grace_share: float = 0.0


class Disks:
    """The table, by the words of the domain."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def all(self) -> dict[SandboxId, DiskRow]:
        """Every row."""
        return {SandboxId(row["sandbox_id"]): _disk(row) for row in await self._db.all("SELECT * FROM disks")}

    async def put(self, sandbox_id: SandboxId, disk: DiskRow) -> None:
        """Record it. Of a sandbox that was removed meanwhile nothing is."""
        await self._db.write(lambda tx: _put(tx, sandbox_id, disk))


def of_user(tx: Transaction, user_id: UserId) -> DiskRow | None:
    """What is known of a person's volume."""
    row = tx.one(
        "SELECT d.* FROM disks d JOIN sandboxes s ON s.id = d.sandbox_id WHERE s.user_id = :user", {"user": user_id}
    )
    return None if row is None else _disk(row)


def _put(tx: Transaction, sandbox_id: SandboxId, disk: DiskRow) -> None:
    tx.execute(
        "INSERT OR REPLACE INTO disks (sandbox_id, bytes, inodes, cut, quota, measured_at, warned, unsure, full_at,"
        " grace_until, grace_share) SELECT id, :bytes, :inodes, :cut, :quota, :measured_at, :warned, :unsure, :full_at,"
        " :grace_until, :grace_share FROM sandboxes WHERE id = :id",
        {
            "id": sandbox_id,
            "bytes": disk.bytes,
            "inodes": disk.inodes,
            "cut": disk.cut,
            "quota": disk.quota,
            "measured_at": times.to_text(disk.measured_at),
            "warned": int(disk.warned),
            "unsure": disk.unsure,
            "full_at": None if disk.full_at is None else times.to_text(disk.full_at),
            "grace_until": None if disk.grace_until is None else times.to_text(disk.grace_until),
            "grace_share": disk.grace_share,
        },
    )


def _disk(row: Row) -> DiskRow:
    return DiskRow(
        bytes=row["bytes"],
        inodes=row["inodes"],
        cut=row["cut"],
        quota=row["quota"],
        measured_at=times.from_text(row["measured_at"]),
        warned=bool(row["warned"]),
        unsure=row["unsure"],
        full_at=times.maybe(row["full_at"]),
        grace_until=times.maybe(row["grace_until"]),
        grace_share=row["grace_share"],
    )
