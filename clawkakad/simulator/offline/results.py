"""The output of `pa`, read, and put into words for a person. No I/O.

Success is a line that starts with `ok`, and nothing else is.
"""

import re
import shlex
from dataclasses import dataclass
from datetime import date

DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
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


def command(*words: str, **options: str) -> str:
    """A command line, quoted for the shell; options without a value are left out."""
    named = [part for name, value in options.items() if value for part in (f"--{name.rstrip('_')}", value)]
    return shlex.join(["pa", *words, *named])


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
    """`280.00` is `280`, and `2026-11-27 18:30` is `Fri 27 Nov 18:30`."""
    return DATE.sub(_spoken, re.sub(r"(\d)\.00\b", r"\1", line))


def _spoken(found: re.Match[str]) -> str:
    try:
        day = date.fromisoformat(found[0])
    except ValueError:
        return found[0]
    return f"{day:%a} {day.day} {day:%b}"
