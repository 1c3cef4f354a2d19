"""A message is run, at most once more, and never a third time, whatever dies in between."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from clawkakad.errors import GatewayUnavailable, TurnFailed
from clawkakad.gateway.asking import SECOND_RUN
from clawkakad.gateway.failures import FailureKind
from clawkakad.gateway.turns import Answer
from tests.fakes import gateway_frames as frames
from tests.fakes.gateway import FakeGateway
from tests.fakes.gateway_agent import Reply
from tests.gateway.conftest import SANDBOX
from tests.gateway.world import World
from tests.support import SCALE, eventually

STAGES = ("accepted", "written", "begun")
"""How far a run got when it was cut short."""

SECOND = f"{SECOND_RUN}\n\nhi"


@pytest.fixture
async def world(gateway: FakeGateway) -> AsyncIterator[World]:
    made = World(gateway)
    made.gateway.resumes = False
    yield made
    await made.aclose()


@pytest.fixture
def asked(world: World) -> list[str]:
    """What the agent was asked; it never answers."""
    heard: list[str] = []

    def agent(text: str) -> Reply:
        heard.append(text)
        return Reply(hangs=True)

    world.gateway.agent = agent
    return heard


def hold(gateway: FakeGateway, stage: str) -> None:
    """Runs get no further than this."""
    gateway.row_after_s = 60.0 if stage == "accepted" else 0.0
    gateway.begin_after_s = 60.0 if stage == "written" else 0.0


async def until(world: World, stage: str, key: str) -> None:
    """Wait until the run of this key got so far."""

    def there() -> bool:
        run = world.gateway.runs.get(key)
        if run is None or stage == "accepted":
            return run is not None
        return run.written and (stage == "written" or world.gateway.disk.status == "running")

    await eventually(there, within_s=10)


async def leave(asking: "asyncio.Task[Answer]") -> None:
    asking.cancel()
    await asyncio.wait({asking})


@pytest.mark.parametrize("dies", ["the gateway", "both"])
@pytest.mark.parametrize("second", STAGES)
@pytest.mark.parametrize("first", STAGES)
async def test_two_runs_that_are_cut_short_are_all(
    world: World, asked: list[str], first: str, second: str, dies: str
) -> None:
    hold(world.gateway, first)
    asking = world.asking()
    for stage, key in ((first, "k"), (second, "k.2")):
        await until(world, stage, key)
        if dies == "both":
            await leave(asking)
        await world.gateway.kill()
        hold(world.gateway, second)
        await world.gateway.start()
        if dies == "both":
            await world.reboot()
            asking = world.asking(again=True)

    with pytest.raises(TurnFailed) as caught:
        await asking
    assert caught.value.kind is FailureKind.INTERRUPTED

    for _ in range(2):  # and whoever asks again hears the same
        await world.reboot()
        with pytest.raises(TurnFailed) as caught:
            await world.ask(again=True)
        assert caught.value.kind is FailureKind.INTERRUPTED
    assert world.sent == ["k", "k.2"]
    assert asked == ["hi"] * (first == "begun") + [SECOND] * (second == "begun")


@pytest.mark.parametrize("stage", STAGES)
async def test_a_run_that_the_gateway_still_has_is_resumed(world: World, stage: str) -> None:
    world.gateway.agent = lambda text: Reply("done", after_s=0.5)
    world.gateway.row_after_s = 0.5 if stage == "accepted" else 0.0
    world.gateway.begin_after_s = 0.5 if stage == "written" else 0.0
    for again in (False, True, True):
        asking = world.asking(again=again)
        await until(world, "accepted", "k")
        await leave(asking)
        await world.reboot()

    assert await world.ask(again=True) == Answer("k", "done")
    assert world.sent == ["k"]


async def test_the_second_run_says_what_it_is_and_the_first_does_not(world: World, asked: list[str]) -> None:
    for again in (False, True):
        with pytest.raises(GatewayUnavailable):
            await world.ask(again=again, timeout_s=0.4)

    sent = [one.params["message"] for one in world.gateway.asked if one.method == "chat.send"]
    assert sent == asked == ["hi", SECOND]
    assert "\n" not in SECOND_RUN
    assert len(SECOND_RUN) < 160


async def test_a_first_run_that_was_continued_after_the_second_was_accepted_answers(world: World) -> None:
    disk = world.gateway.disk
    for row in (
        frames.user_row("k", "hi"),
        frames.user_row("r", "[System]", recovery=True),
        frames.assistant_row("r", "at last"),
    ):
        disk.add(row)
    disk.accept("k.2")
    await world.gateway.restart()

    assert await world.ask(again=True) == Answer("r", "at last")
    assert world.sent == []


@pytest.mark.parametrize("attempts", [["k"], ["k", "k.2"]])
async def test_a_run_is_remembered_however_many_others_were_cut_short_since(world: World, attempts: list[str]) -> None:
    for key in attempts + [f"other {number}" for number in range(30)]:
        world.gateway.disk.accept(key)
    await world.gateway.restart()

    if attempts == ["k"]:
        assert (await world.ask(again=True)).run_id == "k.2"
        assert world.sent == ["k.2"]
    else:
        with pytest.raises(TurnFailed):
            await world.ask(again=True)
        assert world.sent == []


@pytest.mark.parametrize("ended", [True, False])
async def test_a_run_is_remembered_however_much_was_said_since(world: World, ended: bool) -> None:
    world.gateway.disk.add(frames.user_row("k", "hi"))
    if ended:
        world.gateway.disk.add(frames.assistant_row("k", "done"))
    for number in range(400):
        world.gateway.disk.add(frames.assistant_row(f"heartbeat {number}", "something"))
    await world.gateway.restart()

    answer = await world.ask(again=True)

    assert answer == (Answer("k", "done") if ended else Answer("k.2", f"echo: {SECOND}"))
    assert world.sent == ([] if ended else ["k.2"])


async def test_a_run_whose_words_have_changed_is_the_same_run(world: World) -> None:
    """A daemon that is upgraded in mid-turn may have other words for the same message."""
    world.gateway.agent = lambda text: Reply("done", after_s=0.3)
    connection = await world.pool.ready(SANDBOX, timeout_s=5)
    await connection.chat("k", "hi as the last version put it")
    world.gateway.empty = {"chat.history"}

    assert await world.ask(again=True) == Answer("k", "done")
    assert len(world.gateway.runs) == 1


async def test_a_refusal_to_begin_is_a_first_run(world: World) -> None:
    world.gateway.row_after_s = 30
    asking = world.asking()
    await until(world, "accepted", "k")
    await world.gateway.stop()
    await world.gateway.start()
    await until(world, "accepted", "k.2")
    await world.gateway.stop()
    await world.gateway.start()

    with pytest.raises(TurnFailed) as caught:
        await asking
    assert caught.value.kind is FailureKind.INTERRUPTED
    assert world.sent == ["k", "k.2"]


@pytest.mark.parametrize("seed", range(8))
async def test_at_random(world: World, seed: int) -> None:
    """Socket, gateway and daemon die at random moments: never a third run, and an end that everybody agrees on."""
    dice = random.Random(seed)
    heard: list[str] = []

    def agent(text: str) -> Reply:
        heard.append(text)
        return Reply("done", after_s=dice.uniform(0.0, 0.5))

    world.gateway.agent = agent
    world.gateway.resumes = bool(seed % 2)
    asking = world.asking()
    for _ in range(dice.randint(2, 6)):
        await asyncio.sleep(dice.uniform(0.0, 0.3) * SCALE)
        world.gateway.row_after_s, world.gateway.begin_after_s = dice.uniform(0, 0.1), dice.uniform(0, 0.1)
        match dice.choice(["socket", "gateway", "daemon"]):
            case "socket":
                await world.gateway.drop()
            case "gateway":
                await world.gateway.restart()
            case "daemon":
                await leave(asking)
                await world.reboot()
                asking = world.asking(again=True)

    await asyncio.wait({asking})
    failed = asking.exception()
    assert failed is None or (isinstance(failed, TurnFailed) and failed.kind is FailureKind.INTERRUPTED), f"seed {seed}"
    end = "interrupted" if failed else asking.result().text
    told = [stray.text for stray in world.strays]
    assert (end == "done" and told == []) or (end in ("", "interrupted") and told in ([], ["done"])), f"seed {seed}"
    assert world.sent in (["k"], ["k", "k.2"]), f"seed {seed}"
    assert heard.count(SECOND) <= 1 or world.gateway.resumes
