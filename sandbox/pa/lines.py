"""One compact line for each kind of row, the same wherever it appears. No input or output."""

from datetime import date
from zoneinfo import ZoneInfo

from .journal import Value
from .money import format_amount
from .text import one_line, plain_number, quoted
from .when import instant

Columns = dict[str, Value]


def expense_line(row: Columns) -> str:
    """`expense 1: 280.00 INR, Transport, "Uber to office", 2026-11-22`."""
    return _joined(f"expense {row['id']}: {_amount(row)}", one_line(str(row["category"])), _what(row), row["day"])


def income_line(row: Columns) -> str:
    """`income 1: 50000.00 INR, "salary", 2026-11-01`."""
    return _joined(f"income {row['id']}: {_amount(row)}", _what(row), row["day"])


def meal_line(row: Columns) -> str:
    """`meal 2: "2 dosas", 350 kcal, breakfast`."""
    eaten = {name: row[f"{name}_g"] for name in MACROS}
    grams = [f"{name} {plain_number(float(value))} g" for name, value in eaten.items() if value is not None]
    return _joined(f"meal {row['id']}: {quoted(str(row['what']))}", f"{row['kcal']} kcal", row["meal"], *grams)


def task_line(row: Columns) -> str:
    """`task 4: "Pay rent", due 2026-11-25 09:00`."""
    due = due_words(row)
    return _joined(f"task {row['id']}: {quoted(str(row['what']))}", due and f"due {due}")


def due_words(row: Columns) -> str:
    """The due day, with its wall time if it has one; empty when not due."""
    if row["due_at"] is None:
        return str(row["due_day"] or "")
    return instant(str(row["due_at"])).astimezone(ZoneInfo(str(row["zone"]))).strftime("%Y-%m-%d %H:%M")


def reminder_line(row: Columns) -> str:
    """`reminder 3: "call mom", 2026-11-23 09:00 (Asia/Kolkata)`."""
    when = f"{row['wall']} ({row['zone']})"
    return f"reminder {row['id']}: {quoted(str(row['text']))}, {one_line(when)}"


def contact_line(row: Columns) -> str:
    """`contact 1: "Asha", +91 98..., birthday 11-23, "sister"`."""
    name, phone = quoted(str(row["name"])), one_line(str(row["phone"] or ""))
    birthday = row["birthday"] and f"birthday {str(row['birthday']).removeprefix('--')}"
    return _joined(f"contact {row['id']}: {name}", phone, birthday, row["note"] and quoted(str(row["note"])))


def goal_line(row: Columns) -> str:
    """`goal kcal: 2000`."""
    return f"goal {one_line(str(row['kind']))}: {plain_number(float(row['value'] or 0))}"


MACROS = ("protein", "carbs", "fat")
LINES = {
    "expenses": expense_line,
    "income": income_line,
    "meals": meal_line,
    "tasks": task_line,
    "reminders": reminder_line,
    "contacts": contact_line,
    "goals": goal_line,
}


def row_line(table: str, row: Columns, row_id: int) -> str:
    """The line of any row: its own kind's, or `table 3: column=value, ...`."""
    if table in LINES:
        return LINES[table](row)
    cells = [f"{name}={one_line(str(value), 60)}" for name, value in row.items() if name != "id" and value is not None]
    return f"{table} {row_id}: {', '.join(cells)}"


def age_on(birthday: str, day: date) -> int | None:
    """The age that somebody turns in that year, None when the year of birth is not known."""
    return None if birthday.startswith("--") else day.year - int(birthday[:4])


def _amount(row: Columns) -> str:
    return format_amount(int(row["amount_minor"] or 0), str(row["currency"]))


def _what(row: Columns) -> str:
    return quoted(str(row["what"])) if row["what"] else ""


def _joined(*parts: Value) -> str:
    return ", ".join(str(part) for part in parts if part)
