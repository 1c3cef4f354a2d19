"""What a sandbox may take of the disk, and what becomes of one that takes more. Pure: no I/O, no clock.

A volume is looked at now and then; between two looks nothing holds it. Invariants: who is over the quota is stopped at
the next look, but for the grace that follows a new start, so that the agent can clean up; in a grace it may not grow by
more than a tenth; what cannot be measured three times in a row counts as over, so that nobody hides.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from clawkakad.registry.disks import DiskRow

NEARLY = 0.8  # of the quota: the operator is told
NEARLY_NO_MORE = 0.7  # below it, the next time is news again
GRACE = timedelta(minutes=15)
GRACE_GROWTH = 0.1  # of the quota
UNSURE = 3  # looks in a row
BYTES_PER_INODE = 16 * 1024  # as ext4 makes them by default (man 8 mke2fs, inode_ratio)
MIB = 1024 * 1024


@dataclass(frozen=True)
class Quota:
    """How much a volume may hold. `bytes`: 0 is no limit."""

    bytes: int

    @property
    def inodes(self) -> int:
        """As many as a file system has for so much room."""
        return self.bytes // BYTES_PER_INODE


@dataclass(frozen=True)
class Found:
    """What a look found. `cut`: why there may be more than that; empty: there is not."""

    bytes: int
    inodes: int
    cut: str = ""


@dataclass(frozen=True)
class Judged:
    """What follows from a look. `stop`: its sandbox must not run; `warn`: it is nearly full, which is news."""

    disk: DiskRow
    stop: bool
    warn: bool


def share(disk: DiskRow | Found, quota: Quota) -> float:
    """How much of the quota is used, by whichever is the worse, room or files; 0 where there is no quota."""
    return max(disk.bytes / quota.bytes, disk.inodes / quota.inodes) if quota.bytes else 0.0


def is_over(disk: DiskRow, quota: Quota) -> bool:
    """Whether all of the quota is used, or it hides how much is."""
    return quota.bytes > 0 and (share(disk, quota) >= 1 or disk.unsure >= UNSURE)


def judge(now: datetime, found: Found, before: DiskRow | None, quota: Quota, *, host_full: bool) -> Judged:
    """What becomes of a sandbox whose volume was looked at. `host_full`: the host has no room for a grace."""
    seen = DiskRow(found.bytes, found.inodes, found.cut, quota.bytes, now)
    if before is not None:
        seen = replace(
            before, bytes=found.bytes, inodes=found.inodes, cut=found.cut, quota=quota.bytes, measured_at=now
        )
    used = share(seen, quota)
    seen = replace(seen, unsure=seen.unsure + 1 if found.cut and used < 1 else 0)
    if not is_over(seen, quota):
        warned = used >= NEARLY or (seen.warned and used >= NEARLY_NO_MORE)
        warn = warned and not seen.warned
        return Judged(replace(seen, warned=warned, grace_until=None), stop=False, warn=warn)
    if _is_graced(now, seen, used) and not host_full:
        return Judged(replace(seen, warned=True), stop=False, warn=False)
    stopped = replace(seen, warned=True, full_at=seen.full_at or now, grace_until=None)
    return Judged(stopped, stop=True, warn=False)


def _is_graced(now: datetime, disk: DiskRow, used: float) -> bool:
    return disk.grace_until is not None and now < disk.grace_until and used <= disk.grace_share


def forgiven(now: datetime, disk: DiskRow, quota: Quota) -> DiskRow:
    """Its sandbox is started again, and has a while to clean up."""
    most = max(1.0, share(disk, quota)) + GRACE_GROWTH
    return replace(disk, full_at=None, unsure=0, grace_until=now + GRACE, grace_share=most)


def why_stopped(disk: DiskRow | None, quota: Quota) -> str:
    """Why a sandbox must not run, in words for the operator; empty where it may."""
    if disk is None or disk.full_at is None or not is_over(disk, quota):
        return ""
    return (
        f"its disk is full ({in_words(disk)}): clawkakad sandbox retry gives it {GRACE.seconds // 60} minutes to clean"
        " up; or raise CLAWKAKA_SANDBOX_DISK_MB"
    )


def in_words(disk: DiskRow) -> str:
    """How full a volume is, by whichever is the worse, room or files."""
    more = "more than " if disk.cut else ""
    quota = Quota(disk.quota)
    if quota.bytes and disk.inodes / quota.inodes > disk.bytes / quota.bytes:
        return f"{more}{disk.inodes} of {quota.inodes} files"
    return f"{more}{_size(disk.bytes)} of {_size(quota.bytes)}" if quota.bytes else f"{more}{_size(disk.bytes)}"


def _size(count: int) -> str:
    return f"{count / MIB:.0f} MB" if count < 10_000 * MIB else f"{count / MIB / 1024:.0f} GB"
