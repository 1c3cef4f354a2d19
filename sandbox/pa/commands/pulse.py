"""`pa pulse`: what needs attention now; nothing at all when nothing does.

Plain, it tells everything. For the heartbeat, `--new` tells only what is news, `--mark` tells the same and remembers
having told it. A finding is news at most once a day, after three times at most once a week, and anew when it changes
(another due time, another text).
"""

from dataclasses import dataclass
from datetime import date, timedelta

from ..arguments import Arguments, Shape
from ..context import Context
from ..database import transaction
from ..journal import Value
from ..lines import age_on, task_line
from ..text import quoted
from ..when import stamp
from .tasks import is_overdue

PULSE = Shape("pa pulse", "pa pulse", flags=("new", "mark"))

KINDS = ("overdue", "due soon", "due today", "due tomorrow")
SOON = timedelta(hours=3)
MOST_LINES = 10
DAILY_TIMES = 3  # after that, weekly
KEPT_MARKS = timedelta(days=400)


@dataclass(frozen=True)
class Finding:
    """One thing worth a look: a stable name, and the line to show."""

    name: str
    line: str


def pulse(context: Context, args: Arguments) -> list[str]:
    """The findings, a line each; with --new or --mark only the new ones."""
    if not args.flags:
        return _cut(findings(context))
    with transaction(context.db):
        news = [finding for finding in findings(context) if _is_news(context, finding)]
        if "mark" not in args.flags:
            return _cut(news)
        for finding in news[:MOST_LINES]:
            _mark(context, finding)
        context.db.execute("DELETE FROM pulse_marks WHERE reported_at < ?", (stamp(context.now - KEPT_MARKS),))
    return _cut(news)


def findings(context: Context) -> list[Finding]:
    """Overdue, due soon, due today or tomorrow, birthdays: the most pressing first."""
    rows = context.db.execute(
        "SELECT * FROM tasks WHERE state = 'open' AND due_day IS NOT NULL ORDER BY due_day, due_at, id"
    ).fetchall()
    kinds = [(_kind(context, dict(row)), dict(row)) for row in rows]
    return [_task(kind, row) for wanted in KINDS for kind, row in kinds if kind == wanted] + _birthdays(context)


def _task(kind: str | None, row: dict[str, Value]) -> Finding:
    return Finding(f"{kind} task {row['id']}", f"{kind} {task_line(row)}")


def _kind(context: Context, row: dict[str, Value]) -> str | None:
    """Tasks with a time are told when it comes near, those with only a day on that day and the day before."""
    if is_overdue(context, row):
        return "overdue"
    if row["due_at"] is not None:
        return "due soon" if str(row["due_at"]) <= stamp(context.now + SOON) else None
    days = (date.fromisoformat(str(row["due_day"])) - context.today).days
    return {0: "due today", 1: "due tomorrow"}.get(days)


def _birthdays(context: Context) -> list[Finding]:
    found = []
    contacts = context.db.execute("SELECT * FROM contacts WHERE birthday IS NOT NULL ORDER BY name").fetchall()
    for word, day in (("today", context.today), ("tomorrow", context.today + timedelta(days=1))):
        for row in contacts:
            if _falls_on(row["birthday"], day):
                age = age_on(row["birthday"], day)
                line = f"birthday {word}: {quoted(row['name'])}{f', turns {age}' if age else ''}"
                found.append(Finding(f"birthday {row['id']} {word}", line))
    return found


def _falls_on(birthday: str, day: date) -> bool:
    """29 February is kept on the 28th in the years without it."""
    tomorrow = day + timedelta(days=1)
    kept_today = birthday[-5:] == "02-29" and (day.month, tomorrow.month) == (2, 3)
    return kept_today or birthday[-5:] == day.strftime("%m-%d")


def _is_news(context: Context, finding: Finding) -> bool:
    mark = context.db.execute("SELECT * FROM pulse_marks WHERE finding = ?", (finding.name,)).fetchone()
    if mark is None or mark["line"] != finding.line:
        return True
    days = (context.today - date.fromisoformat(mark["day"])).days
    return days >= (1 if mark["times"] < DAILY_TIMES else 7)


def _mark(context: Context, finding: Finding) -> None:
    context.db.execute(
        """INSERT INTO pulse_marks (finding, line, times, reported_at, day) VALUES (:name, :line, 1, :now, :day)
           ON CONFLICT (finding) DO UPDATE SET times = CASE WHEN line = :line THEN times + 1 ELSE 1 END,
                                               line = :line, reported_at = :now, day = :day""",
        {"name": finding.name, "line": finding.line, "now": context.stamp, "day": context.today.isoformat()},
    )


def _cut(found: list[Finding]) -> list[str]:
    lines = [finding.line for finding in found[:MOST_LINES]]
    return [*lines, f"... and {len(found) - MOST_LINES} more"] if len(found) > MOST_LINES else lines
