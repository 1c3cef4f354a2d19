"""Filing: what becomes of each message, status and change of a delivery, within a transaction.

Decides and stores; never waits and never talks to anybody. All of it is thrown away and done again where the
transaction fails, so nothing here is remembered but what errs on the safe side.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from loguru import logger

from clawkakad.assistant import words
from clawkakad.assistant.opening import Opening
from clawkakad.config import Strangers
from clawkakad.delivery.receipts import Receipts
from clawkakad.intake import limits, places
from clawkakad.intake.access import Door
from clawkakad.intake.limits import Hourly, Limits, Tally
from clawkakad.model import InboxState, UserId
from clawkakad.registry import identifiers, inbox, outbox, strangers, users
from clawkakad.registry.identifiers import Known
from clawkakad.registry.inbox import InboxRow
from clawkakad.registry.transaction import Transaction, Work
from clawkakad.whatsapp.delivery import Delivery, IdentifierChange, Inbound, Purpose

ALBUM_S = 300  # what cannot be read and comes together is answered by one line
EDITED = "[edited an earlier message, which now reads:] "
FILES = frozenset({"image", "video", "audio", "document", "sticker"})


@dataclass
class Filed:
    """What the rest of the daemon has to know once it is on disk."""

    states: list[tuple[UserId, str, InboxState]] = field(default_factory=list)  # of new messages, with their kinds
    waiting: list[UserId] = field(default_factory=list)  # who may have something to answer
    outbox: bool = False  # there may be something to send

    def add(self, other: "Filed") -> None:
        """Put what was filed apart together."""
        self.states += other.states
        self.waiting += other.waiting
        self.outbox |= other.outbox


class Filing:
    """The operator's rules, applied."""

    def __init__(self, door: Door, limits_: Limits, receipts: Receipts) -> None:
        self._door = door
        self._limits = limits_
        self._receipts = receipts
        self._hourly = Hourly(limits_.messages_per_hour)
        self._unkept = Tally()

    def news_of(self, delivery: Delivery, now: datetime) -> Delivery:
        """The delivery without the statuses that say what is on disk."""
        if not delivery.statuses:
            return delivery
        statuses = tuple(status for status in delivery.statuses if not self._receipts.is_no_news(status, now))
        return delivery._replace(statuses=statuses)

    def file(self, tx: Transaction, delivery: Delivery, now: datetime, opening: Opening | None = None) -> Filed:
        """All of a delivery. What is wrong with one part of it is raised."""
        filed = Filed()
        if opening is not None:
            opening.anew()
        for change in delivery.changes:
            self._change(tx, change, now, filed)
        received = [self._message(tx, message, now, filed) for message in delivery.messages]
        is_alone = len(received) == 1  # what comes with others may have been edited by them since, or taken back
        for row in filter(None, received):
            if not (is_alone and opening is not None and opening.begin(tx, row, now)):
                filed.waiting.append(row.user_id)
        for status in delivery.statuses:
            filed.outbox |= self._receipts.take(tx, status, now)
        return filed

    def parts(self, delivery: Delivery, now: datetime) -> Iterator[tuple[Delivery, Work[Filed]]]:
        """The same in parts that stand for themselves, each with what it is about."""
        for change in delivery.changes:
            yield self._part(Delivery(changes=(change,)), now)
        for message in delivery.messages:
            yield self._part(Delivery(messages=(message,)), now)
        for status in delivery.statuses:
            yield self._part(Delivery(statuses=(status,)), now)

    def give_up(self, tx: Transaction, message: Inbound, now: datetime) -> Filed:
        """A message that cannot be filed for a reason of ours: kept as far as it can be, and its person is told."""
        filed, message = Filed(), _harmless(message, now)
        known = self._sender(tx, message, now)
        if inbox.is_known(tx, message.wamid) or not self._door.lets_in(known.identifiers):
            return filed
        inbox.add(tx, _row(message, known.id, InboxState.FAILED, None, now), now)
        filed.outbox = outbox.add(
            tx, known.id, [words.GAVE_UP], origin="notice", source=f"unfiled:{message.wamid}", now=now
        )
        return filed

    def _part(self, delivery: Delivery, now: datetime) -> tuple[Delivery, Work[Filed]]:
        return delivery, lambda tx: self.file(tx, delivery, now)

    def _change(self, tx: Transaction, change: IdentifierChange, now: datetime, filed: Filed) -> None:
        user_id = identifiers.move(tx, change.old, change.new, now)
        if user_id is not None:
            filed.waiting.append(user_id)
            filed.outbox = True

    def _message(self, tx: Transaction, message: Inbound, now: datetime, filed: Filed) -> InboxRow | None:
        """As it is stored, where it is to be answered."""
        if inbox.is_known(tx, message.wamid):
            return None  # Meta delivers at least once
        known = self._sender(tx, message, now)
        # A person who adopted a username may come without the number that the list has: all we know of them counts.
        if self._door.lets_in(known.identifiers):
            return self._let_in(tx, message, known.id, now, filed)
        self._stranger(tx, message, known.id, now, filed)
        return None

    def _sender(self, tx: Transaction, message: Inbound, now: datetime) -> Known:
        at = min(message.sent_at, now)
        known = identifiers.recognise(tx, message.identifiers, at)
        if known is None:
            fresh = places.guess(message.identifiers, message.name)
            known = Known(users.add(tx, message.identifiers, fresh, at), message.identifiers)
        return known

    def _let_in(
        self, tx: Transaction, message: Inbound, user_id: UserId, now: datetime, filed: Filed
    ) -> InboxRow | None:
        state, text = self._decide(tx, message, user_id, now)
        is_open = state in (InboxState.RECEIVED, InboxState.ANSWERED)
        taken_back = is_open and inbox.was_taken_back(tx, message.wamid, user_id)
        counts = is_open and not taken_back
        if counts and not self._within_limit(tx, user_id, now):
            state = InboxState.LIMITED
        row = inbox.add(tx, _row(message, user_id, state, text, now), now)
        if taken_back and inbox.withdraw(tx, message.wamid, now):
            state = InboxState.IGNORED
        users.touch(tx, user_id, min(message.sent_at, now))
        released = outbox.release(tx, user_id, now)
        filed.states.append((user_id, message.kind, state))
        filed.outbox |= self._say(tx, message, user_id, state, now) or released > 0
        return row if state is InboxState.RECEIVED else None

    def _decide(
        self, tx: Transaction, message: Inbound, user_id: UserId, now: datetime
    ) -> tuple[InboxState, str | None]:
        """What becomes of a message of somebody who is let in, but for the limit; and what it says."""
        match message.purpose:
            case Purpose.TURN if message.text:
                return InboxState.RECEIVED, message.text
            case Purpose.POLITE:
                return InboxState.ANSWERED, message.text
            case Purpose.EDIT if message.text and message.target:
                if inbox.is_of(tx, message.target, user_id) and inbox.replace_text(
                    tx, message.target, message.text, now
                ):
                    return InboxState.IGNORED, None
                return InboxState.RECEIVED, EDITED + message.text
            case Purpose.REVOKE if message.target and inbox.is_of(tx, message.target, user_id):
                inbox.withdraw(tx, message.target, now)
        return InboxState.IGNORED, message.text

    def _within_limit(self, tx: Transaction, user_id: UserId, now: datetime) -> bool:
        return self._hourly.allows(user_id, now, lambda: inbox.count_hour(tx, user_id, now - limits.HOUR))

    @staticmethod
    def _say(tx: Transaction, message: Inbound, user_id: UserId, state: InboxState, now: datetime) -> bool:
        """The polite line that is due, if any."""
        if state is InboxState.ANSWERED:
            line = words.ONLY_TEXT if message.kind in FILES else words.ONLY_TEXT_KIND
            source = f"only-text:{user_id}:{now.timestamp() // ALBUM_S:.0f}"
        elif state is InboxState.LIMITED:
            line, source = words.TOO_MANY, limits.limit_line(user_id, now)
        else:
            return False
        return outbox.add(tx, user_id, [line], origin="notice", source=source, now=now)

    def _stranger(self, tx: Transaction, message: Inbound, user_id: UserId, now: datetime, filed: Filed) -> None:
        """What they write is none of our business: kept is that they wrote."""
        if strangers.kept_since(tx, user_id, limits.start_of_day(now)) >= limits.KEPT_OF_A_STRANGER:
            count = self._unkept.add(user_id)
            if count is not None:
                logger.warning("messages of a stranger are not even kept any more today", user=user_id, messages=count)
            return
        inbox.add(tx, _row(message, user_id, InboxState.REFUSED, None, now), now)
        filed.states.append((user_id, message.kind, InboxState.REFUSED))
        if self._limits.strangers is Strangers.LINE and now - message.sent_at <= limits.STRANGER_LINE_WITHIN:
            filed.outbox |= self._turn_away(tx, message, user_id, now)

    @staticmethod
    def _turn_away(tx: Transaction, message: Inbound, user_id: UserId, now: datetime) -> bool:
        """One line a day, as long as the day's lines last; it may be sent, for they have just written."""
        if strangers.lines(tx, limits.stranger_lines(now)) >= limits.LINES_TO_STRANGERS:
            return False
        source = limits.stranger_line(user_id, now)
        users.touch(tx, user_id, message.sent_at)
        return outbox.add(tx, user_id, [words.STRANGER], origin="notice", source=source, now=now)


def _harmless(message: Inbound, now: datetime) -> Inbound:
    """The message without what SQLite could refuse."""
    raw, kind = (text.encode("ascii", "backslashreplace").decode() for text in (message.raw, message.kind))
    return message._replace(
        name=None, kind=kind, text=None, reply_to=None, target=None, media_id=None, raw=raw, sent_at=now
    )


def _row(message: Inbound, user_id: UserId, state: InboxState, text: str | None, now: datetime) -> inbox.NewInbound:
    """As it is stored. A message that is about another one points to it."""
    refused = state is InboxState.REFUSED
    return inbox.NewInbound(
        wamid=message.wamid,
        user_id=user_id,
        kind=message.kind,
        text=text,
        raw="{}" if refused else message.raw,
        reply_to=message.reply_to or (None if state is InboxState.RECEIVED else message.target),
        forwarded=message.forwarded,
        sent_at=message.sent_at,
        state=state,
        media_id=None if refused else message.media_id,
    )
