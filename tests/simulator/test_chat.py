"""The page's socket and the control addresses."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from clawkakad.simulator.exchange import MOST_BEHIND
from tests.simulator.conftest import Pair
from tests.support import eventually


@pytest.fixture
async def page(pair: Pair) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A page's socket that has had its hello."""
    async with pair.daemon.session.ws_connect(f"{pair.simulator.url}/socket") as socket:
        assert (await socket.receive_json())["type"] == "hello"
        yield socket


async def until(socket: aiohttp.ClientWebSocketResponse, **wanted: object) -> dict[str, Any]:
    """The next event with these values."""
    while True:
        event: dict[str, Any] = await socket.receive_json(timeout=5)
        if wanted.items() <= event.items():
            return event


async def test_a_hello_holds_everything_that_the_phone_has(pair: Pair) -> None:
    pair.simulator.exchange.write(pair.robin, "hi")
    async with pair.daemon.session.ws_connect(f"{pair.simulator.url}/socket") as socket:
        hello = await socket.receive_json()

    assert hello["people"] == [{"wa_id": "15550100123", "name": "Robin", "number": "+1 555-010-0123"}]
    assert [m["text"] for m in hello["chats"]["15550100123"]] == ["hi"]


async def test_what_is_written_comes_back_with_its_ticks(pair: Pair, page: aiohttp.ClientWebSocketResponse) -> None:
    await page.send_json({"type": "write", "wa_id": pair.robin.wa_id, "text": "hi", "client_id": "c1"})

    event = await until(page, type="message")
    assert (event["text"], event["client_id"], event["state"]) == ("hi", "c1", "sent")
    assert (await until(page, type="state"))["state"] == "delivered"


async def test_typing_and_the_answer_are_shown(pair: Pair, page: aiohttp.ClientWebSocketResponse) -> None:
    message = pair.simulator.exchange.write(pair.robin, "hi")
    await pair.daemon.read(message.id, typing=True)
    assert (await until(page, type="typing"))["on"] is True
    await pair.daemon.send("+15550100123", "Hello")

    assert (await until(page, type="message", author="assistant"))["text"] == "Hello"
    assert (await until(page, type="typing"))["on"] is False


@pytest.mark.parametrize(
    "frame", ["", "{", "[]", '{"type": "write"}', '{"type": "write", "wa_id": "1", "text": "x"}', '{"type": "steal"}']
)
async def test_a_frame_that_makes_no_sense_is_a_problem_and_no_more(
    pair: Pair, page: aiohttp.ClientWebSocketResponse, frame: str
) -> None:
    await page.send_str(frame)
    assert (await page.receive_json())["type"] == "problem"

    await page.send_json({"type": "write", "wa_id": pair.robin.wa_id, "text": "still here"})
    await until(page, type="message")


async def test_a_person_is_added_from_the_page(pair: Pair, page: aiohttp.ClientWebSocketResponse) -> None:
    await page.send_json({"type": "add", "name": "Mika", "number": "nonsense"})
    assert "country code" in (await until(page, type="problem"))["text"]
    await page.send_json({"type": "add", "name": "Mika", "number": "+49 1512 3456789"})

    assert (await until(page, type="person"))["wa_id"] == "4915123456789"


async def test_a_watcher_that_falls_behind_is_dropped_and_others_are_not(pair: Pair) -> None:
    exchange = pair.simulator.exchange
    exchange.courier.url = None
    async with exchange.watching() as slow, exchange.watching() as quick:
        for number in range(MOST_BEHIND + 1):
            exchange.add_person(f"P{number}", "+91 98765 43210")
            quick.events.get_nowait()
        exchange.add_person("Last", "+91 98765 43210")

        assert (await quick.next() or {})["name"] == "Last"
        seen = [await slow.next() for _ in range(MOST_BEHIND)]
        assert seen[-1] is None


async def test_a_test_can_write_and_look_over_http(pair: Pair) -> None:
    session, url = pair.daemon.session, f"{pair.simulator.url}/simulator"
    async with session.post(f"{url}/people", json={"name": "Mika", "number": "+49 1512 3456789"}) as answer:
        mika = await answer.json()
        assert mika["user_id"].startswith("DE.")
    async with session.post(f"{url}/people", json={"name": "Mika", "number": "x"}) as answer:
        assert answer.status == 400
    async with session.post(f"{url}/messages", json={"wa_id": mika["wa_id"], "text": "hi"}) as answer:
        assert answer.status == 201
    async with session.post(f"{url}/messages", json={"wa_id": "1", "text": "hi"}) as answer:
        assert answer.status == 404
    await eventually(lambda: pair.daemon.texts == ["hi"])
    await pair.daemon.send(f"+{mika['wa_id']}", "Hello")
    async with session.get(f"{url}/messages", params={"wa_id": mika["wa_id"]}) as answer:
        messages = (await answer.json())["messages"]

    assert [(m["author"], m["text"]) for m in messages] == [("person", "hi"), ("assistant", "Hello")]
    assert "sent" in messages[1]["times"]
    async with session.get(f"{url}/people") as answer:
        assert [p["name"] for p in (await answer.json())["people"]] == ["Robin", "Mika"]
