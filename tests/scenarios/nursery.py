"""A nursery of daemons: one process that has imported everything, and becomes a daemon by fork whenever one is wanted.

A daemon needs most of its start for imports; the tests start hundreds. Each one is a process of its own with an
environment of its own, and runs what `clawkakad run` runs. A connection is one life: a line of JSON in, then the
process id, and when it has ended its exit code. The nursery ends, and all its daemons with it, when its stdin does.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PROJECT = Path(__file__).parent.parent.parent


class Forked:
    """One daemon, as far as a test needs a process. `returncode` is negative for a signal."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._fd = os.pidfd_open(pid)
        self._end = asyncio.create_task(self._watch(reader, writer), name=f"life of {pid}")

    def send_signal(self, number: int) -> None:
        """Raises ProcessLookupError if it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        signal.pidfd_send_signal(self._fd, number)

    async def wait(self) -> int:
        """Its exit code."""
        return await asyncio.shield(self._end)

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        self.returncode = int(await reader.readline())
        os.close(self._fd)
        writer.close()
        return self.returncode


class Nursery:
    """The tests' side."""

    def __init__(self, socket_path: Path) -> None:
        self._socket = socket_path
        command = (sys.executable, "-m", "tests.scenarios.nursery", str(socket_path))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"open\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=10)

    async def start(self, environ: Mapping[str, str], *, log: Path, orders: Path) -> Forked:
        """A daemon with exactly this environment."""
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        wanted = {"environ": dict(environ), "log": str(log), "orders": str(orders)}
        writer.write(json.dumps(wanted).encode() + b"\n")
        pid = int(await reader.readline())
        return Forked(pid, reader, writer)


# The other side ----------------------------------------------------------------------------------------------------


def serve(path: Path) -> None:
    """Fork at every connection, and tell who asked how it ended."""
    import phonenumbers

    from tests.scenarios import dying

    phonenumbers.parse("+915550100123")
    with socket.socket(socket.AF_UNIX) as listener, selectors.DefaultSelector() as selector:
        listener.bind(str(path))
        listener.listen()
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        print("open", flush=True)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is not listener:
                    _ended(selector, key)
                    continue
                connection, _ = listener.accept()
                pid = _fork(connection, dying.run)
                connection.sendall(f"{pid}\n".encode())
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))


def _ended(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    pid, connection = key.data
    selector.unregister(key.fd)
    os.close(key.fd)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(OSError):  # the test may have ended, and not want to know
        connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    connection.close()


def _fork(connection: socket.socket, run: Any) -> int:
    wanted = json.loads(connection.makefile().readline())
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = _be(wanted, run)
        finally:
            os._exit(code)
    return pid


def _be(wanted: dict[str, Any], run: Any) -> int:
    """The child: nothing of the nursery is left open."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    output = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, 4096)
    os.environ.clear()
    os.environ.update(wanted["environ"])
    try:
        run(Path(wanted["orders"]))
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
