"""`pa evolve`: the database grows with the person: new tables, columns, indexes, each with its reason.

Growth only. What is there is never dropped, renamed or narrowed: the core tables may get plain columns (no constraint
that could refuse a row of the other commands), the program's own books stay as they are. A copy of the database from
just before lies beside it.
"""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from ..arguments import Arguments, Shape
from ..context import Context
from ..database import copy_database, open_database, transaction
from ..errors import PaError
from ..text import clean, one_line

EVOLVE = Shape(
    'pa evolve "CREATE TABLE ..." | "ALTER TABLE ... ADD COLUMN ..." | "CREATE INDEX ..." --why TEXT',
    'pa evolve "CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT NOT NULL, read_on TEXT)" --why "tracks reading"',
    ("why",),
)

CORE = frozenset({"tasks", "meals", "goals", "expenses", "income", "contacts"})
OWN_BOOKS = frozenset({"reminders", "reminder_attempts", "schema_changes", "journal", "pulse_marks"})
KEPT_COPIES = 5

WORD = r"[A-Za-z_][A-Za-z0-9_]*"
CREATE_TABLE = re.compile(rf"CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<table>{WORD})\s*\((?P<rest>.*)", re.I | re.S)
ADD_COLUMN = re.compile(rf"ALTER\s+TABLE\s+(?P<table>{WORD})\s+ADD\s+(?:COLUMN\s+)?(?P<rest>{WORD}\b.*)", re.I | re.S)
CREATE_INDEX = re.compile(
    rf"CREATE\s+(?P<unique>UNIQUE\s+)?INDEX\s+(?:IF\s+NOT\s+EXISTS\s+)?{WORD}\s+ON\s+(?P<table>{WORD})\s*\((?P<rest>.*)",
    re.I | re.S,
)
PLAIN_COLUMN = re.compile(
    rf"{WORD}\s+(?:INTEGER|INT|REAL|TEXT|BLOB|ANY)(?:\s+DEFAULT\s+(?:-?[0-9.]+|'[^']*'|NULL))?", re.IGNORECASE
)
PLAIN_INDEX = re.compile(rf"\s*{WORD}(?:\s+(?:ASC|DESC))?(?:\s*,\s*{WORD}(?:\s+(?:ASC|DESC))?)*\s*\)", re.I)
OWN_ID = re.compile(r"\bid\s+INTEGER\s+PRIMARY\s+KEY\b", re.I)


def evolve(context: Context, args: Arguments) -> list[str]:
    """One statement of growth, all or nothing, written into schema_changes with its reason."""
    statement = clean(" ".join(args.words)).rstrip("; \n")
    why = args.text("why")
    if not statement or not why:
        raise args.wrong("a statement and --why are needed")
    _check(args, statement)
    with transaction(context.db) as db:  # from here on: another change at the same time makes a copy of its own
        before = _schema_of(db)
        copy = _copy(context)
        try:
            db.execute(statement)
            changed = _schema_of(db) != before
            if changed:
                _write_down(db, statement, why, copy.name, context.stamp)
        except (sqlite3.Error, sqlite3.Warning) as error:
            copy.unlink(missing_ok=True)
            raise PaError(f"SQL: {one_line(str(error))}; nothing was changed") from error
    if not changed:
        copy.unlink(missing_ok=True)
        return ["ok nothing to change, it is there already"]
    _thin_out(copy.parent)
    return [f"ok schema changed: {one_line(statement)}"]


def _check(args: Arguments, statement: str) -> None:
    """Only growth gets through. Raises PaError with the reason."""
    for pattern in (CREATE_TABLE, ADD_COLUMN, CREATE_INDEX):
        match = pattern.fullmatch(statement)
        if match:
            break
    else:
        raise args.wrong("only CREATE TABLE name (...), ALTER TABLE name ADD COLUMN and CREATE INDEX are possible")
    table = match["table"].lower()
    if table in OWN_BOOKS or table.startswith("sqlite_"):
        raise args.wrong(f"{table} is not yours to change")
    if pattern is CREATE_TABLE and table not in CORE and not OWN_ID.search(match["rest"]):
        raise args.wrong("a table needs the column: id INTEGER PRIMARY KEY")
    if re.search(r"\)\s*WITHOUT\s+ROWID|\bAS\s+SELECT\b", statement, re.I):
        raise args.wrong("WITHOUT ROWID and AS SELECT are not possible")
    if re.search(r"\browid\b", statement, re.I):
        raise args.wrong("rowid is the database's own name for a row; choose another")
    if table in CORE and pattern is ADD_COLUMN and not PLAIN_COLUMN.fullmatch(match["rest"].strip()):
        raise args.wrong(f"a column of {table} must be plain: NAME INTEGER|REAL|TEXT [DEFAULT value], nothing else")
    if table in CORE and pattern is CREATE_INDEX and (match["unique"] or not PLAIN_INDEX.fullmatch(match["rest"])):
        raise args.wrong(f"{table} cannot get a UNIQUE index, nor one of anything but columns: it could refuse rows")


def _schema_of(db: sqlite3.Connection) -> list[tuple[str, str]]:
    return [tuple(row) for row in db.execute("SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name")]


def _copy(context: Context) -> Path:
    """The database as it is, beside itself. Read past our own transaction, which a copy may not be made from."""
    number = context.db.execute("SELECT coalesce(max(id), 0) + 1 FROM schema_changes").fetchone()[0]
    path = context.database_path
    target = path.parent / "copies" / f"{path.stem}-before-change-{number:04d}{path.suffix}"
    with closing(open_database(path)) as source:
        copy_database(source, target)
    return target


def _write_down(db: sqlite3.Connection, statement: str, why: str, copy_name: str, now: str) -> None:
    db.execute(
        "INSERT INTO schema_changes (statement, why, copy_file, created_at) VALUES (?, ?, ?, ?)",
        (statement, why, copy_name, now),
    )


def _thin_out(folder: Path) -> None:
    """The last few copies stay."""
    for old in sorted(folder.glob("*-before-change-*"))[:-KEPT_COPIES]:
        old.unlink(missing_ok=True)
