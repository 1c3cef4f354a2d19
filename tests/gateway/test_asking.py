"""A message gets its one reply, whatever the socket or the gateway's process do meanwhile."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable

import pytest

from clawkakad.errors import GatewayRefused, GatewayUnavailable, SandboxGone, TurnFailed
from clawkakad.gateway.asking import SECOND_RUN
from clawkakad.gateway.desk import Desk
from clawkakad.gateway.turns import Answer
from tests.fakes import gateway_frames as frames
from tests.fakes.gateway import FakeGateway
from tests.fakes.gateway_agent import Agent, Reply
from tests.gateway.conftest import SANDBOX, STEPS_OF_A_DROP
from tests.gateway.world import World
from tests.support import SCALE, eventually


@pytest.fixture
async def world(gateway: FakeGateway) -> AsyncIterator[World]:
    made = World(gateway)
    yield made
    await made.aclose()


def counted(reply: Callable[[int, str], Reply]) -> tuple[Agent, list[str]]:
    """An agent that knows how often it was asked, and the list of what it was asked."""
    asked: list[str] = []

    def agent(text: str) -> Reply:
        asked.append(text)
        return reply(len(asked), text)

    return agent, asked


def second(text: str) -> str:
    """What the agent reads when it is asked a second time."""
    return f"{SECOND_RUN}\n\n{text}"


async def in_progress(world: World) -> None:
    """Wait until the message's row is written and its run is going on."""
    await eventually(lambda: bool(world.gateway.disk.rows) and bool(world.gateway.running()))


# Nothing happens meanwhile ----------------------------------------------------------------------------------------


async def test_a_message_gets_its_reply(world: World) -> None:
    assert await world.ask("k", "hi") == Answer("k", "echo: hi")
    assert await world.ask("m", "again") == Answer("m", "echo: again")
    await world.idle()
    assert world.strays == []


async def test_a_reply_may_be_empty(world: World) -> None:
    world.gateway.agent = lambda text: Reply()

    assert await world.ask() == Answer("k", "")


async def test_a_failed_turn_says_why(world: World) -> None:
    world.gateway.agent = lambda text: Reply(error="authentication failed, HTTP 401", kind="auth")

    with pytest.raises(TurnFailed, match="401") as caught:
        await world.ask()

    assert caught.value.kind == "auth"


async def test_repeated_events_change_nothing(world: World) -> None:
    world.gateway.duplicate = True

    assert await world.ask() == Answer("k", "echo: hi")
    await world.idle()
    assert world.strays == []


async def test_it_waits_for_a_sandbox_that_is_not_up_yet(world: World) -> None:
    await world.gateway.kill()
    asking = world.asking()
    await asyncio.sleep(0.1)

    await world.gateway.start()

    assert await asking == Answer("k", "echo: hi")


async def test_a_refused_message_is_not_repeated(world: World) -> None:
    world.gateway.refuse = {"chat.send": frames.error("INVALID_REQUEST", "no")}

    with pytest.raises(GatewayRefused):
        await world.ask()

    assert world.sent == ["k"]


# The socket drops -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", range(14))
async def test_a_socket_that_drops_at_any_frame_costs_nothing(world: World, frame: int) -> None:
    world.gateway.agent, asked = counted(lambda _, text: Reply(f"echo: {text}", after_s=0.02))
    await world.connected()
    world.gateway.drop_after = frame

    assert await world.ask() == Answer("k", "echo: hi")
    await world.idle()
    assert asked == ["hi"]
    assert world.strays == []


async def test_a_socket_that_drops_again_and_again(world: World) -> None:
    world.gateway.agent, asked = counted(lambda _, text: Reply("done", after_s=0.6))
    asking = world.asking()
    for _ in range(5):
        await in_progress(world)
        await world.gateway.drop()
        await asyncio.sleep(0.05)

    assert await asking == Answer("k", "done")
    assert asked == ["hi"]


async def test_a_lost_acknowledgement_starts_nothing_twice(world: World) -> None:
    world.gateway.agent, asked = counted(lambda _, text: Reply("done", after_s=0.1))
    world.gateway.drop_on = "chat.send"

    assert await world.ask() == Answer("k", "done")
    assert asked == ["hi"]


