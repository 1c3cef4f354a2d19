"""What the machine refuses an operator's command, a file or the registry, as a line that says what to do.

For commands alone: the daemon keeps its tracebacks, which its log is read for.
"""

import os
import sqlite3
from collections.abc import Callable

from clawkakad.errors import UsageError


def in_a_line(command: Callable[[], object]) -> Callable[[], object]:
    """The same command, which raises UsageError for that. A bug of ours, such as a broken constraint, stays one."""

    def run() -> object:
        try:
            return command()
        except OSError as error:
            raise UsageError(_of_a_file(error)) from error
        except sqlite3.OperationalError as error:  # locked, full, no rights
            raise UsageError(f"the registry cannot be used now: {error}") from error
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            way_out = "stop the daemon, then clawkakad restore FILE puts a backup back"
            raise UsageError(f"the registry is damaged ({error}): {way_out}") from error

    return run


def is_damage(error: Exception) -> bool:
    """Whether the registry is no database any more, or not a whole one: to try again is no help."""
    return type(error.__cause__ or error) is sqlite3.DatabaseError  # its subclasses mean other things


def _of_a_file(error: OSError) -> str:
    why = error.strerror or str(error) or type(error).__name__
    text = why if error.filename is None else f"{error.filename}: {why}"
    return f"{text}: run it as root" if isinstance(error, PermissionError) and os.geteuid() != 0 else text
