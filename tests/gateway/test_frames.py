"""Frames: every recorded one is read, and nothing that a sandbox may send raises anything but BadFrame."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clawkakad.errors import BadFrame
from clawkakad.gateway.frames import (
    MAX_FRAME_BYTES,
    AgentEvent,
    ChatEvent,
    HeartbeatEvent,
    HelloOk,
    OtherEvent,
    Progress,
    Response,
    Shutdown,
    decode,
    encode,
    progress,
)
from tests.gateway.recordings import NAMES, events, payloads, received

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
PAYLOAD_FIELDS = ["runId", "sessionKey", "state", "message", "content", "status", "nonce", "isHeartbeat", "errorDetail"]
FRAME = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["event", "res"]),
        "event": st.sampled_from(["chat", "agent", "heartbeat", "tick", "shutdown", "connect.challenge"]) | JSON,
        "id": st.text() | JSON,
        "ok": st.booleans() | JSON,
        "payload": st.dictionaries(st.sampled_from(PAYLOAD_FIELDS), JSON) | JSON,
        "error": JSON,
    }
)


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_frame_is_understood(name: str) -> None:
    for record in received(name):
        frame = decode(record.text)

        assert not isinstance(frame, OtherEvent) or frame.understood


@pytest.mark.parametrize("name", NAMES)
def test_what_the_beginning_of_a_recorded_frame_tells_is_what_all_of_it_tells(name: str) -> None:
    told = [(progress(record.compact), decode(record.compact)) for record in received(name)]

    assert all(brief == whole for brief, whole in told if brief is not None)


@pytest.mark.parametrize("name", ["chat-text", "chat-tool", "heartbeat-alert"])
def test_of_a_turn_only_its_answer_and_its_end_need_to_be_parsed(name: str) -> None:
    frames = [decode(record.compact) for record in received(name) if progress(record.compact) is None]

    assert not any(isinstance(frame, Progress | AgentEvent) for frame in frames)


@given(
    name=st.sampled_from(["chat", "agent"]),
    run_id=st.text(max_size=310),
    key=st.none() | st.text(max_size=310),
    state=st.sampled_from(["status", "delta", "final", "error", "delta "]),
    mark=st.none() | st.booleans(),
    said=JSON,
    ascii_only=st.booleans(),
)
def test_no_frame_tells_by_its_beginning_what_it_does_not_tell(
    name: str, run_id: str, key: str | None, state: str, mark: bool | None, said: object, ascii_only: bool
) -> None:
    about = {"runId": run_id, "sessionKey": key, "agentId": "main"}
    chat = {**about, "seq": 1, "state": state, "deltaText": said}
    agent = {**about, "stream": "assistant", "seq": 1, "ts": 1, "isHeartbeat": mark, "data": said}
    frame = {"type": "event", "event": name, "payload": chat if name == "chat" else agent, "seq": 2}
    text = json.dumps(frame, separators=(",", ":"), ensure_ascii=ascii_only)

    brief = progress(text)

    assert brief is None or brief == decode(text)


def test_a_final_that_says_delta_inside_is_no_progress() -> None:
    final = events("chat-text", "chat")[-1]
    final["payload"]["message"]["state"] = "delta"

    assert progress(json.dumps(final, separators=(",", ":"))) is None


def test_a_final_carries_its_text() -> None:
    finals = [
        decode(json.dumps(frame)) for frame in events("chat-text", "chat") if frame["payload"]["state"] == "final"
    ]

    assert [final.text for final in finals if isinstance(final, ChatEvent)] == ["Hi from stub, a text answer"]


@pytest.mark.parametrize("state", ["status", "delta"])
def test_of_a_run_that_goes_on_nothing_is_read(state: str) -> None:
    frames = [frame for frame in events("chat-text", "chat") if frame["payload"]["state"] == state]

    assert frames
    assert all(decode(json.dumps(frame)) == Progress() for frame in frames)


@pytest.mark.parametrize("half", ["\\ud83d", "\ud83d"])
def test_a_delta_that_cuts_an_emoji_in_two_is_read(half: str) -> None:
    delta = {"runId": "r", "sessionKey": "s", "state": "delta", "deltaText": "@"}

    assert decode(json.dumps({"type": "event", "event": "chat", "payload": delta}).replace("@", half)) == Progress()


@pytest.mark.parametrize(
    "payload", [None, [], {}, {"runId": 7}, {"runId": "r", "sessionKey": 7}, {"runId": "r", "isHeartbeat": 1}]
)
def test_an_agent_event_in_another_shape_is_not_understood(payload: object) -> None:
    event = decode(json.dumps({"type": "event", "event": "agent", "payload": payload}))

    assert event == OtherEvent(name="agent", understood=False)


@pytest.mark.parametrize(
    "payload", [{"state": "delta"}, {"runId": "r", "sessionKey": 7, "state": "status"}, {"state": ["delta"]}, ["delta"]]
)
def test_progress_in_an_unknown_shape_is_not_understood(payload: object) -> None:
    frame = decode(json.dumps({"type": "event", "event": "chat", "payload": payload}))

    assert frame == OtherEvent(name="chat", understood=False)


def test_a_silent_final_has_no_message() -> None:
    final = decode(json.dumps(events("heartbeat-ok", "chat")[-1]))

    assert isinstance(final, ChatEvent)
    assert final.text == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"message": "hi"},
        {"message": []},
        {"errorMessage": 7},
        {"errorDetail": "x"},
        {"errorDetail": {"failoverReason": 7}},
    ],
)
def test_an_end_in_an_unknown_shape_is_none(wrong: dict[str, object]) -> None:
    payload = {"runId": "r", "sessionKey": "s", "state": "final", **wrong}

    frame = decode(json.dumps({"type": "event", "event": "chat", "payload": payload}))

    assert frame == OtherEvent(name="chat", understood=False)


def test_an_end_whose_run_cannot_be_stored_is_none() -> None:
    payload = {"runId": "r\ud83d", "sessionKey": "s", "state": "final", "message": {"content": "hi"}}

    frame = decode(json.dumps({"type": "event", "event": "chat", "payload": payload}))

    assert frame == OtherEvent(name="chat", understood=False)


@pytest.mark.parametrize("name", ["runId", "sessionKey", "state"])
def test_an_end_with_too_long_a_name_is_none(name: str) -> None:
    payload = {"runId": "r", "sessionKey": "s", "state": "final", name: "x" * 301}

    frame = decode(json.dumps({"type": "event", "event": "chat", "payload": payload}))

    assert frame == OtherEvent(name="chat", understood=False)


def test_proactive_runs_are_marked() -> None:
    marks = [decode(json.dumps(frame)) for frame in events("heartbeat-alert", "agent")]

    assert all(isinstance(mark, AgentEvent) and mark.is_heartbeat for mark in marks)


def test_a_heartbeat_event_says_what_became_of_it() -> None:
    heartbeat = decode(json.dumps(events("heartbeat-alert", "heartbeat")[0]))

    assert isinstance(heartbeat, HeartbeatEvent)
    assert (heartbeat.status, heartbeat.reason) == ("skipped", "target-none")


def test_the_reason_of_a_shutdown() -> None:
    assert decode(json.dumps(events("shutdown", "shutdown")[0])) == Shutdown(reason="gateway stopping")


def test_hello_ok_tells_process_scopes_and_rhythm() -> None:
    hello = HelloOk.model_validate(payloads("connect-sealed", "connect")[0])

    assert hello.protocol == 4
    assert hello.server.boot_id == "e7720634-2cdc-4a4a-9dd9-443ff3d74c55"
    assert hello.auth.scopes == ("operator.read", "operator.write", "operator.admin")
    assert hello.policy.tick_interval_ms == 30_000


@pytest.mark.parametrize("tick", ["0", "-1", "NaN", "1e999", "Infinity", "1e15"])
def test_a_rhythm_that_is_none_is_not_understood(tick: str) -> None:
    with pytest.raises(ValidationError):
        HelloOk.model_validate({"protocol": 4, "policy": {"tickIntervalMs": json.loads(tick)}})


def test_an_unknown_event_is_no_error() -> None:
    assert decode('{"type":"event","event":"ui.command","payload":{"x":1}}') == OtherEvent(name="ui.command")


def test_a_known_event_in_an_unknown_shape_is_no_error() -> None:
    frame = decode('{"type":"event","event":"chat","payload":{"runId":5}}')

    assert frame == OtherEvent(name="chat", understood=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[]",
        "null",
        "{}",
        '{"type":"req"}',
        '{"type":"event"}',
        '{"type":"event","event":7}',
        '{"type":"res","ok":true}',
        '{"type":"res","id":"1"}',
        '{"type":"res","id":"1","ok":false,"error":"no"}',
        "[" * 100_000,
    ],
)
def test_what_is_no_frame_is_a_bad_frame(text: str) -> None:
    with pytest.raises(BadFrame):
        decode(text)


def test_a_bad_frame_is_never_quoted() -> None:
    with pytest.raises(BadFrame) as caught:
        decode('{"type":"res","id":"1","ok":"my secret"}')

    assert "secret" not in str(caught.value)


@given(st.text() | JSON.map(json.dumps) | FRAME.map(json.dumps))
def test_nothing_but_bad_frame_is_ever_raised(text: str) -> None:
    try:
        decode(text)
    except BadFrame:
        return


def test_a_payload_that_is_no_object_reads_as_an_empty_one() -> None:
    response = decode('{"type":"res","id":"1","ok":true,"payload":null}')

    assert isinstance(response, Response)
    assert response.fields == {}


def test_a_request_is_one_line_of_ascii_json() -> None:
    text = encode("1", "chat.send", {"message": "naïve 🦀 \ud800"})

    assert text.isascii()
    assert json.loads(text) == {
        "type": "req",
        "id": "1",
        "method": "chat.send",
        "params": {"message": "naïve 🦀 \ud800"},
    }


def test_a_request_larger_than_the_gateway_takes_is_not_sent() -> None:
    with pytest.raises(BadFrame):
        encode("1", "chat.send", {"message": "x" * MAX_FRAME_BYTES})


def test_a_frame_of_countless_values_is_refused_before_it_is_parsed() -> None:
    text = '{"type":"event","event":"x","payload":[' + ",".join(["{}"] * 400_000) + "]}"

    with pytest.raises(BadFrame, match="values"):
        decode(text)
