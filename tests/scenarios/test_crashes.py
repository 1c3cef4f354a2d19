"""The daemon is killed, and everything around it fails; every message still gets its answer, once."""

import asyncio
import os
import random

import pytest

from tests.scenarios.conftest import ON_THE_WAY, Stage, known, open_stage
from tests.scenarios.nursery import Nursery
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)


async def test_a_message_stored_just_before_a_kill_is_answered_after_it(stage: Stage) -> None:
    robin = stage.person()
    stage.engine.fail = ("containers", 500)  # nobody can be woken: the message stays in the inbox
    await stage.world.daemon.start()
    stage.world.say(robin, "one")
    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM inbox"))
    await stage.world.daemon.kill()
    stage.engine.fail = None

    await stage.world.daemon.start()

    assert await stage.world.hears(robin, 1) == ["echo: one"]


async def test_a_turn_interrupted_by_a_kill_is_not_run_twice(stage: Stage) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    stage.agent_delay_s = 1.0
    stage.world.say(robin, "one")
    await eventually(lambda: stage.gateway().count("chat.send") == 2)
    await stage.world.daemon.kill()

    await stage.world.daemon.start()

    assert await stage.world.hears(robin, 2) == ["echo: hello", "echo: one"]
    assert stage.gateway().count("chat.send") == 2
    await asyncio.sleep(1)
    assert len(stage.world.heard(robin)) == 2


async def test_a_reply_that_came_while_the_daemon_was_dead_is_found(stage: Stage) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    stage.agent_delay_s = 0.5
    stage.world.say(robin, "one")
    await eventually(lambda: stage.gateway().count("chat.send") == 2)
    await stage.world.daemon.kill()
    await eventually(lambda: any(row["role"] == "assistant" for row in stage.gateway().disk.rows[-1:]))

    await stage.world.daemon.start()

    assert await stage.world.hears(robin, 2) == ["echo: hello", "echo: one"]


async def test_a_kill_while_sending_sends_once_when_the_status_tells(stage: Stage) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    stage.world.simulator.exchange.knobs = stage.world.simulator.exchange.knobs.turned({"lose_answers": 1})
    stage.world.say(robin, "one")
    await stage.world.hears(robin, 1)
    await stage.world.daemon.kill()

    await stage.world.daemon.start()

    await eventually(lambda: states(stage) == ["read"] or states(stage) == ["delivered"], within_s=15)
    assert stage.world.heard(robin) == ["echo: one"]


async def test_a_kill_while_sending_without_any_status_sends_again_after_the_wait(stage: Stage) -> None:
    robin = stage.person()
    knobs = stage.world.simulator.exchange.knobs.turned({"lose_requests": 1, "statuses": "off"})
    stage.world.simulator.exchange.knobs = knobs
    await stage.world.daemon.start()
    stage.world.say(robin, "one")

    assert await stage.world.hears(robin, 1) == ["echo: one"]
    await eventually(lambda: states(stage) == ["sent"])


async def test_after_a_time_without_a_daemon_a_status_that_comes_late_is_waited_for(nursery: Nursery) -> None:
    settings = known(CLAWKAKA_SETTLE_S="0.5", CLAWKAKA_BURST_S="0")
    async with open_stage(nursery, settings, retry_delays_s=(0.25, 0.5, 1, *[2.0] * 20)) as stage:
        robin = stage.person()
        await stage.world.daemon.order(point="answer", times=1)
        await stage.world.daemon.start()
        stage.world.say(robin, "one")
        assert await stage.world.daemon.ended() == -9
        await asyncio.sleep(2.5)  # Meta tries at 0, 0.25, 0.75, 1.75 and 3.75 s

        await stage.world.daemon.start()

        await eventually(lambda: states(stage) == ["delivered"], within_s=15)
        assert stage.world.heard(robin) == ["echo: one"]
        assert stage.world.daemon.rows("SELECT attempt, unknowns FROM outbox") == [{"attempt": 1, "unknowns": 1}]


def states(stage: Stage) -> list[str]:
    return [row["state"] for row in stage.world.daemon.rows("SELECT state FROM outbox ORDER BY id")]


