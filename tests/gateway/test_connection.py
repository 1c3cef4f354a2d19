"""One connection against a real server that delays, drops, lies and dies."""

import asyncio
import json
import os
import socket as sockets
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from clawkakad.allowance import Allowance
from clawkakad.errors import GatewayClosed, GatewayRefused, GatewayUnavailable, SandboxTampered
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.dialing import open_connection
from clawkakad.gateway.frames import MAX_TEXT, ChatEvent, Event, progress
from clawkakad.gateway.runs import Ending, Outcome
from tests.fakes import gateway_frames as frames
from tests.fakes.gateway import FakeGateway
from tests.fakes.gateway_agent import Reply
from tests.gateway.conftest import ME, STEPS_OF_A_DROP, TOKEN, dial
from tests.support import SCALE, eventually

PROGRESS = '{"type":"event","event":"chat","payload":{"runId":"r","sessionKey":"agent:main:main","state":"delta"}}'


def finals(connection: Connection) -> list[str]:
    """A list that fills with the texts of finals."""
    texts: list[str] = []

    def hear(event: Event) -> None:
        if isinstance(event, ChatEvent) and event.state == "final":
            texts.append(event.text)

    connection.listen(hear)
    return texts


# Opening ----------------------------------------------------------------------------------------------------------


async def test_an_open_connection_has_said_hello_and_subscribed(gateway: FakeGateway, connection: Connection) -> None:
    assert connection.boot_id == gateway.boot_id
    assert [asked.method for asked in gateway.asked] == ["connect", "sessions.messages.subscribe"]
    assert not connection.is_closed


async def test_it_reaches_a_socket_at_a_path_longer_than_an_address(gateway: FakeGateway) -> None:
    deep = gateway.socket.parent / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    gateway.socket.rename(deep / "gateway.sock")

    connection = await open_connection(deep / "gateway.sock", TOKEN, owner_uids=ME, timeout_s=5 * SCALE)

    assert (await connection.health(5 * SCALE))["ok"]
    await connection.aclose()


async def test_a_symlink_to_another_gateway_is_never_followed(gateway: FakeGateway) -> None:
    link = gateway.socket.with_name("link.sock")
    link.symlink_to(gateway.socket)

    with pytest.raises(SandboxTampered):
        await open_connection(link, TOKEN, owner_uids=ME, timeout_s=5 * SCALE)

    assert gateway.asked == []


async def test_a_wrong_token_says_stop(gateway: FakeGateway) -> None:
    with pytest.raises(GatewayRefused) as caught:
        await dial(gateway, token="wrong")

    assert caught.value.reason == "AUTH_TOKEN_MISMATCH"
    assert "wrong" not in str(caught.value)


async def test_another_protocol_says_stop(gateway: FakeGateway) -> None:
    gateway.protocol = 5

    with pytest.raises(GatewayRefused) as caught:
        await dial(gateway)

    assert caught.value.reason == "PROTOCOL_MISMATCH"


async def test_missing_scopes_say_stop(gateway: FakeGateway) -> None:
    gateway.scopes = ("operator.read",)

    with pytest.raises(GatewayRefused, match=r"operator\.admin"):
        await dial(gateway)


async def test_a_gateway_that_starts_says_later_and_when(gateway: FakeGateway) -> None:
    gateway.starting = 1

    with pytest.raises(GatewayUnavailable) as caught:
        await dial(gateway)

    assert caught.value.retry_after_s == 0.05


async def test_a_relay_that_closes_at_once_means_later(gateway: FakeGateway) -> None:
    gateway.slam = 10

    with pytest.raises(GatewayUnavailable):
        await dial(gateway)


async def test_a_socket_file_without_a_listener_means_later(socket: Path) -> None:
    with sockets.socket(sockets.AF_UNIX) as listening:
        listening.bind(str(socket))

    with pytest.raises(GatewayUnavailable):
        await open_connection(socket, TOKEN, owner_uids=ME, timeout_s=5 * SCALE)


async def test_a_listener_that_says_nothing_is_given_up_at_the_deadline(socket: Path) -> None:
    with sockets.socket(sockets.AF_UNIX) as listening:
        listening.bind(str(socket))
        listening.listen()

        with pytest.raises(GatewayUnavailable, match="no hello-ok"):
            await open_connection(socket, TOKEN, owner_uids=ME, timeout_s=0.2)


