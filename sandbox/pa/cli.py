"""The table of commands, and the way in: find the command, run it, print its lines or one line of error.

Exit codes: 0 done, 2 refused with one `error:` line on standard error. Never a traceback: the reader is a model.
"""

import os
import sqlite3
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from .arguments import Arguments, Shape, parse
from .commands import contacts, meals, money, overview, profile, pulse, query, reminders, rows, schema, tasks, undo
from .context import Context
from .errors import PaError
from .host import HostApi
from .profile import read_profile
from .text import one_line

Run = Callable[[Context, Arguments], list[str]]

DATABASE = "/data/pa/pa.sqlite"
PROFILE = "/etc/clawkaka/profile.json"
HOST = "http://127.0.0.1:8080"

COMMANDS: dict[tuple[str, str], tuple[Shape, Run]] = {
    ("expense", "add"): (money.EXPENSE_ADD, money.add_expense),
    ("expense", "list"): (money.EXPENSE_LIST, money.list_expenses),
    ("expense", "edit"): (money.EXPENSE_EDIT, money.edit_expense),
    ("expense", "delete"): (money.EXPENSE_DELETE, money.delete_expense),
    ("income", "add"): (money.INCOME_ADD, money.add_income),
    ("income", "list"): (money.INCOME_LIST, money.list_income),
    ("income", "edit"): (money.INCOME_EDIT, money.edit_income),
    ("income", "delete"): (money.INCOME_DELETE, money.delete_income),
    ("meal", "add"): (meals.MEAL_ADD, meals.add_meal),
    ("meal", "list"): (meals.MEAL_LIST, meals.list_meals),
    ("meal", "edit"): (meals.MEAL_EDIT, meals.edit_meal),
    ("meal", "delete"): (meals.MEAL_DELETE, meals.delete_meal),
    ("task", "add"): (tasks.TASK_ADD, tasks.add_task),
    ("task", "list"): (tasks.TASK_LIST, tasks.list_tasks),
    ("task", "done"): (tasks.TASK_DONE, tasks.finish_task),
    ("task", "edit"): (tasks.TASK_EDIT, tasks.edit_task),
    ("task", "delete"): (tasks.TASK_DELETE, tasks.delete_task),
    ("remind", "add"): (reminders.REMIND_ADD, reminders.add_reminder),
    ("remind", "list"): (reminders.REMIND_LIST, reminders.list_reminders),
    ("remind", "cancel"): (reminders.REMIND_CANCEL, reminders.cancel_reminder),
    ("goal", "set"): (meals.GOAL_SET, meals.set_goal),
    ("goal", "list"): (meals.GOAL_LIST, meals.list_goals),
    ("contact", "add"): (contacts.CONTACT_ADD, contacts.add_contact),
    ("contact", "list"): (contacts.CONTACT_LIST, contacts.list_contacts),
    ("contact", "find"): (contacts.CONTACT_FIND, contacts.find_contacts),
    ("contact", "delete"): (contacts.CONTACT_DELETE, contacts.delete_contact),
    ("summary", ""): (overview.SUMMARY, overview.summary),
    ("find", ""): (overview.FIND, overview.find),
    ("undo", ""): (undo.UNDO, undo.undo),
    ("sql", ""): (query.SQL, query.query),
    ("evolve", ""): (schema.EVOLVE, schema.evolve),
    ("row", "add"): (rows.ROW_ADD, rows.add_own_row),
    ("row", "edit"): (rows.ROW_EDIT, rows.edit_own_row),
    ("row", "delete"): (rows.ROW_DELETE, rows.delete_own_row),
    ("pulse", ""): (pulse.PULSE, pulse.pulse),
    ("profile", ""): (profile.PROFILE, profile.show_profile),
    ("profile", "set"): (profile.PROFILE_SET, profile.set_profile),
}
# What is meant when the second word is missing: with something behind the first, and with nothing.
MEANT = {
    "expense": ("add", "list"),
    "income": ("add", "list"),
    "meal": ("add", "list"),
    "task": ("add", "list"),
    "remind": ("add", "list"),
    "goal": ("set", "list"),
    "contact": ("add", "list"),
    "row": ("", ""),
    "profile": ("set", ""),
}
FIRST_WORDS = {
    "expenses": "expense", "spend": "expense", "spent": "expense", "incomes": "income", "meals": "meal", "tasks": "task",
    "todo": "task", "reminder": "remind", "reminders": "remind", "goals": "goal", "contacts": "contact", "search": "find",
}
SECOND_WORDS = {"new": "add", "log": "add", "show": "list", "ls": "list", "update": "edit", "complete": "done", "finish": "done"}
SECOND_WORDS |= {"remove": "delete", "del": "delete", "rm": "delete"}


