"""`pa contact`: the people in somebody's life."""

import re
from datetime import date

from ..arguments import Arguments, Shape
from ..changes import add_row, delete_row, edit_row, row_number
from ..context import Context
from ..database import transaction
from ..days import Lean
from ..errors import PaError
from ..journal import Value
from ..lines import contact_line
from ..text import folded, quoted
from .listing import shortened

CONTACT_ADD = Shape(
    "pa contact add NAME [--phone P] [--birthday DATE] [--note TEXT] [--from TEXT]",
    'pa contact add "Asha" --phone "+91 98200 00000" --birthday 1990-11-23 --note "sister"',
    ("phone", "birthday", "note", "from", "name"),
)
CONTACT_LIST = Shape("pa contact list", "pa contact list")
CONTACT_FIND = Shape("pa contact find TEXT", "pa contact find asha")
CONTACT_DELETE = Shape("pa contact delete ID", "pa contact delete 1")

SEARCHED = ("name", "phone", "note")
YEARLESS = re.compile(r"(?:--)?(\d{1,2})-(\d{1,2})")
YEARED = re.compile(r".*\b\d{4}\b.*")


def add_contact(context: Context, args: Arguments) -> list[str]:
    """A person, or more about one known by that name."""
    name = args.text("name") or args.sentence
    if not name:
        raise args.wrong("NAME is missing")
    values: dict[str, Value] = {key: args.text(key) for key in ("phone", "note") if args.text(key)}
    if given := args.text("birthday"):
        values["birthday"] = birthday(context, given)
    with transaction(context.db):  # from the look on: the same person may be added twice at once
        known = [row for row in _all(context) if folded(str(row["name"])) == folded(name)]
        if known:
            return [f"ok {edit_row(context, 'contacts', int(known[0]['id'] or 0), values)}"]
        return add_row(context, "contacts", {"name": name, **values, **context.origin(args)})


def list_contacts(context: Context, args: Arguments) -> list[str]:
    """Everybody, by name."""
    return shortened([contact_line(row) for row in _all(context)]) or ["no contacts"]


def find_contacts(context: Context, args: Arguments) -> list[str]:
    """The people whose name, phone or note holds the words."""
    words = folded(args.sentence)
    if not words:
        raise args.wrong("TEXT is missing")
    found = [row for row in _all(context) if words in folded(" ".join(str(row[name] or "") for name in SEARCHED))]
    return shortened([contact_line(row) for row in found]) or [f"no contact with {quoted(args.sentence[:40])}"]


def delete_contact(context: Context, args: Arguments) -> list[str]:
    """Somebody to forget."""
    return [f"ok deleted {delete_row(context, 'contacts', row_number(args))}"]


def birthday(context: Context, typed: str) -> str:
    """`1990-11-23`, or `--11-23` when the year is not known (`11-23`, `23 Nov`)."""
    match = YEARLESS.fullmatch(typed)
    try:
        if match:
            return date(2000, int(match[1]), int(match[2])).strftime("--%m-%d")
        day = context.moment(typed, Lean.PAST).day
    except (ValueError, PaError) as error:
        raise PaError(f'--birthday must be a date such as 1990-11-23, 11-23 or "23 Nov", not "{typed[:30]}"') from error
    return day.isoformat() if YEARED.fullmatch(typed) else day.strftime("--%m-%d")


def _all(context: Context) -> list[dict[str, Value]]:
    return [dict(row) for row in context.db.execute("SELECT * FROM contacts ORDER BY name COLLATE NOCASE, id")]
