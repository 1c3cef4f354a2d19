"""The table of commands: two words, what they take, and what runs. Nothing else."""

from collections.abc import Callable

from .arguments import Arguments, Shape
from .commands import contacts, meals, money, overview, profile, pulse, query, reminders, rows, schema, tasks, undo
from .context import Context

Run = Callable[[Context, Arguments], list[str]]

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
# Other words that come to a model's mind for the first and the second word.
FIRST_WORDS = {
    "expenses": "expense",
    "incomes": "income",
    "meals": "meal",
    "tasks": "task",
    "todo": "task",
    "reminder": "remind",
    "reminders": "remind",
    "goals": "goal",
    "contacts": "contact",
    "rows": "row",
    "search": "find",
}
SECOND_WORDS = {
    "new": "add",
    "show": "list",
    "ls": "list",
    "update": "edit",
    "complete": "done",
    "remove": "delete",
    "rm": "delete",
}
# A second word that a subject has no command for is not the beginning of something new: `pa contact edit 3`.
VERBS = {second for _, second in COMMANDS if second} | {
    *("cancel", "change", "clear", "close", "finish", "get", "modify", "move"),
    *("postpone", "reopen", "reschedule", "search", "snooze", "view"),
}
