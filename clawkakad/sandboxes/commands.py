"""Runs the command lines that an image is made with: docker, mmdebstrap, apt-get. Knows nothing of images.

The plain builder is asked for (DOCKER_BUILDKIT=0), which every engine has. Cancelled or timed out, a command is ended;
the engine then drops the unfinished step of a build.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from clawkakad.errors import EngineUnavailable, ImageBuildFailed
from clawkakad.sandboxes.image import plain

ASK_WITHIN_S = 30.0
TAIL_LINES = 20
LONGEST_LINE = 1 << 20  # bytes


async def ask(*arguments: str, within_s: float = ASK_WITHIN_S) -> tuple[int, list[str]]:
    """Exit code and answer of a short docker command: its output, or what it complained of if it failed.

    Raises EngineUnavailable when it hangs or is not there.
    """
    try:
        process = await _start(["docker", *arguments], stdin=False, stderr=asyncio.subprocess.PIPE)
    except FileNotFoundError as error:
        raise EngineUnavailable("there is no docker command here") from error
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
    command: list[str], hear: Callable[[str], None], *, within_s: float, what: str, stdin: bytes | None = None
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
    command: list[str], stdin: bytes | None, hear: Callable[[str], None]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command whose output has been heard to its end; leaving in a hurry (cancelled, timed out) ends it."""
    process = await _start(command, stdin=stdin is not None, stderr=asyncio.subprocess.STDOUT)
    try:
        async with asyncio.TaskGroup() as group:
            if stdin is not None:
                group.create_task(_feed(process, stdin), name="stdin of a command")
            group.create_task(_listen(process, hear), name="output of a command")
        yield process
    finally:
        await _end(process)


async def _start(command: list[str], *, stdin: bool, stderr: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        limit=LONGEST_LINE,
        env={**os.environ, "DOCKER_BUILDKIT": "0", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        await process.wait()


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(data)
        await process.stdin.drain()
        process.stdin.close()
        await process.stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        return  # it ended without reading all; its exit code tells


async def _listen(process: asyncio.subprocess.Process, hear: Callable[[str], None]) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        text = plain(line.decode(errors="replace"))
        if text:
            hear(text)