@pytest.mark.parametrize("settings", [{"CLAWKAKA_BURST_S": "0"}], ids=["each message by itself"])
async def test_deaths_at_random_points_and_moments_lose_nothing_and_answer_nothing_twice(stage: Stage) -> None:
    seed = int(os.environ.get("TEST_SEED", random.randrange(10**6)))
    print(f"TEST_SEED={seed}")
    dice = random.Random(seed)
    people = [stage.person(name) for name in ("Robin", "Mika", "Sam")]
    stage.agent_delay_s = 0.05
    await stage.world.daemon.start()
    said = 0
    for _ in range(5):
        await stage.world.daemon.order(point=dice.choice(ON_THE_WAY), times=dice.randint(1, 60))
        for _ in range(4):
            for person in people:
                stage.world.say(person, f"message {said}")
                said += 1
            await asyncio.sleep(dice.uniform(0, 0.15))
        await asyncio.sleep(dice.uniform(0, 1))
        assert stage.world.daemon.process is not None
        died = stage.world.daemon.process.returncode is not None
        print(f"died by itself: {died}")
        await (stage.world.daemon.ended() if died else stage.world.daemon.kill())
        await stage.world.daemon.start()

    def answered() -> bool:
        return sum(len(stage.world.heard(person)) for person in people) >= said

    try:
        await eventually(answered, within_s=60)
    finally:
        print({person.name: stage.world.heard(person) for person in people})
    await asyncio.sleep(3)  # a double would come after the wait for statuses
    heard = [text for person in people for text in stage.world.heard(person)]
    assert sorted(heard) == sorted(f"echo: message {number}" for number in range(said))


async def test_the_engine_may_be_away_at_the_start(stage: Stage) -> None:
    robin = stage.person()
    await stage.engine.down()
    await stage.world.daemon.start()
    stage.world.say(robin, "one")
    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM inbox"))

    await stage.engine.up()

    assert await stage.world.hears(robin, 1, within_s=40) == ["echo: one"]


async def test_an_engine_that_dies_disturbs_nobody_who_is_connected(stage: Stage) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")

    await stage.engine.down()
    assert await stage.world.ask(robin, "one") == "echo: one"
    await stage.engine.up()

    assert await stage.world.ask(robin, "two") == "echo: two"
    assert stage.engine.count("containers/create") == 1


async def test_a_container_that_dies_in_a_turn_is_healed_and_the_turn_ends(stage: Stage) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    stage.agent_delay_s = 2.0
    stage.world.say(robin, "one")
    await eventually(lambda: stage.gateway().count("chat.send") == 2)
    stage.agent_delay_s = 0.0

    await stage.engine.die(stage.container().name, 137)

    assert (await stage.world.hears(robin, 2, within_s=60))[1] == "echo: one"
    assert stage.engine.count("containers/create") == 1


async def test_a_socket_that_drops_in_a_turn_costs_nothing(stage: Stage) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    stage.agent_delay_s = 0.5
    stage.world.say(robin, "one")
    await eventually(lambda: stage.gateway().count("chat.send") == 2)

    await stage.gateway().drop()

    assert (await stage.world.hears(robin, 2))[1] == "echo: one"
    assert stage.gateway().count("chat.send") == 2


async def test_a_restart_finds_the_same_container(stage: Stage) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")

    assert await stage.world.daemon.stop() == 0
    await stage.world.daemon.start()

    assert await stage.world.ask(robin, "one") == "echo: one"
    assert (stage.engine.count("containers/create"), stage.engine.count("/start")) == (1, 1)


async def test_a_restarted_daemon_connects_without_being_written_to(stage: Stage) -> None:
    await stage.world.daemon.start()
    await stage.world.ask(stage.person(), "hello")
    await stage.world.daemon.kill()
    await eventually(lambda: stage.gateway().connections == 0)

    await stage.world.daemon.start()

    await eventually(lambda: stage.gateway().connections == 1)


async def test_a_graph_api_that_is_down_only_delays(stage: Stage) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    knobs = stage.world.simulator.exchange.knobs.turned({"next_errors": [130429, 131016]})
    stage.world.simulator.exchange.knobs = knobs
    stage.world.say(robin, "one")

    assert await stage.world.hears(robin, 1, within_s=30) == ["echo: one"]


async def test_a_reminder_fires_while_the_sandbox_is_down(stage: Stage) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    await host_api_reminder(stage, seconds=3, text="stretch")
    stage.engine.fail = ("/start", 500)
    await stage.engine.die(stage.container().name, 1)

    heard = await stage.world.hears(robin, 2, within_s=10)

    assert heard[1] == "⏰ stretch"


async def host_api_reminder(stage: Stage, *, seconds: float, text: str) -> None:
    """As `pa` would: over the sandbox's own host socket."""
    from datetime import UTC, datetime, timedelta

    import aiohttp

    socket = stage.container().source("/run/clawkaka/host") / "host.sock"
    body = {"at": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(), "text": text, "key": "k1"}
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
        session.post("http://host/pa/v1/reminders", json=body) as answer,
    ):
        assert answer.status == 201, await answer.text()
