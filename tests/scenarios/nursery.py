"""A nursery of daemons: one process that has imported everything, and becomes a daemon by fork whenever one is wanted.

A daemon needs most of its start for imports; the tests start hundreds. Each one is a process of its own with an
environment of its own, and runs what `clawkakad run` runs. The nursery has no address that others could ask at: a
request comes on a socket that it inherited, with another one for the answers: the process id, and when it has ended its
exit code. When the tests' end of that socket is closed it ends, and all its daemons with it.
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
LONGEST = 2**17  # bytes of a request
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

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = (sys.executable, "-m", "tests.scenarios.nursery", str(theirs.fileno()))
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()], cwd=PROJECT
        )
        theirs.close()
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"open\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._process.communicate(timeout=10)

    async def start(self, environ: Mapping[str, str], *, log: Path, orders: Path) -> Forked:
        """A daemon with exactly this environment."""
        ours, theirs = socket.socketpair()
        with theirs:
            wanted = {"environ": dict(environ), "log": str(log), "orders": str(orders)}
            socket.send_fds(self._control, [json.dumps(wanted).encode()], [theirs.fileno()])
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        return Forked(int(await reader.readline()), reader, writer)


# The other side ----------------------------------------------------------------------------------------------------


def serve(control: socket.socket) -> None:
    """Fork at every request, and tell who asked how it ended."""
    import phonenumbers

    from tests.scenarios import dying

    phonenumbers.parse("+915550100123")
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        print("open", flush=True)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not control:
                    _ended(selector, key)
                    continue
                request, descriptors, _, _ = socket.recv_fds(control, LONGEST, 1)
                if not request:
                    return
                connection = socket.socket(fileno=descriptors[0])
                pid = _fork(json.loads(request), dying.run)
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


def _fork(wanted: dict[str, Any], run: Any) -> int:
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
    serve(socket.socket(fileno=int(sys.argv[1])))
