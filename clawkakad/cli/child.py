"""The daemon as a child process of `clawkakad try`: started, watched until it serves, and stopped properly."""

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from clawkakad.cli.trial import last_words
from clawkakad.errors import UsageError

START_S = 60.0  # until it serves
STOP_S = 75.0  # its own deadlines for stopping, and a little
LOOK_S = 0.05
PR_SET_PDEATHSIG = 1  # linux/prctl.h

RUN = (sys.executable, "-m", "clawkakad", "run")


@dataclass(frozen=True)
class Child:
    """A daemon that serves on `port` of loopback."""

    port: int
    process: asyncio.subprocess.Process

    @property
    def webhook_url(self) -> str:
        """Where it takes webhooks."""
        return f"http://127.0.0.1:{self.port}/whatsapp/webhook"


@asynccontextmanager
async def running_child(
    environ: dict[str, str],
    log: Path,
    *,
    port: int,
    command: Sequence[str] = RUN,
    stopping: Callable[[], None] = lambda: None,
) -> AsyncIterator[Child]:
    """The daemon, as long as the block lasts. Raises UsageError, with its own words, if it ends before it serves.

    `stopping` is called before it is stopped, which takes a while.
    """
    read_from = log.stat().st_size if log.exists() else 0
    process = await _start(environ, log, command)
    try:
        await _until_it_serves(process, port, log, read_from)
        yield Child(port, process)
    finally:
        if process.returncode is None:
            stopping()
        await stop(process)


async def _start(environ: dict[str, str], log: Path, command: Sequence[str]) -> asyncio.subprocess.Process:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # A session of its own: Ctrl-C is for us, and we stop it in good order.
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    finally:
        os.close(output)


async def stop(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and after its own deadlines SIGKILL. Returns when it is gone."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.kill()
        raise


def free_port(wanted: int) -> int:
    """A port of loopback that is free now: the wanted one if it can be had."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UsageError("there is no free port on this machine")


async def _until_it_serves(process: asyncio.subprocess.Process, port: int, log: Path, read_from: int) -> None:
    try:
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
            while not await _serves(session, port):
                if process.returncode is not None:
                    raise UsageError(_why(log, read_from))
                await asyncio.sleep(LOOK_S)
    except TimeoutError as error:
        raise UsageError(f"the daemon does not serve after {START_S:.0f} s; see {log}") from error


async def _serves(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


def _why(log: Path, read_from: int) -> str:
    """The daemon's own last words in its log."""
    with log.open("rb") as file:
        file.seek(read_from)
        text = file.read().decode(errors="replace")
    return last_words(text) or f"the daemon ended at once; see {log}"


def _die_with_parent() -> None:
    """In the child, before the daemon: if we are killed, it is told to stop. A nicety of Linux; elsewhere nothing."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
