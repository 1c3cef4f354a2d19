"""The real daemon and its sandboxes: started without an engine, and with a sandbox that cannot be helped."""

import asyncio
import os
import sys
import time

import pytest

from clawkakad.assistant import words
from tests.fakes.engine import FakeContainer
from tests.scenarios.conftest import Stage, known
from tests.support import eventually

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def settings() -> dict[str, str]:
    return known(CLAWKAKA_BURST_S="0", CLAWKAKA_SETTLE_S="1", CLAWKAKA_DOZE_AFTER_MINUTES="10")


async def clawkakad(stage: Stage, *words_: str) -> str:
    """An operator's command beside the daemon; what it said."""
    command = (sys.executable, "-m", "clawkakad", *words_)
    environ = {**os.environ, **stage.world.daemon.environ, "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        *command, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_webhooks_are_taken_without_an_engine_and_answered_within_ten_seconds_of_its_return(stage: Stage) -> None:
    robin = stage.person()
    await stage.engine.down()
    await stage.world.daemon.start()
    stage.world.say(robin, "are you there?")
    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM inbox WHERE state = 'received'"))
    await asyncio.sleep(8)  # long enough for the pauses between two tries to be at their longest
    await stage.engine.up()
    back_at = time.monotonic()

    assert await stage.world.hears(robin, 1) == ["echo: are you there?"]
    assert time.monotonic() - back_at < 10
    assert len(stage.engine.containers) == 1


async def test_who_has_a_sandbox_that_cannot_be_helped_is_told_once_and_answered_in_the_end(stage: Stage) -> None:
    async def refuse(container: FakeContainer) -> None:
        container.log = ["Invalid config at /etc/clawkaka/openclaw.json:", '<root>: Unrecognized key: "nonsense"']
        await stage.engine.die(container.name, 78)

    robin, mika = stage.person(), stage.person("Mika")
    await stage.world.daemon.start()
    assert await stage.world.ask(mika, "hello") == "echo: hello"
    stage.engine.on_start = refuse
    stage.world.say(robin, "one")
    assert await stage.world.hears(robin, 1) == [words.PARKED]
    stage.world.say(robin, "two")
    assert await stage.world.ask(mika, "still there?") == "echo: still there?"
    assert "parked" in await clawkakad(stage, "sandbox", "list")
    assert len(stage.world.heard(robin)) == 1

    stage.engine.on_start = stage.open_gateway
    await clawkakad(stage, "sandbox", "retry", "Robin")
    heard = await stage.world.hears(robin, 2, within_s=30)
    assert "one" in heard[1]
    said = [line for line in stage.world.daemon.logged() if line["message"].startswith("a sandbox is parked")]
    assert len(said) == 1


@pytest.mark.parametrize(("word", "state", "status"), [("doze", "dozing", "paused"), ("sleep", "asleep", "exited")])
async def test_a_sandbox_at_rest_stays_so_over_a_crash_and_answers_the_next_message(
    stage: Stage, word: str, state: str, status: str
) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    assert await stage.world.ask(robin, "one") == "echo: one"
    assert f"is to {word}" in await clawkakad(stage, "sandbox", word, "Robin")
    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM sandboxes WHERE state = ?", state))
    await stage.world.daemon.replace()
    await asyncio.sleep(0.5)
    assert stage.container().status == status
    listed = await clawkakad(stage, "sandbox", "list")
    assert (state in listed, status in listed) == (True, True)
    assert "yes, " in await clawkakad(stage, "doctor", "sandbox")

    assert await stage.world.ask(robin, "two") == "echo: two"
    assert stage.gateway().suspension is None
    assert "is awake already" in await clawkakad(stage, "sandbox", "wake", "Robin")


async def test_the_doctor_says_where_memory_goes(stage: Stage) -> None:
    await stage.world.daemon.start()
    stage.engine.cgroups = "2"
    output = await _doctor(stage)

    assert "cgroup v2" in output
    assert ("no swap" in output) != ("in small steps" in output)


async def _doctor(stage: Stage) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "clawkakad", "doctor"),
        env={**os.environ, **stage.world.daemon.environ, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
    )
    return (await process.communicate())[0].decode()
