"""`pa task`: what is to be done, and by when."""

from ..arguments import Arguments, Shape
from ..changes import add_row, delete_row, edit_row, existing, row_number
from ..context import Context
from ..days import Lean
from ..errors import PaError
from ..journal import Value
from ..lines import Columns, task_line
from ..text import folded
from .listing import shortened

TASK_ADD = Shape(
    "pa task add WHAT [--due WHEN] [--from TEXT]",
    'pa task add "Pay rent" --due "2026-11-25 09:00"',
    ("what", "due", "from"),
)
TASK_LIST = Shape("pa task list [--all]", "pa task list", flags=("all",))
TASK_DONE = Shape("pa task done ID", "pa task done 4")
TASK_EDIT = Shape("pa task edit ID [--what TEXT] [--due WHEN|none]", "pa task edit 4 --due friday", ("what", "due"))
TASK_DELETE = Shape("pa task delete ID", "pa task delete 4")


def add_task(context: Context, args: Arguments) -> list[str]:
    """Something to do."""
    what = args.text("what") or args.sentence
    if not what:
        raise args.wrong("WHAT is to be done is missing")
    due = _due(context, args)
    lines = add_row(context, "tasks", {"what": what, "zone": context.zone.key, **due, **context.origin(args)})
    late = " (overdue)" if due and is_overdue(context, {"state": "open", **due}) else ""
    return [lines[0] + late, *lines[1:]]


def list_tasks(context: Context, args: Arguments) -> list[str]:
    """Open tasks, the most pressing first; --all shows done ones too."""
    states = ("open", "done") if "all" in args.flags else ("open", "open")
    rows = context.db.execute(
        "SELECT * FROM tasks WHERE state IN (?, ?) ORDER BY state DESC, due_day IS NULL, due_day, due_at, id LIMIT 51",
        states,
    ).fetchall()
    return shortened([_listed(context, dict(row)) for row in rows]) or ["no open tasks"]


def finish_task(context: Context, args: Arguments) -> list[str]:
    """A task is done. It may be named by words of it when only one open task has them."""
    row = existing(context, "tasks", _task_number(context, args))
    if row["state"] == "done":
        return [f"ok already done, {task_line(row)}"]
    values: dict[str, Value] = {"state": "done", "done_at": context.stamp}
    line = edit_row(context, "tasks", int(row["id"] or 0), values, verb="done")
    return [f"ok done {line}"]


def edit_task(context: Context, args: Arguments) -> list[str]:
    """Another text or due time; editing a done task does not open it again."""
    values: dict[str, Value] = dict(_due(context, args))
    if what := args.text("what"):
        values["what"] = what
    if values.get("due_day"):
        values["zone"] = context.zone.key
    if not values:
        raise args.wrong("say what to change")
    return [f"ok {edit_row(context, 'tasks', row_number(args), values)}"]


def delete_task(context: Context, args: Arguments) -> list[str]:
    """A task that is not wanted any more."""
    return [f"ok deleted {delete_row(context, 'tasks', row_number(args))}"]


def is_overdue(context: Context, row: Columns) -> bool:
    """Open, and its time, or its whole day, is past."""
    if row["state"] != "open" or row["due_day"] is None:
        return False
    if row["due_at"] is not None:
        return str(row["due_at"]) < context.stamp
    return str(row["due_day"]) < context.today.isoformat()


def _due(context: Context, args: Arguments) -> dict[str, Value]:
    words = args.text("due")
    if not words:
        return {}
    if words.lower() in ("none", "never", "no"):
        return {"due_at": None, "due_day": None}
    moment = context.moment(words, Lean.FUTURE)
    return {"due_at": moment.stamp, "due_day": moment.day.isoformat()}


def _listed(context: Context, row: Columns) -> str:
    before = "done " if row["state"] == "done" else "overdue " if is_overdue(context, row) else ""
    return before + task_line(row)


def _task_number(context: Context, args: Arguments) -> int:
    try:
        return row_number(args)
    except PaError:
        words = folded(args.sentence)
    rows = context.db.execute("SELECT id, what FROM tasks WHERE state = 'open' ORDER BY id").fetchall()
    found = [int(row["id"]) for row in rows if words and words in folded(row["what"])]
    if len(found) == 1:
        return found[0]
    several = f"several tasks match: {', '.join(map(str, found[:9]))}" if found else "no open task matches"
    raise args.wrong(f"{several}; name it by its ID from: pa task list")
