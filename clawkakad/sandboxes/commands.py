"""Runs the command lines that an image is made with: docker, mmdebstrap, apt-get. Knows nothing of images.

The plain builder is asked for (DOCKER_BUILDKIT=0), which every engine has. Cancelled or timed out, a command is ended;
the engine then drops the unfinished step of a build.
"""

import asyncio
import os
import signal
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from clawkakad.errors import EngineUnavailable, ImageBuildFailed
from clawkakad.sandboxes.image import plain

ASK_WITHIN_S = 30.0
END_WITHIN_S = 10.0
TAIL_LINES = 20
LONGEST_LINE = 1 << 20  # bytes


async def ask(*arguments: str, within_s: float = ASK_WITHIN_S) -> tuple[int, list[str]]:
    """Exit code and answer of a short docker command: its output, or what it complained of if it failed.

    Raises EngineUnavailable when it hangs or is not there.
    """
    try:
        process = await _start(["docker", *arguments], stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
    except FileNotFoundError as error:
        raise EngineUnavailable("there is no docker command here: install it (apt-get install docker.io)") from error
    try:
        async with asyncio.timeout(within_s):
            output, complaint = await process.communicate()
    except TimeoutError as error:
        raise EngineUnavailable(f"docker {arguments[0]} gave no answer within {within_s:.0f} s") from error
    finally:
        await _end(process)
    code = await process.wait()
    text = complaint if code else output
    return code, [plain(line) for line in text.decode(errors="replace").splitlines() if line.strip()]


async def run(
    command: list[str], hear: Callable[[str], None], *, within_s: float, what: str, stdin: bytes = b""
) -> None:
    """Run a long command, telling each line of it. Raises ImageBuildFailed with its last lines."""
    tail: deque[str] = deque(maxlen=TAIL_LINES)

    def note(line: str) -> None:
        tail.append(line)
        hear(line)

    try:
        async with asyncio.timeout(within_s), _started(command, stdin, note) as process:
            code = await process.wait()
    except TimeoutError as error:
        raise ImageBuildFailed(f"{what} took longer than {within_s:.0f} s", output=tuple(tail)) from error
    if code != 0:
        raise ImageBuildFailed(f"{what} failed (exit code {code})", output=tuple(tail))


@asynccontextmanager
async def _started(
    command: list[str], stdin: bytes, hear: Callable[[str], None]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command whose output has been heard to its end; leaving in a hurry (cancelled, timed out) ends it."""
    with tempfile.TemporaryFile() as file:
        file.write(stdin)
        file.seek(0)
        process = await _start(command, stdin=file.fileno(), stderr=asyncio.subprocess.STDOUT)
        try:
            await _listen(process, hear)
            yield process
        finally:
            await _end(process)


async def _listen(process: asyncio.subprocess.Process, hear: Callable[[str], None]) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        text = plain(line.decode(errors="replace"))
        if text:
            hear(text)


async def _start(command: list[str], *, stdin: int, stderr: int) -> asyncio.subprocess.Process:
    """In a session of its own, so that it can be ended together with whatever it has started."""
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        limit=LONGEST_LINE,
        start_new_session=True,
        env={**os.environ, "DOCKER_BUILDKIT": "0", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask it and its children to end, then make them. Cancelling this leaves them asked."""
    for how, within_s in ((signal.SIGTERM, END_WITHIN_S), (signal.SIGKILL, None)):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await process.wait()
