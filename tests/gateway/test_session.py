"""The session, fed with every recording: it sends what the recorded client sent, and ends where that ended."""

import json
from collections.abc import Iterator
from contextlib import suppress

import pytest

from clawkakad.errors import BadFrame, GatewayClosed, GatewayRefused, GatewayUnavailable
from clawkakad.gateway.frames import AgentEvent, ChatEvent, ErrorShape, Response, decode
from clawkakad.gateway.session import AT_WORK, MOVES, SCOPES, Session, SessionState, refusal
from tests.gateway.recordings import NAMES, Recorded, recording

REFUSED = {"bad-token", "connect-device-unpaired", "connect-no-device"}


def fresh(records: list[Recorded]) -> Session:
    """A session whose requests get the ids of the recorded ones."""
    ids: Iterator[str] = iter([record.frame["id"] for record in records if record.ours])
    return Session("<GATEWAY_TOKEN>", new_id=lambda: next(ids))


def begun() -> tuple[Session, list[Recorded]]:
    """A ready session, for recordings that begin after the handshake."""
    records = recording("connect-sealed")[:3]
    session = fresh(records)
    for record in records:
        if not record.ours:
            session.receive(record.text)
    return session, records


def play(session: Session, records: list[Recorded]) -> list[str]:
    """Feed what the gateway sent; returns what happened, in a word each."""
    happened = []
    for record in records:
        if record.is_close:
            session.closed()
            break
        if record.ours:
            continue
        received = session.receive(record.text)
        happened.append("send" if received.send else "response" if received.response else "event")
    return happened


def connections(records: list[Recorded]) -> list[list[Recorded]]:
    """The recording, cut after each close."""
    parts: list[list[Recorded]] = [[]]
    for record in records:
        parts[-1].append(record)
        if record.is_close:
            parts.append([])
    return [part for part in parts if part]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in REFUSED])
def test_every_recording_passes_through(name: str) -> None:
    for part in connections(recording(name)):
        handshake = part[0].frame.get("event") == "connect.challenge"
        session = fresh(part) if handshake else begun()[0]
        if any(record.frame.get("error", {}).get("retryAfterMs") == 500 for record in part):
            with pytest.raises(GatewayUnavailable):
                play(session, part)
            assert session.state is SessionState.CHALLENGED
        else:
            play(session, part)
            assert session.state in (SessionState.READY, SessionState.CLOSED)


def test_a_restarted_gateway_says_later_until_it_is_ready() -> None:
    outcomes = []
    for part in connections(recording("restart-recovery"))[1:]:
        session = fresh(part)
        with suppress(GatewayUnavailable):
            play(session, part)
        outcomes.append(session.state)

    assert outcomes == [SessionState.CHALLENGED, SessionState.CHALLENGED, SessionState.READY]


def test_the_connect_request_is_the_recorded_one() -> None:
    records = recording("connect-sealed")
    asked = next(record.frame for record in records if record.ours)
    session = fresh(records)

    sent = session.receive(records[0].text).send

    assert sent is not None
    asked["params"]["client"]["version"] = json.loads(sent)["params"]["client"]["version"]
    assert json.loads(sent) == asked
    assert session.state is SessionState.CHALLENGED


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("bad-token", "INVALID_REQUEST", "AUTH_TOKEN_MISMATCH"),
        ("connect-device-unpaired", "NOT_PAIRED", "PAIRING_REQUIRED"),
        ("connect-no-device", "FORBIDDEN", "MISSING_SCOPE"),
    ],
)
def test_a_refused_connect_says_stop(name: str, code: str, reason: str) -> None:
    records = recording(name)

    with pytest.raises(GatewayRefused) as caught:
        play(fresh(records), records)

    assert (caught.value.code, caught.value.reason) == (code, reason)


def test_missing_scopes_are_named() -> None:
    records = recording("connect-no-device")

    with pytest.raises(GatewayRefused, match=", ".join(SCOPES)):
        play(fresh(records), records)


def test_a_gateway_that_starts_says_later() -> None:
    session, records = Session("t"), recording("connect-sealed")
    sent = session.receive(records[0].text).send
    assert sent is not None
    error = {"code": "UNAVAILABLE", "message": "gateway starting", "retryable": True, "retryAfterMs": 500}
    refused = {"type": "res", "id": json.loads(sent)["id"], "ok": False, "error": error}

    with pytest.raises(GatewayUnavailable) as caught:
        session.receive(json.dumps(refused))

    assert caught.value.retry_after_s == 0.5


