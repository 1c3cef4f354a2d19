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
from ..days import Lean
from ..errors import HostRefused, PaError
from ..journal import Entry, Value
from ..lines import reminder_line
from ..when import Moment, instant, stamp

REMIND_ADD = Shape("pa remind --at WHEN TEXT", 'pa remind --at "tomorrow 9:00" "call mom"', ("at", "text", "from"))
REMIND_LIST = Shape("pa remind list", "pa remind list")
REMIND_CANCEL = Shape("pa remind cancel ID", "pa remind cancel 3")

SAME_REQUEST_WITHIN = timedelta(minutes=10)
PATH = "/pa/v1/reminders"
MIRRORED = ("id", "text", "due_at", "wall", "zone")
UNDO_KEYS = uuid.UUID("6f0a4f0e-3c5b-4c3e-9a57-0d6b1c1e7a11")  # a namespace of our own


def add_reminder(context: Context, args: Arguments) -> list[str]:
    """A message that the daemon will send at that time."""
    text, asked = args.text("text") or args.sentence, args.text("at")
    if not text or not asked:
        raise args.wrong("a reminder needs --at WHEN and a TEXT")
    moment = _to_come(context, args, asked)
    made = None
    while made is None:
        request, is_old = _attempt(context, asked, moment, text)
        made = _post(context, request, args.source, is_old=is_old)
    return [f"ok {reminder_line(made)}"]


def list_reminders(context: Context, args: Arguments) -> list[str]:
    """The pending ones as the daemon knows them, soonest first; brings the mirror up to date."""
    listed = context.host.call("GET", PATH).get("reminders")
    rows = [_row(item) for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    with transaction(context.db):
        _sync(context, rows)
    return [reminder_line(row) for row in rows] or ["no reminders"]


def cancel_reminder(context: Context, args: Arguments) -> list[str]:
    """A reminder that will not be sent."""
    number = row_number(args)
    row = _cancel(context, number)
    if row is None:
        raise PaError(f"reminder {number} is not pending; see: pa remind list")
    with transaction(context.db) as db:
        line = f"cancelled {reminder_line(row)}"
        journal.record(db, "delete", "reminders", number, line, context.stamp, before=row)
    return [f"ok {line}"]


def undo_reminder(context: Context, entry: Entry) -> str | None:
    """Takes a reminder back, or sets a cancelled one again; what to add to the answer, if anything.

    What cannot be undone any more is marked as well, so that the next undo reaches what was before it.
    """
    if entry.action == "delete":
        return _set_again(context, entry)
    row = _cancel(context, entry.row_id)
    with transaction(context.db) as db:
        journal.mark_undone(db, entry, context.stamp)
    if row is None:
        raise PaError(f"{entry.summary} is not pending any more, so it cannot be taken back")
    return None


def _set_again(context: Context, entry: Entry) -> str:
    old = entry.before
    if instant(str(old["due_at"])) <= context.now:
        with transaction(context.db) as db:
            journal.mark_undone(db, entry, context.stamp)
        raise PaError(f"the time of {reminder_line(old)} is past, so it cannot be set again")
    # The key comes from the journal entry: undoing it once more after a lost answer makes no second reminder.
    key = uuid.uuid5(UNDO_KEYS, f"{entry.id} {entry.created_at} {old['due_at']}")
    request: dict[str, object] = {"at": old["due_at"], "text": old["text"], "key": str(key), "zone": old["zone"]}
    row = _row(context.host.call("POST", PATH, request))
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


def _attempt(context: Context, asked: str, moment: Moment, text: str) -> tuple[dict[str, object], bool]:
    """The request, on disk before it leaves; the very same one, and True, if it was left unanswered a while ago."""
    oldest = stamp(context.now - SAME_REQUEST_WITHIN)
    with transaction(context.db) as db:
        db.execute("DELETE FROM reminder_attempts WHERE created_at < ?", (oldest,))
        row = db.execute("SELECT * FROM reminder_attempts WHERE asked = ? AND text = ?", (asked, text)).fetchone()
        is_old = row is not None
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
    return {name: row[name] for name in ("at", "text", "key", "zone")}, is_old


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


def _post(context: Context, request: dict[str, object], source: str, *, is_old: bool) -> dict[str, Value] | None:
    """The reminder that was made. None where an old request had made one that was sent or cancelled since."""
    try:
        body = context.host.call("POST", PATH, request)
    except HostRefused:
        with transaction(context.db):
            _forget(context, request)
        raise
    row, is_over = _row(body), is_old and body.get("state", "pending") != "pending"
    with transaction(context.db) as db:
        _forget(context, request)
        if is_over:
            return None
        _mirror(context, row, source)
        journal.record(db, "add", "reminders", int(row["id"] or 0), reminder_line(row), context.stamp, after=row)
    return row


def _forget(context: Context, request: dict[str, object]) -> None:
    context.db.execute("DELETE FROM reminder_attempts WHERE key = ?", (str(request["key"]),))


def _cancel(context: Context, number: int) -> dict[str, Value] | None:
    """Cancels at the daemon, then in the mirror; the mirror's row of before, None when it was not pending.

    A reminder that should still be to come and is not pending there is cancelled all the same: most likely by our own
    first try, whose answer was lost.
    """
    known = journal.fetch(context.db, "reminders", number)
    try:
        row = _row(context.host.call("DELETE", f"{PATH}/{number}"))
    except HostRefused as error:
        if error.status != 404:
            raise
        if known is None or known["state"] != "pending" or instant(str(known["due_at"])) <= context.now:
            return None
        row = known
    with transaction(context.db) as db:
        _mirror(context, row, "")
        before = journal.fetch(db, "reminders", number)
        journal.update(db, "reminders", number, {"state": "cancelled"})
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
           ON CONFLICT (id) DO UPDATE
           SET text = :text, due_at = :due_at, wall = :wall, zone = :zone, state = 'pending'""",
        {**{name: row[name] for name in MIRRORED}, "source": source, "now": context.stamp},
    )


def _row(body: dict[str, object]) -> dict[str, Value]:
    """The daemon's reminder object, checked. Raises PaError for anything else: only what it said is confirmed."""
    number, due_at = body.get("id"), body.get("due_at")
    if not isinstance(number, int) or not isinstance(due_at, str):
        raise PaError("the host's answer is no reminder; nothing is confirmed, see: pa remind list")
    texts = {name: str(body.get(name) or "?") for name in ("text", "wall", "zone")}
    return {"id": number, "due_at": due_at[:19] + "Z", **texts}
