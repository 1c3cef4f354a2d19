"""Receipts: what Meta's statuses say of our messages, taken in the transaction that stores them.

Good news moves a row forward. That a message was sent is no news where its send is on disk as such: nothing is looked
up for it. A failed status is what a refusal is at sending, only later: the same table of codes decides whether the
message is given up, held until the person writes, or sent again; whether sending is paused. What Meta found out before
the person's latest message says nothing of the time after it: both times are by Meta's clock.
"""

from datetime import datetime, timedelta

from loguru import logger

from clawkakad.delivery.settling import Lags
from clawkakad.model import Hold, OutboxState, Wamid
from clawkakad.registry import outbox, pauses, sends, users
from clawkakad.registry.outbox import Subject
from clawkakad.registry.pauses import Scope
from clawkakad.registry.transaction import Transaction
from clawkakad.whatsapp import errors as meta
from clawkakad.whatsapp.delivery import Status

MOST_REMEMBERED = 10_000  # sends whose first status has yet to come
MOST_TRIES = 3  # of a message that Meta took and then could not deliver for a passing reason
BEFORE_NEXT_TRY = timedelta(seconds=30)
_STATES = {
    "sent": OutboxState.SENT,
    "delivered": OutboxState.DELIVERED,
    "read": OutboxState.READ,
    "played": OutboxState.READ,
    "failed": OutboxState.FAILED,
}
_OPEN = (OutboxState.QUEUED, OutboxState.AMBIGUOUS)  # who sends one that is `sending` looks again when that is over
_OUT = (OutboxState.SENT, OutboxState.DELIVERED, OutboxState.READ)


class Receipts:
    """Takes statuses, and learns from them how long they take."""

    def __init__(self) -> None:
        self.lags = Lags()
        self._sent: dict[Wamid, datetime] = {}

    def sent(self, wamid: Wamid, at: datetime) -> None:
        """A send is on disk as taken under this id at that time, while no pause was on that its status could end."""
        self._sent[wamid] = at
        if len(self._sent) > MOST_REMEMBERED:
            del self._sent[next(iter(self._sent))]

    def is_no_news(self, status: Status, now: datetime) -> bool:
        """Whether a status, which is here for the first time, says no more than that such a message was sent."""
        sent_at = self._sent.pop(status.wamid, None) if status.status == "sent" else None
        if sent_at is None:
            return False
        self.lags.note((now - sent_at).total_seconds())
        return True

    def take(self, tx: Transaction, status: Status, now: datetime) -> bool:
        """Apply one status. True where the delivery has something to do now: it should be woken after the commit."""
        state = _STATES.get(status.status)
        if state is None:
            logger.info("status of an unknown kind ignored", status=status.status[:20])
            return False
        row = outbox.find(tx, status.wamid, status.callback_data)
        if row is None:
            return False  # sent by another tool, or before this installation
        if state is OutboxState.FAILED:
            return self._failed(tx, row, status, now)
        if state is OutboxState.SENT and row.sent_at is not None and row.wamid == status.wamid:
            self.lags.note((now - row.sent_at).total_seconds())
        outbox.apply_status(tx, row, wamid=status.wamid, state=state, reason="", now=now)
        return self._ends_pause(tx, row, status) or row.state in _OPEN

    @staticmethod
    def _ends_pause(tx: Transaction, row: Subject, status: Status) -> bool:
        """Whether a pause is over because the row's last send has gone out; what was taken back since has not."""
        is_out = row.wamid == status.wamid and row.state in _OUT
        return is_out and row.sent_at is not None and pauses.gone_out(tx, row.sent_at)

    def _failed(self, tx: Transaction, row: Subject, status: Status, now: datetime) -> bool:
        if not row.was_last_sent_as(status.wamid):
            return False
        rule, reason = meta.rule_of(status.error_code), f"error {status.error_code}: {status.error_text}"
        logger.error("WhatsApp could not deliver a message", outbox=row.id, reason=reason, advice=rule.advice)
        if rule.reaction is meta.Reaction.TEMPLATE:
            # Tries are counted here as well: with times that make no sense it would go round for ever.
            is_open = _may_be_tried(row) and users.wrote_after(tx, row.user_id, status.at)
            why = None if is_open else Hold.WINDOW
            outbox.retract(tx, row, status.wamid, why, reason, not_before=now, now=now)
        elif rule.reaction is meta.Reaction.STOP:
            self._stopped(tx, row, status, now)
        elif rule.reaction is not meta.Reaction.NEVER and _may_be_tried(row):
            outbox.retract(tx, row, status.wamid, None, reason, not_before=now + BEFORE_NEXT_TRY, now=now)
        else:
            self._given_up(tx, row, status, reason, now)
        return True

    def _stopped(self, tx: Transaction, row: Subject, status: Status, now: datetime) -> None:
        """It is sent again once sending goes on; what is wrong with templates only, is wrong with this one for good."""
        rule, reason = meta.rule_of(status.error_code), f"error {status.error_code}: {status.error_text}"
        scope = Scope.TEMPLATES if rule.width is meta.Width.TEMPLATES else Scope.ALL
        until = now + timedelta(seconds=rule.wait_s)
        pauses.pause(tx, scope, status.error_code, reason, now=now, until=until, by_status=True)
        if scope is Scope.ALL:
            outbox.retract(tx, row, status.wamid, None, reason, not_before=now, now=now)
        else:
            self._given_up(tx, row, status, reason, now)

    @staticmethod
    def _given_up(tx: Transaction, row: Subject, status: Status, reason: str, now: datetime) -> None:
        outbox.apply_status(tx, row, wamid=status.wamid, state=OutboxState.FAILED, reason=reason, now=now)
        if status.error_code == meta.UNREACHABLE and not users.wrote_after(tx, row.user_id, status.at):
            sends.set_unreachable(tx, row.user_id, reason, now)


def _may_be_tried(row: Subject) -> bool:
    """Whether once more. Two sends of unknown outcome are no tries; with all of them it could go round for ever."""
    return row.attempt - min(row.unknowns, MOST_TRIES - 1) < MOST_TRIES
