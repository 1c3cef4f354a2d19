"""The command line. Every error that an operator can fix is one line and exit code 2.

The daemon is a command like any other, but what only the others need is not imported for it: it runs for weeks, and
that would be a tenth of its memory.
"""

import sys
from collections.abc import Callable

from clawkakad import log
from clawkakad.errors import ClawkakaError, UsageError


def main() -> None:
    """Run a command; what an operator can fix is said in a line, without a traceback."""
    log.configure("human", "WARNING")  # `run` has settings of its own for it
    try:
        _command(sys.argv[1:])()
    except UsageError as error:
        _complain(error)
        sys.exit(2)
    except ClawkakaError as error:
        _complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _command(arguments: list[str]) -> Callable[[], object]:
    if arguments == ["run"]:
        from clawkakad.cli.run import run

        return run
    from clawkakad.cli.commands import app

    return lambda: app(prog_name="clawkakad")


def _complain(error: ClawkakaError) -> None:
    from clawkakad.cli.common import complain

    complain(error)
