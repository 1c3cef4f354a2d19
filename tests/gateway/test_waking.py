"""A heartbeat: words or silence, and nothing said twice or lost when the connection is."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from clawkakad.errors import GatewayUnavailable, SandboxGone, TurnFailed
from tests.fakes.gateway import FakeGateway
from tests.fakes.gateway_agent import Reply
from tests.gateway.conftest import SANDBOX, STEPS_OF_A_DROP
from tests.gateway.world import BRISK, World
from tests.support import SCALE, eventually


@pytest.fixture
async def world(gateway: FakeGateway) -> AsyncIterator[World]:
    made = World(gateway)
    yield made
    await made.aclose()


async def test_a_heartbeat_with_something_to_say(world: World) -> None:
    world.gateway.heartbeat = lambda text: Reply("x" * 1800)

    answer = await world.wake("rent is due")

    assert answer is not None
    assert answer.text == "x" * 1800
    assert world.gateway.asked[-1].params["text"] == "rent is due"
    await world.idle()
    assert world.strays == []


async def test_a_heartbeat_without_anything_to_say(world: World) -> None:
    assert await world.wake() is None
    assert await world.wake() is None


async def test_a_heartbeat_that_fails(world: World) -> None:
    world.gateway.heartbeat = lambda text: Reply(error="no model", kind="auth")

    with pytest.raises(TurnFailed, match="no model"):
        await world.wake()


async def test_a_heartbeat_waits_for_what_runs(world: World) -> None:
    world.gateway.agent = lambda text: Reply("done", after_s=0.3)
    world.gateway.heartbeat = lambda text: Reply("something is due")
    asking = world.asking()
    await eventually(lambda: bool(world.gateway.running()))

    woken = await world.wake()

    assert (await asking).text == "done"
    assert woken is not None
    assert woken.text == "something is due"


@pytest.mark.parametrize("frame", range(6))
async def test_a_socket_that_drops_at_any_frame(world: World, frame: int) -> None:
    world.gateway.heartbeat = lambda text: Reply("something is due", after_s=0.05)
    await world.connected()
    world.gateway.drop_after = frame

    woken = await world.wake()

    assert woken is not None
    assert woken.text == "something is due"
    await world.idle()
    assert world.strays == []
    assert world.gateway.count("wake") == 1


async def test_words_that_were_said_while_we_were_away(world: World) -> None:
    world.gateway.heartbeat = lambda text: Reply("something is due", after_s=0.05)
    world.reconnects_after_s = 0.4
    waking = world.waking()
    await eventually(lambda: bool(world.gateway.running()))
    await world.gateway.drop()

    woken = await waking

    assert woken is not None
    assert woken.text == "something is due"


async def test_what_a_heartbeat_takes_for_its_own_is_not_said_again_by_the_turn_that_it_was(world: World) -> None:
    world.gateway.agent = lambda text: Reply(f"echo: {text}", after_s=0.4)
    asking = world.asking("lost")  # its message is never stored, so that nobody waits for it
    await eventually(lambda: bool(world.gateway.running()))
    asking.cancel()
    world.reconnects_after_s = 0.1
    waking = world.waking()
    await eventually(lambda: world.gateway.count("wake") == 1)
    await world.gateway.drop()
    woken = await waking

    again = await world.ask("lost", again=True)  # when it comes again

    said = [answer.text for answer in (woken, again) if answer is not None and answer.text]
    assert said == ["echo: hi"]


async def test_a_wake_that_never_arrived_is_repeated(world: World) -> None:
    world.gateway.unanswered = {"wake"}
    world.gateway.heartbeat = lambda text: Reply(hangs=True)
    waking = world.waking()
    await eventually(lambda: bool(world.gateway.running()))
    world.gateway.unanswered = set()
    world.gateway.heartbeat = lambda text: Reply("something is due")
    await world.gateway.restart()

    woken = await waking

    assert woken is not None
    assert woken.text == "something is due"


async def test_a_gateway_that_dies_in_a_heartbeat_does_not_pass_for_silence(world: World) -> None:
    world.gateway.heartbeat = lambda text: Reply(hangs=True)
    waking = world.waking()
    await eventually(lambda: bool(world.gateway.running()))
    await eventually(lambda: world.gateway.count("wake") == 1)
    await asyncio.sleep(0.1)
    await world.gateway.restart()

    with pytest.raises(TurnFailed) as caught:
        await waking

    assert caught.value.kind == "interrupted"


@pytest.mark.timeout(20 * SCALE)
async def test_a_gateway_that_holds_our_close_up_holds_nobody_else_up(world: World) -> None:
    await world.connected()
    await world.gateway.jam()

    assert await world.wake() is None


@pytest.mark.timeout(20 * SCALE)
@pytest.mark.parametrize("steps", range(STEPS_OF_A_DROP))
async def test_a_wake_while_the_socket_drops(world: World, steps: int) -> None:
    world.gateway.heartbeat = lambda text: Reply("something is due")
    await world.connected()
    dropping = asyncio.create_task(world.gateway.drop())
    for _ in range(steps):
        await asyncio.sleep(0)

    woken = await world.wake()

    assert woken is not None
    assert woken.text == "something is due"
    await dropping


async def test_a_sandbox_that_is_removed_in_a_heartbeat(world: World) -> None:
    world.gateway.heartbeat = lambda text: Reply(hangs=True)
    waking = world.waking()
    await eventually(lambda: bool(world.gateway.running()))

    world.pool.retire(SANDBOX)
    await world.gateway.kill()

    async with asyncio.timeout(5 * SCALE):
        with pytest.raises(SandboxGone):
            await waking


async def test_a_suspended_gateway_is_waited_for(world: World) -> None:
    await world.connected()
    world.gateway.suspended = True
    waking = world.waking()
    await eventually(lambda: world.gateway.count("wake") > 0)
    world.gateway.suspended = False

    assert await waking is None


async def test_an_overdue_heartbeat_is_stopped(world: World) -> None:
    world.gateway.heartbeat = lambda text: Reply(hangs=True)

    with pytest.raises(GatewayUnavailable, match="no heartbeat within"):
        await world.wake(timeout_s=0.3)

    assert world.gateway.running() == []


async def test_runs_without_end_that_cannot_be_stopped_hold_nobody_up(world: World) -> None:
    world.gateway.heartbeat = lambda text: Reply(hangs=True)
    world.gateway.says["chat.history"] = {"sessionInfo": {"activeRunIds": [f"run{number}" for number in range(20)]}}
    world.gateway.ignored = {"chat.abort"}
    began = time.monotonic()

    with pytest.raises(GatewayUnavailable, match="no heartbeat within"):
        await world.wake(timeout_s=0.1)

    assert time.monotonic() - began < 3 * BRISK.stop_s


async def test_words_that_come_too_late_are_handed_on(world: World) -> None:
    world.gateway.unanswered = {"chat.history", "chat.abort"}
    world.gateway.heartbeat = lambda text: Reply("something is due", after_s=0.4 * SCALE)
    world.gateway.refuse = {"chat.history": {"code": "X"}, "chat.abort": {"code": "X"}}
    world.gateway.unanswered = set()

    with pytest.raises(GatewayUnavailable):
        await world.wake(timeout_s=0.2)

    await eventually(lambda: [stray.text for stray in world.strays] == ["something is due"])


async def test_a_person_can_write_after_a_heartbeat_that_was_cancelled(world: World) -> None:
    world.gateway.heartbeat = lambda text: Reply("something is due", after_s=0.1)
    waking = world.waking()
    await eventually(lambda: bool(world.gateway.running()))
    waking.cancel()
    await asyncio.wait({waking})

    await eventually(lambda: [stray.text for stray in world.strays] == ["something is due"])
    assert (await world.ask()).text == "echo: hi"