async def test_a_gateway_that_never_answers_connect_is_given_up_at_the_deadline(gateway: FakeGateway) -> None:
    gateway.unanswered = {"connect"}

    with pytest.raises(GatewayUnavailable, match="no hello-ok"):
        await dial(gateway, timeout_s=0.3)

    await eventually(lambda: gateway.connections == 0)


async def test_a_socket_that_drops_in_the_handshake_means_later(gateway: FakeGateway) -> None:
    for sent in range(3):
        gateway.drop_after = sent
        with pytest.raises(GatewayUnavailable):
            await dial(gateway)


async def test_cancelling_an_opening_leaves_nothing_open(gateway: FakeGateway) -> None:
    gateway.unanswered = {"connect"}
    opening = asyncio.create_task(dial(gateway))
    await eventually(lambda: gateway.count("connect") == 1)

    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening

    await eventually(lambda: gateway.connections == 0)


# Requests ---------------------------------------------------------------------------------------------------------


async def test_answers_find_their_requests_in_any_order(gateway: FakeGateway, connection: Connection) -> None:
    gateway.late_s = {"health": 0.2}

    health, history = await asyncio.gather(connection.health(5 * SCALE), connection.history(5))

    assert health["ok"]
    assert history.rows == ()


async def test_a_request_without_an_answer_ends_at_its_deadline(gateway: FakeGateway, connection: Connection) -> None:
    gateway.unanswered = {"health"}

    with pytest.raises(GatewayUnavailable, match="health: no answer"):
        await connection.health(0.1)

    assert not connection.is_closed


async def test_an_answer_that_comes_too_late_harms_nothing(gateway: FakeGateway, connection: Connection) -> None:
    gateway.late_s = {"health": 0.2}
    with pytest.raises(GatewayUnavailable):
        await connection.health(0.05)
    await asyncio.sleep(0.3)

    assert (await connection.history(1)).rows == ()


async def test_a_refused_request_carries_code_and_reason(gateway: FakeGateway, connection: Connection) -> None:
    details = {"code": "MISSING_SCOPE"}
    gateway.refuse = {"wake": frames.error("FORBIDDEN", "missing scope: operator.write", details=details)}

    with pytest.raises(GatewayRefused) as caught:
        await connection.wake("x")

    assert (caught.value.code, caught.value.reason) == ("FORBIDDEN", "MISSING_SCOPE")


async def test_a_suspended_gateway_says_later(gateway: FakeGateway, connection: Connection) -> None:
    gateway.suspended = True

    with pytest.raises(GatewayUnavailable) as caught:
        await connection.history(1)

    assert caught.value.retry_after_s == 0.05


async def test_an_empty_answer_is_refused_where_it_matters(gateway: FakeGateway, connection: Connection) -> None:
    gateway.empty = {"chat.send", "chat.history"}

    with pytest.raises(GatewayRefused):
        await connection.chat("k", "x")
    assert (await connection.history(3)).rows == ()


async def test_every_pending_request_learns_of_the_end(gateway: FakeGateway, connection: Connection) -> None:
    gateway.unanswered = {"health"}
    waiting = [asyncio.create_task(connection.health(30 * SCALE)) for _ in range(3)]
    await eventually(lambda: gateway.count("health") == 3)

    await gateway.drop()

    for outcome in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(outcome, GatewayClosed)
        assert outcome.code is None
    with pytest.raises(GatewayClosed):
        await connection.health(1)


