"""What the offline model does about an intent, as scripts: generators that yield commands for the shell, get their
output, and return what to say. No I/O: `rules` replays them over the results in a request, so nothing is remembered.

A script never claims what the output does not confirm: success is a line that starts with `ok`.
"""

import re
from collections.abc import Callable

from clawkakad.simulator.offline import meeting
from clawkakad.simulator.offline.intents import Intent, Kind
from clawkakad.simulator.offline.meeting import Script
from clawkakad.simulator.offline.results import Result, command, did_not_work, matching, plain, tasks_in, which_task

NOTHING = re.compile(r": 0(?: kcal \(0 meals\)| open, 0 overdue)?\Z")  # a line of `pa summary` with nothing in it
ROW = re.compile(r"(?:\w+ )?(?:expense|income|meal|task|reminder|contact) \d+: (?P<rest>.+)")  # a line of `pa find`
MOST_FOUND = 10
EXPENSE_LINE = re.compile(r'expense \d+: (?P<amount>[\d.,]+) (?P<currency>\w+), (?P<category>[^,]+), "(?P<what>.*)"')

WHAT_I_AM = "I'm the offline model, so I run on fixed rules and didn't get that one."


def script_of(intent: Intent) -> Script:
    """The script for an intent."""
    return SCRIPTS[intent.kind](intent)


def _expense(intent: Intent) -> Script:
    result = Result(
        (
            yield command(
                "expense",
                "add",
                intent["amount"],
                what=intent["what"],
                category=intent["category"],
                currency=intent["currency"],
                at=intent["at"],
                from_=intent.source,
            )
        )
    )
    if result.ok is None:
        return did_not_work("log that expense", result)
    found = EXPENSE_LINE.match(result.ok)
    if found is None:
        return f"{intent['amount']}, {intent['category']}: {intent['what']}. Logged."
    return f"{plain(found['amount'])} {found['currency']}, {found['category']}: {found['what']}. Logged."


def _maybe_expense(intent: Intent) -> Script:
    yield from ()
    return f"Was that money? Write _spent {intent['amount']} on {intent['what'].lower()}_ and it's in the book."


def _income(intent: Intent) -> Script:
    result = Result(
        (
            yield command(
                "income", "add", intent["amount"], what=intent["what"], currency=intent["currency"], from_=intent.source
            )
        )
    )
    if result.ok is None:
        return did_not_work("log that income", result)
    found = re.match(r"income \d+: (?P<amount>[\d.,]+) (?P<currency>\w+)", result.ok)
    amount = f"{plain(found['amount'])} {found['currency']}" if found else intent["amount"]
    return f"{amount} in: {intent['what']}. Noted, and nice."


def _meal(intent: Intent) -> Script:
    result = Result(
        (yield command("meal", "add", intent["what"], kcal=intent["kcal"], meal=intent["meal"], from_=intent.source))
    )
    if result.ok is None:
        return did_not_work("log that meal", result)
    at = f" for {intent['meal']}" if intent["meal"] else ""
    return f"{intent['what'][:1].upper()}{intent['what'][1:]}{at}, about {intent['kcal']} kcal. Logged."


def _task_add(intent: Intent) -> Script:
    result = Result((yield command("task", "add", intent["what"], due=intent["due"], from_=intent.source)))
    if result.ok is None:
        return did_not_work("add that task", result)
    due = re.search(r", due (\S.*)$", result.ok)
    return f"On your list: {intent['what']}{f', due {plain(due[1])}' if due else ''}."


def _task_list(intent: Intent) -> Script:
    result = Result((yield command("task", "list")))
    if result.failed:
        return did_not_work("look at your tasks", result)
    tasks = [f"- {title}{plain(due)}" for _, title, due in tasks_in(result)]
    return "\n".join(["Open:", *tasks]) if tasks else "Nothing open. Enjoy it."


def _task_done(intent: Intent) -> Script:
    """By number at once; by words the one open task that fits, else a question."""
    wanted = intent["what"]
    if not wanted.lstrip("#").isdecimal():
        result = Result((yield command("task", "list")))
        if result.failed:
            return did_not_work("look at your tasks", result)
        fitting = matching(wanted, tasks_in(result))
        if len(fitting) != 1:
            return which_task(wanted, fitting)
        wanted = fitting[0][0]
    result = Result((yield command("task", "done", wanted.lstrip("#"))))
    if result.ok is None:
        return did_not_work("tick that off", result)
    title = re.search(r'"(.*)"', result.ok)
    return f"Done: {title[1]}. One less." if title else "Done. One less."


