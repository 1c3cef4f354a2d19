"""A pool that is kept filled as the sandbox's keeper would, and turns over it."""

import asyncio
from contextlib import suppress
from typing import Any

from clawkakad.errors import ClawkakaError, GatewayClosed, Transient
from clawkakad.gateway.pool import Pool
from clawkakad.gateway.tempo import Tempo
from clawkakad.gateway.turns import Answer, Turns
from clawkakad.model import SandboxId
from tests.fakes.gateway import FakeGateway
from tests.gateway.conftest import ME, SANDBOX, TOKEN
from tests.gateway.dial import connect_when_ready
from tests.support import SCALE, eventually

BRISK = Tempo(
    quiet_s=0.3 * SCALE,
    revive_s=0.4 * SCALE,
    settle_s=0.1 * SCALE,
    request_s=0.5 * SCALE,
    stop_s=0.5 * SCALE,
    poll_s=0.02,
)


class World:
    """One daemon's view of one sandbox. `reboot()` is a new daemon on the same sandbox."""

    def __init__(self, gateway: FakeGateway) -> None:
        self.gateway = gateway
        self.strays: list[Answer] = []
        self.stray_troubles = 0  # this many calls of on_stray fail for now
        self.reconnects_after_s = 0.0
        self.refusal: str | None = None  # what the model endpoint said to the sandbox's last call
        self._begin()

    def _begin(self) -> None:
        self.pool = Pool()
        self.turns = Turns(self.pool, on_stray=self._take, refusal_of=lambda _: self.refusal, tempo=BRISK)
        self._keeper = asyncio.create_task(self._keep(self.pool), name="keeper of a test")

    async def _take(self, sandbox_id: SandboxId, answer: Answer) -> None:
        if self.stray_troubles:
            self.stray_troubles -= 1
            raise Transient("not now")
        self.strays.append(answer)

    async def _keep(self, pool: Pool) -> None:
        while True:
            connection = await connect_when_ready(self.gateway.socket, TOKEN, owner_uids=ME, timeout_s=30 * SCALE)
            try:
                pool.publish(SANDBOX, connection)
                await connection.wait_closed()
            finally:
                pool.withdraw(SANDBOX)
                await connection.aclose()
            await asyncio.sleep(self.reconnects_after_s)

    async def aclose(self) -> None:
        self._keeper.cancel()
        with suppress(asyncio.CancelledError, ClawkakaError):
            await self._keeper
        await self.turns.aclose()

    async def reboot(self) -> None:
        """The daemon starts anew: nothing is remembered."""
        await self.aclose()
        self._begin()

    async def ask(self, key: str = "k", text: str = "hi", *, again: bool = False, timeout_s: float = 15) -> Answer:
        return await self.turns.ask(SANDBOX, key=key, text=text, again=again, timeout_s=timeout_s * SCALE)

    def asking(self, *arguments: Any, **more: Any) -> "asyncio.Task[Answer]":
        return asyncio.create_task(self.ask(*arguments, **more))

    async def wake(self, text: str = "check", *, timeout_s: float = 15) -> Answer | None:
        return await self.turns.wake(SANDBOX, text=text, timeout_s=timeout_s * SCALE)

    def waking(self, **more: Any) -> "asyncio.Task[Answer | None]":
        return asyncio.create_task(self.wake(**more))

    async def connected(self) -> None:
        await self.pool.ready(SANDBOX, timeout_s=10 * SCALE)

    async def idle(self) -> None:
        """Wait until nothing runs in the gateway and everything that it said was heard."""
        await eventually(lambda: not self.gateway.running())
        await eventually(self._reached)

    async def _reached(self) -> bool:
        try:
            connection = await self.pool.ready(SANDBOX, timeout_s=10 * SCALE)
            await connection.health(5 * SCALE)
        except GatewayClosed:
            return False
        return True

    @property
    def sent(self) -> list[str]:
        """The run ids under which messages were sent, in order."""
        return [asked.params["idempotencyKey"] for asked in self.gateway.asked if asked.method == "chat.send"]
