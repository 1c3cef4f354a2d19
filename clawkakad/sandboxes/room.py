"""How much room a file system has left, and what that means. Looking costs a system call.

Low: no new sandbox. Full: webhooks are left with Meta, and sandboxes over their quota are stopped at once. A share
alone would call a big disk full that has room for years: so it is a small share, and also a small amount.
"""

import os
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

MIB = 1024**2
GIB = 1024**3
LOW_SHARE, LOW_BYTES = 0.15, 10 * GIB  # what is free: less than both
FULL_SHARE, FULL_BYTES = 0.05, 2 * GIB
BETTER = 1.25  # so many times as much must be free before it counts as better again
FAST_BYTES, FAST_INODES = 256 * MIB, 16384  # less than before, so much


class Space(IntEnum):
    """How it stands; the greater the worse."""

    ENOUGH = 0
    LOW = 1
    FULL = 2


@dataclass(frozen=True)
class Room:
    """Of one file system, as far as a user without rights may fill it."""

    free: int
    total: int
    free_inodes: int = 0
    inodes: int = 0  # 0: this file system does not count them

    @property
    def share(self) -> float:
        """How much of it is free, by whichever is the worse."""
        shares = [self.free / self.total] if self.total else [1.0]
        return min([*shares, self.free_inodes / self.inodes] if self.inodes else shares)

    def space(self, before: Space = Space.ENOUGH) -> Space:
        """What that means, where it meant `before` a moment ago."""
        if self._is_below(FULL_SHARE, FULL_BYTES, BETTER if before is Space.FULL else 1.0):
            return Space.FULL
        low = self._is_below(LOW_SHARE, LOW_BYTES, BETTER if before >= Space.LOW else 1.0)
        return Space.LOW if low else Space.ENOUGH

    def _is_below(self, share: float, amount: int, times: float) -> bool:
        few_bytes = self.free < min(self.total * share, amount) * times
        return few_bytes or self.free_inodes < self.inodes * share * times


def fell_fast(before: Room, now: Room) -> bool:
    """Whether somebody fills it quickly."""
    return before.free - now.free >= FAST_BYTES or before.free_inodes - now.free_inodes >= FAST_INODES


def room_at(path: Path) -> Room | None:
    """Of the file system that a path is on; None where that cannot be told."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return Room(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, found.f_favail, found.f_files)
