"""The rehearsal of a spare: one turn before anybody is there, so that a newcomer's first is not the gateway's first.

OpenClaw loads and compiles most of what a turn needs during the first one, for about three seconds of CPU. The model of
a rehearsal is here and says what is in its script; the host's socket leads to it alone, and only for that time.
Invariant: a newcomer never hears of it. Before it begins the sandbox's row says so, and whoever connects to a sandbox
with such a row lets its session begin anew first, also after a kill in the middle. And its last word is silence.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import web
from loguru import logger

from clawkakad.gateway.connection import Connection
from clawkakad.sandboxes.hostsocket import BACKLOG, listening

TEXT = "A rehearsal before anybody is here. Look at today's summary, and say nothing."
COMMAND = "pa summary today"  # reads the database, writes nothing
SILENCE = "NO_REPLY"  # OpenClaw's word for an answer that nobody gets
TURN_S = 30.0
CLOSE_S = 0.1  # for a request under way when the stage closes
LARGEST_REQUEST = 16 * 1024 * 1024  # bytes; 30 KB seen
MODEL_PATH = "/v1/chat/completions"

Document = dict[str, Any]


async def rehearse(connection: Connection, host_socket: Path, gid: int) -> None:
    """One turn, whatever becomes of it. Its session must be reset before anybody else meets it.

    Raises GatewayClosed, GatewayRefused, GatewayUnavailable, OSError.
    """
    run_id = str(uuid4())
    async with _stage(host_socket, gid):
        await connection.chat(run_id, TEXT)
        outcome = await connection.wait_run(run_id, TURN_S)
    logger.debug("a spare has rehearsed", ending=outcome.ending if outcome else "too slow")


@contextlib.asynccontextmanager
async def _stage(host_socket: Path, gid: int) -> AsyncIterator[None]:
    """The model of the rehearsal, behind the host's socket."""
    app = web.Application(client_max_size=LARGEST_REQUEST)
    app.router.add_post(MODEL_PATH, _answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listening(host_socket, gid), backlog=BACKLOG).start()
        yield
    finally:
        try:
            await runner.cleanup()
        finally:
            host_socket.unlink(missing_ok=True)


async def _answer(request: web.Request) -> web.StreamResponse:
    """First the command, then silence. Streamed as https://platform.openai.com/docs/api-reference/chat-streaming."""
    try:
        has_run = any(message["role"] == "tool" for message in (await request.json())["messages"])
    except (ValueError, KeyError, TypeError):
        return web.Response(status=400)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for delta, reason in [(_silence(), "stop")] if has_run else [(_call(), "tool_calls")]:
        for choice in ({"delta": delta, "finish_reason": None}, {"delta": {}, "finish_reason": reason}):
            chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    return response


def _silence() -> Document:
    return {"role": "assistant", "content": SILENCE}


def _call() -> Document:
    function = {"name": "exec", "arguments": json.dumps({"command": COMMAND})}
    call = {"index": 0, "id": "rehearsed", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}
