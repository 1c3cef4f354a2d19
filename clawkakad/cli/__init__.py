"""The command line. Every error that an operator can fix is one line and exit code 2.

The daemon is a command like any other, but what only the others need is not imported for it: it runs for weeks, and
that would be a tenth of its memory.
"""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator

from clawkakad import log
from clawkakad.errors import ClawkakaError, UsageError

ENDINGS = (signal.SIGHUP, signal.SIGTERM)


def main() -> None:
    """Run a command; what an operator can fix is said in a line, without a traceback."""
    log.configure("human", "WARNING")  # `run` has settings of its own for it
    try:
        with _written():
            _command(sys.argv[1:])()
    except UsageError as error:
        _complain(error)
        sys.exit(2)
    except ClawkakaError as error:
        _complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


@contextlib.contextmanager
def _written() -> Iterator[None]:
    """What is printed is written in the end, or it is said that it cannot be; what a terminal cannot show is a "?"."""
    output = sys.stdout
    if not isinstance(output, io.TextIOWrapper):  # it was closed before we began
        yield
        return
    output.reconfigure(errors="replace")
    try:
        yield
    finally:
        try:
            output.flush()  # what could not be written before fails here again, and so is no other OSError
        except OSError as error:
            with open(os.devnull, "wb") as nothing:  # where Python itself flushes once more
                os.dup2(nothing.fileno(), output.fileno())
            if isinstance(error, BrokenPipeError):  # whoever read it has read enough
                sys.exit(1)
            raise UsageError(f"the output cannot be written: {error.strerror}") from error


def _command(arguments: list[str]) -> Callable[[], object]:
    if arguments == ["run"]:
        from clawkakad.cli.run import run

        return run
    _end_as_by_ctrl_c()
    from clawkakad.cli.commands import app
    from clawkakad.cli.refusals import in_a_line

    return in_a_line(lambda: app(prog_name="clawkakad"))


def _end_as_by_ctrl_c() -> None:
    """An SSH session that drops (SIGHUP) and SIGTERM are as good as Ctrl-C: what a command began is cleaned up."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A job in the background: Ctrl-C is for others, but asyncio must see ours, or it would fall between any two
        # steps of a task.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in ENDINGS:
        if signal.getsignal(number) is signal.SIG_DFL:  # else it is to go on: nohup
            signal.signal(number, _interrupt)


def _interrupt(*_: object) -> None:
    for number in ENDINGS:  # a session that drops sends several, and a second Ctrl-C would end the cleaning up
        signal.signal(number, signal.SIG_IGN)
    waits = signal.SIGINT in signal.sigpending()  # one that was for others comes as soon as it may, and is enough
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        if not waits:
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _complain(error: ClawkakaError) -> None:
    from clawkakad.cli.common import complain

    complain(error)
