"""The two programs that are measured, each as a process of its own amid peers of its own.

Both get the same: people, gateways, a Graph API, webhooks. A program's person number `i` has the same number in both.
"""

import asyncio
import json
import os
import signal
import sqlite3
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from clawkakad.config import names
from tests.bench.gateway import Gateway
from tests.bench.graph import Graph
from tests.bench.journal import Journal, Message
from tests.bench.process import cpu_s, pin, rss_mib
from tests.bench.webhooks import PHONE_NUMBER_ID, Webhooks, text_body
from tests.daemon import PASSED_ON, PROJECT, Daemon
from tests.fakes.engine import FakeContainer, fake_engine
from tests.support import eventually, free_port

SECRET = "bench-app-secret"
TOKEN = "bench-gateway-token"
SANDBOX_UID = 1000
AGAIN_S = 0.5
JOINING = 8  # people who write their first message at the same time

SETTINGS = {
    "WHATSAPP_APP_SECRET": SECRET,
    "WHATSAPP_ACCESS_TOKEN": "bench-access-token",
    "WHATSAPP_VERIFICATION_TOKEN": "bench-verification-token",
    "WHATSAPP_SENDER_PHONE_NUMBER_ID": PHONE_NUMBER_ID,
    "CLAWKAKA_ACCESS": "open",
    "CLAWKAKA_LOG": "json",
}
"""As an operator would have it, but for who may write."""

UNLIMITED = {
    "CLAWKAKA_HEARTBEAT_MINUTES": "0",
    "CLAWKAKA_BURST_S": "0",
    "CLAWKAKA_STILL_ON_IT_S": "0",
    "CLAWKAKA_MESSAGES_PER_HOUR": "0",
    "CLAWKAKA_SENDS_PER_S": "1000000",
}
"""Nothing that waits on purpose; passed on as far as the daemon has such a setting."""


class Program(ABC):
    """One of the two. `delay_s[0]` is how long its people's agents take."""

    name: str

    def __init__(self, directory: Path, core: int | None) -> None:
        self.directory = directory
        self.port = free_port()
        self.journal = Journal()
        self.webhooks = Webhooks(self.port, SECRET)
        self.graph = Graph(self.journal, self.webhooks)
        self.people: list[str] = []
        self.delay_s = [0.0]
        self.refused = 0  # webhooks of messages that had to come again
        self.gateways: list[Gateway] = []
        self._core = core

    @property
    @abstractmethod
    def pid(self) -> int:
        """Its process."""

    @abstractmethod
    def stored(self) -> set[str]:
        """The wamids of all messages that are in its file."""

    @abstractmethod
    async def kill(self) -> None:
        """SIGKILL, if it runs."""

    def why(self, wamid: str) -> str:
        """What the program itself says of a message."""
        return ""

    def cpu_s(self) -> float:
        return cpu_s(self.pid)

    def rss_mib(self) -> float:
        return rss_mib(self.pid)

    def write(self, wa_id: str, due: float, *, again: bool = True) -> Message:
        """This person writes now, or was meant to a moment ago. `again`: a refused webhook comes again, as of Meta."""
        message = self.journal.new(wa_id, due)
        body = text_body(wa_id, message.wamid, message.text)

        def done(status: int, at: float) -> None:
            message.status, message.acknowledged = status, at
            if status != 200 and again:
                self.refused += 1
                asyncio.get_running_loop().call_later(AGAIN_S, self.webhooks.post, body, done)

        self.webhooks.post(body, done)
        return message

    async def join(self, count: int) -> None:
        """Go on until so many people are connected: each writes once and has an answer."""
        new = [f"1555{number:07d}" for number in range(len(self.people), count)]
        for start in range(0, len(new), JOINING):
            await self._join(new[start : start + JOINING])

    async def _join(self, wa_ids: list[str]) -> None:
        for wa_id in wa_ids:
            await self._prepare(wa_id)
        messages = [self.write(wa_id, time.monotonic()) for wa_id in wa_ids]
        await eventually(lambda: all(message.answers for message in messages), within_s=60, every_s=0.01)
        self.people += wa_ids

    async def _prepare(self, wa_id: str) -> None:  # noqa: B027 - the daemon asks for its gateways itself
        """Before a person's first message."""

    async def rest(self) -> None:
        """Until everything is acknowledged, the receipts of the last replies too."""
        await eventually(lambda: not self.graph.receipts_due and not self.webhooks.in_flight, within_s=60)

    async def _gateway(self, socket: Path, token: str) -> Gateway:
        gateway = Gateway(socket, token, self.journal, self.delay_s)
        await gateway.start()
        self.gateways.append(gateway)
        return gateway

    async def _close(self) -> None:
        await self.kill()
        self.webhooks.close()
        self.graph.stop()
        for gateway in self.gateways:
            gateway.stop()

    def _pin(self) -> None:
        if self._core is not None:
            pin(self.pid, self._core)