async def test_cancelling_a_request_leaves_the_connection_whole(gateway: FakeGateway, connection: Connection) -> None:
    gateway.unanswered = {"health"}
    waiting = asyncio.create_task(connection.health(30 * SCALE))
    await eventually(lambda: gateway.count("health") == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gateway.unanswered = set()

    assert (await connection.health(5 * SCALE))["ok"]


# Methods ----------------------------------------------------------------------------------------------------------


async def test_a_message_is_never_interpreted_as_a_command(gateway: FakeGateway, connection: Connection) -> None:
    texts = finals(connection)

    ack = await connection.chat("k", "/new")

    assert (ack.run_id, ack.status) == ("k", "started")
    assert gateway.asked[-1].params["suppressCommandInterpretation"] is True
    await eventually(lambda: texts == ["echo: /new"])


async def test_the_same_run_never_starts_twice(gateway: FakeGateway, connection: Connection) -> None:
    gateway.agent = lambda text: Reply("done", after_s=0.1)
    texts = finals(connection)

    first, second = await connection.chat("k", "x"), await connection.chat("k", "x")
    await eventually(lambda: texts == ["done"])
    third = await connection.chat("k", "x")

    assert [ack.status for ack in (first, second, third)] == ["started", "in_flight", "ok"]


async def test_the_same_run_with_another_text_is_refused(gateway: FakeGateway, connection: Connection) -> None:
    await connection.chat("k", "x")

    with pytest.raises(GatewayRefused) as caught:
        await connection.chat("k", "y")

    assert caught.value.reason == "chat-request-conflict"


async def test_a_run_that_failed_before_says_so_instead_of_later(gateway: FakeGateway, connection: Connection) -> None:
    gateway.agent = lambda text: Reply(error="the model is away")
    await connection.chat("k", "x")
    await connection.wait_run("k", 5 * SCALE)

    ack = await connection.chat("k", "x")

    assert (ack.status, ack.summary) == ("error", "the model is away")


async def test_the_end_of_a_run_can_be_asked_for(gateway: FakeGateway, connection: Connection) -> None:
    gateway.agent = lambda text: {
        "say": Reply("done"),
        "fail": Reply(error="no"),
        "hush": Reply(),
    }.get(text, Reply(hangs=True))
    for text in ("say", "fail", "hush", "hang"):
        await connection.chat(text, text)
        if text != "hang":
            await connection.wait_run(text, 5 * SCALE)

    assert await connection.wait_run("say", 0) == Outcome("say", Ending.FINAL, "done")
    assert await connection.wait_run("fail", 0) == Outcome("fail", Ending.ERROR, "no")
    assert await connection.wait_run("hush", 0) == Outcome("hush", Ending.FINAL, "")
    assert await connection.wait_run("hang", 0) is None
    assert await connection.wait_run("never heard of", 0.05) is None
    assert await connection.abort("hang")
    assert await connection.wait_run("hang", 5 * SCALE) == Outcome("hang", Ending.ABORTED, "")
    assert not await connection.abort("hang")


# Events -----------------------------------------------------------------------------------------------------------


async def test_what_came_before_anybody_listened_is_told_first(gateway: FakeGateway, connection: Connection) -> None:
    await gateway.stray("recovered")
    await connection.health(5 * SCALE)

    assert finals(connection) == ["recovered"]


async def test_what_nobody_hears_is_kept_within_bounds(gateway: FakeGateway, connection: Connection) -> None:
    for number in range(400):
        await gateway.stray(str(number))
    await connection.health(20 * SCALE)

    texts = finals(connection)

    assert texts[-1] == "399"
    assert len(texts) < 256


async def test_what_nobody_hears_is_kept_within_bounds_however_long_it_is(
    gateway: FakeGateway, connection: Connection
) -> None:
    tracemalloc.start()
    for _ in range(100):
        await gateway.stray("x" * 1024 * 1024)
        gateway.runs.clear()
        gateway.disk.rows.clear()
    await connection.health(20 * SCALE)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 32 * 1024 * 1024
    assert set(map(len, finals(connection))) == {MAX_TEXT}


async def test_unknown_events_are_ignored_and_counted(gateway: FakeGateway, connection: Connection) -> None:
    await gateway.emit("ui.command", {"x": 1})
    await connection.health(5 * SCALE)

    assert connection.unknown_events == {"ui.command": 1}


# Ends -------------------------------------------------------------------------------------------------------------


async def test_a_close_by_the_gateway_carries_its_code(gateway: FakeGateway, connection: Connection) -> None:
    await gateway.close(1013)

    assert (await connection.wait_closed()).code == 1013


async def test_a_gateway_that_stops_says_so(gateway: FakeGateway, connection: Connection) -> None:
    await gateway.stop()

    assert (await connection.wait_closed()).code == 1012


async def test_a_socket_that_just_ends_has_no_code(gateway: FakeGateway, connection: Connection) -> None:
    await gateway.drop()

    assert (await connection.wait_closed()).code is None


@pytest.mark.parametrize("garbage", ["not json", "[]", '{"type":"res","ok":1}', "[" * 50_000])
async def test_garbage_closes_the_connection(gateway: FakeGateway, connection: Connection, garbage: str) -> None:
    await gateway.garbage(garbage)

    closed = await connection.wait_closed()

    assert closed.code == 1002
    assert "json" not in str(closed)
    await eventually(lambda: gateway.connections == 0)


async def test_a_frame_beyond_the_limit_closes_the_connection(gateway: FakeGateway, connection: Connection) -> None:
    await gateway.garbage("x" * (26 * 1024 * 1024))

    await connection.wait_closed()

    assert connection.is_closed


@pytest.mark.parametrize(
    "send", [lambda gateway: gateway.garbage('{"type":"event","event":"x"}'), lambda gateway: gateway.knock()]
)
async def test_what_a_gateway_sends_takes_a_tenth_of_the_time_at_most(
    gateway: FakeGateway, send: Callable[[FakeGateway], Awaitable[None]]
) -> None:
    allowance = Allowance()
    first = await open_connection(gateway.socket, TOKEN, owner_uids=ME, timeout_s=5 * SCALE, allowance=allowance)
    await first.aclose()  # another connection is no way round it
    connection = await open_connection(gateway.socket, TOKEN, owner_uids=ME, timeout_s=5 * SCALE, allowance=allowance)
    busy_s, started = time.process_time(), time.monotonic()

    for _ in range(1000):
        await send(gateway)
    await connection.health(30 * SCALE)

    assert time.monotonic() - started > 2 * (time.process_time() - busy_s)  # the fake's own time is in it
    await connection.aclose()


async def test_nor_do_large_frames_of_which_only_the_beginning_is_read(gateway: FakeGateway) -> None:
    connection = await open_connection(gateway.socket, TOKEN, owner_uids=ME, timeout_s=5 * SCALE, allowance=Allowance())
    about = {"runId": "r", "sessionKey": "s", "agentId": "main", "seq": 1, "state": "delta"}
    event = {"type": "event", "event": "chat", "payload": {**about, "deltaText": "x" * 4_000_000}}
    text = json.dumps(event, separators=(",", ":"))
    assert progress(text) is not None
    busy_s, started = time.process_time(), time.monotonic()

    for _ in range(10):
        await gateway.garbage(text)
    await connection.health(60 * SCALE)

    assert time.monotonic() - started > 2 * (time.process_time() - busy_s)  # the fake's own time is in it
    await connection.aclose()


async def test_nor_do_fragments_without_end_that_never_become_a_message(gateway: FakeGateway) -> None:
    connection = await open_connection(gateway.socket, TOKEN, owner_uids=ME, timeout_s=5 * SCALE, allowance=Allowance())
    busy_s, started = time.process_time(), time.monotonic()

    await gateway.crumble(2_000_000)
    await connection.health(60 * SCALE)

    assert time.monotonic() - started > 4 * (time.process_time() - busy_s)
    await connection.aclose()


async def test_a_ping_is_answered(gateway: FakeGateway, connection: Connection) -> None:
    await gateway.knock()
    await connection.health(5 * SCALE)

    assert gateway.pongs == [b"x"]


async def test_two_missed_ticks_are_the_end(gateway: FakeGateway) -> None:
    gateway.tick_s, gateway.ticking = 0.1, False
    connection = await dial(gateway)

    closed = await connection.wait_closed()

    assert closed.code == 4000
    assert "ticks" in str(closed)


async def test_ticks_keep_a_quiet_connection_alive(socket: Path) -> None:
    gateway = FakeGateway(socket, TOKEN)
    gateway.tick_s = 0.1
    async with gateway:
        connection = await dial(gateway)

        await asyncio.sleep(0.8)

        assert not connection.is_closed
        await connection.aclose()


async def test_ticks_that_end_after_a_while_are_missed(gateway: FakeGateway) -> None:
    gateway.tick_s = 0.1
    connection = await dial(gateway)
    await asyncio.sleep(0.5)
    gateway.ticking = False

    closed = await asyncio.wait_for(connection.wait_closed(), 5 * SCALE)

    assert closed.code == 4000
    await connection.aclose()


async def test_any_frame_is_a_sign_of_life(gateway: FakeGateway) -> None:
    gateway.tick_s, gateway.ticking = 0.2, False
    connection = await dial(gateway)

    for _ in range(16):
        await gateway.garbage(PROGRESS)
        await asyncio.sleep(0.05)

    assert not connection.is_closed
    await asyncio.wait_for(connection.wait_closed(), 5 * SCALE)
    await connection.aclose()


async def test_closing_says_goodbye_with_a_code(gateway: FakeGateway, connection: Connection) -> None:
    await connection.aclose(1001)

    assert str(await connection.wait_closed()) == "closed by us"
    await eventually(lambda: gateway.goodbyes == [1001])


async def test_closing_twice_or_after_the_end_is_nothing(gateway: FakeGateway, connection: Connection) -> None:
    await gateway.drop()
    await connection.wait_closed()

    await asyncio.gather(connection.aclose(), connection.aclose())
    await connection.aclose()


async def test_a_connection_that_we_give_up_is_closed_though_the_gateway_holds_the_close_up(
    gateway: FakeGateway, connection: Connection
) -> None:
    assert connection.is_open

    await gateway.jam()

    with pytest.raises(GatewayClosed, match="a binary message"):
        await connection.health(10 * SCALE)
    assert connection.is_closed
    assert not connection.is_open


@pytest.mark.parametrize("steps", range(STEPS_OF_A_DROP))
async def test_who_learns_of_the_end_finds_it_closed(gateway: FakeGateway, connection: Connection, steps: int) -> None:
    dropping = asyncio.create_task(gateway.drop())
    for _ in range(steps):
        await asyncio.sleep(0)

    with pytest.raises(GatewayClosed):
        await connection.health(5 * SCALE)

    assert connection.is_closed
    await dropping


async def test_waiters_learn_that_we_closed(gateway: FakeGateway, connection: Connection) -> None:
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(connection.while_open(never))
    await asyncio.sleep(0)

    await connection.aclose()

    with pytest.raises(GatewayClosed):
        await waiting
    assert not never.done()


@pytest.mark.parametrize("steps", range(1, STEPS_OF_A_DROP))
async def test_waiters_learn_of_a_close_that_was_cut_off(connection: Connection, steps: int) -> None:
    waiting = asyncio.create_task(connection.while_open(asyncio.Future[None]()))
    closing = asyncio.create_task(connection.aclose())
    for _ in range(steps):
        await asyncio.sleep(0)
    closing.cancel()

    with pytest.raises(GatewayClosed):
        await asyncio.wait_for(waiting, 5 * SCALE)
    await asyncio.wait({closing})


async def test_a_connection_leaves_no_descriptor_and_no_task(gateway: FakeGateway) -> None:
    await (await dial(gateway)).aclose()
    await eventually(lambda: gateway.connections == 0)
    before = (len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()))

    for number in range(10):
        connection = await dial(gateway)
        if number % 2:
            await gateway.drop()
            await connection.wait_closed()
        await connection.aclose()

    await eventually(lambda: gateway.connections == 0)
    await eventually(lambda: (len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks())) == before)


