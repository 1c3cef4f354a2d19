"""Who gets the news: the turn that asked, the heartbeat that was woken, or nobody."""

import asyncio
import json
import tracemalloc
from typing import Any

import pytest

from clawkakad.errors import TurnFailed
from clawkakad.gateway.desk import MAX_HELD, Desk
from clawkakad.gateway.frames import MAX_TEXT, AgentEvent, ChatEvent, HeartbeatEvent, decode
from clawkakad.gateway.runs import MAIN_SESSION, MAX_RUNS, Answer, Ending, Outcome, text_of
from tests.gateway.recordings import NAMES, received

MIB = 1024 * 1024


def chat(run_id: str, state: str = "final", text: str | None = None, session: str = MAIN_SESSION) -> ChatEvent:
    message: Any = None if text is None else {"content": text}
    payload = {"runId": run_id, "sessionKey": session, "state": state, "message": message}
    event = decode(json.dumps({"type": "event", "event": "chat", "payload": payload}))
    assert isinstance(event, ChatEvent)
    return event


def mark(run_id: str, heartbeat: bool) -> AgentEvent:
    return AgentEvent(run_id=run_id, session_key=MAIN_SESSION, is_heartbeat=heartbeat)


def play(desk: Desk, name: str) -> None:
    for record in received(name):
        frame = decode(record.text)
        if isinstance(frame, ChatEvent | AgentEvent | HeartbeatEvent):
            desk.hear(frame)


async def test_the_end_of_a_recorded_run_reaches_who_asked() -> None:
    desk = Desk()
    future = desk.expect("ece18c06-d0e2-47e6-8cee-0c039516c0d5")

    play(desk, "chat-text")

    assert future.result().text == "Hi from stub, a text answer"
    assert desk.strays() == []


async def test_a_recorded_failure_carries_its_kind_though_it_is_told_twice() -> None:
    desk = Desk()
    future = desk.expect("f1")

    play(desk, "error-again")

    assert future.result().ending is Ending.ERROR
    assert future.result().kind == "auth"


@pytest.mark.parametrize(
    ("name", "text"), [("heartbeat-alert", "Reminder: you spent 590 on Uber this week"), ("heartbeat-ok", "")]
)
async def test_a_recorded_heartbeat_reaches_who_woke(name: str, text: str) -> None:
    desk = Desk()
    future = desk.expect_heartbeat()

    play(desk, name)

    assert future.result().text == text
    desk.claim(future.result().run_id)
    desk.drop_heartbeat()
    assert desk.strays() == []


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("cron")])
async def test_scheduled_jobs_of_the_gateway_are_nobodys(name: str) -> None:
    desk = Desk()

    play(desk, name)

    assert desk.strays() == []


async def test_a_text_that_nobody_asked_for_is_a_stray_once() -> None:
    desk = Desk()
    for _ in range(3):
        desk.hear(chat("r", text="hello"))

    assert [stray.text for stray in desk.strays()] == ["hello"]
    desk.hear(chat("r", text="hello"))
    assert desk.strays() == []


async def test_strays_without_a_text_are_nothing() -> None:
    desk = Desk()
    desk.hear(chat("a"))
    desk.hear(chat("b", "error"))
    desk.hear(chat("c", "aborted", text="half a"))
    desk.hear(chat("d", "some new state", text="?"))

    assert desk.strays() == []


async def test_strays_wait_while_a_turn_is_open_and_may_prove_to_be_its_own() -> None:
    desk = Desk()
    desk.turns = 1
    desk.hear(chat("r", text="continued"))
    desk.hear(chat("s", text="other"))

    assert desk.strays() == []
    assert desk.recognise("r", "from history") == Answer("r", "continued")
    desk.turns = 0
    assert [stray.run_id for stray in desk.strays()] == ["s"]


async def test_a_text_that_went_out_as_a_stray_is_not_given_again() -> None:
    desk = Desk()
    desk.hear(chat("r", text="continued"))
    desk.strays()

    assert desk.recognise("r", "continued") == Answer("r", "")


