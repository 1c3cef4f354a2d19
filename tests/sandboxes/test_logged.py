"""`sandbox/logged.py`: codes, signals and last words are kept; a flood is held; in a sandbox nobody goes round it."""

import asyncio
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from clawkakad.sandboxes import image
from tests.bench.process import rss_mib
from tests.e2e.conftest import docker
from tests.support import IMAGE

HERE = [sys.executable, "-IS", str(image.source_directory() / "logged.py")]
LINES_PER_S = 1000
FLOOD_S = 2
IN_A_PIPE = 16 * 1024 + 4096  # lines, of a byte and less, that may be left over at the end
LATE = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done"


async def logged(*words: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *HERE, *words, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, bytes]:
    """Its exit code, and the rest of its output."""
    async with asyncio.timeout(20):
        output, _ = await process.communicate()
    return process.returncode, output


@pytest.mark.parametrize(
    ("script", "code", "output"),
    [
        ("echo one; echo two", 0, b"one\ntwo\n"),
        ("echo refused >&2; exit 78", 78, b"refused\n"),
        ("printf 'half a line'; exit 1", 1, b"half a line"),
        ("echo dead; kill -9 $$", 137, b"dead\n"),
        ("sleep 60 > /dev/null & echo outlived", 0, b"outlived\n"),
        ("sleep 3 & echo 'outlived, and could still print'", 0, b"outlived, and could still print\n"),
        (r"printf '\377\000\303\244 \\n'", 0, b"\xff\x00\xc3\xa4 \\n"),
    ],
    ids=["ends", "a code and an error", "half a line", "killed", "outlived", "outlived by a holder", "bytes"],
)
async def test_the_output_and_the_code_are_the_commands(script: str, code: int, output: bytes) -> None:
    assert await ended(await logged("sh", "-c", script)) == (code, output)


async def test_of_much_that_is_left_over_the_end_is_said() -> None:
    code, output = await ended(await logged("sh", "-c", "seq 1 9000; echo why; exit 78"))

    assert code == 78
    assert output.endswith(b"8999\n9000\nwhy\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_is_the_commands(number: signal.Signals) -> None:
    process = await logged("sh", "-c", LATE.replace("TERM", number.name.removeprefix("SIG")))
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"

    process.send_signal(number)

    assert await ended(process) == (3, b"bye\n")


async def test_a_signal_in_the_first_moments_is_not_lost() -> None:
    """Whenever it comes, somebody ends by it: this program before it has a command, or the command."""
    for after_s in (0.005 * step for step in range(12)):
        process = await logged("sleep", "60")
        await asyncio.sleep(after_s)
        process.terminate()
        code, _ = await ended(process)
        assert code in (-signal.SIGTERM, 128 + signal.SIGTERM)


async def test_a_flood_comes_to_a_thousand_lines_a_second() -> None:
    began = time.monotonic()
    code, output = await ended(await logged("timeout", "-s", "KILL", str(FLOOD_S), "yes"))
    took_s = time.monotonic() - began

    assert code == 137
    assert 100 < output.count(b"\n") < LINES_PER_S * took_s + IN_A_PIPE


async def test_a_line_without_an_end_costs_no_memory() -> None:
    process = await logged("sh", "-c", "timeout -s KILL 2 cat /dev/zero")
    await asyncio.sleep(1.5)
    grown_mib = rss_mib(process.pid)
    await ended(process)

    assert grown_mib < 20


async def test_its_end_waits_for_nobody_who_reads() -> None:
    """An engine that is away takes nothing off the pipe."""
    process = await logged("sh", "-c", "timeout -s KILL 1 yes; exit 5")

    async with asyncio.timeout(20):
        assert await process.wait() == 5


async def test_errors_can_be_thrown_away() -> None:
    assert await ended(await logged("--no-errors", "sh", "-c", "echo no >&2; echo yes; exit 4")) == (4, b"yes\n")


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [((), 2, b"usage"), (("--no-errors",), 2, b"usage"), (("/nowhere",), 127, b"/nowhere cannot be run: No such file")],
)
async def test_what_cannot_be_run_is_said(words: tuple[str, ...], code: int, complaint: bytes) -> None:
    process = await logged(*words)
    async with asyncio.timeout(20):
        _, errors = await process.communicate()

    assert process.returncode == code
    assert errors.startswith(complaint)


# In a container of the real image -------------------------------------------------------------------------------------

LOGGED = "/usr/local/lib/clawkaka/logged"
SEALED = ("--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")
# Every process but this one: which hold a pipe that can be written to, and which let nobody look.
LOOK = """
for process in /proc/[0-9]*; do
    [ "$process" = "/proc/$$" ] && continue
    name=$(tr '\\0' ' ' < $process/cmdline | cut -c -80)
    if ls $process/fd > /dev/null 2>&1; then
        for pipe in $process/fd/[12]; do
            readlink $pipe | grep -q ^pipe: && echo x 2> /dev/null > $pipe && echo "open: $name"
        done
    elif [ -e $process ]; then
        echo "sealed: $name"
    fi
done; true"""


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[str]:
    """A container in which the daemon's own command runs beside what its agent does."""
    name = f"logged-{uuid.uuid4().hex[:8]}"
    words = [f"--name={name}", "--entrypoint=/usr/bin/tini", IMAGE, "--", LOGGED, "sleep", "60"]
    await docker("run", "--detach", "--rm", *SEALED, *words)
    try:
        yield name
    finally:
        await docker("rm", "-f", name)


async def look_beside(name: str, *words: str) -> list[str]:
    """What an agent finds while the daemon runs a command inside."""
    pulse = asyncio.create_task(docker("exec", name, *words, "sleep", "3"))
    await asyncio.sleep(1)
    found = (await docker("exec", "--user=1000", name, "sh", "-c", LOOK)).splitlines()
    await pulse
    return [line for line in found if not line.startswith("open: sleep 60")]  # its output is a pipe of `logged`


@pytest.mark.e2e
async def test_the_pipes_to_the_engine_are_held_by_who_lets_nobody_look(sandbox: str) -> None:
    found = await look_beside(sandbox, LOGGED, "--no-errors")

    assert sorted(line.split()[1].rpartition("/")[2] for line in found if line.startswith("sealed: ")) == [
        "sealed-python",
        "sealed-python",
        "tini",
    ]
    assert [line for line in found if not line.startswith("sealed: ") and not line.startswith("open: sleep 3")] == []


@pytest.mark.e2e
async def test_a_command_without_it_is_found(sandbox: str) -> None:
    """A look that could not find anything would prove nothing: this is what `docker exec` alone gives away."""
    assert "open: timeout 20 sleep 3 " in await look_beside(sandbox, "timeout", "20")
