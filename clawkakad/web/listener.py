"""Listens for HTTP on a TCP port of the public side, with limits on time, size and number.

Owns the port and its connections; knows nothing of what is served. No access log: the query of Meta's verification
holds the operator's token. Of aiohttp it is the low-level server: the application on top of it, with its router,
middlewares and signals, takes 15 us a request and is not needed for two addresses.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from clawkakad.errors import UsageError
from clawkakad.web.connection import GuardedConnection
from clawkakad.web.turnstile import Turnstile

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
"""Answers one request. An exception would be answered by aiohttp, with its name: better none leaves it."""


@dataclass(frozen=True)
class Limits:
    """What one listener grants. Times in seconds."""

    body: int = 1024 * 1024  #: bytes
    header_s: float = 10.0  #: from the connection, or the first byte of a further request, to the end of the headers
    body_s: float = 15.0  #: from there to the end of the body
    idle_s: float = 150.0  #: between two requests; longer than a reverse proxy keeps its side (Caddy: 120)
    linger_s: float = 2.0  #: for a client to finish sending what is not wanted, so that it gets to read the answer
    drain_s: float = 5.0  #: for requests in flight when the listener stops
    connections: int = 512  #: more than the webhooks that may wait: whoever is too much gets a 503, not a reset
    per_address: int = 16


DEFAULTS = Limits()


@asynccontextmanager
async def listening(handler: Handler, host: str, port: int, *, limits: Limits = DEFAULTS) -> AsyncIterator[int]:
    """Serve `handler` while inside; gives the port, which matters where 0 was asked for.

    Raises UsageError if it is taken. On the way out the port is closed first, then requests in flight get `drain_s`,
    then the rest is cut.
    """
    request = partial(web.BaseRequest, loop=asyncio.get_running_loop(), client_max_size=limits.body)
    runner = web.ServerRunner(web.Server(_timed(handler), request_factory=request), shutdown_timeout=limits.drain_s)
    await runner.setup()
    try:
        server = await _open(runner, host, port, limits)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
    finally:
        await runner.cleanup()


async def _open(runner: web.ServerRunner, host: str, port: int, limits: Limits) -> asyncio.Server:
    manager = runner.server
    assert manager is not None
    loop = asyncio.get_running_loop()
    turnstile = Turnstile(total=limits.connections, per_address=limits.per_address)

    def connection() -> GuardedConnection:
        return GuardedConnection(
            manager,
            loop=loop,
            turnstile=turnstile,
            header_s=limits.header_s,
            body_s=limits.body_s,
            keepalive_timeout=limits.idle_s,
            lingering_time=limits.linger_s,
            access_log=None,
            auto_decompress=False,  # signatures are over the bytes as sent; and no bomb goes off
        )

    try:
        return await loop.create_server(connection, host, port)
    except OSError as error:
        raise UsageError(_advice(error, host, port)) from error


def _advice(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken: stop what listens there, or set PORT to another"
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return f"cannot listen on {host} port {port}: {reason}"


def _timed(handler: Handler) -> Handler:
    """Tells the connection when its requests begin and end."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, GuardedConnection)
        connection.begin(request)
        try:
            return await handler(request)
        finally:
            connection.end()

    return handle
