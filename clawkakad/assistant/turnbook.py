"""The transactions of a turn: begun, answered or given up, each as one commit that holds everything.

Plain functions inside a transaction. Whatever the process does between two of them, the rows say where a turn stands:
begun ones are asked for again under the same key and in the same words, closed ones never again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from clawkakad.assistant import burst, prompt, words
from clawkakad.delivery.express import Express
from clawkakad.model import InboxState, UserId
from clawkakad.registry import briefing, disks, inbox, outbox, quotes, reminders, spares
from clawkakad.registry.briefing import Briefing
from clawkakad.registry.inbox import InboxRow
from clawkakad.registry.reminders import Reminder
from clawkakad.registry.transaction import Transaction
from clawkakad.sandboxes.disk import in_words


@dataclass(frozen=True)
class Rules:
    """What the operator can set. Seconds; zero: `burst_s` answers each message by itself, `still_on_it_s` says nothing.

    `old_after`: how old a message counts as old, zero: none does. `skip_old`: old ones are not answered.
    """

    timeout_s: float
    burst_s: float
    still_on_it_s: float
    old_after: timedelta
    skip_old: bool


class Turn(NamedTuple):
    """A turn that was begun. `again`: the agent may know it; `told`: the reminders that its prompt tells of."""

    messages: tuple[InboxRow, ...]
    lead: InboxRow
    prompt: str
    again: bool
    told: tuple[Reminder, ...]

    @property
    def newest(self) -> InboxRow:
        """The message that was written last."""
        return self.messages[-1]


def lead_of(messages: Sequence[InboxRow]) -> InboxRow:
    """The message whose key, prompt and attempt are the turn's: the first one when it was begun."""
    return next((row for row in messages if row.id == row.turn), messages[0])


def begin(
    tx: Transaction, user_id: UserId, rules: Rules, quiet: burst.Quiet, *, now: datetime, tick: float
) -> Turn | float | None:
    """Begin the person's next turn with what waits at this moment, also what was edited or taken back meanwhile.

    A number: seconds to wait for more first. None: nothing waits any more.
    """
    waiting = inbox.waiting(tx, user_id)
    if not waiting:
        return None
    left_s = quiet.left_s(waiting, now=now, tick=tick)
    if left_s > 0:
        return left_s
    return _begin(tx, burst.turn_of(waiting, window_s=rules.burst_s), rules, now)


def open_(tx: Transaction, message: InboxRow, rules: Rules, now: datetime) -> Turn | None:
    """Begin the turn of a message in the transaction that stores it.

    None where that is not all: where more waits, a turn was begun before, or the message is too old to be asked for.
    """
    if inbox.is_anything_waiting(tx, message.user_id, besides=message):
        return None
    if rules.skip_old and prompt.is_old(message, now, rules.old_after):
        return None
    return _begin(tx, [message], rules, now)


def _begin(tx: Transaction, messages: Sequence[InboxRow], rules: Rules, now: datetime) -> Turn:
    lead = lead_of(messages)
    brief = briefing.of_user(tx, lead.user_id)
    sent = reminders.untold(tx, lead.user_id) if brief.has_untold else []
    text = _prompt(tx, messages, brief, sent, rules, now) if lead.prompt is None else lead.prompt
    inbox.begin(tx, messages, lead, text, now)
    lines = set(text.splitlines()) if sent else set()
    told = tuple(reminder for reminder in sent if prompt.reminder_note(reminder) in lines)
    return Turn(tuple(messages), lead, text, lead.attempt > 0, told)


def _prompt(
    tx: Transaction,
    messages: Sequence[InboxRow],
    brief: Briefing,
    sent: Sequence[Reminder],
    rules: Rules,
    now: datetime,
) -> str:
    user_id, zone = messages[0].user_id, brief.profile.time_zone
    said = quotes.said(tx, user_id, [row.reply_to for row in messages if row.reply_to is not None])
    disk = disks.of_user(tx, user_id) if brief.is_disk_low else None
    held = "" if disk is None else in_words(disk)
    text = prompt.of_turn(messages, said, sent, now=now, zone_name=zone, old_after=rules.old_after, disk=held)
    return f"{prompt.introduction(brief.profile)}\n{text}" if brief.is_stranger else text


def answered(
    tx: Transaction, turn: Turn, run_id: str, parts: Sequence[str], now: datetime, express: Express | None = None
) -> bool:
    """The reply, the end of its messages, and where it may go out at once, the beginning of its send.

    True where more of the person's messages wait. A reply is named after its run: the same run heard again, as a late
    answer say, adds nothing.
    """
    if express is not None:
        express.anew()  # a try before this one may have been undone, and somebody may have closed the messages since
    if inbox.settle(tx, turn.messages, InboxState.ANSWERED, "", now):
        add = partial(outbox.add, user_id=turn.lead.user_id) if express is None else express.add
        add(tx, parts=parts, origin="reply", source=f"run:{run_id}", now=now)
        reminders.told(tx, turn.told)
        if turn.prompt.startswith(prompt.INTRODUCTION):
            spares.introduced(tx, turn.lead.user_id)
    return inbox.is_anything_waiting(tx, turn.lead.user_id)


def given_up(
    tx: Transaction, messages: Sequence[InboxRow], state: InboxState, reason: str, text: str, now: datetime
) -> None:
    """The end of messages without an answer, and the line that their person gets."""
    if inbox.settle(tx, messages, state, reason, now):
        lead = lead_of(messages)
        outbox.add(tx, lead.user_id, [text], origin="notice", source=f"inbox:{lead.id}", now=now)


def broken(tx: Transaction, user_id: UserId, rules: Rules, now: datetime) -> None:
    """The end of whatever the person's turn is now: a mistake of ours is in its way."""
    messages = burst.turn_of(inbox.waiting(tx, user_id), window_s=rules.burst_s)
    if messages:
        given_up(tx, messages, InboxState.FAILED, "a mistake in clawkakad: see the log", words.NOT_NOW, now)


def still_on_it(tx: Transaction, lead: InboxRow, now: datetime) -> bool:
    """One line while the answer takes long; False where it was said before, or the answer is there."""
    return inbox.is_open(tx, lead) and outbox.add(
        tx, lead.user_id, [words.STILL_ON_IT], origin="notice", source=f"still:{lead.id}", now=now
    )


def skip_old(tx: Transaction, user_id: UserId, rules: Rules, now: datetime) -> int:
    """Close what waits and is old, with one line an hour for all of it. Returns how many there were."""
    waiting = [row for row in inbox.waiting(tx, user_id) if row.state is InboxState.RECEIVED]
    old = [row for row in waiting if prompt.is_old(row, now, rules.old_after)]
    if old:
        inbox.settle(tx, old, InboxState.ANSWERED, "too old when it came; the person was told", now)
        source = f"old:{user_id}:{now.timestamp() // 3600:.0f}"
        outbox.add(tx, user_id, [words.OLD], origin="notice", source=source, now=now)
    return len(old)
