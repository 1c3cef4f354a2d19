"""A step of the delivery: what one look has decided, written down in one transaction before anything is sent."""

from dataclasses import dataclass
from datetime import datetime

from loguru import logger

from clawkakad.delivery import planning
from clawkakad.delivery.planning import Sorted
from clawkakad.delivery.settling import Verdict
from clawkakad.model import Hold
from clawkakad.registry import pauses, sends
from clawkakad.registry.sends import Head
from clawkakad.registry.transaction import Transaction

NOBODY_LEFT = "its person cannot be reached any more"
NOT_STORED = "its outcome could not be stored"
UNSETTLED = "nobody knows whether it was sent: no status came for it"


@dataclass(frozen=True)
class Step:
    """What was found, what becomes of those that no status came for, and who is sent to."""

    found: Sorted
    verdicts: tuple[tuple[Head, Verdict], ...]
    start: tuple[Head, ...]

    def is_empty(self) -> bool:
        """Whether there is nothing to write down."""
        found = self.found
        return not (found.closed or found.homeless or found.lost or self.verdicts or self.start)

    def settles(self) -> bool:
        """Whether it makes way for messages behind."""
        return bool(self.found.closed or self.found.homeless or self.verdicts)


def write(tx: Transaction, *, step: Step, now: datetime, is_trial: bool = False) -> list[Head]:
    """One commit for all that was decided; returns those whose requests may be written, as they go out."""
    if is_trial and step.start:
        pauses.trying(tx, now)
    still = _still(tx, step.found, now)
    for head, reason in still.closed:
        sends.hold(tx, head.row, Hold.WINDOW, reason, now)
    for head in still.homeless:
        sends.fail(tx, head.row, NOBODY_LEFT, now)
    for head in step.found.lost:
        sends.unknown(tx, head.row, NOT_STORED, now)
    for head, verdict in step.verdicts:
        if verdict is Verdict.RESEND:
            sends.again(tx, head.row, now)
        else:
            sends.hold(tx, head.row, Hold.UNKNOWN, UNSETTLED, now)
    return sends.begin(tx, step.start, now)


def _still(tx: Transaction, found: Sorted, now: datetime) -> Sorted:
    """Those who could not be sent to, looked at again: they may have written since, and so have released what waits."""
    people = {head.row.user_id: None for head in (*(head for head, _ in found.closed), *found.homeless)}
    heads = (sends.head_of(tx, user_id) for user_id in people)
    return planning.sort_out([head for head in heads if head is not None], (), now)


def tell(step: Step) -> None:
    """The log's lines, one for each kind, with how many."""
    resent = sum(verdict is Verdict.RESEND for _, verdict in step.verdicts)
    held = len(step.verdicts) - resent
    if resent:
        logger.warning("sent again: no status came for them", messages=resent)
    if held:
        logger.warning("held: nobody knows whether they were sent; see `clawkakad outbox list`", messages=held)
    if step.found.closed:
        logger.info("held until their people write", messages=len(step.found.closed))
    if step.found.homeless:
        logger.error("messages without a recipient given up", messages=len(step.found.homeless))
