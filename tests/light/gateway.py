"""The gateway of the light image: lays out /data, then speaks the gateway's protocol on gateway.sock by itself.

Standard library only, Python 3.11; it runs in the container, not in the tests. The agent echoes: a message that says
`SLOW:n` is answered after n seconds, `WORK:n` after n seconds of CPU, `REPLY:text` with that text. The session's rows
are in SQLite under /data/state, so that they outlive the container; runs are in memory, as with the real one.

CLAWKAKA_LIGHT says how it behaves: good; broken (ends with 1); refusing (ends with 78); hanging (opens the socket and
never answers); deaf (says hello, and answers nothing after); dying (ends with 1, two seconds after hello).
CLAWKAKA_LIGHT_SQL is done to pa.sqlite at each start: what a bad migration would do.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

SOCKET = "/run/clawkaka/gateway/gateway.sock"
HOST = "/run/clawkaka/host/host.sock"
CONFIG = Path("/etc/clawkaka/openclaw.json")
ROWS = Path("/data/state/state/openclaw.sqlite")
PA = "/data/pa/pa.sqlite"
SEED = ["/usr/local/lib/clawkaka/seed", "/usr/local/share/clawkaka", "/data"]

MODE = os.environ.get("CLAWKAKA_LIGHT", "good")
MAIN = "agent:main:main"
TICK_S = 30.0
DIES_AFTER_S = 2.0
ENDS_WITH = {"broken": 1, "refusing": 78}
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
RESTARTING = 1012

Frame = dict[str, Any]


class Rows:
    """The session, on disk."""

    def __init__(self) -> None:
        ROWS.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(ROWS, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, row TEXT NOT NULL)")

    def add(self, row: Frame) -> None:
        self._db.execute("INSERT INTO rows (row) VALUES (?)", (json.dumps(row),))

    def reset(self) -> None:
        """What was said is forgotten."""
        self._db.execute("DELETE FROM rows")
        self.add({"role": "system", "content": [{"type": "text", "text": "Reset"}], "timestamp": now_ms()})

    def newest(self, limit: int) -> tuple[list[Frame], int]:
        """The last rows in their order, and how many there are."""
        found = self._db.execute("SELECT row FROM rows ORDER BY id DESC LIMIT ?", (limit,)).fetchall()
        return [json.loads(row) for (row,) in reversed(found)], self._db.execute(
            "SELECT count(*) FROM rows"
        ).fetchone()[0]


class Run:
    """One turn, in memory."""

    def __init__(self, run_id: str, asked: str, *, heartbeat: bool = False) -> None:
        self.run_id, self.asked, self.heartbeat = run_id, asked, heartbeat
        self.status, self.reply, self.seq = "running", "", 0
        self.ended = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Peer:
    """One WebSocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._seq = reader, writer, 0
        self.ready = False

    async def frames(self):
        """What comes in, until it closes. Fragments are put together, pings answered."""
        whole = b""
        while True:
            first, second = await self._reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack(">H", await self._reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", await self._reader.readexactly(8))
            mask = await self._reader.readexactly(4)
            masked = await self._reader.readexactly(size)
            data = bytes(byte ^ mask[index % 4] for index, byte in enumerate(masked))
            match first & 0x0F:
                case 8:
                    self._write(CLOSE, data)
                    return
                case 9:
                    self._write(PONG, data)
                case 0 | 1:
                    whole += data
                    if first & 0x80:
                        yield json.loads(whole)
                        whole = b""

    async def send(self, frame: Frame) -> None:
        if frame["type"] == "event":
            self._seq += 1
            frame = {**frame, "seq": self._seq}
        self._write(TEXT, json.dumps(frame).encode())
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    def close(self, code: int) -> None:
        self._write(CLOSE, struct.pack(">H", code))

    def _write(self, kind: int, data: bytes) -> None:
        size = len(data)
        if size < 126:
            head = struct.pack(">BB", 0x80 | kind, size)
        elif size < 65536:
            head = struct.pack(">BBH", 0x80 | kind, 126, size)
        else:
            head = struct.pack(">BBQ", 0x80 | kind, 127, size)
        self._writer.write(head + data)


class Gateway:
    """All of it."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._boot_id = str(uuid.uuid4())
        self._rows = Rows()
        self._runs: dict[str, Run] = {}
        self._peers: set[Peer] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._suspension: str | None = None
        self._draining = False
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    # Connections

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        try:
            if await _upgraded(reader, writer):
                await self._talk(peer)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # it is gone
        finally:
            self._peers.discard(peer)
            writer.close()

    async def _talk(self, peer: Peer) -> None:
        if MODE == "hanging":
            await asyncio.Event().wait()
        self._peers.add(peer)
        await peer.send(event("connect.challenge", {"nonce": str(uuid.uuid4()), "ts": now_ms()}))
        async for frame in peer.frames():
            if not peer.ready:
                if not await self._connect(peer, frame):
                    return
            else:
                self.spawn(self._answer(peer, frame))

    async def _connect(self, peer: Peer, frame: Frame) -> bool:
        if frame["method"] != "connect" or frame["params"]["auth"].get("token") != self._token:
            details = {"code": "AUTH_TOKEN_MISMATCH", "authReason": "token_mismatch"}
            await peer.send(refused(frame["id"], "INVALID_REQUEST", "unauthorized: gateway token mismatch", details))
            peer.close(1008)
            return False
        peer.ready = True
        payload = {
            "type": "hello-ok",
            "protocol": 4,
            "server": {"version": "light", "bootId": self._boot_id, "connId": str(uuid.uuid4())},
            "snapshot": {"sessionDefaults": {"mainSessionKey": MAIN}},
            "auth": {"method": "token", "role": "operator", "scopes": frame["params"]["scopes"]},
            "policy": {"maxPayload": 26214400, "maxBufferedBytes": 52428800, "tickIntervalMs": TICK_S * 1000},
        }
        await peer.send(answered(frame["id"], payload))
        if MODE == "dying":
            asyncio.get_running_loop().call_later(DIES_AFTER_S, self.end, 1)
        return True

    async def _answer(self, peer: Peer, frame: Frame) -> None:
        method, params = frame["method"], frame.get("params") or {}
        if MODE == "deaf" and method != "sessions.messages.subscribe":
            return
        if self._suspension is not None and not method.startswith("gateway.suspend."):
            details = {"reason": "gateway-suspending", "phase": "prepared", "method": method}
            text = f"{method} unavailable during gateway suspension"
            await peer.send(refused(frame["id"], "UNAVAILABLE", text, details, retryable=True))
            return
        handler = self._methods().get(method)
        if handler is None:
            await peer.send(refused(frame["id"], "INVALID_REQUEST", f"unknown method: {method}", {}))
            return
        await peer.send(await handler(frame["id"], params))

    def _methods(self) -> dict[str, Callable[[str, Frame], Awaitable[Frame]]]:
        return {
            "health": self._health,
            "sessions.messages.subscribe": self._subscribe,
            "chat.send": self._chat_send,
            "chat.history": self._chat_history,
            "chat.abort": self._chat_abort,
            "agent.wait": self._agent_wait,
            "sessions.reset": self._reset,
            "wake": self._wake,
            "gateway.suspend.prepare": self._suspend,
            "gateway.suspend.resume": self._resume,
        }

    async def broadcast(self, frame: Frame) -> None:
        for peer in list(self._peers):
            if peer.ready:
                await peer.send(frame)

    def spawn(self, work: Any) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            await self.broadcast(event("tick", {"ts": now_ms()}))

    # Methods

    async def _health(self, request_id: str, _: Frame) -> Frame:
        return answered(request_id, {"ok": True, "ts": now_ms(), "durationMs": 0})

    async def _subscribe(self, request_id: str, _: Frame) -> Frame:
        return answered(request_id, {"subscribed": True, "key": MAIN})

    async def _chat_send(self, request_id: str, params: Frame) -> Frame:
        run_id, text = params["idempotencyKey"], params["message"]
        known = self._runs.get(run_id)
        if known is not None and known.asked != text:
            details = {"reason": "chat-request-conflict"}
            return refused(request_id, "INVALID_REQUEST", "This message ID was already used.", details)
        if known is not None:
            status = {"running": "in_flight", "aborted": "timeout"}.get(known.status, known.status)
            return answered(request_id, {"runId": run_id, "status": status})
        if self._draining:
            return refused(request_id, "UNAVAILABLE", "Gateway is draining", {}, retryable=True)
        run = self._runs[run_id] = Run(run_id, text)
        run.task = self.spawn(self._work(run, f"echo: {text}"))
        return answered(request_id, {"runId": run_id, "status": "started"})

    async def _chat_history(self, request_id: str, params: Frame) -> Frame:
        rows, total = self._rows.newest(params["limit"])
        running = [run for run in self._runs.values() if run.status == "running"]
        payload: Frame = {
            "sessionKey": params["sessionKey"],
            "messages": rows,
            "pendingInputs": {"items": [], "total": 0},
            "hasMore": total > len(rows),
            "totalMessages": total,
            "sessionInfo": {
                "key": MAIN,
                "hasActiveRun": bool(running),
                "activeRunIds": [run.run_id for run in running],
            },
        }
        if "inputRunIds" in params:
            payload["inputReceipts"] = []
        if running:
            payload["inFlightRun"] = {"runId": running[0].run_id, "text": "", "startedAt": now_ms()}
        return answered(request_id, payload)

    async def _chat_abort(self, request_id: str, params: Frame) -> Frame:
        run = self._runs.get(params["runId"])
        if run is None or run.status != "running" or run.task is None:
            return answered(request_id, {"ok": True, "aborted": False, "runIds": []})
        run.task.cancel()
        self._rows.add({**assistant_row(run.run_id, ""), "openclawAbort": {"aborted": True, "runId": run.run_id}})
        await self._end_run(run, "aborted", "aborted", stopReason="rpc")
        return answered(request_id, {"ok": True, "aborted": True, "runIds": [run.run_id]})

    async def _agent_wait(self, request_id: str, params: Frame) -> Frame:
        run, head = self._runs.get(params["runId"]), {"runId": params["runId"]}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(params["timeoutMs"] / 1000):
                await (run.ended if run else asyncio.Event()).wait()
        if run is None or run.status == "running":
            return answered(request_id, {**head, "status": "timeout"})
        if run.status == "aborted":
            return answered(request_id, {**head, "status": "error", "error": "aborted", "stopReason": "rpc"})
        return answered(request_id, {**head, "status": "ok", "terminalReply": disposition(run.reply)})

    async def _reset(self, request_id: str, _: Frame) -> Frame:
        for run in self._runs.values():
            if run.status == "running" and run.task is not None:
                run.task.cancel()
                await self._end_run(run, "aborted", "aborted", stopReason="rpc")
        self._rows.reset()
        return answered(request_id, {"ok": True, "key": MAIN})

    async def _wake(self, request_id: str, params: Frame) -> Frame:
        self.spawn(self._beat())
        return answered(request_id, {"ok": True})

    async def _suspend(self, request_id: str, _: Frame) -> Frame:
        """Asked again, by another connection too, it is the same suspension."""
        running = [run for run in self._runs.values() if run.status == "running"]
        payload: Frame = {"activeCount": len(running), "writeCustody": []}
        if running:
            return answered(request_id, {**payload, "status": "busy", "blockers": [{"kind": "run"}]})
        self._suspension = self._suspension or str(uuid.uuid4())
        await self.broadcast(event("gateway.suspension", {}))
        until = now_ms() + 120_000
        more = {"status": "ready", "suspensionId": self._suspension, "expiresAtMs": until, "blockers": []}
        return answered(request_id, {**payload, **more})

    async def _resume(self, request_id: str, params: Frame) -> Frame:
        resumed = self._suspension is not None and params.get("suspensionId") == self._suspension
        if resumed:
            self._suspension = None
            await self.broadcast(event("gateway.suspension", {}))
        return answered(request_id, {"ok": True, "status": "running", "resumed": resumed})

    # Turns

    async def _work(self, run: Run, reply: str) -> None:
        if not run.heartbeat:
            await self._chat(run, "status", phase="preparing_context")
            self._rows.add(user_row(run.run_id, run.asked))
        await self._life(run, "start")
        exact = re.search(r"REPLY:(.*)", run.asked)
        await asyncio.sleep(_seconds("SLOW", run.asked))
        _work(_seconds("WORK", run.asked))
        run.reply = exact[1].strip() if exact else reply
        if run.reply:
            self._rows.add(assistant_row(run.run_id, run.reply))
        await self._life(run, "end", terminalReply=disposition(run.reply))
        message = {"message": said(run.reply)} if run.reply else {}
        await self._end_run(run, "ok", "final", stopReason="stop", **message)

    async def _beat(self) -> None:
        run = self._runs[run_id] = Run(run_id := str(uuid.uuid4()), "", heartbeat=True)
        await self._work(run, "")
        await self.broadcast(
            event("heartbeat", {"ts": now_ms(), "status": "ok-empty", "reason": "wake", "silent": True})
        )

    async def _end_run(self, run: Run, status: str, state: str, **more: Any) -> None:
        run.status = status
        run.ended.set()
        await self._chat(run, state, **more)

    async def _chat(self, run: Run, state: str, **more: Any) -> None:
        run.seq += 1
        head = {"runId": run.run_id, "sessionKey": MAIN, "agentId": "main", "seq": run.seq, "state": state}
        await self.broadcast(event("chat", {**head, **more}))

    async def _life(self, run: Run, phase: str, **more: Any) -> None:
        run.seq += 1
        head = {"runId": run.run_id, "sessionKey": MAIN, "agentId": "main", "stream": "lifecycle", "seq": run.seq}
        data = {"phase": phase, **more}
        await self.broadcast(event("agent", {**head, "ts": now_ms(), "isHeartbeat": run.heartbeat, "data": data}))

    # The end

    def stop(self) -> None:
        """SIGTERM: turns in flight are finished, then it says so and is gone."""
        self._draining = True
        self.spawn(self._stop())

    async def _stop(self) -> None:
        await asyncio.gather(*(run.ended.wait() for run in self._runs.values()))
        await self.broadcast(event("shutdown", {"reason": "gateway stopping"}))
        for peer in list(self._peers):
            peer.close(RESTARTING)
        await asyncio.sleep(0.05)
        self.end(0)

    def end(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)


def _seconds(word: str, text: str) -> float:
    found = re.search(rf"{word}:(\d+(?:\.\d+)?)", text)
    return float(found[1]) if found else 0


def _work(seconds: float) -> None:
    """As long as it takes to get so much CPU."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        hashlib.sha256(bytes(10_000)).digest()


async def _upgraded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether a WebSocket was asked for; a health check is answered here."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    key = fields.get("sec-websocket-key")
    if key is None:
        if MODE != "hanging":
            body = b'{"ok":true,"status":"live"}'
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            writer.write(f"{head}\r\nConnection: close\r\n\r\n".encode() + body)
            await writer.drain()
        return False
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    accept = base64.b64encode(digest).decode()
    head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade"
    if MODE != "hanging":
        writer.write(f"{head}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
    return True


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """127.0.0.1:8080 to the daemon's socket, as the real image's relay does."""
    try:
        far_reader, far_writer = await asyncio.open_unix_connection(HOST)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_pour(reader, far_writer), _pour(far_reader, writer))


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


# Frames


def now_ms() -> int:
    return int(time.time() * 1000)


def event(name: str, payload: Frame) -> Frame:
    return {"type": "event", "event": name, "payload": payload}


def answered(request_id: str, payload: Frame) -> Frame:
    return {"type": "res", "id": request_id, "ok": True, "payload": payload}


def refused(request_id: str, code: str, text: str, details: Frame, *, retryable: bool = False) -> Frame:
    error = {"code": code, "message": text, "details": details}
    more = {"retryable": True, "retryAfterMs": 200} if retryable else {}
    return {"type": "res", "id": request_id, "ok": False, "error": {**error, **more}}


def said(text: str) -> Frame:
    return {"role": "assistant", "content": [{"type": "text", "text": text}], "timestamp": now_ms()}


def user_row(run_id: str, text: str) -> Frame:
    key = f"{run_id}:user"
    marks = {"id": str(uuid.uuid4()), "idempotencyKey": key}
    return {"role": "user", "content": text, "timestamp": now_ms(), "idempotencyKey": key, "__openclaw": marks}


def assistant_row(run_id: str, text: str) -> Frame:
    return {**said(text), "stopReason": "stop", "__openclaw": {"id": str(uuid.uuid4()), "runId": run_id}}


def disposition(text: str) -> Frame:
    return {"disposition": "visible", "text": text} if text else {"disposition": "silent"}


def lay_out() -> None:
    """Before anything else, as the real one does."""
    os.umask(0o077)
    subprocess.run(SEED, check=True)
    if statement := os.environ.get("CLAWKAKA_LIGHT_SQL"):
        with contextlib.closing(sqlite3.connect(PA, isolation_level=None)) as db:
            db.execute(statement)


async def main() -> int:
    lay_out()
    if MODE in ENDS_WITH:
        print(f"light gateway: told to be {MODE}", flush=True)
        return ENDS_WITH[MODE]
    gateway = Gateway(json.loads(CONFIG.read_text())["gateway"]["auth"]["token"])
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, gateway.stop)
    Path(SOCKET).unlink(missing_ok=True)
    relay = await asyncio.start_server(_relay, "127.0.0.1", 8080)
    door = await asyncio.start_unix_server(gateway.serve, SOCKET)
    os.chmod(SOCKET, 0o660)
    print(f"light gateway: listening ({MODE})", flush=True)
    gateway.spawn(gateway.tick())
    code = await gateway.ended
    relay.close()
    door.close()
    return code


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
