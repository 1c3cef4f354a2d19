"""What the daemon serves to one sandbox over `host.sock`: the model, and the PA services.

Owns one unix socket and one small web application per sandbox. Which socket a request came through says who asks:
there is no credential, and no request can name another person. The socket appears whole (bound, then renamed into
place), only the sandbox's group can connect, and one sandbox holds no more than `CONNECTIONS` descriptors.
"""

import asyncio
import contextlib
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from aiohttp import web

from clawkakad.model import Profile, SandboxId, UserId
from clawkakad.sandboxes.modelproxy import ModelProxy
from clawkakad.sandboxes.paservices import PaHandlers, PaServices
from clawkakad.sandboxes.paths import SandboxPaths

CONNECTIONS = 32
BACKLOG = 16
CLOSE_S = 2.0  # for requests under way when a sandbox goes
LINGER_S = 2.0  # for a body that is not wanted to end, so that the answer is read

ProfileChanged = Callable[[SandboxId, Profile], None]


@dataclass
class _Door:
    """One open socket."""

    runner: web.AppRunner
    server: asyncio.Server
    path: Path


class HostApi:
    """The open sockets. Opening twice, and closing what is not open, are no errors."""

    def __init__(self, *, proxy: ModelProxy, services: PaServices, gid: int, profile_changed: ProfileChanged) -> None:
        self._proxy = proxy
        self._services = services
        self._gid = gid
        self._profile_changed = profile_changed
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
        runner = web.AppRunner(
            self._app(sandbox_id, user_id),
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=CLOSE_S,
            auto_decompress=False,  # some kilobytes would become hundreds of megabytes
            lingering_time=LINGER_S,
        )
        await runner.setup()
        try:
            server = await asyncio.get_running_loop().create_unix_server(
                _bounded(runner), sock=_listening(paths.host_socket, self._gid), backlog=BACKLOG
            )
        except BaseException:
            await runner.cleanup()
            raise
        self._doors[sandbox_id] = _Door(runner, server, paths.host_socket)

    async def close(self, sandbox_id: SandboxId) -> None:
        """Stop listening, and let requests under way finish within two seconds."""
        await self._shut(sandbox_id)
        self._proxy.forget(sandbox_id)

    async def aclose(self) -> None:
        """Close all, side by side."""
        await asyncio.gather(*(self.close(sandbox_id) for sandbox_id in list(self._doors)))

    async def _shut(self, sandbox_id: SandboxId) -> None:
        door = self._doors.pop(sandbox_id, None)
        if door is not None:
            door.server.close()
            await door.runner.cleanup()
            with contextlib.suppress(OSError):
                door.path.unlink()

    def _app(self, sandbox_id: SandboxId, user_id: UserId) -> web.Application:
        pa = PaHandlers(self._services, user_id, lambda profile: self._profile_changed(sandbox_id, profile))

        async def models(_: web.Request) -> web.Response:
            return await self._proxy.models()

        async def complete(request: web.Request) -> web.StreamResponse:
            return await self._proxy.complete(request, sandbox_id, user_id)

        @web.middleware
        async def counted(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            self._open_requests[sandbox_id] += 1
            try:
                return await handler(request)
            finally:
                self._open_requests[sandbox_id] -= 1
                if not self._open_requests[sandbox_id]:
                    del self._open_requests[sandbox_id]

        app = web.Application(middlewares=[counted])
        app.router.add_get("/v1/models", models)
        app.router.add_post("/v1/chat/completions", complete)
        app.add_routes(pa.routes())
        return app


def _listening(path: Path, gid: int) -> socket.socket:
    """A bound socket that nobody sees before its mode and group are right. Replaces what an earlier daemon left."""
    first = path.with_name(path.name + ".new")
    first.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        listener.bind(str(first))
        os.chown(first, -1, gid)
        first.chmod(0o660)
        listener.listen(BACKLOG)
        first.replace(path)
    except BaseException:
        listener.close()
        raise
    return listener


def _bounded(runner: web.AppRunner) -> Callable[[], asyncio.Protocol]:
    def accept() -> asyncio.Protocol:
        server = runner.server
        if server is None or len(server.connections) >= CONNECTIONS:
            return _Refusal()
        return server()

    return accept


class _Refusal(asyncio.Protocol):
    """One connection too many: closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()
