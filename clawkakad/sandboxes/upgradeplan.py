"""What an upgrade does next, as pure functions: whom it moves, in which order, and the moves of a step that there are.

Invariants: nothing is done with a sandbox whose data is not kept; nobody is touched after a failure; until the first
one has passed, the others are not touched, and it is one that is well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from clawkakad.model import SandboxState, StepState
from clawkakad.registry import SandboxRow
from clawkakad.registry.upgrades import Step

_T = StepState
MOVES: dict[StepState, frozenset[StepState]] = {
    _T.WAITING: frozenset({_T.KEEPING, _T.SKIPPED}),
    _T.KEEPING: frozenset({_T.TRYING, _T.FAILED, _T.SKIPPED}),
    _T.TRYING: frozenset({_T.DONE, _T.RETURNING, _T.SKIPPED}),
    _T.RETURNING: frozenset({_T.FAILED, _T.SKIPPED}),
    _T.DONE: frozenset(),
    _T.FAILED: frozenset(),
    _T.SKIPPED: frozenset(),
}

UNWELL = frozenset({SandboxState.UNHEALTHY, SandboxState.PARKED})
ON_THE_WAY = frozenset({SandboxState.CREATING, SandboxState.STARTING, SandboxState.STOPPING})


@dataclass(frozen=True)
class Patience:
    """All in seconds."""

    idle_s: float = 60.0  # nobody wrote and nothing was done for so long: it may be stopped
    canary_s: float = 30.0  # the first one has to stay healthy for so long, before anybody else is touched
    look_every_s: float = 1.0  # for the wish of an operator, and for somebody who has become idle


@dataclass(frozen=True)
class Candidate:
    """Somebody who waits for their turn; when their person wrote last, and whether they wait for an answer."""

    step: Step
    row: SandboxRow
    wrote_at: datetime | None
    is_waiting: bool


def moved(rows: Sequence[SandboxRow], image_id: str) -> list[SandboxRow]:
    """Whom an upgrade to an image concerns: who has ever been ready, with another one, and is not on the way out."""
    rows = [row for row in rows if row.user_id is not None]  # a spare is made anew
    return [row for row in rows if row.pinned not in (None, image_id) and not row.remove_wanted]


def in_order(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Who may be next, the best first: idle longest, and the unwell only when nobody else is left."""
    well = [one for one in candidates if one.row.state not in UNWELL]
    never = datetime.min.replace(tzinfo=UTC)
    return sorted(well or candidates, key=lambda one: (one.wrote_at or never, one.row.id))
