"""The real daemon as a real process: started, killed and started again on the same state, amid servers of the test."""

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import sys
import sysconfig
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import aiohttp

import clawkakad
from clawkakad.simulator.guard import LOOPBACK_NAMES
from clawkakad.simulator.people import Author, Message, Person
from clawkakad.simulator.server import Secrets, Simulator, running_simulator
from clawkakad.simulator.webhooks import RETRY_DELAYS_S
from tests.scenarios.nursery import Nursery
from tests.support import eventually, free_port

PROJECT = Path(__file__).parent.parent
NOT_NEEDED = ("playwright", "mypy", "mypyc", "ruff", "pip", "hypothesis", "coverage", "setuptools", "locale-data")
GRAPH_NAME = "graph.test"  # another name of the simulator, where the daemon obeys orders about names
PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE")


class Process(Protocol):
    """The part of a process that is needed here."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def send_signal(self, number: int) -> None: ...

    async def wait(self) -> int: ...


@dataclass
class Daemon:
    """One state directory, and the process that runs on it at the moment.

    `nursery`: starts it quickly, and so that it obeys orders; without one it starts as on any other machine.
    """

    environ: Mapping[str, str]
    log: Path
    uid: int | None = None
    gid: int | None = None
    groups: list[int] = field(default_factory=list)
    packages: Path | None = None
    process: Process | None = None
    nursery: Nursery | None = None

    @property
    def state_dir(self) -> Path:
        return Path(self.environ["CLAWKAKA_STATE_DIR"])

    @property
    def port(self) -> int:
        return int(self.environ["PORT"])

    async def start(self, **extra: str) -> None:
        """Start it and wait until it serves."""
        await self.spawn(**extra)
        try:
            await eventually(self._serves, within_s=20, every_s=0.02)
        except AssertionError as error:
            raise AssertionError(f"the daemon does not serve:\n{self.tail()}") from error

    async def spawn(self, **extra: str) -> None:
        """Start it, and do not wait."""
        assert self.process is None
        environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environ["CLAWKAKA_SPARES"] = "0"  # also where this machine has swap; those who want one say so
        environ |= {"PYTHONPATH": str(self.packages), "HOME": str(self.state_dir)} if self.packages else {}
        if self.nursery is not None:
            environ |= {**self.environ, **extra}
            self.process = await self.nursery.start(environ, log=self.log, orders=self.orders)
            return
        python = getattr(sys, "_base_executable", sys.executable) if self.packages else sys.executable
        identity: dict[str, Any] = (
            {"user": self.uid, "group": self.gid, "extra_groups": self.groups} if self.uid else {}
        )
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                python,
                *("-m", "clawkakad", "run"),
                env={**environ, **self.environ, **extra},
                cwd=str(PROJECT) if not self.packages else "/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **identity,
            )

    @property
    def orders(self) -> Path:
        """See `tests.scenarios.dying`."""
        return self.log.with_name("orders.json")

    async def order(self, **orders: object) -> None:
        """Bend its world, now or from its next start on: `point` and `times`, `clock_s`, `dns`. In effect on return."""
        assert self.nursery is not None
        self.orders.write_text(json.dumps(orders))
        if self.process is not None:
            self.process.send_signal(signal.SIGUSR1)
            await eventually(lambda: not self.orders.exists(), every_s=0.005)

    async def tasks(self) -> list[str]:
        """The names of the tasks that its event loop has, once its garbage is collected."""
        answer = self.log.with_name("tasks")
        await self.order(tasks=str(answer))
        return answer.read_text().splitlines()

    async def kill(self) -> None:
        """SIGKILL: nothing is cleaned up."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        return await self._end(signal.SIGTERM)

    async def ended(self, within_s: float = 20) -> int:
        """Wait for it to end by itself; the exit code."""
        assert self.process is not None
        async with asyncio.timeout(within_s):
            code = await self.process.wait()
        self.process = None
        return code

    async def replace(self) -> float:
        """SIGKILL and a new start; seconds from the one to the first answer."""
        killed_at = time.monotonic()
        await self.kill()
        await self.start()
        return time.monotonic() - killed_at

    async def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await self.ended(60)

    async def _serves(self) -> bool:
        assert self.process is not None
        assert self.process.returncode is None, f"the daemon ended:\n{self.tail()}"
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.port}/healthz") as answer,
            ):
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    def tail(self, lines: int = 30) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def logged(self) -> list[dict[str, Any]]:
        """Its log, a line each."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """A look into the registry."""
        with sqlite3.connect(f"file:{self.state_dir}/registry.sqlite?mode=ro", uri=True) as connection:
            connection.row_factory = sqlite3.Row
            rows = [dict(row) for row in connection.execute(sql, values)]
        connection.close()
        return rows


@dataclass
class World:
    """A simulator, a daemon, and people who write."""

    simulator: Simulator
    daemon: Daemon

    def person(self, name: str, number: str | None = None) -> Person:
        return self.simulator.exchange.add_person(name, number)

    def say(self, person: Person, text: str) -> Message:
        return self.simulator.exchange.write(person, text)

    def heard(self, person: Person) -> list[str]:
        """What this person got, in order."""
        messages = self.simulator.exchange.people.messages.values()
        return [m.text for m in messages if m.wa_id == person.wa_id and m.author is Author.ASSISTANT]

    async def hears(self, person: Person, count: int, *, within_s: float = 20) -> list[str]:
        """Wait until the person got `count` messages in all."""
        try:
            await eventually(lambda: len(self.heard(person)) >= count, within_s=within_s, every_s=0.05)
        except AssertionError as error:
            raise AssertionError(f"heard {self.heard(person)}\n{self.daemon.tail()}") from error
        return self.heard(person)

    async def ask(self, person: Person, text: str, *, within_s: float = 20) -> str:
        """Say something and wait for the next message."""
        before = len(self.heard(person))
        self.say(person, text)
        return (await self.hears(person, before + 1, within_s=within_s))[before]


@asynccontextmanager
async def world(
    directory: Path,
    *,
    unprivileged_gid: int | None = None,
    nursery: Nursery | None = None,
    retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
    **settings: str,
) -> AsyncIterator[World]:
    """A simulator and a daemon that is not started yet, under `directory` (short: there are sockets below it).

    `unprivileged_gid`: run the daemon as a user without rights, in this supplementary group, as systemd would.
    `retry_delays_s`: when the simulator brings a webhook again that was not taken.
    """
    secrets = Secrets.made()
    port = free_port()
    async with running_simulator(
        secrets,
        webhook_url=f"http://127.0.0.1:{port}/whatsapp/webhook",
        retry_delays_s=retry_delays_s,
        names=LOOPBACK_NAMES | {GRAPH_NAME},
    ) as simulator:
        environ = {
            "WHATSAPP_APP_SECRET": secrets.app_secret,
            "WHATSAPP_ACCESS_TOKEN": secrets.access_token,
            "WHATSAPP_VERIFICATION_TOKEN": secrets.verification_token,
            "WHATSAPP_SENDER_PHONE_NUMBER_ID": secrets.phone_number_id,
            "WHATSAPP_API_BASE_URL": simulator.url,
            "OPENROUTER_BASE_URL": f"{simulator.url}/api/v1",
            "PORT": str(port),
            "CLAWKAKA_ACCESS": "open",
            "CLAWKAKA_STATE_DIR": str(directory / "state"),
            "CLAWKAKA_RUNTIME_DIR": str(directory / "run"),
            "CLAWKAKA_LOG": "json",
            "CLAWKAKA_LOG_LEVEL": "DEBUG",
            **settings,
        }
        daemon = Daemon(environ, directory / "daemon.log", nursery=nursery)
        if unprivileged_gid is not None:
            _make_unprivileged(daemon, directory, unprivileged_gid)
        made = World(simulator, daemon)
        try:
            yield made
        finally:
            if daemon.process is not None:
                await daemon.stop()


def _make_unprivileged(daemon: Daemon, directory: Path, group: int) -> None:
    """An installation that the user can read, and directories that are the user's own."""
    daemon.uid = daemon.gid = 61234
    daemon.groups = [group]
    daemon.packages = directory / "packages"
    site = Path(sysconfig.get_paths()["purelib"])
    shutil.copytree(site, daemon.packages, ignore=shutil.ignore_patterns(*NOT_NEEDED, "__pycache__", "*.dist-info"))
    shutil.copytree(Path(clawkakad.__file__).parent, daemon.packages / "clawkakad", dirs_exist_ok=True)
    directory.chmod(0o755)
    for name in ("state", "run"):
        (directory / name).mkdir(mode=0o700)
        os.chown(directory / name, daemon.uid, daemon.gid)