def _remind(intent: Intent) -> Script:
    result = Result((yield command("remind", "--at", intent["when"], "--from", intent.source, "--", intent["what"])))
    if result.ok is None:
        return did_not_work("set that reminder", result)
    when = re.search(r", (\d{4}-\d{2}-\d{2} \d{2}:\d{2})", result.ok)
    return f"Reminder set: {intent['what']}, {plain(when[1] if when else intent['when'])}."


def _remind_without_time(intent: Intent) -> Script:
    yield from ()
    what = intent["what"] if intent["what"].startswith("to ") else "to call mom"
    return f"When? Write _remind me at 18:30 {what}_, or _in 20 minutes_, or _tomorrow at 9_."


def _remind_list(intent: Intent) -> Script:
    result = Result((yield command("remind", "list")))
    if result.failed:
        return did_not_work("look at your reminders", result)
    found = re.findall(r'reminder (\d+): "(.*)", (\d{4}-\d{2}-\d{2} \d{2}:\d{2})', result.output)
    lines = [f"- {plain(when)}: {text} (no. {number})" for number, text, when in found]
    return "\n".join(["Coming up:", *lines]) if lines else "No reminders waiting."


def _remind_cancel(intent: Intent) -> Script:
    result = Result((yield command("remind", "cancel", intent["id"])))
    return f"Reminder {intent['id']} is off." if result.ok is not None else did_not_work("cancel that reminder", result)


def _summary(intent: Intent) -> Script:
    result = Result((yield command("summary", intent["span"])))
    if result.failed or not result.lines:
        return did_not_work("add that up", result)
    lines = [re.sub(r"^(\w+) (week|month):", r"\1 this \2:", plain(line)) for line in result.lines]
    told = [line for line in lines if not NOTHING.search(line)]
    span = "today" if intent["span"] == "today" else f"this {intent['span']}"
    return "\n".join(f"{line[:1].upper()}{line[1:]}" for line in told) or f"Nothing logged {span} yet."


def _find(intent: Intent) -> Script:
    result = Result((yield command("find", "--", intent["what"])))
    if result.failed:
        return did_not_work("search", result)
    found = [ROW.match(line) for line in result.lines[:MOST_FOUND]]
    rows = [f"- {plain(row['rest'])}" for row in found if row]
    return "\n".join(rows) or f"Nothing about {intent['what']} yet."


def _undo(intent: Intent) -> Script:
    result = Result((yield command("undo")))
    if result.ok is None:
        return f"Nothing undone: {result.reason}." if result.reason else "There was nothing that I could undo."
    found = re.search(r'"(.*?)"', result.ok)
    return f"Undone: {found[1]}." if found else "Undone."


def _zone(intent: Intent) -> Script:
    result = Result((yield command("profile", "set", zone=intent["zone"])))
    return (
        f"Your clock is {intent['zone']} now."
        if result.ok is not None
        else did_not_work("change your time zone", result)
    )


def _currency(intent: Intent) -> Script:
    result = Result((yield command("profile", "set", currency=intent["currency"])))
    done = f"Counting in {intent['currency']} from now on."
    return done if result.ok is not None else did_not_work("change your currency", result)


def _goal(intent: Intent) -> Script:
    result = Result((yield command("goal", "set", intent["kind"], intent["value"])))
    unit = "kcal" if intent["kind"] == "kcal" else f"g {intent['kind']}"
    return f"Goal: {intent['value']} {unit} a day." if result.ok is not None else did_not_work("set that goal", result)


def _thanks(intent: Intent) -> Script:
    yield from ()
    return "Any time."


def _help(intent: Intent) -> Script:
    yield from ()
    return f"I keep your expenses, meals, tasks and reminders. {meeting.CAN_DO}"


def _unknown(intent: Intent) -> Script:
    yield from ()
    return f"{WHAT_I_AM} {meeting.CAN_DO}"


SCRIPTS: dict[Kind, Callable[[Intent], Script]] = {
    Kind.EXPENSE: _expense,
    Kind.MAYBE_EXPENSE: _maybe_expense,
    Kind.INCOME: _income,
    Kind.MEAL: _meal,
    Kind.TASK_ADD: _task_add,
    Kind.TASK_DONE: _task_done,
    Kind.TASK_LIST: _task_list,
    Kind.REMIND: _remind,
    Kind.REMIND_WITHOUT_TIME: _remind_without_time,
    Kind.REMIND_LIST: _remind_list,
    Kind.REMIND_CANCEL: _remind_cancel,
    Kind.SUMMARY: _summary,
    Kind.FIND: _find,
    Kind.UNDO: _undo,
    Kind.NAME: meeting.name,
    Kind.ZONE: _zone,
    Kind.CURRENCY: _currency,
    Kind.GOAL: _goal,
    Kind.GREETING: meeting.greeting,
    Kind.THANKS: _thanks,
    Kind.HELP: _help,
    Kind.UNKNOWN: _unknown,
}