async def test_a_turn_that_ended_while_we_were_away_is_read_from_the_history(world: World) -> None:
    world.gateway.agent, asked = counted(lambda _, text: Reply("done", after_s=0.05))
    world.reconnects_after_s = 0.4
    asking = world.asking()
    await in_progress(world)
    await world.gateway.drop()

    assert await asking == Answer("k", "done")
    assert asked == ["hi"]
    assert world.sent == ["k"]


async def test_a_failure_while_we_were_away_is_one(world: World) -> None:
    world.gateway.agent = lambda text: Reply(error="the model is away", after_s=0.05)
    world.reconnects_after_s = 0.4
    asking = world.asking()
    await in_progress(world)
    await world.gateway.drop()

    with pytest.raises(TurnFailed, match="the model is away"):
        await asking


async def test_a_message_whose_row_is_not_written_yet_is_not_sent_twice(world: World) -> None:
    world.gateway.agent, asked = counted(lambda _, text: Reply("done"))
    world.gateway.row_after_s = 0.3
    asking = world.asking()
    await eventually(lambda: bool(world.gateway.running()))
    await world.gateway.drop()

    assert await asking == Answer("k", "done")
    assert asked == ["hi"]
    assert world.sent == ["k"]


@pytest.mark.timeout(20 * SCALE)
async def test_a_gateway_that_holds_our_close_up_holds_nobody_else_up(world: World) -> None:
    await world.connected()
    await world.gateway.jam()

    assert await world.ask() == Answer("k", "echo: hi")


@pytest.mark.timeout(20 * SCALE)
@pytest.mark.parametrize("steps", range(STEPS_OF_A_DROP))
async def test_a_message_that_comes_while_the_socket_drops(world: World, steps: int) -> None:
    await world.connected()
    dropping = asyncio.create_task(world.gateway.drop())
    for _ in range(steps):
        await asyncio.sleep(0)

    assert await world.ask() == Answer("k", "echo: hi")
    await dropping


# Frames are lost or late ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [{"final"}, {"final", "status", "delta"}])
async def test_a_lost_final_is_asked_for(world: World, lost: set[str]) -> None:
    world.gateway.mute = lost

    assert await world.ask() == Answer("k", "echo: hi")


async def test_a_lost_error_is_asked_for(world: World) -> None:
    world.gateway.mute = {"error"}
    world.gateway.agent = lambda text: Reply(error="no")

    with pytest.raises(TurnFailed, match="no"):
        await world.ask()


async def test_a_gateway_that_never_acknowledges_still_answers(world: World) -> None:
    world.gateway.agent, asked = counted(lambda _, text: Reply("done"))
    world.gateway.unanswered = {"chat.send"}

    assert await world.ask() == Answer("k", "done")
    assert asked == ["hi"]


async def test_a_late_acknowledgement_is_no_harm(world: World) -> None:
    world.gateway.late_s = {"chat.send": 0.2}

    assert await world.ask() == Answer("k", "echo: hi")


async def test_a_suspended_gateway_is_waited_for(world: World) -> None:
    await world.connected()
    world.gateway.suspended = True
    asking = world.asking()
    await eventually(lambda: world.gateway.count("chat.history") > 0)
    await asyncio.sleep(0.1)
    world.gateway.suspended = False

    assert await asking == Answer("k", "echo: hi")


async def test_garbage_in_mid_turn_costs_a_connection_and_nothing_else(world: World) -> None:
    world.gateway.agent, asked = counted(lambda _, text: Reply("done", after_s=0.2))
    asking = world.asking()
    await in_progress(world)
    await world.gateway.garbage("{{{{")

    assert await asking == Answer("k", "done")
    assert asked == ["hi"]


async def test_a_long_quiet_turn_is_waited_for(world: World) -> None:
    world.gateway.agent, asked = counted(lambda _, text: Reply("done", after_s=1.2 * SCALE))

    assert await world.ask() == Answer("k", "done")
    assert asked == ["hi"]
    assert world.gateway.count("agent.wait") >= 2


# The gateway dies -------------------------------------------------------------------------------------------------


async def test_a_restarted_gateway_continues_the_turn_and_its_reply_is_ours(world: World) -> None:
    world.gateway.agent, _ = counted(lambda n, text: Reply("resumed") if n > 1 else Reply(hangs=True))
    asking = world.asking()
    await in_progress(world)
    await world.gateway.restart()

    answer = await asking

    assert answer.text == "resumed"
    assert answer.run_id != "k"
    assert world.sent == ["k"]
    await world.idle()
    assert world.strays == []


