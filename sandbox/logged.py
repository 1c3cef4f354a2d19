#!/usr/local/lib/clawkaka/sealed-python -IS
"""logged [--no-errors] COMMAND…: runs it, and hands on what it prints at a pace that costs the engine little.

The engine spends more CPU on a line than who prints it, and no limit of the sandbox counts there: what is printed as
fast as an agent can takes a whole core. So its pipe is held by this program and by tini alone, both of which may be
executed and not read (mode 711): then the kernel lets nobody of the same user into their memory or their /proc/PID/fd
(proc(5), PR_SET_DUMPABLE). The command gets a pipe of ours, for both its streams. `--no-errors`: its standard error is
thrown away. Signals go to the command; its exit code is ours, 128 and the number where it was a signal.
"""

import os
import select
import signal
import sys
import time

LINES_PER_S, BYTES_PER_S = 1000, 256 * 1024
PIECE = 4096  # bytes that are read at once, and so what is handed on without a pause
LAST_S = 1.0  # for what the command has left behind, where something that outlives it could still print
LAST_BYTES = 16 * 1024  # of that: the end of it is what an operator is shown
OUTPUT, ERRORS = 1, 2
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Command:
    """What runs, and the reading end of what it prints."""

    def __init__(self, words: list[str], *, errors: bool) -> None:
        self._told: list[int] = []  # signals that came before there was anybody to tell
        self._pid = 0
        self.code: int | None = None
        self.bell, bell = os.pipe()  # rings at every signal
        os.set_blocking(self.bell, False)
        os.set_blocking(bell, False)
        signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for kind in PASSED_ON:
            signal.signal(kind, self._pass_on)
        self.printed, printing = os.pipe()
        self._pid = _start(words, printing, errors=errors)
        os.close(printing)
        for number in self._told:
            self._pass_on(number)

    def _pass_on(self, number: int, _: object = None) -> None:
        if not self._pid:
            self._told.append(number)
        elif self.code is None:
            try:
                os.kill(self._pid, number)
            except ProcessLookupError:
                return  # it has just ended

    def has_ended(self) -> bool:
        """Whether it has; from then on there is a code."""
        if self.code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.code = code if code >= 0 else 128 - code
        return self.code is not None

    def wait(self, seconds: float | None, *, reads: bool, writes: bool) -> tuple[bool, bool]:
        """Until a signal comes, or one of what is asked for is possible: which of the two is."""
        readers, writers = [self.bell] + [self.printed] * reads, [OUTPUT] * writes
        readable, writable, _ = select.select(readers, writers, [], seconds)
        if self.bell in readable:
            os.read(self.bell, PIECE)
        return self.printed in readable, bool(writable)


def _start(words: list[str], printing: int, *, errors: bool) -> int:
    """Start it with its output where it belongs, and with the signals as they were before Python."""
    output = (os.POSIX_SPAWN_DUP2, printing, OUTPUT)
    beside = (os.POSIX_SPAWN_DUP2, printing, ERRORS)
    nowhere = (os.POSIX_SPAWN_OPEN, ERRORS, os.devnull, os.O_WRONLY, 0)
    usual = [*PASSED_ON, signal.SIGPIPE, signal.SIGXFSZ]
    actions = [output, beside if errors else nowhere]
    return os.posix_spawnp(words[0], words, os.environ, file_actions=actions, setsigdef=usual)


def _say(text: bytes) -> bytes:
    """Write what can be written; the rest of it."""
    try:
        return text[os.write(OUTPUT, text) :]
    except BlockingIOError:
        return text
    except BrokenPipeError:
        return b""  # nobody listens any more


def hand_on(command: Command) -> bytes:
    """Hand on what it prints until it has ended; what is left over then."""
    held, due, is_open = b"", 0.0, True
    while not command.has_ended():
        now = time.monotonic()
        reads = is_open and not held and now >= due
        pause_s = due - now if is_open and not held and now < due else None
        readable, writable = command.wait(pause_s, reads=reads, writes=bool(held))
        if readable:
            held = os.read(command.printed, PIECE)
            is_open = bool(held)
            due = time.monotonic() + max(held.count(b"\n") / LINES_PER_S, len(held) / BYTES_PER_S)
        if writable:
            held = _say(held)
    return held


def say_last(command: Command, held: bytes) -> None:
    """The command's last words, without a pause: there are few of them, and they matter most."""
    until = time.monotonic() + LAST_S
    is_open = True
    while is_open and (left_s := until - time.monotonic()) > 0:
        if command.wait(left_s, reads=True, writes=False)[0]:
            piece = os.read(command.printed, LAST_BYTES)
            is_open = bool(piece)
            held = (held + piece)[-LAST_BYTES:]
    until = time.monotonic() + LAST_S
    while held and (left_s := until - time.monotonic()) > 0:
        if command.wait(left_s, reads=False, writes=True)[1]:
            held = _say(held)


def main(words: list[str]) -> int:
    """Run it, to its end."""
    errors = words[:1] != ["--no-errors"]
    words = words if errors else words[1:]
    if not words:
        print("usage: logged [--no-errors] COMMAND…", file=sys.stderr)
        return 2
    try:
        command = Command(words, errors=errors)
    except OSError as error:
        print(f"{words[0]} cannot be run: {error.strerror}", file=sys.stderr)
        return 127
    os.set_blocking(OUTPUT, False)  # an engine that is away must not keep us from seeing the command's end
    say_last(command, hand_on(command))
    return command.code or 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
