"""Adding, editing and deleting a row the way every command does it: one transaction, journalled, one line back."""

import re
from datetime import timedelta

from . import journal
from .arguments import Arguments
from .context import Context
from .database import transaction
from .errors import PaError
from .journal import Value
from .lines import row_line
from .when import instant

DOUBLE_WITHIN = timedelta(minutes=2)
# What makes two rows the same thing said twice; times differ even then.
SAMENESS = ("what", "name", "amount_minor", "currency", "kcal", "due_at", "due_day", "source_text", "day")
SINGULAR = {"expenses": "expense", "income": "income", "meals": "meal", "tasks": "task", "contacts": "contact"}


def add_row(context: Context, table: str, values: dict[str, Value]) -> list[str]:
    """A new row. Its `ok` line, and a note if the same one came a moment ago (a turn that was run again, perhaps)."""
    with transaction(context.db) as db:
        earlier = _same_a_moment_ago(context, table, values)
        row_id = journal.insert(db, table, values)
        row = journal.fetch(db, table, row_id) or {}
        line = row_line(table, row, row_id)
        journal.record(db, "add", table, row_id, line, context.stamp, after=row)
    note = f"note: {earlier} is the same and just as new; if this one is a double: pa undo"
    return [f"ok {line}", *([note] if earlier else [])]


def edit_row(context: Context, table: str, row_id: int, values: dict[str, Value], verb: str = "") -> str:
    """New values of some columns; the line of the row as it is now. `verb` names the change where the line cannot."""
    with transaction(context.db) as db:
        old = existing(context, table, row_id)
        changed = {name: value for name, value in values.items() if old.get(name) != value}
        if changed:
            journal.update(db, table, row_id, changed)
        new = journal.fetch(db, table, row_id) or {}
        line = row_line(table, new, row_id)
        if changed:
            before = {name: old[name] for name in changed}
            was = row_line(table, old, row_id).partition(": ")[2]
            summary = f"{verb} {line}" if verb else f"{line} (was: {was})"
            journal.record(db, "edit", table, row_id, summary, context.stamp, before=before, after=changed)
    return line


def delete_row(context: Context, table: str, row_id: int) -> str:
    """The row is gone; the line that it had."""
    with transaction(context.db) as db:
        old = existing(context, table, row_id)
        line = row_line(table, old, row_id)
        journal.delete(db, table, row_id)
        journal.record(db, "delete", table, row_id, f"deleted {line}", context.stamp, before=old)
    return line


def existing(context: Context, table: str, row_id: int) -> dict[str, Value]:
    """The row. Raises PaError when there is none."""
    row = journal.fetch(context.db, table, row_id)
    if row is None:
        raise PaError(f"there is no {SINGULAR.get(table, table + ' row')} {row_id}; look for it with: pa find TEXT")
    return row


def row_number(args: Arguments, words: list[str] | None = None) -> int:
    """The ID in what was typed: `3`, `#3`, and of a task `task 3`, but neither `chapter 3` nor `expense 3`."""
    typed = " ".join(args.words if words is None else words).strip().lower()
    subject = args.shape.usage.split()[1]  # pa task done ID
    match = re.fullmatch(rf"(?:(?:{subject}(?:er)?s?|id) )?#?(\d{{1,15}})", typed)
    if match is None:
        raise args.wrong(f'ID must be a number such as 3, not "{typed[:40]}"')
    return int(match[1])


def _same_a_moment_ago(context: Context, table: str, values: dict[str, Value]) -> str | None:
    last = journal.newest(context.db)
    if last is None or last.action != "add" or last.table != table:
        return None
    if abs(context.now - instant(last.created_at)) > DOUBLE_WITHIN:
        return None
    same = all(last.after.get(name) == value for name, value in values.items() if name in SAMENESS)
    return last.summary.partition(":")[0] if same else None
