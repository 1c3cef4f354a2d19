"""What the agent is told: the person's own words, and before them, in square brackets, what it has to know. Pure.

A note is a line of its own that begins with one of `NOTES`. Nobody else's words can pass as one: in what people write
such a beginning loses its bracket, and what stands inside of a note is on one line and has no brackets. What was
forwarded is somebody else's to the last line: each one is marked.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from clawkakad.assistant import walltime
from clawkakad.model import Profile, Wamid
from clawkakad.registry.inbox import InboxRow
from clawkakad.registry.reminders import Reminder
from clawkakad.whatsapp.notes import joined, note, quoted

NOTES = ("your person", "reminder sent", "in reply to", "forwarded", "written", "your disk")
LONGEST_QUOTE = 300  # characters of a message that is replied to: enough to know which one
LONGEST_REMINDER = 1000
LONGEST_NAME = 100
INTRODUCTION = "[your person from now on: "

HEARTBEAT = (
    "Heartbeat: this was found in the person's own records. If it is worth a message now, write that message, short"
    " and kind, as if you thought of it yourself. If it is not, answer NO_REPLY.\n"
)
_LIKE_A_NOTE = re.compile(rf"[\[\uff3b](?=\W{{0,8}}(?:{'|'.join(NOTES)}))", re.IGNORECASE)
_QUOTES = str.maketrans("\u201c\u201d", '""')


def is_old(row: InboxRow, now: datetime, old_after: timedelta) -> bool:
    """Whether a message reaches the agent long after it was written. `old_after` zero: never."""
    return bool(old_after) and now - row.sent_at >= old_after


def of_turn(
    messages: Sequence[InboxRow],
    quotes: Mapping[Wamid, str],
    sent: Sequence[Reminder],
    *,
    now: datetime,
    zone_name: str,
    old_after: timedelta,
    disk: str = "",
) -> str:
    """The prompt of one turn: each message on its own lines, in order.

    `quotes`: what the messages said that are replied to, as far as we know them. `sent`: reminders that went out since
    the agent last heard of it. `zone_name`: the person's, for the time at which an old message was written. `disk`:
    how full the agent's disk is, where it is nearly full.
    """
    old = {row.id: _age_note(row, now, zone_name) for row in messages if is_old(row, now, old_after)}
    blocks = [_block(row, old.get(row.id), quotes) for row in messages]
    gap = "\n\n" if any(notes for notes, _ in blocks) else "\n"  # a note is about one message
    told = gap.join("\n".join([*notes, text]) for notes, text in blocks)
    return "\n".join([*([_disk_note(disk)] if disk else []), *map(reminder_note, sent), told])


def of_heartbeat(findings: str) -> str:
    """The prompt of a heartbeat. `findings`: the lines of `pa pulse`."""
    return HEARTBEAT + findings


def reminder_note(reminder: Reminder) -> str:
    """The line that tells the agent of a reminder which went out."""
    return note(f"reminder sent {reminder.wall}: {quoted(reminder.text, LONGEST_REMINDER)}")


def _disk_note(held: str) -> str:
    return note(f"your disk is nearly full, {held} in /data: first delete what nobody needs, or you will be stopped")


def introduction(profile: Profile) -> str:
    """The line with which an agent that was nobody's learns whose it is."""
    words = [
        f"name {quoted(profile.name, LONGEST_NAME)}" if profile.name else "",
        f"time zone {profile.time_zone}",
        f"currency {profile.currency}",
        f"language {profile.language}",
    ]
    return f"{INTRODUCTION}{joined(*words)}; whatever else was said of them before does not count]"


def _block(row: InboxRow, age_note: str | None, quotes: Mapping[Wamid, str]) -> tuple[list[str], str]:
    """The notes of one message, and its words."""
    notes = [] if age_note is None else [age_note]
    if row.reply_to is not None:
        notes.append(_reply_note(quotes.get(row.reply_to)))
    text = _LIKE_A_NOTE.sub("(", row.text or "")
    if row.forwarded:
        notes.append(note("forwarded, somebody else's words"))
        text = "\n".join(f"> {line}" for line in text.splitlines())
    return notes, text


def _age_note(row: InboxRow, now: datetime, zone_name: str) -> str:
    return note(
        f"written {_ago(now - row.sent_at)} ago, on {walltime.wall(row.sent_at, zone_name)}, and received only now"
    )


def _reply_note(said: str | None) -> str:
    words = quoted(said, LONGEST_QUOTE + 1).translate(_QUOTES)
    if not words:
        return note("in reply to an earlier message")
    return note(f"in reply to: “{words if len(words) <= LONGEST_QUOTE else words[:LONGEST_QUOTE].rstrip() + '…'}”")


def _ago(age: timedelta) -> str:
    """An age in the unit that people would use."""
    for unit, name in ((timedelta(days=1), "days"), (timedelta(hours=1), "hours")):
        if age >= 2 * unit:
            return f"{age // unit} {name}"
    return f"{age // timedelta(minutes=1)} minutes"
