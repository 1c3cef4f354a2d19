"""What several commands share: the clock, and how words from outside are shown.

People choose their names, sandboxes write their logs, errors quote both: none of it may be taken for markup by rich,
or for a command by the terminal.
"""

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from clawkakad.errors import UsageError
from clawkakad.registry import locked

ENGINE_ADVICE = "start Docker (systemctl start docker), or see to DOCKER_HOST and to this user's rights on it"

# Control characters but tab, Unicode's line ends, overrides of the direction, lone surrogates (not to be encoded).
_HARMFUL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def clock() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


def age(then: datetime | None, now: datetime) -> str:
    """How long ago, in one unit: 5 s, 3 min, 2 h, 4 d; "never" for None."""
    if then is None:
        return "never"
    seconds = max(0, int((now - then).total_seconds()))
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // size} {unit} ago"
    return f"{seconds // 86400} d ago"


def counted(count: int, one: str, more: str) -> str:
    """A number with its noun: 1 person, 2 people."""
    return f"{count} {one if count == 1 else more}"


def asked(question: Callable[[], bool], undone: str = "nothing was removed") -> None:
    """Go on only after a yes. Raises UsageError, on a line of its own, for a no, Ctrl-C or the end of the input."""
    try:
        agreed = question()
    except typer.Abort:
        agreed = False
        typer.echo(err=True)
    else:
        if not sys.stdin.isatty():  # nobody saw the answer, nor the end of its line
            typer.echo(err=True)
    if not agreed:
        raise UsageError(undone)


def destination(text: str) -> Path:
    """The path of a file to write, or of a directory for it. Raises UsageError where only a directory can be meant."""
    path = Path(text)  # which forgets the slash
    if text.endswith("/") and not path.is_dir():
        raise UsageError(f"there is no directory {path}: make it first, or leave the last / out for a file")
    return path


def new_file(target: Path, name: str) -> Path:
    """The file to write: `target`, or `name` in that directory. Raises UsageError where it is there already."""
    file = target / name if target.is_dir() else target
    if file.exists():
        raise UsageError(f"{file} is there already: name another file")
    return file.absolute()


def daemon_runs(state_dir: Path) -> bool:
    """Whether somebody has the lock that a daemon takes."""
    try:
        with locked(state_dir):
            return False
    except UsageError:
        return True


def harmless(text: str) -> str:
    """One line for a terminal: what would command it is spelled out, such as \\x1b."""
    return _HARMFUL.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def plain(text: str) -> Text:
    """The same for rich, which reads no markup in it."""
    return Text(harmless(text))


def say(text: str) -> None:
    """A line on standard error."""
    _stderr().print(plain(text))


def complain(error: Exception) -> None:
    """An error, line by line, on standard error."""
    for line in str(error).splitlines():
        _stderr().print(Text.assemble(("clawkakad:", "red"), " ", harmless(line)))


def _stderr() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)