async def test_a_run_that_is_recognised_later_is_no_stray_any_more() -> None:
    desk = Desk()
    assert desk.recognise("r", "from history") == Answer("r", "from history")

    desk.hear(chat("r", text="from history"))

    assert desk.strays() == []


async def test_a_persons_run_is_never_taken_for_a_heartbeat() -> None:
    desk = Desk()
    future = desk.expect_heartbeat()
    desk.turns = 1
    desk.hear(mark("r", heartbeat=False))
    desk.hear(chat("r", text="continued"))

    assert not future.done()
    desk.hear(mark("h", heartbeat=True))
    desk.hear(chat("h", text="something is due"))
    assert future.result().text == "something is due"


async def test_a_postponed_heartbeat_is_still_waited_for() -> None:
    desk = Desk()
    future = desk.expect_heartbeat()
    desk.hear(HeartbeatEvent(status="skipped", reason="requests-in-flight"))
    desk.hear(HeartbeatEvent(status="skipped", reason="target-none", preview="its text comes with the final"))

    assert not future.done()


async def test_a_heartbeat_that_ends_without_a_run_is_silence_or_an_error() -> None:
    desk = Desk()
    silent = desk.expect_heartbeat()
    desk.hear(HeartbeatEvent(status="ok-empty"))
    refused = desk.expect_heartbeat()
    desk.hear(HeartbeatEvent(status="skipped", reason="disabled"))

    assert text_of(silent.result()) == ""
    with pytest.raises(TurnFailed, match="disabled"):
        text_of(refused.result())


async def test_a_heartbeat_that_nobody_took_becomes_a_stray() -> None:
    desk = Desk()
    desk.expect_heartbeat()
    desk.turns = 1
    desk.hear(chat("h", text="something is due"))
    desk.drop_heartbeat()
    desk.turns = 0

    assert [stray.text for stray in desk.strays()] == ["something is due"]


async def test_a_forgotten_run_may_start_anew() -> None:
    desk = Desk()
    desk.expect("k")
    desk.hear(chat("k", "aborted"))
    desk.forget("k")
    future: asyncio.Future[Outcome] = desk.expect("k")

    desk.hear(chat("k", text="second time"))

    assert future.result().text == "second time"


async def test_memory_is_bounded() -> None:
    desk = Desk()
    for number in range(2000):
        desk.expect(f"asked-{number}")
        desk.hear(chat(f"stray-{number}", text="x"))
        desk.strays()

    desk.hear(chat("asked-0", text="forgotten, so nobody's"))
    assert [stray.run_id for stray in desk.strays()] == ["asked-0"]


def test_made_up_runs_do_not_pile_up_while_a_turn_is_open() -> None:
    desk = Desk()
    desk.turns = 1
    for number in range(1000):
        desk.hear(chat(f"run{number}", text="x" * 300_000))
    desk.turns = 0

    strays = desk.strays()

    assert len(strays) == MAX_HELD
    assert strays[-1].run_id == "run999"
    assert {len(stray.text) for stray in strays} == {MAX_TEXT}


@pytest.mark.parametrize(
    "payload",
    [
        {"runId": "x" * MIB},
        {"runId": "x" * MIB, "sessionKey": MAIN_SESSION, "state": "final"},
        {"state": "error", "errorMessage": "x" * MIB},
        {"state": "error", "errorDetail": {"failoverReason": "x" * MIB}},
        {"state": "final", "message": {"content": "x" * MIB}},
        {"state": "aborted", "message": {"content": [{"type": "text", "text": "x" * MIB}] * 3}},
    ],
)
def test_however_much_a_sandbox_says_little_of_it_is_kept(payload: dict[str, Any]) -> None:
    desk = Desk()
    desk.turns = 1
    name = "chat" if "state" in payload else "agent"
    tracemalloc.start()
    for number in range(MAX_RUNS):
        told = {"runId": f"run{number}", "sessionKey": MAIN_SESSION, **payload}
        told["runId"] = f"{number} {told['runId']}"
        desk.hear(decode(json.dumps({"type": "event", "event": name, "payload": told})))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept < 16 * MIB
