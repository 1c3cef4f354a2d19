"""The open connections, by sandbox: who has one, and waiting for one.

The sandbox's keeper puts a connection in when it is ready and takes it out when it is gone; turns take what is there.
The supervisor retires a sandbox that is removed: from then on nobody waits for it. Who begins to wait is told to it, so
that a sandbox that rests is woken; and who uses a sandbox says so, so that it is not put to rest meanwhile.
Owns no connection and no task, opens and closes nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from clawkakad.errors import GatewayUnavailable, SandboxGone
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.frames import Event
from clawkakad.model import SandboxId

PoolListener = Callable[[SandboxId, Event], None]
SandboxListener = Callable[[SandboxId], None]


class Pool:
    """Connections that said hello-ok. One that closes counts as none, even while nobody has withdrawn it yet."""

    def __init__(self) -> None:
        self._connections: dict[SandboxId, Connection] = {}
        self._waiting: dict[SandboxId, set[asyncio.Future[None]]] = {}
        self._retired: set[SandboxId] = set()  # grows by the few that are removed: ids are never used again
        self._listeners: list[PoolListener] = []
        self._retirement_listeners: list[SandboxListener] = []
        self._wanted_listeners: list[SandboxListener] = []
        self._uses: Counter[SandboxId] = Counter()

    def listen(self, listener: PoolListener) -> None:
        """Call `listener` with every event of every connection that is published from now on."""
        self._listeners.append(listener)

    def listen_retired(self, listener: SandboxListener) -> None:
        """Call `listener` with every sandbox that is retired from now on."""
        self._retirement_listeners.append(listener)

    def listen_wanted(self, listener: SandboxListener) -> None:
        """Call `listener` with every sandbox whose connection somebody begins to wait for, from now on."""
        self._wanted_listeners.append(listener)

    @contextmanager
    def using(self, sandbox_id: SandboxId) -> Iterator[None]:
        """While the block lasts, the sandbox is not put to rest; one that rests is not woken by this alone."""
        self._uses[sandbox_id] += 1
        try:
            yield
        finally:
            self._uses[sandbox_id] -= 1
            if not self._uses[sandbox_id]:
                del self._uses[sandbox_id]

    def in_use(self, sandbox_id: SandboxId) -> bool:
        """Whether somebody uses it, or waits for its connection."""
        return sandbox_id in self._uses or sandbox_id in self._waiting

    def is_empty(self) -> bool:
        """Whether nobody has an open connection."""
        return not any(connection.is_open for connection in self._connections.values())

    def publish(self, sandbox_id: SandboxId, connection: Connection) -> None:
        """From now on this is the sandbox's connection; whoever waits for it gets it. Does nothing once retired."""
        if sandbox_id in self._retired:
            return
        connection.listen(partial(self._tell, sandbox_id))
        self.restore(sandbox_id, connection)

    def restore(self, sandbox_id: SandboxId, connection: Connection) -> None:
        """This connection was published before, and withdrawn for a moment."""
        if sandbox_id not in self._retired:
            self._connections[sandbox_id] = connection
            self._rouse(sandbox_id)

    def withdraw(self, sandbox_id: SandboxId) -> None:
        """The sandbox has no connection now. Idempotent."""
        self._connections.pop(sandbox_id, None)

    def retire(self, sandbox_id: SandboxId) -> None:
        """The sandbox is removed for good: whoever waits for it, now or later, gets `SandboxGone`. Idempotent.

        Its events are not told any more. It closes nothing: a turn in progress learns of it when its connection ends.
        """
        self._retired.add(sandbox_id)
        self.withdraw(sandbox_id)
        self._rouse(sandbox_id)
        for listener in self._retirement_listeners:
            listener(sandbox_id)

    def get(self, sandbox_id: SandboxId) -> Connection | None:
        """The sandbox's connection, if there is an open one."""
        connection = self._connections.get(sandbox_id)
        return connection if connection is not None and connection.is_open else None

    async def ready(self, sandbox_id: SandboxId, *, timeout_s: float) -> Connection:
        """The sandbox's connection, waiting for it.

        Raises `GatewayUnavailable` after `timeout_s`, and `SandboxGone` as soon as the sandbox is retired.
        """
        if self.get(sandbox_id) is None:
            for listener in self._wanted_listeners:
                listener(sandbox_id)
        try:
            async with asyncio.timeout(timeout_s):
                while (connection := self.get(sandbox_id)) is None:
                    if sandbox_id in self._retired:
                        raise SandboxGone(f"sandbox {sandbox_id} was removed")
                    await self._news(sandbox_id)
                return connection
        except TimeoutError:
            raise GatewayUnavailable(f"sandbox {sandbox_id} not ready within {timeout_s:.0f} s") from None

    async def _news(self, sandbox_id: SandboxId) -> None:
        """Wait until it is published or retired."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(sandbox_id, set())
        waiting.add(future)
        try:
            await future
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(sandbox_id) is waiting:
                del self._waiting[sandbox_id]

    def _rouse(self, sandbox_id: SandboxId) -> None:
        for future in self._waiting.pop(sandbox_id, set()):
            if not future.done():
                future.set_result(None)

    def _tell(self, sandbox_id: SandboxId, event: Event) -> None:
        if sandbox_id in self._retired:
            return
        for listener in self._listeners:
            listener(sandbox_id, event)
