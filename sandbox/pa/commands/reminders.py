"""`pa remind`: reminders, which the daemon keeps and sends; here is a mirror for looking back.

A reminder is asked for with a key that is on disk before the request leaves. If the answer is lost, asking for the same
thing again within a while uses the same key and the same instant, so that it is made once.
"""

import uuid
from datetime import timedelta

from .. import journal
from ..arguments import Arguments, Shape
from ..changes import row_number
from ..context import Context
from ..database import transaction
from ..errors import HostRefused, PaError
from ..host import Answer
from ..journal import Entry, Value
from ..lines import reminder_line
from ..when import Lean, Moment, instant, stamp

REMIND_ADD = Shape('pa remind --at WHEN TEXT', 'pa remind --at "tomorrow 9:00" "call mom"', ("at", "from"))
REMIND_LIST = Shape("pa remind list", "pa remind list")
REMIND_CANCEL = Shape("pa remind cancel ID", "pa remind cancel 3")

SAME_REQUEST_WITHIN = timedelta(minutes=10)
PATH = "/pa/v1/reminders"


def add_reminder(context: Context, args: Arguments) -> list[str]:
    """A message that the daemon will send at that time."""
    text, asked = args.sentence, args.text("at")
    if not text or not asked:
        raise args.wrong("a reminder needs --at WHEN and a TEXT")
    moment = _to_come(context, args, asked)
    request = _attempt(context, asked, moment, text)
    made = _post(context, request, args.source)
    return [f"ok {reminder_line(made)}"]


