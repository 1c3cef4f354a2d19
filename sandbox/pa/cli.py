"""The way in: find the command, run it, print its lines or one line of error.

Exit codes: 0 done, 2 refused with one `error:` line on standard error. Never a traceback: the reader is a model.
"""

import os
import sqlite3
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from .arguments import Shape, parse
from .context import Context
from .errors import PaError
from .profile import read_profile
from .table import COMMANDS, FIRST_WORDS, MEANT, SECOND_WORDS, VERBS, Run
from .text import one_line

DATABASE = "/data/pa/pa.sqlite"
PROFILE = "/etc/clawkaka/profile.json"
HOST = "http://127.0.0.1:8080"


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
        place = f"{Path(where.filename).name} line {where.lineno}"
        return _refuse(f"pa broke ({type(error).__name__} in {place}); nothing is confirmed")
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
        raise PaError(f'there is no command "{one_line(typed[0], 30)}"; there are: {", ".join(_subjects())}')
    second = typed[1].lower() if len(typed) > 1 else ""
    second = _second(first, SECOND_WORDS.get(second, second))
    if second and (first, second) in COMMANDS:
        return *COMMANDS[first, second], typed[2:]
    meant = MEANT.get(first, ("", ""))[0 if typed[1:] else 1]
    if (first, meant) not in COMMANDS or (first in MEANT and second in VERBS):
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
        host_url=os.environ.get("PA_HOST") or HOST,
    )


def _now() -> datetime:
    """The clock; PA_NOW stands in for it: the daemon looks and marks for a heartbeat as of one and the same moment."""
    given = os.environ.get("PA_NOW")
    now = datetime.fromisoformat(given) if given else datetime.now(UTC)
    return now.astimezone(UTC).replace(microsecond=0)


def _refuse(sentence: str) -> int:
    print(f"error: {one_line(sentence, 600)}", file=sys.stderr)
    return 2
