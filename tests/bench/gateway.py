"""A gateway without weight: a thousand of them fit into the process that measures.

Speaks the recorded protocol (tests/data/frames): handshake, and for each turn the very frames of a recorded one, with
the run's own id and text. It has no bad days; those are in tests/fakes/gateway.py. Other than there, a message that
comes during a run gets a run of its own beside it: the relay asks that way, the daemon never does.
"""

import asyncio
import base64
import hashlib
import json
import time
from collections import deque
from pathlib import Path
from typing import cast
from uuid import uuid4

from tests.bench.journal import Journal, Message, reply_to
from tests.fakes import gateway_frames as frames
from tests.fakes.gateway_frames import Frame
from tests.support import DATA

SCOPES = ["operator.read", "operator.write", "operator.admin"]
TICK_S = 30.0
ROWS = 100
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10


TOGETHER_S = 0.005


def _recorded() -> list[tuple[float, list[str]]]:
    """The events of one recorded turn, with slots for the run's id and the reply, as they came: some together, at
    which share of the run's whole time. The long wait before the first token is left out.
    """
    lines = [json.loads(line) for line in (DATA / "frames" / "chat-text.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["dir"] == "in" and line["frame"]["type"] == "event"]
    run_id = lines[0]["frame"]["payload"]["runId"]
    reply = lines[-1]["frame"]["payload"]["message"]["content"][0]["text"]
    groups: list[list[str]] = []
    last_s = 0.0
    for line in lines:
        if line["t"] - last_s > TOGETHER_S:
            groups.append([])
        text = json.dumps(line["frame"], separators=(",", ":"))
        groups[-1].append(text.replace(run_id, "@RUN@").replace(reply, "@REPLY@"))
        last_s = line["t"]
    return [(index / (len(groups) - 1), group) for index, group in enumerate(groups)]


GROUPS = _recorded()
"""Texts that are written together, and when: 0 is the beginning of a run, 1 its end."""


class Gateway:
    """The gateway of one sandbox. `delay_s`: how long its agent takes."""

    def __init__(self, socket: Path, token: str, journal: Journal, delay_s: "list[float]") -> None:
        self.socket = socket
        self.token = token
        self.boot_id = str(uuid4())
        self.rows: deque[Frame] = deque(maxlen=ROWS)
        self.total = 0
        self.runs: dict[str, str | None] = {}  # run id: the reply, None while it runs
        self.peers: set[_Peer] = set()
        self._ends: dict[str, asyncio.Future[None]] = {}
        self._journal = journal
        self._delay_s = delay_s  # one number, shared with all others and changed from outside
        self._server: asyncio.Server | None = None
        self._ticking: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Peer(self), self.socket)
        self.socket.chmod(0o660)
        self._tick()

    def stop(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        for peer in list(self.peers):
            peer.close()
        if self._server is not None:
            self._server.close()

    def _tick(self) -> None:
        self._ticking = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        self._tell([json.dumps(frames.event("tick", {"ts": frames.now_ms()}))])

    def _tell(self, texts: list[str]) -> None:
        data = b"".join(_frame(_TEXT, text.encode()) for text in texts)
        for peer in self.peers:
            if peer.ready:
                peer.write(data)

    # Runs -------------------------------------------------------------------------------------------------------------

    def ask(self, run_id: str, text: str) -> None:
        """Begin a run."""
        heard = self._journal.hear(text, time.monotonic())
        reply = reply_to(heard)
        self.runs[run_id] = None
        self._row(frames.user_row(run_id, text))
        loop, delay_s = asyncio.get_running_loop(), self._delay_s[0]
        for share, texts in GROUPS[:-1]:
            loop.call_later(share * delay_s, self._say, texts, run_id, reply)
        loop.call_later(delay_s, self._end, run_id, reply, heard)

    def _say(self, texts: list[str], run_id: str, reply: str) -> None:
        self._tell([text.replace("@RUN@", run_id).replace("@REPLY@", reply) for text in texts])

    def _end(self, run_id: str, reply: str, heard: list[Message]) -> None:
        self.runs[run_id] = reply
        self._row(frames.assistant_row(run_id, reply))
        self._say(GROUPS[-1][1], run_id, reply)
        now = time.monotonic()
        for message in heard:
            message.finished = message.finished or now
        if run_id in self._ends:
            self._ends.pop(run_id).set_result(None)

    def _row(self, row: Frame) -> None:
        self.rows.append(row)
        self.total += 1

    async def ended(self, run_id: str, within_s: float) -> str | None:
        """Wait for the end of a run: its reply, or None if there is none in time."""
        if run_id in self.runs and self.runs[run_id] is None:
            end = self._ends.setdefault(run_id, asyncio.get_running_loop().create_future())
            await asyncio.wait({end}, timeout=within_s)
        return self.runs.get(run_id)


class _Peer(asyncio.Protocol):
    """One connection: HTTP until it is upgraded, then frames."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._upgraded = False
        self._waits: set[asyncio.Task[None]] = set()
        self.ready = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._gateway.peers.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._gateway.peers.discard(self)
        for task in self._waits:
            task.cancel()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded and not self._upgrade():
            return
        while (frame := _next_frame(self._buffer)) is not None:
            self._take(*frame)

    def _upgrade(self) -> bool:
        head, separator, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        if not separator:
            return False
        lines = dict(line.lower().split(b": ", 1)[:1] + line.split(b": ", 1)[1:] for line in head.split(b"\r\n")[1:])
        accept = base64.b64encode(hashlib.sha1(lines[b"sec-websocket-key"] + _GUID).digest())
        self.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
        )
        self._buffer[:] = rest
        self._upgraded = True
        self._send(frames.challenge())
        return True

    def _take(self, kind: int, payload: bytes) -> None:
        if kind == _TEXT:
            self._request(json.loads(payload))
        elif kind == _PING:
            self.write(_frame(_PONG, payload))
        elif kind == _CLOSE and self._transport is not None:
            self.write(_frame(_CLOSE, payload[:2]))
            self._transport.close()

    def _send(self, frame: Frame) -> None:
        self.write(_frame(_TEXT, json.dumps(frame, separators=(",", ":")).encode()))

    # Requests ---------------------------------------------------------------------------------------------------------

    def _request(self, frame: Frame) -> None:
        request_id, method, params = frame["id"], frame["method"], frame["params"]
        if method == "agent.wait":
            task = asyncio.create_task(self._wait(request_id, params))
            self._waits.add(task)
            task.add_done_callback(self._waits.discard)
        elif method == "chat.send":
            self._chat(request_id, params)
        else:
            self._send(self._answer(request_id, method, params))

    def _chat(self, request_id: str, params: Frame) -> None:
        run_id, gateway = params["idempotencyKey"], self._gateway
        known = run_id in gateway.runs
        status = "started" if not known else "in_flight" if gateway.runs[run_id] is None else "ok"
        self._send(frames.answered(request_id, {"runId": run_id, "status": status}))
        if not known:
            gateway.ask(run_id, params["message"])

    async def _wait(self, request_id: str, params: Frame) -> None:
        reply = await self._gateway.ended(params["runId"], params["timeoutMs"] / 1000)
        ended = {"status": "ok", "terminalReply": {"disposition": "visible", "text": reply}}
        answer = {"status": "timeout"} if reply is None else ended
        self._send(frames.answered(request_id, {"runId": params["runId"], **answer}))

    def _answer(self, request_id: str, method: str, params: Frame) -> Frame:
        if method == "connect":
            return self._connect(request_id, params)
        payloads: dict[str, Frame] = {
            "sessions.messages.subscribe": {"subscribed": True, "key": frames.MAIN},
            "health": {"ok": True, "ts": frames.now_ms(), "durationMs": 1},
            "chat.abort": {"ok": True, "aborted": False, "runIds": []},
        }
        if method == "chat.history":
            return frames.answered(request_id, self._history(params))
        if method in payloads:
            return frames.answered(request_id, payloads[method])
        return frames.refused(request_id, frames.error("INVALID_REQUEST", f"unknown method {method}"))

    def _connect(self, request_id: str, params: Frame) -> Frame:
        if params["auth"]["token"] != self._gateway.token:
            return frames.refused(request_id, frames.BAD_TOKEN)
        self.ready = True
        return frames.answered(request_id, frames.hello_ok(self._gateway.boot_id, SCOPES, TICK_S, 4))

    def _history(self, params: Frame) -> Frame:
        gateway = self._gateway
        running = [run_id for run_id, reply in gateway.runs.items() if reply is None]
        status = "running" if running else "done"
        info = {"key": frames.MAIN, "hasActiveRun": bool(running), "status": status, "activeRunIds": running}
        return {
            "sessionKey": params["sessionKey"],
            "messages": list(gateway.rows)[-params["limit"] :],
            "pendingInputs": {"items": [], "total": 0},
            "hasMore": gateway.total > params["limit"],
            "totalMessages": gateway.total,
            "sessionInfo": info,
        }


# Frames of RFC 6455, section 5 ----------------------------------------------------------------------------------------


def _frame(kind: int, payload: bytes) -> bytes:
    """One whole frame of a server."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | kind, size)) + payload
    if size < 65536:
        return bytes((0x80 | kind, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | kind, 127)) + size.to_bytes(8, "big") + payload


def _next_frame(buffer: bytearray) -> tuple[int, bytes] | None:
    """Take one whole frame of a client off the buffer. None: it is not all there."""
    if len(buffer) < 6:
        return None
    size, at = buffer[1] & 127, 2
    if size > 125:
        at = 4 if size == 126 else 10
        size = int.from_bytes(buffer[2:at], "big")
    if len(buffer) < at + 4 + size:
        return None
    mask = bytes(buffer[at : at + 4]) * (size // 4 + 1)
    masked = buffer[at + 4 : at + 4 + size]
    plain = int.from_bytes(masked, "big") ^ int.from_bytes(mask[:size], "big")
    kind = buffer[0] & 15
    del buffer[: at + 4 + size]
    return kind, plain.to_bytes(size, "big")
