"""What the daemon serves to one sandbox over `host.sock`: the model, and the PA services.

Owns one unix socket per sandbox, its door, and one web application behind all of them. Through which door a request
came says who asks: there is no credential, and no request can name another person. A door appears whole (bound, then
renamed into place), only the sandbox's group can connect, and one sandbox holds no more than `CONNECTIONS` descriptors.
Letting in, reading and answering for a door takes a tenth of the daemon's time at most: who floods waits for itself.
What a sandbox gets wrong is told to itself and to no log; what we get wrong is logged once a minute for each.
"""

import asyncio
import contextlib
import functools
import logging
import math
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from loguru import logger

from clawkakad.allowance import Allowance
from clawkakad.model import Profile, SandboxId, UserId
from clawkakad.sandboxes.hostsocket import listening
from clawkakad.sandboxes.modelproxy import ModelProxy
from clawkakad.sandboxes.paservices import PaHandlers, PaServices, pa_routes
from clawkakad.sandboxes.paths import SandboxPaths

CONNECTIONS = 32
CLOSE_S = 2.0  # for requests under way when a sandbox goes
LINGER_S = 2.0  # for a body that is not wanted to end, so that the answer is read
READ_AHEAD = 16 * 1024  # bytes of a body; or a sixteenth as many chunks, which hold up everybody else for 2 ms

# The daemon's time that something costs, rounded up from what was measured.
CONNECTION_S = 0.001
REQUEST_S = 0.003  # for a long list of reminders; most cost less
PIECE_S = 0.00015  # of what was sent, beside the parser's time: to wake up for it, to rest after it, and to take it in
AT_ONCE_S = 0.2  # of all that before there is a rest: sixty requests, or twenty that hold a full context

COMPLAINT_S = 60.0  # between two in the log about requests of one sandbox

_NO_LOG = logging.Logger("host API", logging.CRITICAL + 1)  # aiohttp has a traceback for every malformed request

OPTIONS: dict[str, Any] = {
    "access_log": None,
    "logger": _NO_LOG,
    "auto_decompress": False,  # some kilobytes would become hundreds of megabytes
    "lingering_time": LINGER_S,
    "read_bufsize": READ_AHEAD,
}

ProfileChanged = Callable[[SandboxId, Profile], None]


@dataclass(eq=False)
class _Door:
    """One open socket, whose it is, and who has come in through it."""

    sandbox_id: SandboxId
    user_id: UserId
    path: Path
    pa: PaHandlers
    listener: socket.socket
    visits: set["_Visit"] = field(default_factory=set)
    allowance: Allowance = field(default_factory=lambda: Allowance(AT_ONCE_S))
    letting_in: asyncio.Task[None] | None = None
    complained_at: float = -math.inf

    def is_open(self) -> bool:
        """Whether a sandbox can still come in."""
        return self.letting_in is not None and not self.letting_in.done() and self.path.is_socket()

    def complain(self) -> None:
        """Of an error of ours, where it is caught. An agent can repeat what leads to it, so not each time."""
        if time.monotonic() - self.complained_at > COMPLAINT_S:
            self.complained_at = time.monotonic()
            logger.exception("a request of a sandbox failed", sandbox=self.sandbox_id)


class _Visit(web.RequestHandler):
    """A connection, which knows its door. After every piece that was read it rests for as long as the door has to."""

    def __init__(self, manager: web.Server, door: _Door) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **OPTIONS)
        self._max_msg_queue_size -= 1  # else aiohttp may read on without end: see `web/connection.py`
        self.door = door
        self._resting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.door.visits.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.door.visits.discard(self)
        if self._resting is not None:
            self._resting.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        began = time.thread_time()  # not the wall's: a busy host is nobody's fault here
        super().data_received(data)
        rest_s = self.door.allowance.spend(time.thread_time() - began + (PIECE_S if data else 0))
        if data and rest_s > 0:  # without data, aiohttp goes on with what it has
            self._rest(rest_s)

    def do_not_linger(self) -> None:
        """Leave what is not wanted of a body unread."""
        self._lingering_time = 0.0

    def _rest(self, rest_s: float) -> None:
        if self._resting is not None:
            self._resting.cancel()
        self._resting = asyncio.get_running_loop().call_later(rest_s, self._go_on)
        self._pause_transport_reading()

    def _go_on(self) -> None:
        self._resting = None
        if not self._reading_paused and not self._buffer_paused:  # aiohttp's own pauses, which it ends
            self._resume_transport_reading()

    def _resume_transport_reading(self) -> None:
        """All of aiohttp's pauses end here; none ends a rest."""
        if self._resting is None:
            super()._resume_transport_reading()


