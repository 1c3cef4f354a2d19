"""`pa row`: rows of the tables and columns that `pa evolve` made.

The core columns have commands of their own that know their rules (minor units, zones); here they are out of reach.
"""

import sqlite3
from collections.abc import Callable

from ..arguments import Arguments, Shape
from ..changes import add_row, delete_row, edit_row, row_number
from ..context import Context
from ..database import first_columns
from ..errors import PaError
from ..journal import Value
from ..text import clean, one_line
from .schema import CORE, OWN_BOOKS

ROW_ADD = Shape("pa row add TABLE column=value ...", 'pa row add books "title=Dune" read_on=2026-11-22')
ROW_EDIT = Shape("pa row edit TABLE ID column=value ...", 'pa row edit books 1 "title=Dune Messiah"')
ROW_DELETE = Shape("pa row delete TABLE ID", "pa row delete books 1")


def add_own_row(context: Context, args: Arguments) -> list[str]:
    """A row of a table made by `pa evolve`."""
    table, columns = _table(context, args)
    if table in CORE:
        raise PaError(f"rows of {table} have their own command; see: pa help")
    return _told(lambda: add_row(context, table, _values(args, columns, args.words[1:])))


def edit_own_row(context: Context, args: Arguments) -> list[str]:
    """Columns of a row: any of an own table's, the added ones of a core table's."""
    table, columns = _table(context, args)
    allowed = columns - first_columns(table) if table in CORE else columns
    values = _values(args, allowed, args.words[2:])
    row_id = row_number(args, args.words[1:2])
    return _told(lambda: [f"ok {edit_row(context, table, row_id, values)}"])


def delete_own_row(context: Context, args: Arguments) -> list[str]:
    """A row of a table made by `pa evolve`."""
    table, _ = _table(context, args)
    if table in CORE:
        raise PaError(f"rows of {table} have their own command; see: pa help")
    row_id = row_number(args, args.words[1:])
    return _told(lambda: [f"ok deleted {delete_row(context, table, row_id)}"])


def _table(context: Context, args: Arguments) -> tuple[str, set[str]]:
    """The table that was named, and its columns."""
    name = args.words[0].lower() if args.words else ""
    columns = {str(row["name"]) for row in context.db.execute("SELECT name FROM pragma_table_info(?)", (name,))}
    if not columns or name in OWN_BOOKS or name.startswith("sqlite_"):
        raise args.wrong(f'there is no table "{name[:30]}" for rows; make one with pa evolve')
    return name, columns


def _values(args: Arguments, columns: set[str], pairs: list[str]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name.strip() not in columns - {"id"}:
            known = ", ".join(sorted(columns - {"id"})) or "none"
            raise args.wrong(f'"{one_line(pair, 40)}" is not column=value; columns here: {known}')
        values[name.strip()] = clean(value) or None
    if not values:
        raise args.wrong("column=value is missing")
    return values


def _told(change: Callable[[], list[str]]) -> list[str]:
    """The database's own rules (NOT NULL, types) as a sentence."""
    try:
        return change()
    except sqlite3.IntegrityError as error:
        raise PaError(f"the table refuses that: {one_line(str(error))}") from error
