"""The offline model as a server: the part of OpenAI's chat completions API that agents use, answered by `rules`.

Owns the wire form (streamed and whole). Never remembers anything: all state is in the request.
https://platform.openai.com/docs/api-reference/chat
"""

import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web

from clawkakad.simulator.rules import EXEC, Run, Say, decide

MODEL_NAME = "offline"
LARGEST_REQUEST = 16 * 1024 * 1024  # bytes; an agent's request is 40 KB at first and grows with the conversation

Document = dict[str, Any]


def offline_model_app() -> web.Application:
    """The offline model alone: `/v1/chat/completions` and `/v1/models`."""
    app = web.Application(client_max_size=LARGEST_REQUEST)
    app.add_routes(model_routes("/v1"))
    return app


def model_routes(prefix: str) -> list[web.RouteDef]:
    """The two addresses of the API under a prefix such as `/v1`."""
    return [web.post(f"{prefix}/chat/completions", complete), web.get(f"{prefix}/models", models)]


async def models(request: web.Request) -> web.Response:
    """The one model that there is."""
    row = {"id": MODEL_NAME, "object": "model", "created": 0, "owned_by": "clawkakad"}
    return web.json_response({"object": "list", "data": [row]})


async def complete(request: web.Request) -> web.StreamResponse:
    """One decision, streamed if it is asked for."""
    return await answer(request, cost_usd=None)


async def answer(request: web.Request, *, cost_usd: float | None) -> web.StreamResponse:
    """One answer; `cost_usd` goes into its usage, as at providers that charge."""
    try:
        body = await request.json()
        decision = decide(body["messages"], body.get("tools") or [])
        counted = usage(decision, body, cost_usd)
    except (ValueError, KeyError, TypeError, AttributeError):
        return web.json_response(refusal("messages: must be a list of messages"), status=400)
    if not body.get("stream"):
        return web.json_response(whole(decision, body, counted))
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    for chunk in chunks(decision, body, counted):
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    await response.write_eof()
    return response


def refusal(text: str, kind: str = "invalid_request_error") -> Document:
    """An error as this API words it."""
    return {"error": {"message": text, "type": kind, "param": None, "code": None}}


def whole(decision: Say | Run, body: Mapping[str, Any], usage: Document) -> Document:
    """The answer in one piece."""
    message: Document = {"role": "assistant", "content": decision.text if isinstance(decision, Say) else None}
    if isinstance(decision, Run):
        message["tool_calls"] = [_tool_call(decision)]
    choice = {"index": 0, "message": message, "finish_reason": _reason(decision), "logprobs": None}
    return {**_head("chat.completion", body), "choices": [choice], "usage": usage}


def chunks(decision: Say | Run, body: Mapping[str, Any], usage: Document) -> Iterator[Document]:
    """The answer in pieces: a role, the text word by word or the call, the reason, and the usage if it is asked for."""
    head = _head("chat.completion.chunk", body)
    for delta in _deltas(decision):
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": _reason(decision)}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": usage}


def usage(decision: Say | Run, body: Mapping[str, Any], cost_usd: float | None) -> Document:
    """Tokens as a rough count: four characters each."""
    read = len(json.dumps(body["messages"])) // 4
    written = len(decision.text if isinstance(decision, Say) else decision.command) // 4 + 1
    counted: Document = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return counted if cost_usd is None else {**counted, "cost": cost_usd}


def _deltas(decision: Say | Run) -> Iterator[Document]:
    if isinstance(decision, Run):
        yield {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **_tool_call(decision)}]}
        return
    yield {"role": "assistant", "content": ""}
    for piece in re.findall(r"\S+\s*|\s+", decision.text):
        yield {"content": piece}


def _tool_call(run: Run) -> Document:
    arguments = json.dumps({"command": run.command})
    return {"id": f"call{uuid.uuid4().hex}", "type": "function", "function": {"name": EXEC, "arguments": arguments}}


def _reason(decision: Say | Run) -> str:
    return "stop" if isinstance(decision, Say) else "tool_calls"


def _head(kind: str, body: Mapping[str, Any]) -> Document:
    model = str(body.get("model") or MODEL_NAME)
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}
