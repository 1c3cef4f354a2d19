"""A scriptable gateway: a real WebSocket server on a unix socket that speaks the recorded protocol.

In a test: `async with FakeGateway(path, "token") as gateway`, then set its knobs. As a program with an echo behaviour:
`python -m tests.fakes.gateway SOCKET TOKEN [--rows FILE]`; SIGTERM stops it as it stops the real one.
"""

import argparse
import asyncio
import contextlib
import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from aiohttp import WSCloseCode, WSMsgType, web

from tests.fakes import gateway_frames as frames
from tests.fakes import serving
from tests.fakes.gateway_agent import Agent, Disk, Reply, Run, echo, silence
from tests.fakes.gateway_frames import Frame
from tests.fakes.gateway_methods import METHODS

ENDS_SUSPENSION = ("gateway.suspend.prepare", "gateway.suspend.resume")
SCOPES = ("operator.read", "operator.write", "operator.admin")


@dataclass(frozen=True)
class Asked:
    """One request that the fake got."""

    method: str
    params: Frame


class FakeGateway:
    """The gateway of one sandbox. `disk` outlives `kill()` and `restart()`; runs do not."""

    def __init__(
        self, socket: Path, token: str, *, agent: Agent = echo, heartbeat: Agent = silence, disk: Disk | None = None
    ) -> None:
        self.socket, self.token, self.agent, self.heartbeat = socket, token, agent, heartbeat
        self.disk = disk or Disk()
        # Knobs of the handshake
        self.starting = 0  # this many connects are refused with startup-sidecars
        self.slam = 0  # this many connections are closed before a single frame
        self.scopes: tuple[str, ...] = SCOPES
        self.protocol = 4
        self.tick_s = 30.0
        self.ticking = True
        # Knobs of everything after
        self.suspended = False  # every request answers UNAVAILABLE
        self.suspension: str | None = None  # the name under which it was asked to rest, until it is told to go on
        self.blockers: list[str] = []  # what it is at when it is asked to rest
        self.refuse: dict[str, Frame] = {}  # method: the error to answer with
        self.unanswered: set[str] = set()  # methods that are carried out and never answered
        self.ignored: set[str] = set()  # methods that are neither carried out nor answered
        self.late_s: dict[str, float] = {}  # method: answered so much later
        self.empty: set[str] = set()  # methods answered with an empty payload
        self.says: dict[str, Frame] = {}  # method: the payload to answer with instead
        self.mute: set[str] = set()  # chat states that are lost on the way
        self.duplicate = False  # every event comes twice
        self.repeats_after_s: float | None = None  # each final comes once more, so much later
        self.aborts_in_vain = False  # a run goes on and finishes, though its abort was acknowledged
        self.drop_after: int | None = None  # the socket dies after so many more frames, once
        self.drop_on: str | None = None  # the socket dies instead of answering this method, once; it is carried out
        self.row_after_s = 0.0  # how long a message stays pending before its row is written
        self.begin_after_s = 0.0  # how long after its row a run begins
        self.resumes = True  # whether a restart continues an interrupted turn
        self.resumes_after_s = 0.0
        # What it saw
        self.asked: list[Asked] = []
        self.goodbyes: list[int | None] = []  # the close codes of connections that clients ended
        self.pongs: list[bytes] = []
        self.boot_id = ""
        self.runs: dict[str, Run] = {}
        self._peers: set[Peer] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listening: tuple[web.AppRunner, asyncio.Server] | None = None
        self._thawed = asyncio.Event()
        self._thawed.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    # Life and death -----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """A new process: nothing is remembered but the rows; an interrupted turn is continued."""
        self.boot_id, self.runs = str(uuid4()), {}
        self.disk.mount()
        app = web.Application()
        app.router.add_get("/", self._serve)
        app.router.add_get("/healthz", _healthz)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._listening = runner, await serving.listen(runner, self.socket)
        self.socket.chmod(0o660)
        self.spawn(self._tick())
        text = self.disk.interrupted()
        if self.resumes and text is not None:
            run = self.runs[run_id] = Run(run_id := str(uuid4()), text)
            run.task = self.spawn(self._resume(run))

    async def stop(self) -> None:
        """As on SIGTERM with a short grace: what has not begun fails, shutdown event, close 1012."""
        for run in self.running():
            if not run.written and run.task is not None:
                run.task.cancel()
                self._write(frames.user_row(run.run_id, run.asked))
                self._write(frames.failed_row(run.run_id, frames.DRAINING))
                await self.end(run, "error", "error", errorMessage=frames.DRAINING)
        await self.emit("shutdown", {"reason": "gateway stopping"})
        for peer in list(self._peers):
            await peer.socket.close(code=WSCloseCode.SERVICE_RESTART)
        await self.kill()

    async def kill(self) -> None:
        """The process is gone: sockets end without a word, all runs are forgotten."""
        await self.drop()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listening is not None:
            await serving.stop(*self._listening)
        self._listening = None

    async def restart(self) -> None:
        await self.kill()
        await self.start()

    async def drop(self) -> None:
        """Every connection ends without a word; the runs go on."""
        for peer in list(self._peers):
            peer.abort()
            await peer.gone.wait()

    # For tests ----------------------------------------------------------------------------------------------------

    def count(self, method: str) -> int:
        """How many requests of this kind came."""
        return sum(asked.method == method for asked in self.asked)

    @property
    def connections(self) -> int:
        return len(self._peers)

    async def emit(self, name: str, payload: Frame) -> None:
        """Any event, to everybody who said hello."""
        await self._broadcast(frames.event(name, payload))

    async def garbage(self, text: str) -> None:
        """Any text at all, to everybody."""
        for peer in list(self._peers):
            with contextlib.suppress(ConnectionError):
                await peer.socket.send_str(text)

    async def knock(self) -> None:
        """A ping and a pong that nobody waits for, to everybody."""
        for peer in list(self._peers):
            with contextlib.suppress(ConnectionError):
                await peer.socket.ping(b"x")
                await peer.socket.pong(b"x")

    async def crumble(self, count: int) -> None:
        """A text in so many fragments, all but the last one empty, to everybody (RFC 6455, section 5.4)."""
        for peer in list(self._peers):
            last = b'{"type":"event","event":"x"}'
            await peer.write(b"\x01\x00" + b"\x00\x00" * count + bytes([0x80, len(last)]) + last)

    async def jam(self) -> None:
        """A frame of the wrong kind to everybody, of whom nothing is read any more: no close is answered."""
        for peer in list(self._peers):
            peer.deafen()
            await peer.socket.send_bytes(b"x")

    async def close(self, code: int | None) -> None:
        """Close every connection with a code; None: with a close frame that carries none."""
        for peer in list(self._peers):
            if code is None:
                with contextlib.suppress(ConnectionError):
                    await peer.socket.send_frame(b"", WSMsgType.CLOSE)
            else:
                await peer.socket.close(code=code)

    def freeze(self) -> None:
        """The process hangs: its sockets stay, nothing is read, nothing is said, not even a tick."""
        self._thawed.clear()

    def thaw(self) -> None:
        """It goes on where it was."""
        self._thawed.set()

    async def thawed(self) -> None:
        await self._thawed.wait()

    async def stray(self, text: str) -> str:
        """A reply that nobody asked for."""
        run = self.runs[run_id] = Run(run_id := str(uuid4()), "")
        await self._say(run, Reply(text))
        return run_id

    # Connections --------------------------------------------------------------------------------------------------

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self.slam:
            self.slam -= 1
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        socket = web.WebSocketResponse(compress=False, autoping=False)
        await socket.prepare(request)
        peer = Peer(self, socket, request)
        self._peers.add(peer)
        try:
            await peer.serve()
        finally:
            self._peers.discard(peer)
        return socket

    def spawn(self, work: Any) -> "asyncio.Task[Any]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self.tick_s)
            if self.ticking:
                await self.emit("tick", {"ts": frames.now_ms()})

    async def _broadcast(self, frame: Frame, *, subscribed: bool = False) -> None:
        for peer in list(self._peers):
            if peer.ready and (peer.subscribed or not subscribed):
                await peer.send(frame)
                if self.duplicate:
                    await peer.send(frame)

    # Runs ---------------------------------------------------------------------------------------------------------

    async def _chat(self, run: Run, state: str, **more: Any) -> None:
        run.seq += 1
        if state not in self.mute:
            frame = frames.chat(run.run_id, run.seq, state, **more)
            await self._broadcast(frame, subscribed=run.heartbeat)
            if state == "final" and self.repeats_after_s is not None:
                self.spawn(self._repeat(frame, self.repeats_after_s))

    async def _repeat(self, frame: Frame, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._broadcast(frame)

    async def _life(self, run: Run, phase: str, **more: Any) -> None:
        run.seq += 1
        frame = frames.agent(run.run_id, run.seq, "lifecycle", {"phase": phase, **more}, heartbeat=run.heartbeat)
        await self._broadcast(frame, subscribed=run.heartbeat)

    def _write(self, row: Frame) -> None:
        self.disk.add(row)

    async def work(self, run: Run) -> None:
        """A run that was asked for: its row, its progress, its end."""
        for phase in ("preparing_workspace", "preparing_context"):
            await self._chat(run, "status", phase=phase)
        await asyncio.sleep(self.row_after_s)
        self._write(frames.user_row(run.run_id, run.asked))
        run.written = True
        await asyncio.sleep(self.begin_after_s)
        await self._chat(run, "status", phase="starting_model")
        await self._say(run, self.agent(run.asked))

    async def _resume(self, run: Run) -> None:
        await asyncio.sleep(self.resumes_after_s)
        self._write(frames.user_row(run.run_id, frames.RECOVERY_TEXT, recovery=True))
        run.written = True
        await self._say(run, self.agent(run.asked))

    async def _say(self, run: Run, reply: Reply) -> None:
        self.disk.note("running")
        await self._life(run, "start")
        if reply.text and not run.heartbeat:
            await self._chat(run, "delta", deltaText=reply.text[:2], message=frames.message(reply.text[:2]))
        await asyncio.sleep(reply.after_s)
        if reply.hangs:
            await asyncio.Event().wait()
        if reply.error is not None:
            return await self._fail(run, reply.error, reply.kind)
        text = "\n\n".join(part for part in (reply.text, *run.steered) if part)
        await self._finish(run, text)

    async def _finish(self, run: Run, text: str) -> None:
        run.reply = text
        if text:
            self._write(frames.assistant_row(run.run_id, text))
        disposition = {"disposition": "visible", "text": text} if text else {"disposition": "silent"}
        await self._life(run, "end", terminalReply=disposition)
        await self.end(run, "ok", "final", stopReason="stop", **({"message": frames.message(text)} if text else {}))

    async def _fail(self, run: Run, text: str, kind: str) -> None:
        run.reply = text
        self._write(frames.assistant_row(run.run_id, text, stop="error"))
        detail = {"provider": "stub", "model": "stub-model", "failoverReason": kind}
        await self.end(run, "error", "error", errorMessage=text, errorDetail=detail)

    async def end(self, run: Run, status: str, state: str, **more: Any) -> None:
        run.status = status
        run.ended.set()
        self.disk.note("done")
        await self._chat(run, state, **more)

    async def abort(self, run: Run) -> None:
        if self.aborts_in_vain:
            return
        if run.task is not None:
            run.task.cancel()
        if run.written:
            self._write(frames.assistant_row(run.run_id, "", aborted=True))
        else:
            self.disk.pending[run.run_id] = "cancelled"
        await self.end(run, "aborted", "aborted", stopReason="rpc")

    async def beat(self, text: str) -> None:
        """A wake: it waits until nothing else runs, and says so each time."""
        while self.running():
            await self._broadcast(frames.heartbeat_skipped("requests-in-flight"))
            await asyncio.sleep(0.05)
        run = self.runs[run_id] = Run(run_id := str(uuid4()), text, heartbeat=True)
        run.task = self.spawn(self._say(run, self.heartbeat(text)))
        await run.ended.wait()
        outcome = frames.heartbeat_spoke(run.reply) if run.reply else frames.heartbeat_silent()
        await self._broadcast(outcome)

    def running(self) -> list[Run]:
        return [run for run in self.runs.values() if run.status == "running"]


class Peer:
    """One connection to the fake."""

    def __init__(self, gateway: FakeGateway, socket: web.WebSocketResponse, request: web.Request) -> None:
        self._gateway, self.socket, self._request = gateway, socket, request
        self._seq = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self.ready = self.subscribed = False
        self.gone = asyncio.Event()

    async def serve(self) -> None:
        try:
            await self.send(frames.challenge())
            async for message in self.socket:
                if message.type is WSMsgType.TEXT:
                    task = asyncio.create_task(self._take(json.loads(message.data)))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
                elif message.type is WSMsgType.PONG:
                    self._gateway.pongs.append(message.data)
        finally:
            self.gone.set()
            self._gateway.goodbyes.append(self.socket.close_code)
            for task in self._tasks:
                task.cancel()

    async def send(self, frame: Frame) -> None:
        await self._gateway.thawed()
        if self._gateway.drop_after is not None:
            self._gateway.drop_after -= 1
            if self._gateway.drop_after < 0:
                self._gateway.drop_after = None
                return self.abort()
        if frame["type"] == "event":
            self._seq += 1
            frame = {**frame, "seq": self._seq}
        with contextlib.suppress(ConnectionError):  # it may be gone by now, as with the real one
            await self.socket.send_str(json.dumps(frame))

    def abort(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()

    async def write(self, data: bytes) -> None:
        """Bytes as they are."""
        if isinstance(self._request.transport, asyncio.Transport):
            self._request.transport.write(data)
            await asyncio.sleep(0)

    def deafen(self) -> None:
        if isinstance(self._request.transport, asyncio.Transport):
            self._request.transport.pause_reading()

    async def _take(self, frame: Frame) -> None:
        gateway, method = self._gateway, frame["method"]
        await gateway.thawed()
        gateway.asked.append(Asked(method, frame["params"]))
        if method in gateway.ignored:
            return
        answer = await self._answer(frame["id"], method, frame["params"])
        if gateway.drop_on == method:
            gateway.drop_on = None
            return self.abort()
        await asyncio.sleep(gateway.late_s.get(method, 0))
        if method not in gateway.unanswered:
            says = {} if method in gateway.empty else gateway.says.get(method)
            await self.send(answer if says is None else frames.answered(frame["id"], says))

    async def _answer(self, request_id: str, method: str, params: Frame) -> Frame:
        gateway = self._gateway
        if method == "connect":
            return await self._connect(request_id, params)
        if method == "sessions.messages.subscribe":
            self.subscribed = not gateway.suspended and method not in gateway.refuse
        if gateway.suspended or (gateway.suspension is not None and method not in ENDS_SUSPENSION):
            return frames.refused(request_id, frames.SUSPENDED)
        if method in gateway.refuse:
            return frames.refused(request_id, gateway.refuse[method])
        handler = METHODS.get(method)
        if handler is None:
            return frames.refused(request_id, frames.error("INVALID_REQUEST", f"unknown method: {method}"))
        return await handler(gateway, request_id, params)

    async def _connect(self, request_id: str, params: Frame) -> Frame:
        gateway = self._gateway
        trouble, code = None, WSCloseCode.POLICY_VIOLATION
        if gateway.starting:
            gateway.starting -= 1
            trouble, code = frames.STARTING, WSCloseCode.TRY_AGAIN_LATER
        elif not params["minProtocol"] <= gateway.protocol <= params["maxProtocol"]:
            trouble, code = frames.BAD_PROTOCOL, WSCloseCode.PROTOCOL_ERROR
        elif params["auth"]["token"] != gateway.token:
            trouble = frames.BAD_TOKEN
        if trouble is not None:
            await self.send(frames.refused(request_id, trouble))
            await self.socket.close(code=code)
            return frames.refused(request_id, trouble)
        self.ready = True
        scopes = [scope for scope in params["scopes"] if scope in gateway.scopes]
        return frames.answered(request_id, frames.hello_ok(gateway.boot_id, scopes, gateway.tick_s, gateway.protocol))


async def _healthz(request: web.Request) -> web.Response:
    return web.json_response({"ok": True, "status": "live"})


# As a program -----------------------------------------------------------------------------------------------------


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("socket", type=Path)
    parser.add_argument("token")
    parser.add_argument("--rows", type=Path, help="keep the session's rows in this file")
    arguments = parser.parse_args()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    gateway = FakeGateway(arguments.socket, arguments.token, disk=Disk(arguments.rows))
    await gateway.start()
    await stopped.wait()
    await gateway.stop()


if __name__ == "__main__":
    asyncio.run(main())
