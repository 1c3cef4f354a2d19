"""Whatever a gateway does to a turn: one reply, or one clear failure, and the next message is answered."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from clawkakad import faults
from clawkakad.errors import GatewayClosed, GatewayUnavailable, TurnFailed
from clawkakad.gateway.frames import MAX_TEXT
from clawkakad.gateway.turns import Answer
from tests.fakes.gateway import FakeGateway
from tests.fakes.gateway_agent import Reply
from tests.gateway.conftest import SANDBOX, dial
from tests.gateway.world import World
from tests.support import SCALE, eventually

CODES = [None, 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 4000, 4001, 4999]
"""None: a close frame without one (what 1005 stands for). A socket that just ends has no frame at all (1006)."""


@pytest.fixture
async def world(gateway: FakeGateway) -> AsyncIterator[World]:
    made = World(gateway)
    yield made
    await made.aclose()


@pytest.fixture
def asked(world: World) -> list[str]:
    """What the agent was asked; it takes a moment to answer."""
    heard: list[str] = []

    def agent(text: str) -> Reply:
        heard.append(text)
        return Reply(f"echo: {text}", after_s=0.2)

    world.gateway.agent = agent
    return heard


async def begun(world: World) -> None:
    await eventually(lambda: bool(world.gateway.disk.rows) and bool(world.gateway.running()))


# It closes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", CODES)
async def test_a_close_in_mid_turn_costs_nothing(world: World, asked: list[str], code: int | None) -> None:
    asking = world.asking()
    await begun(world)

    await world.gateway.close(code)

    assert await asking == Answer("k", "echo: hi")
    assert asked == ["hi"]
    assert await world.ask("m", "next") == Answer("m", "echo: next")
    assert world.strays == []


@pytest.mark.parametrize("code", [*CODES, 1006])
async def test_a_close_is_told_with_its_code(gateway: FakeGateway, code: int | None) -> None:
    connection = await dial(gateway)
    try:
        if code == 1006:
            await gateway.drop()
        else:
            await gateway.close(code)

        ending = await asyncio.wait_for(connection.wait_closed(), 5 * SCALE)
        assert isinstance(ending, GatewayClosed)
        assert ending.code == (None if code == 1006 else code)
    finally:
        await connection.aclose()


@pytest.mark.parametrize("code", [1000, 1008, 1011, 1013, None])
async def test_a_gateway_that_closes_again_and_again(world: World, asked: list[str], code: int | None) -> None:
    asking = world.asking()
    for _ in range(5):
        await begun(world)
        await world.gateway.close(code)

    assert await asking == Answer("k", "echo: hi")
    assert asked == ["hi"]


# It sends garbage -------------------------------------------------------------------------------------------------

GARBAGE = {
    "nothing": "",
    "no JSON": "{{{{",
    "half a frame": '{"type":"event","event":"chat","payload":{"runId":"k","sta',
    "a number": "7",
    "a list": "[]",
    "an object of nothing": "{}",
    "an unknown type": '{"type":"hello"}',
    "an event without a name": '{"type":"event","payload":{}}',
    "a name that is none": '{"type":"event","event":7}',
    "an answer to nothing": '{"type":"res","id":"nobody","ok":true}',
    "an answer without an id": '{"type":"res","ok":true}',
    "a second challenge": '{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}',
    "a final of nobody": '{"type":"event","event":"chat","payload":{"runId":"","sessionKey":"","state":"final"}}',
    "a final in a strange shape": json.dumps(
        {"type": "event", "event": "chat", "payload": {"runId": "k", "sessionKey": 7, "state": "final"}}
    ),
    "a message in a strange shape": json.dumps(
        {
            "type": "event",
            "event": "chat",
            "payload": {"runId": "x", "sessionKey": "agent:main:main", "state": "final", "message": {"content": 7}},
        }
    ),
    "very deep": '{"a":' * 50_000,
    "too many values": '{"type":"event","event":"x","payload":[' + "{}," * 200_000 + "{}]}",
    "control characters": '{"type":"event","event":"\\u0000\\u001b[31m"}',
    "half a surrogate": '{"type":"event","event":"chat","payload":{"runId":"\\ud800","state":"final"}}',
}


@pytest.mark.parametrize("frame", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_in_mid_turn_costs_a_connection_at_most(world: World, asked: list[str], frame: str) -> None:
    asking = world.asking()
    await begun(world)

    await world.gateway.garbage(frame)

    assert await asking == Answer("k", "echo: hi")
    assert asked == ["hi"]
    assert await world.ask("m", "next") == Answer("m", "echo: next")


# It hangs ---------------------------------------------------------------------------------------------------------


async def test_a_gateway_that_hangs_and_goes_on(world: World, asked: list[str]) -> None:
    world.gateway.tick_s = 0.1 * SCALE
    asking = world.asking()
    await begun(world)

    world.gateway.freeze()
    await eventually(lambda: world.pool.get(SANDBOX) is None)  # two ticks missed
    world.gateway.thaw()

    assert await asking == Answer("k", "echo: hi")
    assert asked == ["hi"]


async def test_a_gateway_that_hangs_for_good_is_given_up_in_time(world: World) -> None:
    await world.connected()
    world.gateway.freeze()

    async with asyncio.timeout(10 * SCALE):
        with pytest.raises(GatewayUnavailable):
            await world.ask(timeout_s=0.5)
    world.gateway.thaw()

    assert await world.ask("m", "next") == Answer("m", "echo: next")


async def test_a_gateway_that_hangs_and_is_restarted(world: World, asked: list[str]) -> None:
    world.gateway.tick_s = 0.1 * SCALE
    asking = world.asking()
    await begun(world)
    world.gateway.freeze()
    await eventually(lambda: world.pool.get(SANDBOX) is None)

    world.gateway.thaw()
    await world.gateway.restart()

    assert (await asking).text == "echo: hi"
    assert world.sent == ["k"]


# It dies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resumes", [True, False])
async def test_a_gateway_that_dies_in_mid_turn(world: World, asked: list[str], resumes: bool) -> None:
    world.gateway.resumes = resumes
    asking = world.asking()
    await begun(world)
    await world.gateway.kill()
    await eventually(lambda: world.pool.get(SANDBOX) is None)
    await world.gateway.start()

    answer = await asking

    assert answer.text.endswith("hi")
    assert len(asked) == 2
    assert world.sent == (["k"] if resumes else ["k", "k.2"])
    await world.idle()
    assert world.strays == []


# It answers late, twice, with nothing, with too much ---------------------------------------------------------------


@pytest.mark.parametrize("method", ["chat.send", "chat.history", "agent.wait", "sessions.messages.subscribe"])
async def test_a_gateway_that_answers_late(world: World, asked: list[str], method: str) -> None:
    world.gateway.late_s = {method: 0.3}

    assert await world.ask() == Answer("k", "echo: hi")
    assert asked == ["hi"]


async def test_a_gateway_that_answers_twice(world: World) -> None:
    world.gateway.duplicate = True
    world.gateway.repeats_after_s = 0.1

    assert await world.ask() == Answer("k", "echo: hi")
    assert await world.ask("m", "next") == Answer("m", "echo: next")
    await asyncio.sleep(0.2)
    await world.idle()
    assert world.strays == []


@pytest.mark.parametrize("text", [None, "", " \n\t "])
async def test_an_empty_answer_is_one(world: World, text: str | None) -> None:
    world.gateway.agent = lambda _: Reply(text)

    assert await world.ask() == Answer("k", "")
    assert await world.ask("m", "next") == Answer("m", "")
    assert world.sent == ["k", "m"]


@pytest.mark.parametrize("away", [False, True])
async def test_a_megabyte_is_cut_wherever_it_is_told(world: World, away: bool) -> None:
    world.gateway.agent = lambda _: Reply("é" * 2**20, after_s=0.1)
    if away:
        world.gateway.mute = {"final", "delta"}
    asking = world.asking()
    await begun(world)
    if away:
        world.reconnects_after_s = 0.3
        await world.gateway.drop()

    assert (await asking).text == "é" * MAX_TEXT
    world.gateway.agent = lambda text: Reply("short")
    world.gateway.mute = set()
    assert await world.ask("m") == Answer("m", "short")


async def test_more_than_we_take_costs_the_connection_and_is_answered_by_what_the_gateway_remembers(
    world: World,
) -> None:
    """The final is larger than a frame may be; so is the history: the turn fails in time, the next one does not."""
    world.gateway.agent = lambda text: Reply("x" * (9 * 2**20)) if text == "hi" else Reply("short")

    with pytest.raises((GatewayUnavailable, TurnFailed)):
        await world.ask(timeout_s=1.5)
    world.gateway.disk.rows.clear()

    assert await world.ask("m", "next") == Answer("m", "short")


# The named points -------------------------------------------------------------------------------------------------


async def test_every_frame_passes_its_point(world: World) -> None:
    passed: list[str] = []
    await world.connected()
    faults.arm(passed.append)
    try:
        await world.ask()
        await world.idle()
    finally:
        faults.arm(None)

    assert set(passed) == {"frame in", "frame out"} <= set(faults.POINTS)
    assert passed.count("frame out") == len([asked for asked in world.gateway.asked if asked.method != "connect"]) - 1
    assert passed[0] == "frame out"


@pytest.mark.parametrize("point", ["frame out", "frame in"])
async def test_dying_at_any_frame_costs_nothing(world: World, asked: list[str], point: str) -> None:
    """A daemon that dies at the Nth frame, N = 1…end, and one that is started after it: one reply, one run."""
    for number in range(1, 40):
        key, before = f"k{number}", len(asked)
        await world.connected()
        await world.idle()
        died = _die_at(point, number)
        asking = world.asking(key, "hi")
        either: set[asyncio.Future[Any]] = {asking, died}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        faults.arm(None)
        over = asking.done()
        asking.cancel()
        await asyncio.wait({asking})
        await world.reboot()

        assert await world.ask(key, "hi", again=True) == Answer(key, "echo: hi")
        assert len(asked) == before + 1
        assert world.sent.count(f"{key}.2") == 0
        if over:
            died.cancel()
            break
    else:
        raise AssertionError("a turn of more than forty frames")
    assert number > 1


def _die_at(point: str, number: int) -> asyncio.Future[None]:
    died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = [number]

    def hook(name: str) -> None:
        if name == point:
            left[0] -= 1
            if left[0] == 0 and not died.done():
                died.set_result(None)
            if left[0] <= 0:
                raise GatewayClosed("the daemon died")

    faults.arm(hook)
    return died
