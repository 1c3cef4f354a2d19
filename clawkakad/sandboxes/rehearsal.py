"""The rehearsal of a spare: one turn before anybody is there, so that a newcomer's first is not the gateway's first.

OpenClaw loads and compiles most of what a turn needs during the first one, for about three seconds of CPU. The model of
a rehearsal is here and says what is in its script; the host's socket leads to it alone, and only for that time.
Invariant: a newcomer never hears of it. Its last word is the one for silence, and the session begins anew after it;
where a killed daemon left it half done, the next one begins it again.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import web
from loguru import logger

from clawkakad.errors import GatewayUnavailable
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.frames import Event
from clawkakad.sandboxes.hostsocket import listening

TEXT = "A rehearsal before anybody is here. Look at today's summary, and say nothing."
COMMAND = "pa summary today"  # reads the database, writes nothing
SILENCE = "NO_REPLY"  # OpenClaw's word for an answer that nobody gets
TURN_S = 60.0
UNDO_S = 3.0  # for each request that takes it back: who stops a keeper does not wait for long
LARGEST_REQUEST = 16 * 1024 * 1024  # bytes; 30 KB seen
MODEL_PATH = "/v1/chat/completions"

Document = dict[str, Any]


async def rehearse(connection: Connection, host_socket: Path, gid: int) -> None:
    """One turn, and nothing left of it, also where it is cut off. Nobody else may use the connection meanwhile.

    Raises GatewayClosed, GatewayRefused, GatewayUnavailable, OSError.
    """
    connection.listen(_heard_by_nobody)
    run_id, outcome = str(uuid4()), None
    try:
        async with _stage(host_socket, gid):
            await connection.chat(run_id, TEXT)
            outcome = await connection.wait_run(run_id, TURN_S)
    finally:
        if outcome is None:
            with contextlib.suppress(GatewayUnavailable):
                await connection.abort(run_id, timeout_s=UNDO_S)
        await connection.reset(timeout_s=UNDO_S)
    logger.debug("a spare has rehearsed", ending=outcome.ending if outcome else "too slow")


def _heard_by_nobody(_: Event) -> None:
    """Else its news would be kept for whoever uses the connection next."""


@contextlib.asynccontextmanager
async def _stage(host_socket: Path, gid: int) -> AsyncIterator[None]:
    """The model of the rehearsal, behind the host's socket."""
    app = web.Application(client_max_size=LARGEST_REQUEST)
    app.router.add_post(MODEL_PATH, _answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.SockSite(runner, listening(host_socket, gid)).start()
        yield
    finally:
        await runner.cleanup()
        host_socket.unlink(missing_ok=True)


async def _answer(request: web.Request) -> web.StreamResponse:
    """First the command, then silence. Streamed as https://platform.openai.com/docs/api-reference/chat-streaming."""
    messages = (await request.json())["messages"]
    has_run = any(message["role"] == "tool" for message in messages)
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
