"""How long to wait before trying again: doubling, jittered, capped. Pure but for the dice, which are an argument."""

import itertools
import random
from collections.abc import Callable, Iterator

Dice = Callable[[], float]


def delay(failures: int, first_s: float, cap_s: float, *, dice: Dice = random.random) -> float:
    """Seconds after so many failures before this one: `first_s`, twice that, … `cap_s`.

    Each is 80 to 100 percent of that, so that no two march in step.
    """
    doublings = min(failures, 30)  # a float that is big enough for any cap
    return min(first_s * 2.0**doublings, cap_s) * (0.8 + 0.2 * dice())


def delays(first_s: float, cap_s: float, *, dice: Dice = random.random) -> Iterator[float]:
    """The same for the first, the second, … failure, endless."""
    return (delay(failures, first_s, cap_s, dice=dice) for failures in itertools.count())
