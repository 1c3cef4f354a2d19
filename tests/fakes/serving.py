"""How a fake listens on a unix socket, and how it stops: so that nobody is left on a connection that nobody knows."""

import asyncio
from pathlib import Path

from aiohttp import web

ACCEPTING = 5
"""Rounds of asyncio's loop in which who was accepted becomes a connection; it takes two or three."""


async def listen(runner: web.AppRunner, socket: Path) -> asyncio.Server:
    """In place of `web.UnixSite`, whose end forgets whom it has just accepted: they would never be closed."""
    await runner.setup()
    assert runner.server is not None
    return await asyncio.get_running_loop().create_unix_server(runner.server, str(socket))


async def stop(runner: web.AppRunner, server: asyncio.Server) -> None:
    """Accept nobody any more, let those in who were accepted, and cut everybody off."""
    for listener in server.sockets:
        asyncio.get_running_loop().remove_reader(listener.fileno())
    for _ in range(ACCEPTING):
        await asyncio.sleep(0)
    server.close()
    await runner.cleanup()
