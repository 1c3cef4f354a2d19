"""`pa sql`: any question to the database, read only, with bounded answers.

Three locks, because the question is whatever a model wrote: the file is opened read only, the authorizer lets through
nothing but reading, and time, rows and sizes are bounded.
"""

import math
import sqlite3
import time
from contextlib import closing

from ..arguments import Arguments, Shape
from ..context import Context
from ..currencies import CODES
from ..database import open_read_only
from ..errors import PaError
from ..money import format_amount
from ..text import one_line

SQL = Shape('pa sql "SELECT ..."', 'pa sql "SELECT day, what, money(amount_minor, currency) FROM expenses LIMIT 5"')
SHOW_TABLES = 'tables and columns: pa sql "SELECT name, sql FROM sqlite_schema"'

MOST_ROWS = 50
MOST_CELL = 200
LONGEST_S = 2.0
LARGEST_VALUE = 1_000_000  # bytes of one text or blob
READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
LOOKING = {"table_info", "table_list", "index_list", "index_info"}  # as PRAGMA; as functions they would write


def query(context: Context, args: Arguments) -> list[str]:
    r"""The rows, a line each, columns split by `|`, the names first.

    Within a name or a value a `|` is `\|`, a backslash is `\\`, and a line break is a blank.
    """
    statement = " ".join(args.words).strip()
    if not statement:
        raise args.wrong("the SELECT is missing")
    with closing(open_read_only(context.database_path)) as db:
        _bound(db)
        try:
            cursor = db.execute(statement)
            rows = cursor.fetchmany(MOST_ROWS + 1)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise PaError(_teach(str(error))) from error
        names = [column[0] for column in cursor.description or ()]
    if not rows:
        return ["no rows"]
    lines = ["|".join(map(_cell, names)), *("|".join(map(_cell, row)) for row in rows[:MOST_ROWS])]
    return [*lines, f"... more than {MOST_ROWS} rows; add WHERE or LIMIT"] if len(rows) > MOST_ROWS else lines


def _bound(db: sqlite3.Connection) -> None:
    end = time.monotonic() + LONGEST_S
    db.set_progress_handler(lambda: time.monotonic() > end, 10_000)
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
    db.create_function("money", 2, _money, deterministic=True)
    db.set_authorizer(_authorize)


def _authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    """Reading only: no writes, no ATTACH (it could open other files), only the pragmas that describe tables."""
    if action in READING or (action == sqlite3.SQLITE_PRAGMA and first in LOOKING):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _money(minor: float | None, currency: str | None) -> str | None:
    """`money(28000, 'INR')` is `280.00 INR`. An average is shown to the nearest minor unit."""
    if not isinstance(minor, int | float) or not math.isfinite(minor) or currency not in CODES:
        return None
    return format_amount(round(minor), currency)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{len(value)} bytes" if isinstance(value, bytes) else _escaped(one_line(str(value), MOST_CELL))


def _escaped(text: str) -> str:
    """So that every bare `|` splits columns. Backslashes too: one at a value's end would hide the `|` behind it."""
    return text.replace("\\", r"\\").replace("|", r"\|")


def _teach(message: str) -> str:
    if "not authorized" in message or "authorization denied" in message:
        return "pa sql only reads; to change rows use pa expense, pa task, pa row ..., for a table or column: pa evolve"
    if "interrupted" in message:
        return f"the query took longer than {LONGEST_S:.0f} s; narrow it down"
    return f"SQL: {one_line(message)}; {SHOW_TABLES}"
