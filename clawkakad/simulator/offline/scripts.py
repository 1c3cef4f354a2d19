"""What the offline model does about an intent, as scripts: generators that yield commands for the shell, get their
output, and return what to say. No I/O: `rules` replays them over the results in a request, so nothing is remembered.

A script never claims what the output does not confirm: success is a line that starts with `ok`.
"""

import re
import shlex
from collections.abc import Callable, Generator
from dataclasses import dataclass

from clawkakad.simulator.offline.intents import Intent, Kind

Script = Generator[str, str, str]

NOTHING = re.compile(r": 0(?: kcal \(0 meals\)| open, 0 overdue)?\Z")  # a line of `pa summary` with nothing in it
ROW = re.compile(r"(?:\w+ )?(?:expense|income|meal|task|reminder|contact) \d+: (?P<rest>.+)")  # a line of `pa find`
MOST_FOUND = 10
EXPENSE_LINE = re.compile(r'expense \d+: (?P<amount>[\d.,]+) (?P<currency>\w+), (?P<category>[^,]+), "(?P<what>.*)"')

ASK_NAME = "What should I call you?"
ASK_WORK = "What do you do, so that I know what matters to you?"
WHO_I_AM = "I'm your assistant: I remember things so that you don't have to."
CAN_DO = (
    "Tell me things like _Uber to office 280_, _had 2 dosas for breakfast_, _add task pay rent by friday_ or "
    "_remind me at 18:30 to call mom_, and ask _how much this week?_"
)
WHAT_I_AM = "I'm the offline model, so I run on fixed rules and didn't get that one."
TOOL_TROUBLE = "Nothing was changed. Try once more, or put it another way."


@dataclass(frozen=True)
class Result:
    """The output of a `pa` command, read."""

    output: str

    @property
    def ok(self) -> str | None:
        """What the first line that starts with `ok` says, without that word; None where nothing was confirmed."""
        match = re.search(r"^ok\b[ :]*(.*)$", self.output, re.MULTILINE)
        return None if match is None else match[1].strip()

    @property
    def failed(self) -> bool:
        """Whether the command itself says so. Lists and totals have no `ok` line."""
        return bool(re.search(r"^error:|command not found|exited with code", self.output, re.MULTILINE))

    @property
    def reason(self) -> str:
        """The reason of a failure in words for a person; empty where only a programmer would understand it."""
        match = re.search(r"^error:\s*([^;\n]+)", self.output, re.MULTILINE)
        reason = match[1].strip().rstrip(".") if match else ""
        return "" if re.search(r"--|\bpa\b|[A-Z]{4,}|traceback", reason) else reason

    @property
    def lines(self) -> list[str]:
        """What was printed, line by line."""
        return [line.removeprefix("ok").strip() for line in self.output.splitlines() if line.strip()]


def script_of(intent: Intent) -> Script:
    """The script for an intent."""
    return SCRIPTS[intent.kind](intent)


def command(*words: str, **options: str) -> str:
    """A command line, quoted for the shell; options without a value are left out."""
    named = [part for name, value in options.items() if value for part in (f"--{name.rstrip('_')}", value)]
    return shlex.join(["pa", *words, *named])


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
    return f"On your list: {intent['what']}{f', due {due[1]}' if due else ''}."


def _task_list(intent: Intent) -> Script:
    result = Result((yield command("task", "list")))
    if result.failed:
        return did_not_work("look at your tasks", result)
    tasks = [f"- {title}{due}" for _, title, due in tasks_in(result)]
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
    return f"Reminder set: {intent['what']}, {when[1] if when else intent['when']}."


def _remind_without_time(intent: Intent) -> Script:
    yield from ()
    what = intent["what"] if intent["what"].startswith("to ") else "to call mom"
    return f"When? Write _remind me at 18:30 {what}_, or _in 20 minutes_, or _tomorrow at 9_."


def _remind_list(intent: Intent) -> Script:
    result = Result((yield command("remind", "list")))
    if result.failed:
        return did_not_work("look at your reminders", result)
    found = re.findall(r'reminder (\d+): "(.*)", (\d{4}-\d{2}-\d{2} \d{2}:\d{2})', result.output)
    lines = [f"- {when}: {text} (no. {number})" for number, text, when in found]
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


