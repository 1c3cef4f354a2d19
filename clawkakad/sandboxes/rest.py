"""Who rests next, and how deep, as one pure function. Nothing here waits, asks or remembers.

A sandbox dozes (frozen, its memory in swap) when nobody needed it for a while, and sleeps (stopped) after a long doze.
Where the host is short of memory it comes earlier: the one that was used longest ago first, and no more than it takes.
Invariants: who is busy never rests; nobody goes deeper than what is due to them or is needed; nobody comes up here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clawkakad.model import SandboxId, SandboxState


@dataclass(frozen=True)
class Rules:
    """When. `doze_after_s`, `sleep_after_s`: 0 is never; `reserve_mb`: of the host's memory that is kept free."""

    doze_after_s: float = 600.0
    sleep_after_s: float = 12 * 3600.0
    reserve_mb: int = 512
    awake_mb: int = 450  # what one that is awake gives back when it rests; what one takes to wake
    dozing_mb: int = 80  # what one that dozes still takes
    pressed_idle_s: float = 20.0  # under pressure too nobody is frozen between two messages that follow one another

    @property
    def on(self) -> bool:
        """Whether anybody rests at all."""
        return self.doze_after_s > 0 or self.sleep_after_s > 0


@dataclass(frozen=True)
class Resident:
    """One that is ready or dozes. `idle_s`: since it was needed last; `busy`: it is at work, as far as is known.

    `spare`: it is nobody's yet.
    """

    id: SandboxId
    state: SandboxState
    idle_s: float
    busy: bool = False
    spare: bool = False


@dataclass(frozen=True)
class Leaving:
    """One that is being put to rest at this moment: its memory will be there in a moment. READY or DOZING before."""

    before: SandboxState
    to: SandboxState


@dataclass(frozen=True)
class Pressure:
    """What the host has, in MiB. `wanted_mb`: for those who wait to wake; `swap_free_mb`: for those who doze."""

    available_mb: int
    swap_free_mb: int = 0
    wanted_mb: int = 0
    leaving: Sequence[Leaving] = ()


@dataclass(frozen=True)
class Order:
    """`to`: DOZING or ASLEEP; `reason`: in words for the operator."""

    id: SandboxId
    to: SandboxState
    reason: str


def due(residents: Sequence[Resident], host: Pressure, rules: Rules) -> list[Order]:
    """Who rests now, the one that was used longest ago first."""
    if not rules.on:
        return []
    free = sorted((one for one in residents if not one.busy), key=lambda one: (-one.idle_s, one.id))
    orders = {order.id: order for one in free if (order := _by_time(one, rules)) is not None}
    short_mb = rules.reserve_mb + host.wanted_mb - host.available_mb
    short_mb -= sum(_gain_mb(one.before, one.to, rules) for one in host.leaving)
    short_mb -= sum(_gain_mb(one.state, orders[one.id].to, rules) for one in free if one.id in orders)
    for order, gain_mb in _by_pressure([one for one in free if one.id not in orders], host, rules):
        if short_mb <= 0:
            break
        orders[order.id] = order
        short_mb -= gain_mb
    return [orders[one.id] for one in free if one.id in orders]


def _by_time(one: Resident, rules: Rules) -> Order | None:
    if one.spare and one.state is SandboxState.DOZING:
        return None  # that is what it is for
    if rules.sleep_after_s and one.idle_s >= rules.sleep_after_s:
        return Order(one.id, SandboxState.ASLEEP, f"nobody needed it for {_words(rules.sleep_after_s)}")
    if one.state is SandboxState.READY and rules.doze_after_s and one.idle_s >= rules.doze_after_s:
        return Order(one.id, SandboxState.DOZING, f"nobody needed it for {_words(rules.doze_after_s)}")
    return None


def _by_pressure(free: Sequence[Resident], host: Pressure, rules: Rules) -> Iterator[tuple[Order, int]]:
    """Spares sleep first. Those awake doze while there is swap for it, else they sleep; then those that doze sleep."""
    for one in free:
        if one.spare and one.state is SandboxState.DOZING:
            to = SandboxState.ASLEEP
            yield Order(one.id, to, "the host is short of memory"), _gain_mb(one.state, to, rules)
    swap_mb = host.swap_free_mb
    for one in free:
        if one.state is not SandboxState.READY or one.idle_s < rules.pressed_idle_s:
            continue
        fits = rules.doze_after_s > 0 and swap_mb >= rules.awake_mb
        swap_mb -= rules.awake_mb if fits else 0
        to = SandboxState.DOZING if fits else SandboxState.ASLEEP
        yield Order(one.id, to, "the host is short of memory"), _gain_mb(one.state, to, rules)
    for one in free:
        if one.state is SandboxState.DOZING and not one.spare:
            to = SandboxState.ASLEEP
            yield Order(one.id, to, "the host is short of memory"), _gain_mb(one.state, to, rules)


def _gain_mb(before: SandboxState, to: SandboxState, rules: Rules) -> int:
    has_mb = rules.awake_mb if before is SandboxState.READY else rules.dozing_mb
    return has_mb - (rules.dozing_mb if to is SandboxState.DOZING else 0)


def _words(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.3g} min"
    return f"{seconds / 3600:.3g} h"
