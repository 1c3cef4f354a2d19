"""What the daemon serves to one sandbox over `host.sock`: the model, and the PA services.

Owns one unix socket per sandbox, its door, and one web application behind all of them. Through which door a request
came says who asks: there is no credential, and no request can name another person. A door appears whole (bound, then
renamed into place), only the sandbox's group can connect, and one sandbox holds no more than `CONNECTIONS` descriptors.
"""

import asyncio
import contextlib
import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from clawkakad.model import Profile, SandboxId, UserId
from clawkakad.sandboxes.hostsocket import BACKLOG, listening
from clawkakad.sandboxes.modelproxy import ModelProxy
from clawkakad.sandboxes.paservices import PaHandlers, PaServices, pa_routes
from clawkakad.sandboxes.paths import SandboxPaths

CONNECTIONS = 32
CLOSE_S = 2.0  # for requests under way when a sandbox goes
LINGER_S = 2.0  # for a body that is not wanted to end, so that the answer is read

_OPTIONS: Mapping[str, Any] = {
    "access_log": None,
    "auto_decompress": False,  # some kilobytes would become hundreds of megabytes
    "lingering_time": LINGER_S,
}

ProfileChanged = Callable[[SandboxId, Profile], None]


@dataclass(eq=False)
class _Door:
    """One open socket, whose it is, and who has come in through it."""

    sandbox_id: SandboxId
    user_id: UserId
    path: Path
    pa: PaHandlers
    visits: set["_Visit"] = field(default_factory=set)
    server: asyncio.Server | None = None


class _Visit(web.RequestHandler):
    """A connection, which knows its door. One too many is closed at once."""

    def __init__(self, manager: web.Server, door: _Door) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **_OPTIONS)
        self.door = door

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self.door.visits) >= CONNECTIONS:
            cast(asyncio.Transport, transport).abort()
            return
        self.door.visits.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self in self.door.visits:
            self.door.visits.discard(self)
            super().connection_lost(exc)


def _door_of(request: web.Request) -> _Door:
    visit = request.protocol
    assert isinstance(visit, _Visit)
    return visit.door


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
        if door is not None and door.path.is_socket():
            return
        await self._shut(sandbox_id)  # somebody took its directory away
        manager = await self._manager()
        pa = PaHandlers(self._services, user_id, lambda profile: self._profile_changed(sandbox_id, profile))
        door = _Door(sandbox_id, user_id, paths.host_socket, pa)
        door.server = await asyncio.get_running_loop().create_unix_server(
            functools.partial(_Visit, manager, door), sock=listening(paths.host_socket, self._gid), backlog=BACKLOG
        )
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
        if door.server is not None:
            door.server.close()
        await asyncio.gather(*(visit.shutdown(CLOSE_S) for visit in door.visits))
        with contextlib.suppress(OSError):
            door.path.unlink()

    async def _manager(self) -> web.Server:
        """Behind all doors."""
        async with self._starting:
            if self._runner is None:
                runner = web.AppRunner(self._app(), handler_cancellation=True, shutdown_timeout=CLOSE_S)
                await runner.setup()
                self._runner = runner
        assert self._runner.server is not None
        return self._runner.server

    def _app(self) -> web.Application:
        async def models(_: web.Request) -> web.Response:
            return await self._proxy.models()

        async def complete(request: web.Request) -> web.StreamResponse:
            door = _door_of(request)
            return await self._proxy.complete(request, door.sandbox_id, door.user_id)

        app = web.Application(middlewares=[self._counted])
        app.router.add_get("/v1/models", models)
        app.router.add_post("/v1/chat/completions", complete)
        app.add_routes(pa_routes(lambda request: _door_of(request).pa))
        return app

    @web.middleware
    async def _counted(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        sandbox_id = _door_of(request).sandbox_id
        self._open_requests[sandbox_id] += 1
        try:
            return await handler(request)
        finally:
            self._open_requests[sandbox_id] -= 1
            if not self._open_requests[sandbox_id]:
                del self._open_requests[sandbox_id]
