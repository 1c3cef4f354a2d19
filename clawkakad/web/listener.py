"""Listens for HTTP on a TCP port of the public side, with limits on time, size and number.

Owns the port and its connections; knows nothing of what is served. No access log: the query of Meta's verification
holds the operator's token. aiohttp's server gives a client all the time it likes, and keeps all that it sends: to set
limits to that took its private parts.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clawkakad.errors import UsageError
from clawkakad.web.connection import Connection, Limits, Site
from clawkakad.web.incoming import Room
from clawkakad.web.turnstile import Turnstile

DEFAULTS = Limits()


@asynccontextmanager
async def listening(
    site: Site, host: str, port: int, *, limits: Limits = DEFAULTS, room: Room | None = None
) -> AsyncIterator[int]:
    """Serve `site` while inside; gives the port, which matters where 0 was asked for. `room`: for large bodies.

    Raises UsageError if it is taken. On the way out the port is closed first, then requests in flight get `drain_s`,
    then the rest is cut.
    """
    turnstile = Turnstile(total=limits.connections, per_address=limits.per_address)
    room, everyone = room or Room(), set[Connection]()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: Connection(site, limits, turnstile, room, everyone), host, port)
    except OSError as error:
        raise UsageError(_advice(error, host, port)) from error
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await _drain(everyone, limits.drain_s)


async def _drain(connections: set[Connection], seconds: float) -> None:
    """What is under way ends, within so much time."""
    try:
        await asyncio.sleep(0)  # in which those come in that were accepted already
        for connection in list(connections):
            connection.finish()
        works = [connection.work for connection in connections if connection.work is not None]
        if works:
            await asyncio.wait(works, timeout=seconds)
    finally:
        for connection in list(connections):
            connection.cut()
    await asyncio.sleep(0)  # in which asyncio tells them that they are lost


def _advice(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is taken: stop what listens there, or set PORT to another"
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    return f"cannot listen on {host} port {port}: {reason}"
