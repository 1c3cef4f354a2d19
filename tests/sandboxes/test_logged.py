"""`sandbox/logged` in a container of the real image: last words and codes are kept, and nobody can flood the engine."""

import asyncio
import time

import pytest

from clawkakad.sandboxes import commands
from tests.support import IMAGE

pytestmark = pytest.mark.e2e

LOGGED = "/usr/local/lib/clawkaka/logged"
SEALED = ("--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")
LINES_A_SECOND = 1000
FLOOD_S = 2
WRITES = "for pipe in /proc/[0-9]*/fd/[0-9]*; do [ -p $pipe ] && echo through $pipe > $pipe; done 2> /dev/null; true"


async def logged(script: str) -> tuple[int, list[str]]:
    """The exit code of a container that runs a shell script under `logged`, and its log, a character for each byte."""
    words = (
        "run",
        "--rm",
        *SEALED,
        "--entrypoint=/usr/bin/tini",
        IMAGE,
        "--",
        LOGGED,
        "sh",
        "-c",
        f"exec 2>&1; {script}",
    )
    command = await asyncio.create_subprocess_exec("docker", *words, stdout=-1, stderr=-1)
    async with asyncio.timeout(30):
        out, _ = await command.communicate()
    assert command.returncode is not None
    return command.returncode, out.decode("latin-1").split("\n")[:-1]


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("echo one; echo two", 0, ["one", "two"]),
        ("echo refused; exit 78", 78, ["refused"]),
        ("printf 'no newline \\\\ at the end'; exit 1", 1, ["no newline \\ at the end"]),
        ("seq 900; kill -9 $$", 137, [str(number) for number in range(1, 901)]),
        ("kill -TERM 1; sleep 5; echo not reached", 143, []),
        ("trap 'echo bye; exit 3' TERM; kill -TERM 1; while :; do sleep 0.1; done", 3, ["bye"]),
        ("sleep 60 & echo outlived", 0, ["outlived"]),
        ("printf 'of \\377 any \\303\\244 kind\\n'", 0, ["of \xff any \xc3\xa4 kind"]),
    ],
    ids=["ends", "a code", "half a line", "killed", "stopped", "stopped in its own way", "outlived", "bytes"],
)
async def test_the_last_words_and_the_code_are_the_commands(script: str, code: int, words: list[str]) -> None:
    assert await logged(script) == (code, words)


async def test_a_program_that_outlives_the_command_delays_the_end_by_a_second() -> None:
    began = time.monotonic()
    await logged("true")
    quick = time.monotonic() - began

    await logged("sleep 60 & true")

    assert time.monotonic() - began - quick < quick + 5


async def test_a_flood_comes_to_a_thousand_lines_a_second() -> None:
    code, lines = await logged(f"timeout -s KILL {FLOOD_S} yes; echo over")

    assert code == 0
    assert 100 < len(lines) < LINES_A_SECOND * (FLOOD_S + 3)  # what is in the pipe is read on for a second


async def test_nobody_goes_round_it() -> None:
    """Every pipe that can be opened leads to it: a thousand lines through each of them are late, like any others."""
    code, lines = await logged(f"{WRITES}; echo x > /proc/1/fd/1; ls /proc/1/fd; echo over")

    through = {line.split("/")[2] for line in lines if line.startswith("through")}
    assert code == 0
    assert through
    assert "1" not in through
    assert [line for line in lines if "Permission denied" in line and "/proc/1/fd" in line]
    assert lines[-1] == "over"


async def test_the_engine_can_be_flooded_without_it() -> None:
    """What is shown above is the work of `logged`: the same script writes to the engine where that is not there."""
    words = ("run", "--rm", *SEALED, "--entrypoint=/bin/sh", IMAGE, "-c", f"timeout -s KILL {FLOOD_S} yes; {WRITES}")
    code, lines = await commands.ask(*words)

    assert code == 0
    assert len(lines) > 10 * LINES_A_SECOND * FLOOD_S
    assert [line for line in lines if line.startswith("through /proc/1/fd/1")]
