"""How patient turns are: the numbers that `asking.py` and `waking.py` share."""

import asyncio
from dataclasses import dataclass

from clawkakad.errors import GatewayUnavailable

HISTORY_ROWS = 100
"""How far back we look for a message: a turn with forty tool calls writes eighty rows."""

DEEP_ROWS = 1000
"""The same before we believe that a message which may have been sent never was. The gateway gives no more."""

MAX_PAUSE_S = 60.0
"""The longest pause that a gateway may ask for, or that grows by itself."""


@dataclass(frozen=True)
class Tempo:
    """All in seconds; tests are less patient."""

    quiet_s: float = 30.0  # how long we only listen before the gateway is asked how a run stands
    revive_s: float = 60.0  # for a restarted gateway to continue a turn that it owes; seen within 3 s on a busy machine
    settle_s: float = 3.0  # the same where it owes nothing, as far as it says
    request_s: float = 30.0  # for any answer of the gateway that does not wait for the agent
    stop_s: float = 5.0  # for stopping an overdue run, and for the last strays when we end
    poll_s: float = 1.0  # between two looks, and after a refusal that named no pause


PATIENT = Tempo()
"""What the daemon uses."""


def now() -> float:
    """The event loop's clock."""
    return asyncio.get_running_loop().time()


def pause_after(problem: GatewayUnavailable, tempo: Tempo) -> float:
    """How long to leave a gateway alone that said "later"."""
    return min(problem.retry_after_s or tempo.poll_s, MAX_PAUSE_S)