def test_another_protocol_says_stop() -> None:
    session, records = Session("t"), recording("connect-sealed")
    sent = session.receive(records[0].text).send
    assert sent is not None
    hello = {"type": "res", "id": json.loads(sent)["id"], "ok": True, "payload": {"protocol": 5}}

    with pytest.raises(GatewayRefused) as caught:
        session.receive(json.dumps(hello))

    assert caught.value.code == "PROTOCOL_MISMATCH"


def test_only_a_ready_session_takes_requests() -> None:
    session, _ = begun()
    session.closed()

    with pytest.raises(GatewayClosed):
        Session("t").request("health", {})
    with pytest.raises(GatewayClosed):
        session.request("health", {})


def test_events_before_hello_ok_are_ignored() -> None:
    received = Session("t").receive('{"type":"event","event":"tick","payload":{}}')

    assert received.event is None


def test_what_a_run_has_said_before_is_no_event_but_a_sign_of_work() -> None:
    session, _ = begun()
    texts = [record.text for record in recording("chat-text") if not record.ours]
    received = [session.receive(text) for text in texts]

    assert [type(one.event) for one in received if one.event] == [AgentEvent, ChatEvent]
    assert received.count(AT_WORK) == len(texts) - 3  # the answer to the request, the mark, the final


def test_after_its_mark_a_run_goes_on_until_its_end() -> None:
    session, _ = begun()
    texts = [record.compact for record in recording("chat-text") if not record.ours]
    goes_on = []
    for text in texts:
        goes_on.append(session.goes_on(text))
        if not goes_on[-1]:
            session.receive(text)

    assert [index for index, on in enumerate(goes_on) if not on] == [0, 2, len(texts) - 1]  # answer, mark, final


def test_requests_of_one_connection_have_ids_of_their_own() -> None:
    session, records = Session("t"), recording("connect-sealed")
    first = session.receive(records[0].text).send
    assert first is not None
    hello = {**records[2].frame, "id": json.loads(first)["id"]}
    session.receive(json.dumps(hello))

    assert len({json.loads(first)["id"], *(session.request("health", {})[0] for _ in range(3))}) == 4


def test_a_second_challenge_is_a_bad_frame() -> None:
    session, records = begun()

    with pytest.raises(BadFrame):
        session.receive(records[0].text)


def test_an_answer_that_belongs_to_nothing_is_a_bad_frame_during_the_handshake() -> None:
    session, records = Session("t"), recording("connect-sealed")
    session.receive(records[0].text)

    with pytest.raises(BadFrame):
        session.receive('{"type":"res","id":"x","ok":true,"payload":{}}')


def test_unknown_events_are_counted_within_bounds() -> None:
    session, _ = begun()
    for number in range(200):
        session.receive(json.dumps({"type": "event", "event": f"new-{number}", "payload": {}}))
    session.receive('{"type":"event","event":"new-3","payload":{}}')

    assert session.unknown["new-3"] == 2
    assert len(session.unknown) == 65
    assert sum(session.unknown.values()) == 201


def test_a_refusal_of_a_sandbox_is_printable_and_short() -> None:
    problem = refusal(ErrorShape(code="X\n" * 500, message="a\x1b[31m\nb" + "c" * 5000), "chat.send")

    assert isinstance(problem, GatewayRefused)
    for text in (str(problem), problem.code):
        assert text.isprintable()
        assert len(text) < 400


def test_only_allowed_moves_are_made() -> None:
    for state in SessionState:
        for target in SessionState:
            session = Session("t")
            session.state = state
            if target in MOVES[state] or target is state:
                session._move(target)
                assert session.state is target
            else:
                with pytest.raises(AssertionError):
                    session._move(target)


@pytest.mark.parametrize(("asked_ms", "asked_s"), [("NaN", None), ("-5", None), ("0", None), ("1500", 1.5)])
def test_only_a_time_to_come_is_waited_for(asked_ms: str, asked_s: float | None) -> None:
    error = f'{{"code":"X","retryable":true,"retryAfterMs":{asked_ms}}}'
    response = decode(f'{{"type":"res","id":"1","ok":false,"error":{error}}}')
    assert isinstance(response, Response)

    problem = refusal(response.error, "chat.send")

    assert isinstance(problem, GatewayUnavailable)
    assert problem.retry_after_s == asked_s
