"""`pa summary` and `pa find`: looking back over everything."""

from collections import defaultdict
from datetime import date

from ..arguments import Arguments, Shape
from ..context import Context
from ..lines import MACROS, Columns, reminder_line, row_line
from ..money import format_amount
from ..text import folded, plain_number, plural, quoted
from ..when import instant
from .listing import period_of, shortened
from .tasks import is_overdue

SUMMARY = Shape("pa summary today|yesterday|week|month|year", "pa summary week")
FIND = Shape("pa find TEXT", "pa find uber")

MOST_FOUND = 20
SEARCHED = {
    "tasks": ("what", "source_text"),
    "reminders": ("text", "source_text"),
    "expenses": ("what", "category", "source_text"),
    "income": ("what", "source_text"),
    "meals": ("what", "meal", "source_text"),
    "contacts": ("name", "phone", "note", "source_text"),
}


def summary(context: Context, args: Arguments) -> list[str]:
    """Money, meals and tasks of a period, a line each."""
    name, first, last = period_of(context, args)
    return [
        _expenses(context, name, first, last),
        _income(context, name, first, last),
        _meals(context, name, first, last),
        _tasks(context, first, last),
        *_next_reminder(context),
    ]


def find(context: Context, args: Arguments) -> list[str]:
    """Rows that hold all the words, newest first, from every kind."""
    words = folded(args.sentence).split()
    if not words:
        raise args.wrong("TEXT is missing")
    found: list[tuple[str, str]] = []
    for table, columns in SEARCHED.items():
        for row in context.db.execute(f"SELECT * FROM {table}"):  # noqa: S608 - a name of ours
            held = folded(" ".join(str(row[column] or "") for column in columns))
            if all(word in held for word in words):
                found.append((row["created_at"], _found_line(table, dict(row))))
    found.sort(key=lambda pair: pair[0], reverse=True)
    return shortened([line for _, line in found], MOST_FOUND) or [f"nothing found with {quoted(args.sentence[:40])}"]


def _found_line(table: str, row: Columns) -> str:
    state = row.get("state")
    line = row_line(table, row, int(row["id"] or 0))
    return f"{state} {line}" if state in ("done", "cancelled", "gone") else line


def _expenses(context: Context, name: str, first: date, last: date) -> str:
    """`expenses today: 280.00 INR (Transport 280.00)`, a part for each currency, categories by weight."""
    rows = context.db.execute(
        """SELECT currency, category, sum(amount_minor) AS minor FROM expenses WHERE day BETWEEN ? AND ?
           GROUP BY currency, category ORDER BY minor DESC, category""",
        (first.isoformat(), last.isoformat()),
    )
    by_currency: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for row in rows:
        by_currency[row["currency"]].append((row["category"], row["minor"]))
    parts = [_with_categories(currency, shares) for currency, shares in sorted(by_currency.items())]
    return f"expenses {name}: {'; '.join(parts) or '0'}"


def _with_categories(currency: str, shares: list[tuple[str, int]]) -> str:
    total = format_amount(sum(minor for _, minor in shares), currency)
    inside = ", ".join(f"{category} {format_amount(minor, currency).split()[0]}" for category, minor in shares)
    return f"{total} ({inside})"


def _income(context: Context, name: str, first: date, last: date) -> str:
    rows = context.db.execute(
        """SELECT currency, sum(amount_minor) AS minor FROM income WHERE day BETWEEN ? AND ?
           GROUP BY currency ORDER BY currency""",
        (first.isoformat(), last.isoformat()),
    )
    parts = [format_amount(row["minor"], row["currency"]) for row in rows]
    return f"income {name}: {'; '.join(parts) or '0'}"


def _meals(context: Context, name: str, first: date, last: date) -> str:
    """`meals today: 350 kcal (1 meal)`, with the day's goal; over more days the average of those that have meals."""
    row = context.db.execute(
        """SELECT count(*) AS meals, count(DISTINCT day) AS days, coalesce(sum(kcal), 0) AS kcal,
                  sum(protein_g) AS protein, sum(carbs_g) AS carbs, sum(fat_g) AS fat
           FROM meals WHERE day BETWEEN ? AND ?""",
        (first.isoformat(), last.isoformat()),
    ).fetchone()
    goals = _goals_of_a_day(context) if first == last else {}
    goal = f" of {plain_number(goals['kcal'])}" if "kcal" in goals else ""
    grams = [_grams(kind, row[kind], goals.get(kind)) for kind in MACROS if row[kind] is not None]
    average = f", {round(row['kcal'] / row['days'])} kcal a day" if row["days"] > 1 else ""
    energy = f"{row['kcal']}{goal} kcal ({plural(row['meals'], 'meal')}){average}"
    return f"meals {name}: {', '.join([energy, *grams])}"


def _goals_of_a_day(context: Context) -> dict[str, float]:
    return {row["kind"]: row["value"] for row in context.db.execute("SELECT kind, value FROM goals")}


def _grams(kind: str, eaten: float, goal: float | None) -> str:
    return f"{kind} {plain_number(eaten)}{f' of {plain_number(goal)}' if goal else ''} g"


def _tasks(context: Context, first: date, last: date) -> str:
    """`tasks: 1 open, 0 overdue`, and how many were done in the period."""
    overdue, opened, done = 0, 0, 0
    for row in context.db.execute("SELECT * FROM tasks"):
        opened += row["state"] == "open"
        overdue += is_overdue(context, dict(row))
        if row["done_at"]:
            done += first <= instant(row["done_at"]).astimezone(context.zone).date() <= last
    return f"tasks: {opened} open, {overdue} overdue{f', {done} done' if done else ''}"


def _next_reminder(context: Context) -> list[str]:
    """How many reminders are to come, as far as the mirror knows, and the first of them."""
    rows = context.db.execute(
        "SELECT * FROM reminders WHERE state = 'pending' AND due_at > ? ORDER BY due_at", (context.stamp,)
    ).fetchall()
    return [f"reminders: {len(rows)} pending, next {reminder_line(dict(rows[0]))}"] if rows else []
