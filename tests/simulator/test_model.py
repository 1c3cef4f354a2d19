"""The offline model as a server, and the stand-in for OpenRouter's keys."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from clawkakad.simulator.model import offline_model_app
from tests.simulator.conftest import Pair
from tests.simulator.requests import TOOLS, request


@pytest.fixture
async def model() -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the offline model."""
    runner = web.AppRunner(offline_model_app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
        yield session
    await runner.cleanup()


def body(text: str, *outputs: str, **more: Any) -> dict[str, Any]:
    return {"model": "assistant", "messages": request(text, *outputs), "tools": TOOLS, **more}


async def streamed(session: aiohttp.ClientSession, document: dict[str, Any]) -> list[dict[str, Any]]:
    async with session.post("/v1/chat/completions", json={**document, "stream": True}) as answer:
        assert answer.content_type == "text/event-stream"
        events = (await answer.text()).split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


async def test_a_tool_call_is_streamed(model: aiohttp.ClientSession) -> None:
    first, last = await streamed(model, body("uber 100"))

    (call,) = first["choices"][0]["delta"]["tool_calls"]
    assert call["function"]["name"] == "exec"
    assert json.loads(call["function"]["arguments"])["command"].startswith("pa expense add 100 ")
    assert last["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_text_is_streamed_word_by_word_with_its_usage(model: aiohttp.ClientSession) -> None:
    document = body("what's up  doc", stream_options={"include_usage": True})
    chunks = await streamed(model, document)

    text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert text.startswith("I'm the offline model")
    assert len(chunks) > 10
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["prompt_tokens"] > 10


async def test_the_usage_comes_only_if_asked_for(model: aiohttp.ClientSession) -> None:
    assert all("usage" not in chunk for chunk in await streamed(model, body("hello you")))


async def test_an_answer_comes_whole_too(model: aiohttp.ClientSession) -> None:
    async with model.post("/v1/chat/completions", json=body("uber 100", "ok expense 1: 100.00 INR")) as answer:
        document = await answer.json()

    assert document["object"] == "chat.completion"
    assert "100" in document["choices"][0]["message"]["content"]
    assert document["usage"]["total_tokens"] > 0


async def test_each_call_has_an_id_of_its_own(model: aiohttp.ClientSession) -> None:
    ids = {(await streamed(model, body("uber 100")))[0]["choices"][0]["delta"]["tool_calls"][0]["id"] for _ in range(3)}

    assert len(ids) == 3


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"{}", b'{"messages": 5}', b'{"messages": [5]}'])
async def test_garbage_is_refused_and_nothing_else_happens(model: aiohttp.ClientSession, garbage: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    async with model.post("/v1/chat/completions", data=garbage, headers=headers) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["type"] == "invalid_request_error"


async def test_the_model_is_listed(model: aiohttp.ClientSession) -> None:
    async with model.get("/v1/models") as answer:
        assert [row["id"] for row in (await answer.json())["data"]] == ["offline"]


class TestOpenRouter:
    @staticmethod
    async def call(pair: Pair, method: str, path: str, key: str | None = None, **options: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {key or pair.simulator.secrets.provisioning_key}"}
        url = f"{pair.simulator.url}/api/v1{path}"
        async with pair.daemon.session.request(method, url, headers=headers, **options) as answer:
            return answer.status, await answer.json()

    async def test_a_key_is_made_used_listed_and_deleted(self, pair: Pair) -> None:
        made = {"name": "clawkaka-i-s1", "limit": 5, "limit_reset": "monthly"}
        status, document = await self.call(pair, "POST", "/keys", json=made)
        assert status == 201
        key, row = document["key"], document["data"]
        assert (row["name"], row["limit"], row["disabled"]) == ("clawkaka-i-s1", 5, False)

        status, answer = await self.call(pair, "POST", "/chat/completions", key, json=body("uber 100"))
        assert status == 200
        assert answer["usage"]["cost"] > 0
        _, shown = await self.call(pair, "GET", f"/keys/{row['hash']}")
        assert shown["data"]["usage"] > 0
        assert [r["hash"] for r in (await self.call(pair, "GET", "/keys"))[1]["data"]] == [row["hash"]]

        assert (await self.call(pair, "DELETE", f"/keys/{row['hash']}"))[0] == 200
        assert (await self.call(pair, "GET", "/keys"))[1]["data"] == []
        assert (await self.call(pair, "POST", "/chat/completions", key, json=body("x")))[0] == 401
        assert (await self.call(pair, "DELETE", f"/keys/{row['hash']}"))[0] == 404

    async def test_only_the_provisioning_key_makes_keys(self, pair: Pair) -> None:
        assert (await self.call(pair, "POST", "/keys", "sk-or-v1-other", json={"name": "x"}))[0] == 401
        assert (await self.call(pair, "POST", "/chat/completions", json=body("x")))[0] == 401

    async def test_a_key_stops_at_its_limit(self, pair: Pair) -> None:
        _, document = await self.call(pair, "POST", "/keys", json={"name": "x", "limit": 0.0001})
        key = document["key"]

        assert (await self.call(pair, "POST", "/chat/completions", key, json=body("hello you")))[0] == 200
        assert (await self.call(pair, "POST", "/chat/completions", key, json=body("hello you")))[0] == 403

    @pytest.mark.parametrize("wrong", [{}, {"name": ""}, {"name": "x", "limit": "5"}, []])
    async def test_a_key_that_makes_no_sense_is_refused(self, pair: Pair, wrong: object) -> None:
        assert (await self.call(pair, "POST", "/keys", json=wrong))[0] == 400