# Rest


async def test_a_gateway_that_may_rest_refuses_everything_until_it_goes_on(
    gateway: FakeGateway, connection: Connection
) -> None:
    assert await connection.suspend() == ""
    with pytest.raises(GatewayUnavailable):
        await connection.health(1)
    await connection.resume()

    assert (await connection.health(1))["ok"]


async def test_a_gateway_at_work_says_what_it_is_at_and_goes_on(gateway: FakeGateway, connection: Connection) -> None:
    gateway.blockers = ["chat-run", "background-exec", "background-exec"]

    assert await connection.suspend() == "background-exec, chat-run"
    assert (await connection.health(1))["ok"]


@pytest.mark.parametrize(
    "answer",
    [
        {"status": "busy", "blockers": ["x"]},
        {"status": "busy", "blockers": 5},
        {"status": "busy", "blockers": [{"kind": []}]},
        {"status": []},
        {"status": "ready", "suspensionId": {"x": 1}},
    ],
)
async def test_a_gateway_that_talks_nonsense_may_not_rest(
    gateway: FakeGateway, connection: Connection, answer: dict[str, Any]
) -> None:
    gateway.says["gateway.suspend.prepare"] = answer

    with pytest.raises(GatewayRefused):
        await connection.suspend()


async def test_the_next_connection_lets_a_suspended_gateway_go_on(gateway: FakeGateway, connection: Connection) -> None:
    """It was frozen meanwhile, or the daemon died."""
    await connection.suspend()
    await connection.aclose()
    second = await dial(gateway)

    assert gateway.suspension is None
    assert (await second.health(1))["ok"]


async def test_another_ones_suspension_is_waited_for(gateway: FakeGateway) -> None:
    gateway.suspension = "somebody else's"
    with pytest.raises(GatewayUnavailable):
        await dial(gateway)
