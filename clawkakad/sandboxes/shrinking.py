"""How the memory of a frozen container is taken away step by step, as a pure rule for both kinds of cgroups.

A limit below what a container uses makes the kernel move its pages to swap. Where they cannot go: with cgroup v1 the
call fails and nothing is lost; with v2 the kernel kills, frozen or not, and the call succeeds all the same. So with v2
the steps are small, and each is taken only where swap has room at this moment for all that it may move. Where swap
is slow (4 MB/s were tried) nobody was killed, but the call waits: 79 s for 240 MiB at once, 26 s for a small step.
https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files
"""

from dataclasses import dataclass

MIB = 1024 * 1024
GROUND = 80 * MIB  # 53 MiB of it are used; below, nothing more goes
STEP_V1 = 256 * MIB
STEP_V2 = 32 * MIB
OVERSHOOT_V2 = 4  # so many times its size a step may move: 114 MiB were seen where swap was slow
SPARE_SWAP = 64 * MIB  # others use it too while a step is taken


@dataclass(frozen=True)
class Cgroups:
    """What the engine says of this host. `swap`: containers can be given swap, and their use of it is limited."""

    version: str
    swap: bool


def next_limit(cgroups: Cgroups, *, used: int, limit: int) -> int | None:
    """The limit of the next step, in bytes; None where the ground is reached."""
    if limit <= GROUND:
        return None
    step = STEP_V1 if cgroups.version == "1" else STEP_V2
    return max(GROUND, min(limit - 1, used - step) // MIB * MIB)


def moves(cgroups: Cgroups, *, used: int, limit: int) -> int:
    """How many bytes such a step may put into swap."""
    return max(0, used - limit) * (1 if cgroups.version == "1" else OVERSHOOT_V2)


def has_room(cgroups: Cgroups, *, used: int, limit: int, swap_free: int, others: int = 0) -> bool:
    """Whether what such a step moves has a place to go. `others`: bytes that steps under way may move at that moment.

    Those count with v2 only: with v1 a step that finds no place is refused, and costs nothing.
    """
    if cgroups.version != "1":
        swap_free -= others
    return cgroups.swap and swap_free >= moves(cgroups, used=used, limit=limit) + SPARE_SWAP


def killed(cgroups: Cgroups, *, failures: int, before: int) -> bool:
    """Whether the kernel killed in a step: with v2 it does where it counts a failure, and one that is frozen has no
    other. With v1 each time counts that the limit was reached.
    """
    return cgroups.version != "1" and failures > before


def held(*, used: int, limit: int) -> bool:
    """Whether a step did what it should: no more is used than the limit. Less than a page is not told exactly."""
    return used <= limit + MIB
