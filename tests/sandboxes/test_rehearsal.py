"""The rehearsal of a spare, with a gateway whose agent asks the model that is behind the host's socket."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from clawkakad.errors import GatewayClosed, GatewayRefused
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.dialing import open_connection
from clawkakad.gateway.frames import ChatEvent, Event
from clawkakad.sandboxes.rehearsal import COMMAND, SILENCE, TEXT, rehearse
from tests.fakes.gateway import FakeGateway
from tests.fakes.gateway_agent import Reply
from tests.support import SCALE, eventually, short_directory

TOKEN = "a token of a test"


class Stage:
    """A gateway, our connection to it, and the socket at which its agent looks for a model."""

    def __init__(self, gateway: FakeGateway, connection: Connection, host_socket: Path) -> None:
        self.gateway, self.connection, self.host_socket = gateway, connection, host_socket

    async def rehearse(self) -> None:
        await rehearse(self.connection, self.host_socket, os.getegid())

    async def ask(self, *messages: dict[str, Any]) -> list[dict[str, Any]]:
        """What the model says to these messages, as the pieces of its stream."""
        connector = aiohttp.UnixConnector(str(self.host_socket))
        body = {"model": "assistant", "stream": True, "messages": list(messages)}
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.post("http://localhost/v1/chat/completions", json=body) as answer,
        ):
            lines = (await answer.text()).split("\n\n")
        assert lines[-2:] == ["data: [DONE]", ""]
        return [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines[:-2]]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    with short_directory() as directory:
        async with FakeGateway(directory / "gateway.sock", TOKEN) as gateway:
            gateway.agent = lambda text: Reply(SILENCE)
            owners = frozenset({os.getuid()})
            connection = await open_connection(gateway.socket, TOKEN, owner_uids=owners, timeout_s=5)
            yield Stage(gateway, connection, directory / "host.sock")
            await connection.aclose()


async def test_one_turn_of_which_a_reset_leaves_nothing(stage: Stage) -> None:
    await stage.rehearse()
    await stage.connection.reset()

    assert [run.asked for run in stage.gateway.runs.values()] == [TEXT]
    assert [row["role"] for row in stage.gateway.disk.rows] == ["system"]
    assert not stage.host_socket.exists()


async def test_who_uses_the_connection_next_hears_nothing_of_it(stage: Stage) -> None:
    await stage.rehearse()
    await stage.connection.reset()
    heard: list[Event] = []
    stage.connection.listen(heard.append)
    await stage.connection.chat("first", "hello")
    await stage.connection.wait_run("first", 5)
    await eventually(lambda: heard)

    assert {event.run_id for event in heard if isinstance(event, ChatEvent)} == {"first"}


async def test_the_model_calls_for_a_command_and_then_for_silence(stage: Stage) -> None:
    stage.gateway.agent = lambda text: Reply(hangs=True)
    rehearsal = asyncio.create_task(stage.rehearse())
    await eventually(lambda: stage.gateway.running())
    asked = {"role": "user", "content": TEXT}
    call = await stage.ask(asked)
    silence = await stage.ask(asked, {"role": "tool", "tool_call_id": "rehearsed", "content": "nothing yet"})
    rehearsal.cancel()
    await asyncio.wait({rehearsal})

    assert json.loads(call[0]["delta"]["tool_calls"][0]["function"]["arguments"]) == {"command": COMMAND}
    assert [choice["finish_reason"] for choice in call] == [None, "tool_calls"]
    assert silence[0]["delta"]["content"] == SILENCE
    assert [choice["finish_reason"] for choice in silence] == [None, "stop"]


async def test_what_is_no_request_is_no_trouble(stage: Stage) -> None:
    stage.gateway.agent = lambda text: Reply(hangs=True)
    rehearsal = asyncio.create_task(stage.rehearse())
    await eventually(lambda: stage.gateway.running())
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(stage.host_socket))) as http:
        for body in ("no JSON", "[]", "{}", '{"messages": [1]}'):
            async with http.post("http://localhost/v1/chat/completions", data=body) as answer:
                assert answer.status == 400
    rehearsal.cancel()
    await asyncio.wait({rehearsal})


async def test_one_that_is_cut_off_is_over_at_once_and_a_reset_ends_its_turn(stage: Stage) -> None:
    """Also while its agent sends half a request and keeps the connection."""
    stage.gateway.agent = lambda text: Reply(hangs=True)
    rehearsal = asyncio.create_task(stage.rehearse())
    await eventually(lambda: stage.gateway.running())
    _, half = await asyncio.open_unix_connection(stage.host_socket)
    half.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await half.drain()
    await asyncio.sleep(0.1)
    rehearsal.cancel()
    _, late = await asyncio.wait({rehearsal}, timeout=3 * SCALE)
    await stage.connection.reset()

    assert not late
    assert rehearsal.cancelled()
    assert not stage.gateway.running()
    assert [row["role"] for row in stage.gateway.disk.rows] == ["system"]
    assert not stage.host_socket.exists()
    half.close()


async def test_a_gateway_that_dies_meanwhile_is_told_as_such(stage: Stage) -> None:
    stage.gateway.drop_on = "agent.wait"
    with pytest.raises(GatewayClosed):
        await stage.rehearse()

    assert not stage.host_socket.exists()


async def test_a_gateway_that_will_not_is_told_as_such(stage: Stage) -> None:
    stage.gateway.refuse["chat.send"] = {"code": "INVALID_REQUEST", "message": "no"}
    with pytest.raises(GatewayRefused, match=r"chat\.send"):
        await stage.rehearse()
