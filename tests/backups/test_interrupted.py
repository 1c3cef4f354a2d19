"""A backup or restore that is broken off, by Ctrl-C or an SSH session that drops: real processes, real signals."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from clawkakad.registry import FILE
from tests.backups.test_backup import ANN, BOB
from tests.backups.world import Installation
from tests.fakes.engine import FakeContainer
from tests.support import eventually

STARTS_WITHIN_S = 20  # Python and all imports, on a busy machine
AS_IN_A_SESSION = ("env", "--default-signal")  # whatever started the tests: a job in the background ignores Ctrl-C
IN_BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")  # as a shell does with `command &`


@contextlib.asynccontextmanager
async def clawkakad(
    home: Installation, *words: str | Path, by: Sequence[str] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command as a process of its own, whose input stays open. `by`: what starts it, if anything does."""
    process = await asyncio.create_subprocess_exec(
        *(*AS_IN_A_SESSION, *by, sys.executable, "-m", "clawkakad", *map(str, words)),
        env={
            "PATH": os.environ["PATH"],
            "CLAWKAKA_STATE_DIR": str(home.state),
            "CLAWKAKA_RUNTIME_DIR": str(home.directory / "run"),
            "DOCKER_HOST": home.engine.address,
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """Its exit code, and what it said on standard error until then."""
    assert process.stderr is not None
    async with asyncio.timeout(20):
        said = (await process.stderr.read()).decode()
        return await process.wait(), said


async def test_ctrl_c_at_the_question_puts_nothing_back(home: Installation, tmp_path: Path) -> None:
    _, anns = await home.person(ANN)
    await home.ok("backup", tmp_path / "b.tar")
    home.spend(anns, "after")
    async with clawkakad(home, "restore", tmp_path / "b.tar") as command:
        assert command.stderr is not None
        async with asyncio.timeout(STARTS_WITHIN_S):
            await command.stderr.readuntil(b"? [y/N]:")
        command.send_signal(signal.SIGINT)
        code, said = await ended(command)

    assert (code, said) == (2, "\nclawkakad: nothing was put back\n")
    assert ["after"] == home.expenses(anns)
    assert [] == list(home.state.glob(".clawkakad-*"))


@pytest.mark.parametrize("swaps", [0, 1])
async def test_who_breaks_off_a_restore_is_told_where_it_is_half_done(
    home: Installation, tmp_path: Path, swaps: int
) -> None:
    for number in (ANN, BOB):
        await home.person(number)
    await home.ok("backup", tmp_path / "b.tar")
    before = (home.state / FILE).read_bytes()
    stuck = asyncio.Event()
    modes: list[str] = []
    wanted = "swap" if swaps else "stage"

    async def start(container: FakeContainer) -> None:
        modes.append(container.body["Cmd"][0])
        if modes[-1] == wanted and modes.count(wanted) == swaps + 1:
            stuck.set()  # and never ends
        else:
            await home.start(container)

    home.engine.on_start = start
    async with clawkakad(home, "restore", tmp_path / "b.tar", "--yes") as command:
        async with asyncio.timeout(STARTS_WITHIN_S):
            await stuck.wait()
        command.send_signal(signal.SIGINT)
        code, said = await ended(command)

    assert code == 130
    assert said == ("half restored: run it again before the daemon starts\n" if swaps else "")
    assert before == (home.state / FILE).read_bytes()
    await eventually(lambda: not home.engine.containers)
    home.engine.on_start = home.start
    await home.ok("restore", tmp_path / "b.tar", "--yes")


HANGS_UP, TERMINATES = [signal.SIGHUP], [signal.SIGTERM]
TWICE, AFTER_CTRL_C_FOR_OTHERS = [signal.SIGHUP, signal.SIGHUP], [signal.SIGINT, signal.SIGTERM]


@pytest.mark.parametrize(
    ("background", "signals"),
    [
        *[(background, signals) for background in (False, True) for signals in (HANGS_UP, TWICE, TERMINATES)],
        (True, AFTER_CTRL_C_FOR_OTHERS),
    ],
)
async def test_a_backup_leaves_nothing_where_its_session_drops(
    home: Installation, background: bool, signals: list[int]
) -> None:
    await home.person(ANN)
    stuck = asyncio.Event()

    async def start(_: FakeContainer) -> None:
        stuck.set()  # and never ends

    home.engine.on_start = start
    async with clawkakad(home, "backup", by=IN_BACKGROUND if background else ()) as command:
        async with asyncio.timeout(STARTS_WITHIN_S):
            await stuck.wait()
        assert list(home.state.glob(".clawkakad-*"))
        for number in signals:
            command.send_signal(number)
        code, said = await ended(command)

    assert (code, said) == (130, "")
    assert [] == list((home.state / "backups").iterdir())
    assert [] == list(home.state.glob(".clawkakad-*"))
    assert {} == home.engine.containers


async def test_ctrl_c_ends_no_job_in_the_background(home: Installation, tmp_path: Path) -> None:
    await home.person(ANN)
    stuck, goes_on = asyncio.Event(), asyncio.Event()

    async def start(container: FakeContainer) -> None:
        stuck.set()
        await goes_on.wait()
        await home.start(container)

    home.engine.on_start = start
    async with clawkakad(home, "backup", tmp_path / "b.tar", by=IN_BACKGROUND) as command:
        async with asyncio.timeout(STARTS_WITHIN_S):
            await stuck.wait()
        command.send_signal(signal.SIGINT)
        goes_on.set()
        code, _ = await ended(command)

    assert code == 0
    assert (tmp_path / "b.tar").exists()


async def test_nohup_is_heeded(home: Installation, tmp_path: Path) -> None:
    await home.person(ANN)

    async def start(container: FakeContainer) -> None:
        command.send_signal(signal.SIGHUP)
        await home.start(container)

    home.engine.on_start = start
    async with clawkakad(home, "backup", tmp_path / "b.tar", by=("nohup",)) as command:
        code, said = await ended(command)

    assert code == 0, said
    assert (tmp_path / "b.tar").exists()
