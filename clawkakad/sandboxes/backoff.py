"""How long to wait before trying again: doubling, jittered, capped. Pure but for the dice, which are an argument."""

import random
from collections.abc import Callable, Iterator


def delays(first_s: float, cap_s: float, *, dice: Callable[[], float] = random.random) -> Iterator[float]:
    """Endless seconds: `first_s`, twice that, … `cap_s`, each 80 to 100 percent, so that no two march in step."""
    delay = first_s
    while True:
        yield delay * (0.8 + 0.2 * dice())
        delay = min(delay * 2, cap_s)