class Ours(Program):
    """The daemon, with an engine whose containers are light gateways."""

    name = "clawkakad"

    def __init__(self, directory: Path, core: int | None, settings: Mapping[str, str]) -> None:
        super().__init__(directory, core)
        self._settings = settings
        self._daemon: Daemon | None = None

    @property
    def pid(self) -> int:
        assert self._daemon is not None
        assert self._daemon.process is not None
        return self._daemon.process.pid

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Ours"]:
        async with AsyncExitStack() as stack:
            engine = await stack.enter_async_context(fake_engine(self.directory))
            engine.on_start = self._open_gateway
            daemon = self._daemon = Daemon(
                {
                    **SETTINGS,
                    **{name: value for name, value in UNLIMITED.items() if name in names()},
                    "WHATSAPP_API_BASE_URL": await self.graph.start(),
                    "DOCKER_HOST": engine.address,
                    "PORT": str(self.port),
                    "CLAWKAKA_STATE_DIR": str(self.directory / "state"),
                    "CLAWKAKA_RUNTIME_DIR": str(self.directory / "run"),
                    **self._settings,
                },
                self.directory / "daemon.log",
            )
            stack.push_async_callback(self._close)
            await daemon.start()
            self._pin()
            yield self

    async def kill(self) -> None:
        if self._daemon is not None and self._daemon.process is not None:
            await self._daemon.kill()

    def stored(self) -> set[str]:
        assert self._daemon is not None
        return {row["wamid"] for row in self._daemon.rows("SELECT wamid FROM inbox")}

    def why(self, wamid: str) -> str:
        assert self._daemon is not None
        rows = self._daemon.rows("SELECT id, state, reason, user_id FROM inbox WHERE wamid = ?", wamid)
        waiting = (
            "SELECT id, state, reason, not_before, changed_at FROM outbox WHERE user_id = ? ORDER BY id DESC LIMIT 3"
        )
        sent = self._daemon.rows(waiting, rows[0]["user_id"]) if rows else []
        return f"inbox {rows}\noutbox {sent}\n{self._daemon.tail(5)}"

    async def _open_gateway(self, container: FakeContainer) -> None:
        config = json.loads((container.source("/etc/clawkaka") / "openclaw.json").read_text())
        socket = container.source("/run/clawkaka/gateway") / "gateway.sock"
        gateway = await self._gateway(socket, config["gateway"]["auth"]["token"])
        if os.geteuid() != SANDBOX_UID:
            os.chown(gateway.socket, SANDBOX_UID, -1)


class Relay(Program):
    """The yardstick."""

    name = "relay"

    def __init__(self, directory: Path, core: int | None) -> None:
        super().__init__(directory, core)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Relay"]:
        graph_url = await self.graph.start()
        environ = {
            **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
            "BENCH_PORT": str(self.port),
            "BENCH_SECRET": SECRET,
            "BENCH_GRAPH": f"{graph_url}/v25.0/{PHONE_NUMBER_ID}/messages",
            "BENCH_SOCKETS": str(self.directory),
            "BENCH_TOKEN": TOKEN,
            "BENCH_DATABASE": str(self._file),
        }
        try:
            with (self.directory / "relay.log").open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.bench.relay", env=environ, cwd=PROJECT, stdout=log, stderr=log
                )
            self._pin()
            await eventually(self._serves, within_s=30, every_s=0.05)
            yield self
        finally:
            await self._close()

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            await self._process.wait()

    def stored(self) -> set[str]:
        connection = sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)
        try:
            return {row[0] for row in connection.execute("SELECT wamid FROM inbox")}
        finally:
            connection.close()

    @property
    def _file(self) -> Path:
        return self.directory / "relay.sqlite"

    async def _prepare(self, wa_id: str) -> None:
        await self._gateway(self.directory / f"{wa_id}.sock", TOKEN)

    async def _serves(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, "the relay ended"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True
