"""The fake against the recordings: every field that we read in a recorded frame is in the fake's frame too."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import BaseModel

from clawkakad.gateway.frames import AgentEvent, ChatAck, ChatEvent, Frame, HelloOk, Response, RunStatus, decode
from clawkakad.gateway.history import read_history
from clawkakad.gateway.session import connect_params
from tests.fakes.gateway import FakeGateway
from tests.fakes.gateway_agent import Reply
from tests.gateway import recordings
from tests.gateway.conftest import ME, TOKEN, dial
from tests.gateway.dial import connect_when_ready
from tests.support import SCALE, eventually


def read_fields(model: BaseModel | AgentEvent | ChatEvent) -> set[str]:
    """Its kind, and the fields of a model that a frame really carried, those of its parts as dotted names."""
    found = {type(model).__name__}
    if isinstance(model, AgentEvent | ChatEvent):
        return found | {name for name, value in model._asdict().items() if value not in (None, "")}
    for name in model.model_fields_set:
        value = getattr(model, name)
        found.add(name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, BaseModel):
                found |= {f"{name}.{inner}" for inner in read_fields(part)}
    return found


class Tap:
    """A client of the fake that keeps every frame as it came."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []

    async def run(self, gateway: FakeGateway, requests: list[tuple[str, dict[str, Any]]], *, until: str = "") -> None:
        """Send the requests, each after the answer to the one before; read on until an event `until`, or a close."""
        connector = aiohttp.UnixConnector(str(gateway.socket))
        async with aiohttp.ClientSession(connector=connector) as http, http.ws_connect("ws://localhost/") as socket:
            for number, (method, params) in enumerate(requests):
                await socket.send_json({"type": "req", "id": f"{number}", "method": method, "params": params})
                await self._read(socket, lambda frame, wanted=f"{number}": frame.get("id") == wanted)
            if until:
                await self._read(socket, lambda frame: frame.get("event") == until and ended(frame))

    async def _read(self, socket: aiohttp.ClientWebSocketResponse, last: Callable[[dict[str, Any]], bool]) -> None:
        while not any(last(frame) for frame in self.frames):
            message = await socket.receive(5 * SCALE)
            if message.type is not aiohttp.WSMsgType.TEXT:
                return
            self.frames.append(json.loads(message.data))

    def named(self, event: str, **where: str) -> list[dict[str, Any]]:
        events = [frame for frame in self.frames if frame.get("event") == event]
        return [frame for frame in events if where.items() <= frame["payload"].items()]

    def payload(self, number: int) -> dict[str, Any]:
        return next(frame["payload"] for frame in self.frames if frame.get("id") == f"{number}")


def ended(frame: dict[str, Any]) -> bool:
    return frame["payload"].get("state", "final") in ("final", "error")


def subset(recorded: list[dict[str, Any]], faked: list[dict[str, Any]], read: Callable[[Any], BaseModel]) -> None:
    assert recorded
    assert faked
    for frame in recorded:
        missing = [read_fields(read(frame)) - read_fields(read(other)) for other in faked]
        assert set() in missing, f"the fake lacks one of {missing}"


def whole(frame: dict[str, Any]) -> Frame:
    return decode(json.dumps(frame))


HELLO = ("connect", connect_params(TOKEN))
SUBSCRIBE = ("sessions.messages.subscribe", {"key": "main"})
CHAT = ("chat.send", {"sessionKey": "main", "message": "hi", "idempotencyKey": "k"})
WAIT = ("agent.wait", {"runId": "k", "timeoutMs": 3000})
RESET = ("sessions.reset", {"key": "main"})
HISTORY = ("chat.history", {"sessionKey": "main", "limit": 20})
WAKE = ("wake", {"mode": "now", "text": "check", "sessionKey": "agent:main:main"})


@pytest.mark.parametrize("state", ["status", "delta", "final"])
async def test_chat_events_of_a_turn(gateway: FakeGateway, state: str) -> None:
    tap = Tap()
    await tap.run(gateway, [HELLO, SUBSCRIBE, CHAT], until="chat")
    recorded = [frame for frame in recordings.events("chat-text", "chat") if frame["payload"]["state"] == state]

    subset(recorded, tap.named("chat", state=state), whole)


async def test_a_failed_turn(gateway: FakeGateway) -> None:
    gateway.agent = lambda text: Reply(error="no", kind="auth")
    tap = Tap()
    await tap.run(gateway, [HELLO, SUBSCRIBE, CHAT, WAIT], until="chat")
    recorded = [f for f in recordings.events("error-llm-401", "chat") if f["payload"]["state"] == "error"]

    subset(recorded, tap.named("chat", state="error"), whole)
    subset(recordings.payloads("error-again", "agent.wait"), [tap.payload(3)], RunStatus.model_validate)