def _name(intent: Intent) -> Script:
    result = Result((yield command("profile", "set", name=intent["name"])))
    if result.ok is None:
        return did_not_work("keep your name", result)
    return f"Good to meet you, {intent['name']}. {guess_in(result.ok)}{ASK_WORK}"


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


def work(source: str) -> Script:
    """What the person does goes into the notes about them, and then the first conversation is over."""
    note = shlex.quote(f"- What they do: {' '.join(source.split())[:300]}")
    result = Result(
        (yield f"sed -i '/^Status: not met yet/d' USER.md; printf '%s\\n' {note} >> USER.md && echo ok noted")
    )
    heard = "Noted." if result.ok is not None else "Good to know."
    return f"{heard} That's all I need: from here on just write to me as things happen. {CAN_DO}"


def introduction() -> Script:
    """Behind the first answer to somebody new: who writes here, and one question."""
    profile = yield command("profile")
    asked = f"{guess_in(profile)}{ASK_WORK}" if name_in(profile) else ASK_NAME
    return f"I'm your new assistant, by the way. {asked}"


def guess_in(profile: str) -> str:
    """What the number says about the person, for them to correct."""
    place = re.search(r"\bzone (?P<zone>[\w/+-]+), currency (?P<currency>[A-Z]{3})\b", profile)
    return f"I have you on {place['zone']} time, counting in {place['currency']}; tell me if not. " if place else ""


def name_in(profile: str) -> str:
    """The name in the output of `pa profile`, or nothing."""
    found = re.search(r"\bname (?P<name>[^,\n]+)", profile)
    return found["name"].strip() if found and found["name"].strip() != "unknown" else ""


def _greeting(intent: Intent) -> Script:
    """A stranger is asked for a name; somebody new is told who writes; the rest get a short hello."""
    profile = yield command("profile")
    name = name_in(profile)
    if not name:
        return f"Hi! {WHO_I_AM} {ASK_NAME}"
    if intent["first"]:
        return f"Hi {name}! {WHO_I_AM} {guess_in(profile)}{ASK_WORK}"
    return f"Hi {name}. What's up?"


def _thanks(intent: Intent) -> Script:
    yield from ()
    return "Any time."


def _help(intent: Intent) -> Script:
    yield from ()
    return f"I keep your expenses, meals, tasks and reminders. {CAN_DO}"


def _unknown(intent: Intent) -> Script:
    yield from ()
    return f"{WHAT_I_AM} {CAN_DO}"


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
    Kind.NAME: _name,
    Kind.ZONE: _zone,
    Kind.CURRENCY: _currency,
    Kind.GOAL: _goal,
    Kind.GREETING: _greeting,
    Kind.THANKS: _thanks,
    Kind.HELP: _help,
    Kind.UNKNOWN: _unknown,
}


def did_not_work(doing: str, result: Result) -> str:
    """Plain words for a failure: never a success, never the machinery."""
    why = f": {result.reason}" if result.reason else ""
    return f"I could not {doing}{why}. {TOOL_TROUBLE}"


def tasks_in(result: Result) -> list[tuple[str, str, str]]:
    """The tasks of a list: number, title, and `, due …` or nothing."""
    found: list[tuple[str, str, str]] = re.findall(r'task (\d+): "(.*?)"(, due [^,\n]+)?', result.output)
    return found


def matching(wanted: str, tasks: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The tasks whose title is the wanted words, else those that hold all of them."""
    same = [task for task in tasks if task[1].casefold() == wanted.casefold()]
    return same or [task for task in tasks if set(wanted.casefold().split()) <= set(task[1].casefold().split())]


def which_task(wanted: str, fitting: list[tuple[str, str, str]]) -> str:
    """A question where none or several fit."""
    if not fitting:
        return f"I have no open task like “{wanted}”."
    return "Which one? " + " or ".join(f"_done {number}_ ({title})" for number, title, _ in fitting) + "."


def plain(line: str) -> str:
    """`280.00` is `280`."""
    return re.sub(r"(\d)\.00\b", r"\1", line)
