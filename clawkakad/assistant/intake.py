"""Intake: what a webhook brought, decided and stored in one transaction, before Meta gets its 200.

Owns the decision what becomes of each message (a turn, a polite line, a record). Never talks to anybody: it wakes the
conversation and the delivery, which work from what is on disk.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

from loguru import logger

from clawkakad.assistant import places, words
from clawkakad.assistant.access import Door
from clawkakad.assistant.listening import Listening
from clawkakad.log import mask
from clawkakad.model import InboxState, OutboxState, UserId
from clawkakad.registry import Registry, inbox, outbox, users
from clawkakad.registry.database import Transaction
from clawkakad.registry.users import Identifier
from clawkakad.whatsapp.delivery import Delivery, Inbound, Status

SILENT_KINDS = frozenset({"reaction", "system", "edit", "revoke", "ephemeral", "request_welcome"})
ALBUM_S = 300  # pictures that come together are answered by one line
_STATES = {
    "sent": OutboxState.SENT,
    "delivered": OutboxState.DELIVERED,
    "read": OutboxState.READ,
    "played": OutboxState.READ,
    "failed": OutboxState.FAILED,
}


class Intake:
    """Stores deliveries. `on_message` is told who has something to answer, `on_outbox` that the outbox changed."""

    def __init__(
        self,
        registry: Registry,
        door: Door,
        clock: Callable[[], datetime],
        *,
        listening: Listening,
        on_message: Callable[[UserId], None],
        on_outbox: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._door = door
        self._clock = clock
        self._listening = listening
        self._on_message = on_message
        self._on_outbox = on_outbox

    async def accept(self, delivery: Delivery) -> None:
        """Store everything; on disk when it returns. Raises RegistryUnavailable, and then nothing is stored.

        Cancelled in the middle, it may have stored: Meta sends again, and duplicates are dropped by wamid.
        """
        now = self._clock()
        ticket = self._listening.begun()
        try:
            waiting = await self._registry.db.write(lambda tx: self._take(tx, delivery, now))
        except BaseException:
            self._listening.failed(ticket)
            raise
        self._listening.stored(ticket)
        self._report(delivery)
        for user_id in waiting:
            self._on_message(user_id)
        if delivery.statuses or delivery.messages:
            self._on_outbox()

    def _take(self, tx: Transaction, delivery: Delivery, now: datetime) -> list[UserId]:
        """All of a delivery; whoever now waits for an answer."""
        for change in delivery.changes:
            users.move_identifiers(tx, change.old, change.new, now)
        stored = [self._store(tx, message, now) for message in sorted(delivery.messages, key=lambda m: m.sent_at)]
        for status in delivery.statuses:
            self._apply(tx, status, now)
        return [user_id for user_id in stored if user_id is not None]

    def _store(self, tx: Transaction, message: Inbound, now: datetime) -> UserId | None:
        """Store it, unless it is a duplicate; whoever now waits for an answer."""
        if inbox.is_known(tx, message.wamid):
            return None
        fresh = places.guess(message.identifiers, message.name)
        user_id = users.ensure_user(tx, message.identifiers, fresh, now)
        # A person who adopted a username may come without the number that the list has: all we know of them counts.
        state = self._decide(message, users.identifiers_of(tx, user_id))
        refused = state is InboxState.REFUSED
        new = inbox.NewInbound(
            wamid=message.wamid,
            user_id=user_id,
            kind=message.kind,
            text=None if refused else message.text,
            raw="{}" if refused else message.raw,  # what a stranger writes is none of our business
            reply_to=message.reply_to,
            forwarded=message.forwarded,
            sent_at=message.sent_at,
            state=state,
        )
        inbox.add(tx, new, now)
        if not refused:
            users.touch(tx, user_id, message.sent_at)
        if state is InboxState.ANSWERED:
            source = f"only-text:{user_id}:{now.timestamp() // ALBUM_S:.0f}"
            outbox.add(tx, user_id, [words.ONLY_TEXT], origin="notice", source=source, now=now)
        who = mask(message.identifiers[0][1])
        logger.info("message stored", user=user_id, who=who, kind=message.kind, state=state.value)
        return user_id if state is InboxState.RECEIVED else None

    def _decide(self, message: Inbound, identifiers: Sequence[Identifier]) -> InboxState:
        if not self._door.lets_in(identifiers):
            return InboxState.REFUSED
        if message.kind == "text":
            return InboxState.RECEIVED if message.text else InboxState.IGNORED
        return InboxState.IGNORED if message.kind in SILENT_KINDS else InboxState.ANSWERED

    def _apply(self, tx: Transaction, status: Status, now: datetime) -> None:
        state = _STATES.get(status.status)
        if state is None:
            logger.info("status of an unknown kind ignored", status=status.status[:20])
            return
        reason = f"{status.error_code} {status.error_text}".strip() if status.error_code else ""
        moved = outbox.apply_status(
            tx, wamid=status.wamid, key=status.callback_data, state=state, reason=reason, now=now
        )
        if moved and state is OutboxState.FAILED:
            logger.error("WhatsApp could not deliver a message", wamid=status.wamid, reason=reason)

    @staticmethod
    def _report(delivery: Delivery) -> None:
        for notice in delivery.notices:
            logger.log(notice.level.upper(), "notice from WhatsApp", notice=notice.text)