@pytest.mark.parametrize("resumes_after_s", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("reconnects_after_s", [0.0, 0.2, 0.4])
async def test_however_the_restart_and_the_reconnect_race(
    world: World, resumes_after_s: float, reconnects_after_s: float
) -> None:
    world.gateway.agent, _ = counted(lambda n, text: Reply("resumed", after_s=0.1) if n > 1 else Reply(hangs=True))
    world.gateway.resumes_after_s = resumes_after_s
    world.reconnects_after_s = reconnects_after_s
    asking = world.asking()
    await in_progress(world)
    await world.gateway.restart()

    assert (await asking).text == "resumed"
    await world.idle()
    assert world.sent == ["k"]
    assert world.strays == []


async def test_a_gateway_that_dies_twice_in_one_turn(world: World) -> None:
    world.gateway.agent, _ = counted(lambda n, text: Reply("resumed") if n > 2 else Reply(hangs=True))
    asking = world.asking()
    await in_progress(world)
    await world.gateway.restart()
    await eventually(lambda: len(world.gateway.disk.rows) == 2)
    await world.gateway.restart()

    assert (await asking).text == "resumed"
    assert world.sent == ["k"]


async def test_a_turn_that_nobody_continues_is_sent_once_more(world: World) -> None:
    world.gateway.agent, asked = counted(lambda n, text: Reply("second time") if n > 1 else Reply(hangs=True))
    world.gateway.resumes = False
    asking = world.asking()
    await in_progress(world)
    await world.gateway.restart()

    assert await asking == Answer("k.2", "second time")
    assert asked == ["hi", second("hi")]


async def test_a_turn_that_is_cut_short_twice_fails(world: World) -> None:
    world.gateway.agent = lambda text: Reply(hangs=True)
    world.gateway.resumes = False
    asking = world.asking()
    for rows in (1, 2):
        await eventually(lambda rows=rows: len(world.gateway.disk.rows) == rows, within_s=10)
        await world.gateway.restart()

    with pytest.raises(TurnFailed) as caught:
        await asking

    assert caught.value.kind == "interrupted"
    assert world.sent == ["k", "k.2"]


async def test_a_message_whose_gateway_died_before_its_row_was_written_is_sent_once_more(world: World) -> None:
    world.gateway.row_after_s = 30
    asking = world.asking()
    await eventually(lambda: bool(world.gateway.running()))
    world.gateway.row_after_s = 0
    await world.gateway.restart()

    assert await asking == Answer("k.2", f"echo: {second('hi')}")
    assert world.sent == ["k", "k.2"]


async def test_a_run_that_had_not_begun_is_not_waited_for_long(world: World) -> None:
    world.gateway.begin_after_s = 30
    asking = world.asking()
    await eventually(lambda: len(world.gateway.disk.rows) == 1)
    world.gateway.begin_after_s = 0
    await world.gateway.restart()

    assert await asking == Answer("k.2", f"echo: {second('hi')}")


async def test_what_another_message_left_behind_is_in_nobodys_way(world: World) -> None:
    world.gateway.row_after_s = 30
    asking = world.asking("lost")
    await eventually(lambda: bool(world.gateway.running()))
    asking.cancel()
    await asyncio.wait({asking})
    world.gateway.row_after_s = 0
    await world.gateway.restart()

    assert await world.ask("m", "hi", again=True) == Answer("m", "echo: hi")


async def test_a_gateway_that_stops_before_it_began_leaves_the_turn_to_the_next(world: World) -> None:
    world.gateway.row_after_s = 30
    asking = world.asking()
    await eventually(lambda: bool(world.gateway.running()))
    world.gateway.row_after_s = 0
    await world.gateway.stop()
    await world.gateway.start()

    assert await asking == Answer("k.2", f"echo: {second('hi')}")
    assert world.sent == ["k", "k.2"]


async def test_a_gateway_that_is_stopping_is_not_asked_again(world: World) -> None:
    world.gateway.agent, _ = counted(
        lambda n, text: Reply("done") if n > 1 else Reply(error="Gateway is draining; new tasks are not accepted")
    )
    asking = world.asking()
    await eventually(lambda: len(world.gateway.disk.rows) == 2)
    await asyncio.sleep(0.1)
    before = list(world.sent)
    await world.gateway.restart()

    assert await asking == Answer("k.2", "done")
    assert before == ["k"]


async def test_a_second_run_that_a_stopping_gateway_left_no_trace_of_is_sent_to_the_next_one(world: World) -> None:
    world.gateway.agent, _ = counted(lambda n, text: Reply("done") if n > 1 else Reply(hangs=True))
    world.gateway.resumes = False
    asking = world.asking(timeout_s=5)
    await eventually(lambda: len(world.gateway.disk.rows) == 1)
    world.gateway.row_after_s = 30
    await world.gateway.restart()
    await eventually(lambda: world.sent == ["k", "k.2"])
    refused = {"runId": "k.2", "sessionKey": frames.MAIN, "state": "error", "errorMessage": frames.DRAINING}
    await world.gateway.emit("chat", refused)
    await asyncio.sleep(0.1)
    world.gateway.row_after_s = 0
    world.gateway.disk.pending.clear()
    await world.gateway.restart()

    assert await asking == Answer("k.2", "done")
    assert world.sent == ["k", "k.2", "k.2"]


async def test_a_turn_that_ended_before_the_gateway_died_is_not_run_again(world: World) -> None:
    world.gateway.agent, asked = counted(lambda _, text: Reply("done"))
    world.gateway.mute = {"final"}
    world.reconnects_after_s = 0.1
    asking = world.asking()
    await eventually(lambda: len(world.gateway.disk.rows) == 2)
    await world.gateway.restart()

    assert await asking == Answer("k", "done")
    assert asked == ["hi"]


async def test_a_resumed_turn_that_fails_is_a_failure(world: World) -> None:
    world.gateway.agent, _ = counted(lambda n, text: Reply(error="no model") if n > 1 else Reply(hangs=True))
    asking = world.asking()
    await in_progress(world)
    await world.gateway.restart()

    with pytest.raises(TurnFailed, match="no model"):
        await asking


# The daemon dies --------------------------------------------------------------------------------------------------


async def test_asked_again_though_it_never_was(world: World) -> None:
    assert await world.ask(again=True) == Answer("k", "echo: hi")


async def test_asked_again_after_it_was_answered(world: World) -> None:
    world.gateway.agent, asked = counted(lambda _, text: Reply("done"))
    await world.ask()
    await world.reboot()

    assert await world.ask(again=True) == Answer("k", "done")
    assert asked == ["hi"]


async def test_asked_again_after_it_was_answered_and_the_gateway_died(world: World) -> None:
    world.gateway.agent, asked = counted(lambda _, text: Reply("done"))
    await world.ask()
    await world.gateway.restart()
    await world.reboot()

    assert await world.ask(again=True) == Answer("k", "done")
    assert asked == ["hi"]


async def test_asked_again_while_it_is_going_on(world: World) -> None:
    world.gateway.agent, asked = counted(lambda _, text: Reply("done", after_s=0.4))
    asking = world.asking()
    await in_progress(world)
    asking.cancel()
    await asyncio.wait({asking})
    await world.reboot()

    assert await world.ask(again=True) == Answer("k", "done")
    assert asked == ["hi"]
    await world.idle()
    assert world.strays == []


async def test_cancelling_leaves_the_run_going(world: World) -> None:
    world.gateway.agent, asked = counted(lambda _, text: Reply("done", after_s=0.2))
    asking = world.asking()
    await in_progress(world)
    asking.cancel()
    await asyncio.wait({asking})

    assert await world.ask(again=True) == Answer("k", "done")
    assert asked == ["hi"]
    assert world.gateway.count("chat.abort") == 0


async def test_asked_again_after_daemon_and_gateway_died_in_mid_turn(world: World) -> None:
    world.gateway.agent, _ = counted(lambda n, text: Reply("resumed", after_s=0.2) if n > 1 else Reply(hangs=True))
    asking = world.asking()
    await in_progress(world)
    asking.cancel()
    await asyncio.wait({asking})
    await world.gateway.restart()
    await world.reboot()

    assert (await world.ask(again=True)).text == "resumed"
    await world.idle()
    assert world.sent == ["k"]
    assert world.strays == []


async def test_a_reply_that_went_out_as_a_stray_is_not_given_a_second_time(world: World) -> None:
    world.gateway.agent, _ = counted(lambda n, text: Reply("resumed", after_s=0.8) if n > 1 else Reply(hangs=True))
    asking = world.asking()
    await in_progress(world)
    asking.cancel()
    await asyncio.wait({asking})
    await world.gateway.restart()
    await eventually(lambda: [stray.text for stray in world.strays] == ["resumed"])

    answer = await world.ask(again=True)

    assert answer == Answer(world.strays[0].run_id, "")
    assert world.sent == ["k"]


async def test_another_run_in_the_way_is_waited_for(world: World) -> None:
    world.gateway.agent = lambda text: Reply("slow", after_s=0.3) if text == "first" else Reply("quick")
    first = world.asking("k", "first")
    await in_progress(world)
    first.cancel()
    await asyncio.wait({first})

    assert await world.ask("m", "second", again=True) == Answer("m", "quick")


async def test_a_heartbeat_that_goes_on_is_waited_for(world: World) -> None:
    world.gateway.heartbeat = lambda text: Reply("something is due", after_s=0.3)
    await world.connected()
    waking = world.waking()
    await eventually(lambda: bool(world.gateway.running()))

    answer = await world.ask("k", "hi")
    woken = await waking

    assert answer == Answer("k", "echo: hi")
    assert woken is not None
    assert woken.text == "something is due"


async def test_a_message_merged_into_a_run_of_the_gateways_own_is_answered_there(world: World) -> None:
    world.gateway.heartbeat = lambda text: Reply("something is due", after_s=0.3)
    await world.ask("before")
    world.gateway.spawn(world.gateway.beat("its own idea"))
    await eventually(lambda: bool(world.gateway.running()))

    answer = await world.ask("k", "hi")

    assert answer.text == ""
    await eventually(lambda: [stray.text for stray in world.strays] == ["something is due\n\necho: hi"])


# The history says nothing ------------------------------------------------------------------------------------------


async def test_an_ended_run_that_is_met_again_gives_its_reply(world: World) -> None:
    world.gateway.agent, asked = counted(lambda _, text: Reply("done"))
    await world.ask()
    world.gateway.empty = {"chat.history"}

    assert await world.ask(again=True) == Answer("k", "done")
    assert asked == ["hi"]


async def test_a_stopped_run_that_is_met_again_gets_a_new_one(world: World) -> None:
    world.gateway.agent, _ = counted(lambda n, text: Reply("done") if n > 1 else Reply(hangs=True))
    with pytest.raises(GatewayUnavailable):
        await world.ask(timeout_s=0.3)
    world.gateway.empty = {"chat.history"}

    assert await world.ask(again=True) == Answer("k.2", "done")


async def test_a_failed_run_that_is_met_again_fails(world: World) -> None:
    world.gateway.agent = lambda text: Reply(error="no model")
    with pytest.raises(TurnFailed):
        await world.ask()
    world.gateway.empty = {"chat.history"}

    with pytest.raises(TurnFailed, match="no model"):
        await world.ask(again=True)


async def test_a_run_of_a_dead_process_that_is_met_again_gets_a_new_one(world: World) -> None:
    world.gateway.row_after_s = 30
    asking = world.asking()
    await eventually(lambda: bool(world.gateway.running()))
    asking.cancel()
    await asyncio.wait({asking})
    world.gateway.row_after_s = 0
    await world.gateway.restart()
    world.gateway.empty = {"chat.history"}

    assert await world.ask(again=True) == Answer("k.2", f"echo: {second('hi')}")


# It takes too long ------------------------------------------------------------------------------------------------


async def test_an_overdue_run_is_stopped(world: World) -> None:
    world.gateway.agent = lambda text: Reply(hangs=True)

    with pytest.raises(GatewayUnavailable, match="no reply within"):
        await world.ask(timeout_s=0.3)

    assert world.gateway.running() == []
    assert world.gateway.runs["k"].status == "aborted"


async def test_asked_again_after_it_was_stopped_gets_a_new_run_once(world: World) -> None:
    world.gateway.agent, asked = counted(lambda n, text: Reply("at last") if n > 1 else Reply(hangs=True))
    with pytest.raises(GatewayUnavailable):
        await world.ask(timeout_s=0.3)

    assert await world.ask(again=True) == Answer("k.2", "at last")
    assert asked == ["hi", second("hi")]


async def test_asked_again_after_it_was_stopped_twice_fails(world: World) -> None:
    world.gateway.agent = lambda text: Reply(hangs=True)
    for again in (False, True):
        with pytest.raises(GatewayUnavailable):
            await world.ask(again=again, timeout_s=0.3)

    with pytest.raises(TurnFailed) as caught:
        await world.ask(again=True)

    assert caught.value.kind == "interrupted"


async def test_stopped_before_its_row_was_written_gets_a_new_run(world: World) -> None:
    world.gateway.row_after_s = 30
    with pytest.raises(GatewayUnavailable):
        await world.ask(timeout_s=0.3)
    world.gateway.row_after_s = 0

    assert (await world.ask(again=True)).text == f"echo: {second('hi')}"


async def test_stopped_by_somebody_else_is_a_failure(world: World) -> None:
    world.gateway.agent = lambda text: Reply(hangs=True)
    asking = world.asking()
    await in_progress(world)
    await world.gateway.abort(world.gateway.runs["k"])

    with pytest.raises(TurnFailed) as caught:
        await asking

    assert caught.value.kind == "aborted"


async def test_a_sandbox_that_never_comes_up_is_given_up(world: World) -> None:
    await world.gateway.kill()

    with pytest.raises(GatewayUnavailable):
        await world.ask(timeout_s=0.3)


async def test_the_deadline_holds_whatever_does_not_answer(world: World) -> None:
    world.gateway.unanswered = {"chat.send", "chat.history", "agent.wait", "chat.abort"}
    world.gateway.agent = lambda text: Reply(hangs=True)

    async with asyncio.timeout(15 * SCALE):
        with pytest.raises(GatewayUnavailable):
            await world.ask(timeout_s=0.5)


# The sandbox is removed -------------------------------------------------------------------------------------------


async def test_a_sandbox_that_is_removed_while_it_is_waited_for(world: World) -> None:
    await world.gateway.kill()
    asking = world.asking()
    await asyncio.sleep(0.1)

    world.pool.retire(SANDBOX)

    async with asyncio.timeout(5 * SCALE):
        with pytest.raises(SandboxGone):
            await asking


async def test_a_sandbox_that_is_removed_in_mid_turn(world: World) -> None:
    world.gateway.agent = lambda text: Reply(hangs=True)
    asking = world.asking()
    await in_progress(world)

    world.pool.retire(SANDBOX)
    await world.gateway.kill()

    async with asyncio.timeout(5 * SCALE):
        with pytest.raises(SandboxGone):
            await asking
        with pytest.raises(SandboxGone):
            await world.ask(again=True)


async def test_a_text_of_a_sandbox_that_is_removed_is_not_handed_on(world: World) -> None:
    await world.connected()
    connection = world.pool.get(SANDBOX)
    assert connection is not None
    world.pool.retire(SANDBOX)

    await world.gateway.stray("by the way")
    await connection.health(5 * SCALE)

    assert world.strays == []


@pytest.mark.parametrize("asks_later", [0, 1])
async def test_nothing_of_a_removed_sandbox_is_kept(world: World, asks_later: int) -> None:
    await world.ask()
    world.pool.retire(SANDBOX)
    for _ in range(asks_later):
        with pytest.raises(SandboxGone):
            await world.ask("m")

    gc.collect()

    assert not [kept for kept in gc.get_objects() if isinstance(kept, Desk)]


# Nobody asked -----------------------------------------------------------------------------------------------------


async def test_a_text_that_nobody_asked_for_is_handed_on_once(world: World) -> None:
    world.gateway.duplicate = True
    await world.connected()

    run_id = await world.gateway.stray("by the way")

    await eventually(lambda: world.strays == [Answer(run_id, "by the way")])
    await world.idle()
    assert len(world.strays) == 1


async def test_a_turn_continued_at_start_belongs_to_the_person_though_nobody_asks(world: World) -> None:
    world.gateway.agent, _ = counted(lambda n, text: Reply("resumed", after_s=0.8) if n > 1 else Reply(hangs=True))
    asking = world.asking()
    await in_progress(world)
    asking.cancel()
    await asyncio.wait({asking})

    await world.gateway.restart()

    await eventually(lambda: [stray.text for stray in world.strays] == ["resumed"])


async def test_a_stray_in_mid_turn_is_handed_on_after_it(world: World) -> None:
    world.gateway.agent = lambda text: Reply("done", after_s=0.2)
    asking = world.asking()
    await in_progress(world)
    await world.gateway.stray("by the way")
    held = list(world.strays)

    assert (await asking).text == "done"
    assert held == []
    await eventually(lambda: [stray.text for stray in world.strays] == ["by the way"])


async def test_a_stray_that_cannot_be_taken_now_is_offered_again(world: World) -> None:
    world.stray_troubles = 3
    await world.connected()

    await world.gateway.stray("by the way")

    await eventually(lambda: [stray.text for stray in world.strays] == ["by the way"])
