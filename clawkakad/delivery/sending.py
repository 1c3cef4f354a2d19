"""One send: the request, and its fate in the registry.

Cancelled in the request, the row stays `sending`, and the next process knows that it may have gone out. Cancelled
while the fate is stored: the same, although the outcome was known.
"""

from datetime import datetime, timedelta
from typing import Protocol

from loguru import logger

from clawkakad import faults
from clawkakad.delivery.judging import Accepted, Fate, Kind, NotReached, Outcome, Refused, Unknown
from clawkakad.errors import GraphRejected, GraphUnavailable, SendUnknown
from clawkakad.model import Hold, Wamid
from clawkakad.registry import pauses, sends, users
from clawkakad.registry.outbox import OutboxRow
from clawkakad.registry.pauses import Scope
from clawkakad.registry.sends import Head
from clawkakad.registry.transaction import Transaction
from clawkakad.whatsapp.errors import rule_of
from clawkakad.whatsapp.graph import Recipient

_IF_THEY_WROTE = {Kind.HELD: Kind.BACK, Kind.UNREACHABLE: Kind.FAILED}


class Sender(Protocol):
    """The calls of the Graph client that are needed here."""

    async def send_text(
        self, recipient: Recipient, body: str, *, callback_data: str, reply_to: Wamid | None = None
    ) -> Wamid:
        """Send one text. Raises GraphUnavailable, GraphRejected, SendUnknown."""

    async def probe(self) -> None:
        """Ask for something harmless. Raises GraphUnavailable, GraphRejected."""


async def send(graph: Sender, head: Head) -> Outcome:
    """Write the request of a row that is `sending` on disk, and read its answer."""
    assert head.way.address is not None
    faults.reached("request")
    outcome = await _outcome(graph, Recipient(*head.way.address), head.row)
    if not isinstance(outcome, NotReached):
        faults.reached("answer")
    return outcome


async def _outcome(graph: Sender, recipient: Recipient, row: OutboxRow) -> Outcome:
    try:
        return Accepted(await graph.send_text(recipient, row.text, callback_data=row.key))
    except SendUnknown as error:
        return Unknown(str(error))
    except GraphUnavailable as error:
        if error.code is None:
            return NotReached(str(error))
        return Refused(error.code, str(error), error.retry_after_s)
    except GraphRejected as error:
        if error.code is None:
            return NotReached(str(error), is_foreign=True)
        return Refused(error.code, f"{error} ({error.details})" if error.details else str(error))


async def is_there(graph: Sender) -> bool:
    """Whether WhatsApp answers, if only to refuse us or to slow us down."""
    try:
        await graph.probe()
    except GraphRejected as error:
        return error.code is not None  # else it was something that is not the Graph API
    except GraphUnavailable as error:
        return error.code is not None
    return True


def keep(tx: Transaction, head: Head, fate: Fate, now: datetime, *, lifts: bool) -> tuple[Fate, bool]:
    """Store a fate. `lifts`: the message was the trial of a pause.

    Returns the fate that was stored, and whether the delivery should look at once.
    """
    fate = _as_of_now(tx, head, fate)
    return fate, _keep(tx, head.row, fate, now, lifts=lifts)


def _as_of_now(tx: Transaction, head: Head, fate: Fate) -> Fate:
    """What would wait for the person's next message need not, where that has come since the head was read.

    The next try knows of it, so that this cannot go round for ever.
    """
    instead = _IF_THEY_WROTE.get(fate.kind)
    if instead is None or not users.wrote_after(tx, head.row.user_id, head.way.last_inbound_at):
        return fate
    return fate._replace(kind=instead)


def _keep(tx: Transaction, row: OutboxRow, fate: Fate, now: datetime, *, lifts: bool) -> bool:
    match fate.kind:
        case Kind.SENT:
            assert fate.wamid is not None
            lifted = lifts and pauses.taken(tx, now)
            return sends.sent(tx, row, fate.wamid, now) or lifted
        case Kind.BACK | Kind.STOPPED:
            pausing = fate.kind is Kind.STOPPED
            until = now + timedelta(seconds=fate.wait_s)
            sends.put_back(tx, row, fate.reason, not_before=now if pausing else until, now=now)
            return pausing and pauses.pause(tx, Scope.ALL, fate.code, fate.reason, now=now, until=until)
        case Kind.AMBIGUOUS:
            sends.unknown(tx, row, fate.reason, now)
        case Kind.HELD:
            sends.hold(tx, row, Hold.WINDOW, fate.reason, now)
        case Kind.FAILED | Kind.UNREACHABLE:
            sends.fail(tx, row, fate.reason, now)
            if fate.kind is Kind.UNREACHABLE:
                sends.set_unreachable(tx, row.user_id, fate.reason, now)
    return True


def tell(row: OutboxRow, fate: Fate, *, news: bool) -> None:
    """The log's line of what `keep` said."""
    what = {"outbox": row.id, "user": row.user_id}
    advice = rule_of(fate.code).advice
    match fate.kind:
        case Kind.SENT:
            logger.debug("message sent", **what, origin=row.origin)
        case Kind.BACK:
            logger.warning("not sent; it will be tried again", **what, wait_s=round(fate.wait_s, 1), reason=fate.reason)
        case Kind.STOPPED:
            level = "ERROR" if news else "WARNING"
            logger.log(level, "WhatsApp refuses to send for us: sending is paused", reason=fate.reason, advice=advice)
        case Kind.AMBIGUOUS:
            logger.warning("outcome of a send is unknown", **what, reason=fate.reason)
        case Kind.HELD:
            logger.warning("held until the person writes", **what, reason=fate.reason)
        case Kind.FAILED | Kind.UNREACHABLE:
            logger.error("WhatsApp refused a message", **what, reason=fate.reason, advice=advice)
