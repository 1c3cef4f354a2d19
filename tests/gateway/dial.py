"""Connecting to a gateway that may not be ready yet, as a sandbox's keeper does, but without a sandbox."""

import asyncio
from pathlib import Path

from clawkakad.errors import GatewayUnavailable
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.dialing import open_connection

PAUSE_S = 0.2


async def connect_when_ready(socket: Path, token: str, *, owner_uids: frozenset[int], timeout_s: float) -> Connection:
    """Raises what `open_connection()` raises; only `GatewayUnavailable` is tried again, for `timeout_s`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        try:
            return await open_connection(socket, token, owner_uids=owner_uids, timeout_s=deadline - loop.time())
        except GatewayUnavailable:
            if loop.time() + PAUSE_S >= deadline:
                raise
            await asyncio.sleep(PAUSE_S)