def list_reminders(context: Context, args: Arguments) -> list[str]:
    """The pending ones as the daemon knows them, soonest first; brings the mirror up to date."""
    listed = context.host.call("GET", PATH).body.get("reminders")
    rows = [_row(item) for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    with transaction(context.db):
        _sync(context, rows)
    return [reminder_line(row) for row in rows] or ["no reminders"]


def cancel_reminder(context: Context, args: Arguments) -> list[str]:
    """A reminder that will not be sent."""
    number = row_number(args)
    answer = _delete(context, number)
    if answer is None:
        raise PaError(f"reminder {number} is not pending; see: pa remind list")
    return [f"ok cancelled {reminder_line(_cancelled(context, number, answer))}"]


def undo_reminder(context: Context, entry: Entry) -> str | None:
    """Takes a reminder back, or a cancelled one up again; a line to add, if any. Marks the entry either way."""
    if entry.action == "add":
        gone = _delete(context, entry.row_id)
        with transaction(context.db) as db:
            journal.update(db, "reminders", entry.row_id, {"state": "cancelled" if gone else "gone"})
            journal.mark_undone(db, entry, context.stamp)
        if gone is None:
            raise PaError(f"{entry.summary} is not pending any more, so it cannot be taken back")
        return None
    return _set_again(context, entry)


def _set_again(context: Context, entry: Entry) -> str:
    old = entry.before
    if instant(str(old["due_at"])) <= context.now:
        with transaction(context.db) as db:
            journal.mark_undone(db, entry, context.stamp)
        raise PaError(f"the time of {reminder_line(old)} is past, so it cannot be set again")
    request: dict[str, object] = {"at": old["due_at"], "text": old["text"], "key": str(uuid.uuid5(uuid.NAMESPACE_OID, f"undo {entry.id} {old['due_at']}"))}
    row = _row(context.host.call("POST", PATH, request | {"zone": old["zone"]}).body)
    with transaction(context.db) as db:
        _mirror(context, row, str(old["source_text"]))
        journal.mark_undone(db, entry, context.stamp)
    return f"it is now {reminder_line(row)}"


def _to_come(context: Context, args: Arguments, asked: str) -> Moment:
    moment = context.moment(asked, Lean.FUTURE)
    if moment.at is None:
        raise args.wrong(f'"{asked[:40]}" has no time of day')
    if moment.at <= context.now:
        raise args.wrong(f'"{asked[:40]}" is past (now {context.wall})')
    return moment


def _attempt(context: Context, asked: str, moment: Moment, text: str) -> dict[str, object]:
    """The request, on disk before it leaves; the very same one if it was left unanswered a while ago."""
    oldest = stamp(context.now - SAME_REQUEST_WITHIN)
    with transaction(context.db) as db:
        db.execute("DELETE FROM reminder_attempts WHERE created_at < ?", (oldest,))
        row = db.execute("SELECT * FROM reminder_attempts WHERE asked = ? AND text = ?", (asked, text)).fetchone()
        if row is None:
            values: dict[str, Value] = {
                "key": str(uuid.uuid4()),
                "asked": asked,
                "at": _as_sent(context, moment),
                "zone": moment.zone if moment.wall else None,
                "text": text,
                "created_at": context.stamp,
            }
            journal.insert(db, "reminder_attempts", values)
            row = values
    return {name: row[name] for name in ("at", "text", "key", "zone")}


def _as_sent(context: Context, moment: Moment) -> str:
    """Wall time as wall time, so that the daemon keeps what was meant; instants as instants.

    A wall time that exists twice goes as an instant too, so that both sides mean the first one.
    """
    assert moment.at is not None
    here = moment.at.astimezone(context.zone)
    second = here.replace(fold=1)
    if not moment.wall or second.utcoffset() != here.utcoffset():
        return stamp(moment.at)
    return here.strftime("%Y-%m-%dT%H:%M:%S") if here.second else here.strftime("%Y-%m-%dT%H:%M")


def _post(context: Context, request: dict[str, object], source: str) -> dict[str, Value]:
    try:
        row = _row(context.host.call("POST", PATH, request).body)
    except HostRefused:
        with transaction(context.db) as db:
            _forget(db_key=str(request["key"]), context=context)
        raise
    with transaction(context.db) as db:
        _forget(db_key=str(request["key"]), context=context)
        _mirror(context, row, source)
        journal.record(db, "add", "reminders", int(row["id"] or 0), reminder_line(row), context.stamp, after=row)
    return row


def _forget(context: Context, db_key: str) -> None:
    context.db.execute("DELETE FROM reminder_attempts WHERE key = ?", (db_key,))


def _delete(context: Context, number: int) -> Answer | None:
    """The daemon's answer, None when it is not pending there.

    If the first try's answer was lost, "not pending" at the second try is the first one's doing as far as we can know.
    """
    try:
        return context.host.call("DELETE", f"{PATH}/{number}")
    except HostRefused as error:
        if error.status != 404:
            raise
        return None


def _cancelled(context: Context, number: int, answer: Answer) -> dict[str, Value]:
    row = _row(answer.body)
    with transaction(context.db) as db:
        _mirror(context, row, "")
        before = journal.fetch(db, "reminders", number) or row
        journal.update(db, "reminders", number, {"state": "cancelled"})
        line = reminder_line(before)
        journal.record(db, "delete", "reminders", number, f"cancelled {line}", context.stamp, before=before)
    return before


def _sync(context: Context, rows: list[dict[str, Value]]) -> None:
    """Pending here is what is pending there."""
    for row in rows:
        _mirror(context, row, "")
    pending = {row["id"] for row in rows}
    for known in context.db.execute("SELECT id FROM reminders WHERE state = 'pending'").fetchall():
        if known["id"] not in pending:
            journal.update(context.db, "reminders", known["id"], {"state": "gone"})


def _mirror(context: Context, row: dict[str, Value], source: str) -> None:
    """The daemon's object as a row of ours, pending; what a known row came from stays."""
    context.db.execute(
        """INSERT INTO reminders (id, text, due_at, wall, zone, state, source_text, created_at)
           VALUES (:id, :text, :due_at, :wall, :zone, 'pending', :source, :now)
           ON CONFLICT (id) DO UPDATE SET text = :text, due_at = :due_at, wall = :wall, zone = :zone, state = 'pending'""",
        {**row, "source": source, "now": context.stamp},
    )


def _row(body: dict[str, object]) -> dict[str, Value]:
    """The daemon's reminder object, checked. Raises PaError for anything else: nothing is claimed that it did not say."""
    number, due_at = body.get("id"), body.get("due_at")
    if not isinstance(number, int) or not isinstance(due_at, str):
        raise PaError("the assistant's host gave an answer that is no reminder; nothing is confirmed, see: pa remind list")
    texts = {name: str(body.get(name) or "?") for name in ("text", "wall", "zone")}
    return {"id": number, "due_at": due_at[:19] + "Z", **texts}