@pytest.mark.parametrize(("name", "reply"), [("heartbeat-ok", None), ("heartbeat-alert", "Something is due")])
async def test_a_heartbeat(gateway: FakeGateway, name: str, reply: str | None) -> None:
    gateway.heartbeat = lambda text: Reply(reply)
    tap = Tap()
    await tap.run(gateway, [HELLO, SUBSCRIBE, WAKE], until="heartbeat")

    subset(recordings.events(name, "heartbeat"), tap.named("heartbeat"), whole)
    subset(recordings.events(name, "agent"), tap.named("agent"), whole)
    subset(recordings.events(name, "chat"), tap.named("chat"), whole)


async def test_answers_of_the_handshake_and_of_a_turn(gateway: FakeGateway) -> None:
    tap = Tap()
    await tap.run(gateway, [HELLO, SUBSCRIBE, CHAT, WAIT, HISTORY])

    subset(recordings.events("connect-sealed", "connect.challenge"), tap.named("connect.challenge"), whole)
    subset(recordings.payloads("connect-sealed", "connect"), [tap.payload(0)], HelloOk.model_validate)
    subset(recordings.payloads("chat-text", "chat.send"), [tap.payload(2)], ChatAck.model_validate)
    subset(recordings.payloads("history-answered", "agent.wait")[:1], [tap.payload(3)], RunStatus.model_validate)
    subset(recordings.payloads("wake-history", "chat.history"), [tap.payload(4)], read_history)


async def test_a_reset_leaves_one_row(gateway: FakeGateway) -> None:
    tap = Tap()
    await tap.run(gateway, [HELLO, SUBSCRIBE, CHAT, WAIT, RESET, HISTORY])

    subset(recordings.payloads("reset", "chat.history"), [tap.payload(5)], read_history)
    assert [row["role"] for row in tap.payload(5)["messages"]] == ["system"]


async def test_a_refusal(gateway: FakeGateway) -> None:
    gateway.starting = 1
    tap = Tap()
    await tap.run(gateway, [HELLO])
    recorded = [frame for frame in recordings.answers("restart-recovery", "connect") if not frame["ok"]]

    subset(recorded, [frame for frame in tap.frames if frame["type"] == "res"], Response.model_validate)


async def test_a_restart_leaves_the_recorded_rows(gateway: FakeGateway) -> None:
    gateway.agent = lambda text: Reply(hangs=True)
    connection = await dial(gateway)
    await connection.chat("r1", "x")
    await eventually(lambda: len(gateway.disk.rows) == 1)
    gateway.agent = lambda text: Reply("done")
    await gateway.restart()
    await eventually(lambda: len(gateway.disk.rows) == 3)
    await connection.aclose()

    recorded = read_history(recordings.payloads("restart-recovery", "chat.history")[-1]).rows[-3:]
    faked = read_history({"messages": gateway.disk.rows}).rows
    assert [read_fields(row) - read_fields(other) for row, other in zip(recorded, faked, strict=True)] == [set()] * 3
    assert [row.recovers for row in recorded] == [row.recovers for row in faked]


async def test_it_is_a_program_too(socket: Path) -> None:
    rows = socket.with_name("rows.json")
    command = [sys.executable, "-m", "tests.fakes.gateway", str(socket), TOKEN, "--rows", str(rows)]
    program = await asyncio.create_subprocess_exec(*command)
    try:
        connection = await connect_when_ready(socket, TOKEN, owner_uids=ME, timeout_s=20 * SCALE)
        await connection.chat("k", "hello")
        outcome = await connection.wait_run("k", 5 * SCALE)
        program.send_signal(signal.SIGTERM)
        closed = await connection.wait_closed()
        await connection.aclose()

        assert outcome is not None
        assert outcome.text == "echo: hello"
        assert closed.code == 1012
        assert await asyncio.wait_for(program.wait(), 10 * SCALE) == 0
        assert [row["role"] for row in json.loads(rows.read_text())["rows"]] == ["user", "assistant"]
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


@pytest.mark.parametrize("rounds", range(8))
async def test_who_comes_while_it_is_killed_is_cut_off_too(gateway: FakeGateway, rounds: int) -> None:
    coming = asyncio.create_task(asyncio.open_unix_connection(str(gateway.socket)))
    for _ in range(rounds):
        await asyncio.sleep(0)
    await gateway.kill()

    reader, writer = await coming
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
