"""How Python itself is set for a daemon that runs for months and must answer in milliseconds."""

import gc
import sys

# A full collection looks at everything that was ever imported, 300,000 objects: half a second on a small server, during
# which no webhook is answered. What is there at start stays; of the rest, few objects are garbage in circles.
YOUNG, YOUNG_ROUNDS, MIDDLE_ROUNDS = 20_000, 20, 50
SWITCH_S = 0.0005  # a commit that has ended waits so long for the event loop to let go; Python's own is 5 ms


def settle_in() -> None:
    """Once, when everything is imported and before the daemon serves."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, YOUNG_ROUNDS, MIDDLE_ROUNDS)
    sys.setswitchinterval(SWITCH_S)