async def _let_in(door: _Door, manager: web.Server) -> None:
    """Connections, each in its turn, for ever. One too many is closed at once."""
    loop = asyncio.get_running_loop()
    while True:
        # OSError: there is no descriptor for it, or it is gone already.
        with contextlib.suppress(OSError):
            visitor, _ = await loop.sock_accept(door.listener)
            if len(door.visits) < CONNECTIONS:
                await loop.connect_accepted_socket(functools.partial(_Visit, manager, door), visitor)
            else:
                visitor.close()
        await asyncio.sleep(door.allowance.spend(CONNECTION_S))


def _visit_of(request: web.BaseRequest) -> _Visit:
    visit = request.protocol
    assert isinstance(visit, _Visit)
    return visit


def _door_of(request: web.Request) -> _Door:
    return _visit_of(request).door


class HostApi:
    """The open doors. Opening twice, and closing what is not open, are no errors."""

    def __init__(self, *, proxy: ModelProxy, services: PaServices, gid: int, profile_changed: ProfileChanged) -> None:
        self._proxy = proxy
        self._services = services
        self._gid = gid
        self._profile_changed = profile_changed
        self._runner: web.AppRunner | None = None
        self._starting = asyncio.Lock()
        self._doors: dict[SandboxId, _Door] = {}
        self._open_requests: Counter[SandboxId] = Counter()

    def is_busy(self, sandbox_id: SandboxId) -> bool:
        """Whether a request of this sandbox is under way: a model call, a file, a reminder."""
        return self._open_requests[sandbox_id] > 0

    async def open(self, sandbox_id: SandboxId, user_id: UserId, paths: SandboxPaths) -> None:
        """Listen for one sandbox; its directories must be there. Raises OSError."""
        door = self._doors.get(sandbox_id)
        if door is not None and door.is_open():
            return
        await self._shut(sandbox_id)  # somebody took its directory away
        manager = await self._manager()
        pa = PaHandlers(self._services, user_id, lambda profile: self._profile_changed(sandbox_id, profile))
        door = _Door(sandbox_id, user_id, paths.host_socket, pa, listening(paths.host_socket, self._gid))
        door.letting_in = asyncio.create_task(_let_in(door, manager), name=f"door of {sandbox_id}")
        self._doors[sandbox_id] = door

    async def close(self, sandbox_id: SandboxId) -> None:
        """Stop listening, and let requests under way finish within two seconds."""
        await self._shut(sandbox_id)
        self._proxy.forget(sandbox_id)

    async def aclose(self) -> None:
        """Close all, side by side."""
        await asyncio.gather(*(self.close(sandbox_id) for sandbox_id in list(self._doors)))
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _shut(self, sandbox_id: SandboxId) -> None:
        door = self._doors.pop(sandbox_id, None)
        if door is None:
            return
        try:
            if door.letting_in is not None:
                door.letting_in.cancel()
                await asyncio.wait({door.letting_in})
        finally:  # also where this is cut off: nobody knows the door any more
            door.listener.close()
            with contextlib.suppress(OSError):
                door.path.unlink()
        await asyncio.gather(*(visit.shutdown(CLOSE_S) for visit in door.visits))

    async def _manager(self) -> web.Server:
        """Behind all doors."""
        async with self._starting:
            if self._runner is None:
                runner = web.AppRunner(self._app(), handler_cancellation=True, shutdown_timeout=CLOSE_S)
                await runner.setup()
                assert runner.server is not None
                # Not as a middleware: aiohttp answers some requests (`Expect: nonsense`) before it asks those.
                runner.server.request_handler = functools.partial(self._counted, runner.server.request_handler)
                self._runner = runner
        assert self._runner.server is not None
        return self._runner.server

    def _app(self) -> web.Application:
        async def models(_: web.Request) -> web.Response:
            return await self._proxy.models()

        async def complete(request: web.Request) -> web.StreamResponse:
            door = _door_of(request)
            return await self._proxy.complete(request, door.sandbox_id, door.user_id)

        app = web.Application()
        app.router.add_get("/v1/models", models)
        app.router.add_post("/v1/chat/completions", complete)
        app.add_routes(pa_routes(lambda request: _door_of(request).pa))
        return app

    async def _counted(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], request: web.BaseRequest
    ) -> web.StreamResponse:
        """When its turn comes."""
        visit = _visit_of(request)
        door = visit.door
        if request.content_length is None and request.can_read_body:
            visit.do_not_linger()  # nobody takes chunks, and many small ones cost most of all
        self._open_requests[door.sandbox_id] += 1
        try:
            await asyncio.sleep(door.allowance.spend(REQUEST_S))
            return await handler(request)
        except (web.HTTPException, ConnectionError):  # nothing is there, it hung up
            raise
        except Exception:
            door.complain()
            raise  # to aiohttp, which answers 500 if nothing was answered yet
        finally:
            self._open_requests[door.sandbox_id] -= 1
            if not self._open_requests[door.sandbox_id]:
                del self._open_requests[door.sandbox_id]
