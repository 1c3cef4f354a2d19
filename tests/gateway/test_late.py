"""Answers of turns that were given up reach their person all the same, each once."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from clawkakad.errors import GatewayUnavailable, TurnFailed
from clawkakad.gateway.asking import SECOND_RUN
from clawkakad.gateway.desk import MAX_HELD
from clawkakad.gateway.turns import Answer
from tests.fakes import gateway_frames as frames
from tests.fakes.gateway import FakeGateway
from tests.fakes.gateway_agent import Reply
from tests.gateway.conftest import SANDBOX
from tests.gateway.recordings import payloads, recording
from tests.gateway.world import World
from tests.support import SCALE, eventually


@pytest.fixture
async def world(gateway: FakeGateway) -> AsyncIterator[World]:
    made = World(gateway)
    yield made
    await made.aclose()


def slow(after_s: float = 0.6) -> Reply:
    return Reply("late", after_s=after_s * SCALE)


async def give_up(world: World, key: str = "k") -> None:
    with pytest.raises(GatewayUnavailable, match="no reply within"):
        await world.ask(key, timeout_s=0.3)


async def missed(world: World, keys: Sequence[str] = ("k",)) -> list[Answer]:
    await world.connected()
    return await world.turns.missed(SANDBOX, keys)


# Stopped in vain --------------------------------------------------------------------------------------------------


def stop_is_refused(gateway: FakeGateway) -> None:
    gateway.refuse = {"chat.abort": frames.error("INVALID_REQUEST", "unauthorized")}


def stop_is_lost(gateway: FakeGateway) -> None:
    gateway.ignored = {"chat.abort"}


def stop_does_nothing(gateway: FakeGateway) -> None:
    gateway.aborts_in_vain = True


@pytest.mark.parametrize("trouble", [stop_is_refused, stop_is_lost, stop_does_nothing])
@pytest.mark.parametrize("repeated", ["once", "twice at once", "again later"])
async def test_a_final_after_a_stop_in_vain_is_handed_on_once(world: World, trouble: object, repeated: str) -> None:
    assert callable(trouble)
    trouble(world.gateway)
    world.gateway.agent = lambda text: slow(1.2)
    world.gateway.duplicate = repeated == "twice at once"
    world.gateway.repeats_after_s = 0.1 if repeated == "again later" else None

    await give_up(world)

    await eventually(lambda: world.strays == [Answer("k", "late")])
    await asyncio.sleep(0.2)
    await world.idle()
    assert world.strays == [Answer("k", "late")]
    assert await missed(world) == []
    assert await world.ask(again=True) == Answer("k", "")


async def test_a_final_that_came_just_as_it_was_given_up_is_handed_on(world: World) -> None:
    world.gateway.agent = lambda text: Reply("late", after_s=0.45 * SCALE)
    world.gateway.late_s = {"chat.abort": 0.3 * SCALE}
    world.gateway.aborts_in_vain = True

    await give_up(world)

    await eventually(lambda: world.strays == [Answer("k", "late")])


async def test_a_final_after_the_end_of_a_stop_is_one_all_the_same(world: World) -> None:
    world.gateway.agent = lambda text: Reply(hangs=True)
    await give_up(world)

    await world.gateway.emit("chat", frames.chat("k", 99, "final", message=frames.message("late"))["payload"])

    await eventually(lambda: world.strays == [Answer("k", "late")])


async def test_a_stopped_run_says_nothing_more(world: World) -> None:
    world.gateway.agent = lambda text: slow()

    await give_up(world)
    await asyncio.sleep(0.5 * SCALE)
    await world.idle()

    assert world.strays == []
    assert await missed(world) == []


async def test_what_continues_a_turn_that_failed_as_interrupted_is_handed_on(world: World) -> None:
    world.gateway.disk.add(frames.user_row("k", "hi"))
    world.gateway.disk.add(frames.user_row("k.2", "hi"))
    with pytest.raises(TurnFailed):
        await world.ask(again=True)

    run_id = await world.gateway.stray("continued after all")

    await eventually(lambda: world.strays == [Answer(run_id, "continued after all")])


async def test_a_late_final_is_never_taken_for_a_heartbeat(world: World) -> None:
    world.gateway.aborts_in_vain = True
    world.gateway.agent = lambda text: slow(1.0)
    world.gateway.heartbeat = lambda text: Reply("something is due")
    await give_up(world)

    woken = await world.wake()

    assert woken is not None
    assert woken.text == "something is due"
    await eventually(lambda: world.strays == [Answer("k", "late")])


# The recorded stop ------------------------------------------------------------------------------------------------


async def test_the_fake_stops_as_the_real_one_was_seen_to(world: World) -> None:
    world.gateway.agent = lambda text: Reply(hangs=True)
    await give_up(world)
    connection = await world.pool.ready(SANDBOX, timeout_s=1)

    ack = await connection.request("chat.abort", {"sessionKey": "main", "runId": "k"}, 5)
    again = await connection.chat("k", "hi")
    status = await connection.request("agent.wait", {"runId": "k", "timeoutMs": 0}, 5)
    row = world.gateway.disk.rows[-1]

    recorded = payloads("abort", "chat.abort")[0]
    assert ack.keys() == recorded.keys()
    met = next(payload for payload in payloads("abort", "chat.send") if payload["status"] != "started")
    assert (again.status, again.summary) == (met["status"], met["summary"])
    waited = next(payload for payload in payloads("abort", "agent.wait") if payload["status"] == "error")
    assert {name: status[name] for name in ("status", "error", "stopReason")} == {
        name: waited[name] for name in ("status", "error", "stopReason")
    }
    rows = [row for record in recording("abort") for row in (record.frame.get("payload") or {}).get("messages", [])]
    left = next(row for row in rows if "openclawAbort" in row)
    assert row["openclawAbort"].keys() == left["openclawAbort"].keys()
    assert world.gateway.asked[-3].params == {"sessionKey": "main", "runId": "k"}


@pytest.mark.parametrize("trouble", [None, stop_is_refused, stop_is_lost, stop_does_nothing])
async def test_after_a_stop_the_gateway_is_ready_for_the_next_message(world: World, trouble: object) -> None:
    if callable(trouble):
        trouble(world.gateway)
    world.gateway.agent = lambda text: slow(1.2) if text == "hi" else Reply(f"echo: {text}")
    await give_up(world)

    assert await world.ask("m", "next") == Answer("m", "echo: next")
    assert world.gateway.runs["m"].status == "ok"
    assert world.gateway.runs["k"].steered == []


async def test_a_run_that_was_stopped_in_vain_is_stopped_again_for_the_next_message(world: World) -> None:
    stop_is_refused(world.gateway)
    world.gateway.agent = lambda text: Reply(hangs=True) if text == "hi" else Reply("quick")
    await give_up(world)
    world.gateway.refuse = {}

    assert await world.ask("m", "next") == Answer("m", "quick")
    assert world.gateway.runs["k"].status == "aborted"


# While nobody listened --------------------------------------------------------------------------------------------


async def left_behind(world: World) -> None:
    """The run of a message that was given up ends while we are away: its final is told to nobody."""
    world.gateway.agent = lambda text: slow(0.5)
    world.reconnects_after_s = 1.0 * SCALE
    stop_is_lost(world.gateway)
    giving_up = asyncio.create_task(give_up(world))
    await eventually(lambda: world.gateway.count("chat.abort") > 0)
    await world.gateway.drop()
    await giving_up
    await eventually(lambda: not world.gateway.running())
    world.reconnects_after_s = 0.0


async def test_an_answer_that_nobody_heard_is_found_once(world: World) -> None:
    await left_behind(world)

    assert await missed(world) == [Answer("k", "late")]
    assert await missed(world) == []
    assert world.strays == []


async def test_an_answer_is_found_by_the_next_daemon_and_the_next_gateway(world: World) -> None:
    await left_behind(world)
    await world.gateway.restart()
    await world.reboot()

    assert await missed(world, ["other", "k", "k"]) == [Answer("k", "late")]


async def test_an_answer_that_history_told_is_no_stray_when_its_event_comes(world: World) -> None:
    await left_behind(world)
    assert await missed(world) == [Answer("k", "late")]

    await world.gateway.emit("chat", frames.chat("k", 99, "final", message=frames.message("late"))["payload"])
    await world.idle()

    assert world.strays == []


async def test_the_answer_of_a_second_run_or_of_a_continued_one_is_found(world: World) -> None:
    await world.gateway.kill()
    for row in (
        frames.user_row("a", "x"),
        frames.user_row("a.2", "x"),
        frames.assistant_row("a.2", "of the second run"),
        frames.user_row("b", "x"),
        frames.user_row("r", "[System]", recovery=True),
        frames.assistant_row("r", "of the continued one"),
        frames.user_row("c", "x"),
        frames.assistant_row("c", "", aborted=True),
        frames.user_row("d", "x"),
        frames.assistant_row("d", "no", stop="error"),
        frames.user_row("e", "x"),
    ):
        world.gateway.disk.add(row)
    await world.gateway.start()

    found = await missed(world, ["e", "d", "c", "b", "a", "never"])

    assert found == [Answer("r", "of the continued one"), Answer("a.2", "of the second run")]


async def test_answers_that_went_out_are_not_missed(world: World) -> None:
    await world.ask("k")

    assert await missed(world) == []


async def test_the_answer_of_an_open_turn_is_its_own(world: World) -> None:
    world.gateway.agent = lambda text: Reply("done", after_s=0.3)
    world.gateway.late_s = {"chat.send": 0.6}
    asking = world.asking()
    await eventually(lambda: len(world.gateway.disk.rows) == 2)

    assert await missed(world) == []
    assert await asking == Answer("k", "done")


async def test_a_run_that_still_goes_on_is_not_missed_but_told(world: World) -> None:
    world.gateway.agent = lambda text: slow(0.8)
    asking = world.asking()
    await eventually(lambda: bool(world.gateway.running()))
    asking.cancel()
    await asyncio.wait({asking})
    await world.reboot()

    assert await missed(world) == []
    await eventually(lambda: world.strays == [Answer("k", "late")])
    assert await missed(world) == []


async def test_without_a_connection_nothing_is_taken(world: World) -> None:
    await left_behind(world)
    await world.gateway.kill()
    await eventually(lambda: world.pool.get(SANDBOX) is None)

    with pytest.raises(GatewayUnavailable):
        await world.turns.missed(SANDBOX, ["k"])
    assert await world.turns.missed(SANDBOX, []) == []

    await world.gateway.start()
    assert await missed(world) == [Answer("k", "late")]


async def test_a_connection_that_is_lost_meanwhile_takes_nothing(world: World) -> None:
    await left_behind(world)
    await world.connected()
    world.gateway.drop_on = "chat.history"

    with pytest.raises(GatewayUnavailable):
        await world.turns.missed(SANDBOX, ["k"])

    await eventually(lambda: world.pool.get(SANDBOX) is not None)
    assert await missed(world) == [Answer("k", "late")]


async def test_given_up_and_asked_again_is_answered_once(world: World) -> None:
    await left_behind(world)

    assert await world.ask(again=True) == Answer("k", "late")
    assert await missed(world) == []
    assert world.strays == []


async def test_a_second_run_is_given_up_as_the_first(world: World) -> None:
    world.gateway.agent = lambda text: slow(1.2) if text.startswith(SECOND_RUN) else Reply(hangs=True)
    await give_up(world)
    world.gateway.aborts_in_vain = True
    with pytest.raises(GatewayUnavailable):
        await world.ask(again=True, timeout_s=0.5)

    await eventually(lambda: world.strays == [Answer("k.2", "late")])


async def test_a_sandbox_that_talks_by_itself_fills_no_memory_while_nobody_can_take_it(world: World) -> None:
    await world.connected()
    world.stray_troubles = 1_000_000
    before = len(asyncio.all_tasks())

    said = [await world.gateway.stray(f"text {number}") for number in range(MAX_HELD + 20)]
    await world.idle()
    assert len(asyncio.all_tasks()) - before < 10

    world.stray_troubles = 0
    await eventually(lambda: world.strays and world.strays[-1].run_id == said[-1])
    assert [answer.run_id for answer in world.strays] == [said[0], *said[-MAX_HELD:]]
