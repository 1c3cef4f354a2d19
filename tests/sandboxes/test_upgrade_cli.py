"""`clawkakad sandbox upgrade`: asks the daemon, shows how far it is, and ends with a summary and an exit code."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import pytest
from typer.testing import CliRunner, Result

from clawkakad.cli.sandbox import app
from clawkakad.errors import UsageError
from clawkakad.registry import locked
from tests.sandboxes.test_upgrade import ANN, BOB
from tests.sandboxes.upgrading import IMAGE_ID, NEW, Town, open_town
from tests.support import eventually


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    async with open_town() as opened:
        yield opened


def _places(town: Town) -> dict[str, str]:
    return {
        "CLAWKAKA_STATE_DIR": str(town.world.state),
        "CLAWKAKA_RUNTIME_DIR": str(town.world.runtime),
        "DOCKER_HOST": town.world.engine.address,
        "COLUMNS": "200",
    }


async def _clawkakad(town: Town, *words: str) -> Result:
    """One command, in a thread: it has an event loop of its own, and the daemon needs this one."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["upgrade", *words], env=_places(town))


async def test_all_are_upgraded_and_that_is_shown(town: Town) -> None:
    ann, bob = await town.resident(ANN, wrote_h=20), await town.resident(BOB, wrote_h=1)
    with locked(town.world.state):
        async with town.world.daemon():
            await town.all_ready(ann, bob)
            town.build()
            result = await _clawkakad(town, "--all")

            assert 0 == result.exit_code, result.output
            assert 2 == result.output.count(": upgraded")
            assert "2 sandboxes upgraded to sha256:222222222222" in result.output
            assert "Asha" in result.output
            assert ANN not in result.output
            assert [NEW, NEW] == await town.images(ann, bob)

            again = await _clawkakad(town, "--all")
            assert 0 == again.exit_code
            assert "nothing to do" in again.output


async def test_one_person_is_upgraded_alone(town: Town) -> None:
    ann, bob = await town.resident(ANN, wrote_h=20), await town.resident(BOB, wrote_h=1)
    with locked(town.world.state):
        async with town.world.daemon():
            await town.all_ready(ann, bob)
            town.build()
            result = await _clawkakad(town, BOB)

            assert 0 == result.exit_code, result.output
            assert "1 sandbox upgraded" in result.output
            assert [IMAGE_ID, NEW] == await town.images(ann, bob)


async def test_a_bad_image_is_told_with_its_reason_and_exit_code_1(town: Town) -> None:
    ann, bob = await town.resident(ANN, wrote_h=20), await town.resident(BOB, wrote_h=1)
    with locked(town.world.state):
        async with town.world.daemon():
            await town.all_ready(ann, bob)
            town.build("broken")
            result = await _clawkakad(town, "--all")

            assert 1 == result.exit_code
            assert "the upgrade stopped" in result.output
            assert "exit code 1" in result.output
            assert "0 sandboxes upgraded, 1 as before, 1 not touched" in result.output


def _hears_ctrl_c() -> None:
    """A shell makes what it runs in the background deaf to it, tests too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def test_leaving_it_leaves_the_daemon_to_go_on(town: Town) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    with locked(town.world.state):
        async with town.world.daemon():
            await town.world.ready(ann)
            town.world.gateways.at_work = "a turn"
            town.build()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "clawkakad", "sandbox", "upgrade", "--all"),
                env={**os.environ, **_places(town)},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                preexec_fn=_hears_ctrl_c,
            )
            await eventually(lambda: town.world.gateways.suspensions, within_s=20)
            process.send_signal(signal.SIGINT)
            output, _ = await process.communicate()

            assert 130 == process.returncode
            assert "the daemon goes on with it" in output.decode()
            town.world.gateways.at_work = ""
            await eventually(lambda: _is_new(town, ann))


async def _is_new(town: Town, user_id) -> bool:  # type: ignore[no-untyped-def]
    return await town.images(user_id) == [NEW]


async def test_one_that_goes_on_already_is_followed(town: Town) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    with locked(town.world.state):
        async with town.world.daemon():
            await town.world.ready(ann)
            town.build()
            await town.ask()
            result = await _clawkakad(town, "--all")

            assert 0 == result.exit_code
            assert "going on already" in result.output


async def test_without_a_daemon_nothing_is_asked_for(town: Town) -> None:
    await town.resident(ANN, wrote_h=1)
    result = await _clawkakad(town, "--all")

    assert isinstance(result.exception, UsageError)
    assert "no daemon runs here" in str(result.exception)
    assert await town.world.registry.upgrades.open() is None


@pytest.mark.parametrize("words", [[], ["--all", ANN]])
async def test_whose_has_to_be_said(town: Town, words: list[str]) -> None:
    result = await _clawkakad(town, *words)

    assert isinstance(result.exception, UsageError)
    assert "--all" in str(result.exception)
