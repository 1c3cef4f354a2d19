"""Periods such as `week`, and the rows that fall into one."""

from datetime import date, timedelta

from ..arguments import Arguments
from ..context import Context
from ..lines import row_line

MOST_LINES = 50
PERIODS = ("today", "yesterday", "week", "month", "year")


def period_of(context: Context, args: Arguments) -> tuple[str, date, date]:
    """The period named (today when none is), with its first and last day. A week begins on Monday."""
    name = args.sentence.lower().removeprefix("this ") or "today"
    today = context.today
    firsts = {
        "today": today,
        "yesterday": today - timedelta(days=1),
        "week": today - timedelta(days=today.weekday()),
        "month": today.replace(day=1),
        "year": today.replace(month=1, day=1),
    }
    if name not in firsts:
        raise args.wrong(f'"{name[:30]}" is no period that I know, these are: {", ".join(PERIODS)}')
    return name, firsts[name], firsts[name] if name == "yesterday" else today


def list_period(context: Context, args: Arguments, table: str) -> list[str]:
    """The rows of a table of days in the period, newest first."""
    name, first, last = period_of(context, args)
    rows = context.db.execute(
        f"SELECT * FROM {table} WHERE day BETWEEN ? AND ? ORDER BY day DESC, id DESC LIMIT ?",  # noqa: S608 - ours
        (first.isoformat(), last.isoformat(), MOST_LINES + 1),
    ).fetchall()
    if not rows:
        return [f"no {table} {name}"]
    return shortened([row_line(table, dict(row), row["id"]) for row in rows])


def shortened(lines: list[str], most: int = MOST_LINES) -> list[str]:
    """At most so many lines, and a word about the rest."""
    return lines if len(lines) <= most else [*lines[:most], "... and more; narrow it down"]
