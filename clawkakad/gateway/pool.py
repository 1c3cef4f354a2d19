"""The open connections, by sandbox: who has one, and waiting for one.

The sandbox's keeper puts a connection in when it is ready and takes it out when it is gone; turns take what is there.
Owns no connection and no task, opens and closes nothing.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from clawkakad.errors import GatewayUnavailable
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.frames import Event
from clawkakad.model import SandboxId

PoolListener = Callable[[SandboxId, Event], None]


class Pool:
    """Connections that said hello-ok. A closed one counts as none, even while nobody has withdrawn it yet."""

    def __init__(self) -> None:
        self._connections: dict[SandboxId, Connection] = {}
        self._waiting: dict[SandboxId, set[asyncio.Future[None]]] = {}
        self._listeners: list[PoolListener] = []

    def listen(self, listener: PoolListener) -> None:
        """Call `listener` with every event of every connection that is published from now on."""
        self._listeners.append(listener)

    def publish(self, sandbox_id: SandboxId, connection: Connection) -> None:
        """From now on this is the sandbox's connection; whoever waits for it gets it."""
        self._connections[sandbox_id] = connection
        connection.listen(partial(self._tell, sandbox_id))
        for future in self._waiting.pop(sandbox_id, set()):
            if not future.done():
                future.set_result(None)

    def withdraw(self, sandbox_id: SandboxId) -> None:
        """The sandbox has no connection now. Idempotent."""
        self._connections.pop(sandbox_id, None)

    def get(self, sandbox_id: SandboxId) -> Connection | None:
        """The sandbox's connection, if there is an open one."""
        connection = self._connections.get(sandbox_id)
        return None if connection is None or connection.is_closed else connection

    async def ready(self, sandbox_id: SandboxId, *, timeout_s: float) -> Connection:
        """The sandbox's connection, waiting for it; raises `GatewayUnavailable` after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                while (connection := self.get(sandbox_id)) is None:
                    await self._published(sandbox_id)
                return connection
        except TimeoutError:
            raise GatewayUnavailable(f"sandbox {sandbox_id} not ready within {timeout_s:.0f} s") from None

    async def _published(self, sandbox_id: SandboxId) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(sandbox_id, set())
        waiting.add(future)
        try:
            await future
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(sandbox_id) is waiting:
                del self._waiting[sandbox_id]

    def _tell(self, sandbox_id: SandboxId, event: Event) -> None:
        for listener in self._listeners:
            listener(sandbox_id, event)