def main(typed: list[str]) -> int:
    """Runs one command; the exit code."""
    try:
        for line in run(typed):
            print(line)
    except PaError as error:
        return _refuse(str(error))
    except sqlite3.Error as error:
        return _refuse(f"the database said: {error}; nothing was saved, try again")
    except Exception as error:  # the edge of the program: a model can use one line, not a traceback
        where = traceback.extract_tb(error.__traceback__)[-1]
        return _refuse(f"pa broke ({type(error).__name__} in {Path(where.filename).name} line {where.lineno}); nothing is confirmed")
    return 0


def run(typed: list[str]) -> list[str]:
    """The lines that the command prints. Raises PaError."""
    if not typed or typed[0] in ("help", "-h", "--help"):
        return _help(typed[1:])
    shape, command, rest = _find(typed)
    if "-h" in rest or "--help" in rest:
        return [f"usage: {shape.usage}", f"example: {shape.example}"]
    context = _context()
    try:
        return command(context, parse(shape, rest))
    finally:
        context.close()


def _find(typed: list[str]) -> tuple[Shape, Run, list[str]]:
    """The command meant, and what is left to say for it."""
    first = FIRST_WORDS.get(typed[0].lower(), typed[0].lower())
    if (first, "") not in COMMANDS and first not in MEANT:
        raise PaError(f'there is no command "{one_line(typed[0], 30)}"; these are: {", ".join(_subjects())}; see: pa help')
    second = typed[1].lower() if len(typed) > 1 else ""
    second = _second(first, SECOND_WORDS.get(second, second))
    if second and (first, second) in COMMANDS:
        return *COMMANDS[first, second], typed[2:]
    meant = MEANT.get(first, ("", ""))[0 if typed[1:] else 1]
    if (first, meant) not in COMMANDS:
        raise PaError(f"usage: {' | '.join(shape.usage for shape in _shapes(first))}")
    return *COMMANDS[first, meant], typed[1:]


def _second(first: str, word: str) -> str:
    """Reminders are cancelled where other things are deleted."""
    return "cancel" if first == "remind" and word == "delete" else word


def _shapes(first: str) -> list[Shape]:
    return [shape for (subject, _), (shape, _) in COMMANDS.items() if subject == first]


def _subjects() -> list[str]:
    return list(dict.fromkeys(subject for subject, _ in COMMANDS))


def _help(about: list[str]) -> list[str]:
    wanted = FIRST_WORDS.get(about[0].lower(), about[0].lower()) if about else None
    shapes = _shapes(wanted) if wanted else []
    return [shape.usage for shape in shapes or (shape for shape, _ in COMMANDS.values())]


def _context() -> Context:
    """Where everything is: the image's places, which the environment may move."""
    return Context(
        now=_now(),
        profile=read_profile(Path(os.environ.get("PA_PROFILE") or PROFILE)),
        database_path=Path(os.environ.get("PA_DB") or DATABASE),
        host=HostApi(os.environ.get("PA_HOST") or HOST),
    )


def _now() -> datetime:
    """The clock; PA_NOW stands in for it when something is tried out at another time."""
    given = os.environ.get("PA_NOW")
    now = datetime.fromisoformat(given) if given else datetime.now(UTC)
    return now.astimezone(UTC).replace(microsecond=0)


def _refuse(sentence: str) -> int:
    print(f"error: {one_line(sentence, 600)}", file=sys.stderr)
    return 2
