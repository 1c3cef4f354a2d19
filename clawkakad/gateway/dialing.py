"""Makes connections to the gateway of a sandbox: dialled through a socket that was looked at, greeted, subscribed.

One try at a time; whether there is a next one is the sandbox's keeper's business.
"""

import asyncio
from pathlib import Path

from clawkakad.allowance import Allowance
from clawkakad.errors import GatewayClosed, GatewayUnavailable
from clawkakad.gateway.channel import Channel
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.link import AT_ONCE_S
from clawkakad.gateway.session import Session
from clawkakad.gateway.sockets import held_socket


async def open_connection(
    socket: Path, token: str, *, owner_uids: frozenset[int], timeout_s: float, allowance: Allowance | None = None
) -> Connection:
    """Connect once, up to hello-ok and the subscription. Cancelling leaves nothing open.

    `allowance`: of the daemon's time, of a sandbox for all its connections; else it has one of its own.
    Raises `GatewayUnavailable` (not ready: try again), `GatewayRefused` (token, scopes, protocol: stop) and
    `SandboxTampered` (what is at the path is not the sandbox's socket: stop and tell).
    """
    try:
        async with asyncio.timeout(timeout_s):
            connection = await _dial(socket, token, owner_uids, allowance or Allowance(AT_ONCE_S))
            try:
                await connection.handshake()
            except BaseException:
                await connection.aclose()
                raise
    except TimeoutError:
        raise GatewayUnavailable(f"no hello-ok within {timeout_s:g} s") from None
    except GatewayClosed as closed:
        raise GatewayUnavailable(f"closed before it was ready: {closed}") from closed
    return connection


async def _dial(socket: Path, token: str, owner_uids: frozenset[int], allowance: Allowance) -> Connection:
    loop = asyncio.get_running_loop()
    with held_socket(socket, owner_uids) as path:
        try:
            _, channel = await loop.create_unix_connection(lambda: Channel(allowance), path)
        except OSError as problem:
            raise GatewayUnavailable(f"cannot connect: {type(problem).__name__}") from problem
    try:
        await channel.open()
    except BaseException:
        channel.drop()
        raise
    return Connection(channel, Session(token))
