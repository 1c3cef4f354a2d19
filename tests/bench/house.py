"""The daemon as a process amid a WhatsApp of our own and the offline model, with real sandboxes on the real engine.

What is measured is what a person sees: from the webhook to the whole reply. What a sandbox takes is read from the
kernel. Everything that was made is taken away at the end, however that comes.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from clawkakad.sandboxes.engine import ADDRESS, Engine, open_engine
from clawkakad.sandboxes.image import DEFAULT_TAG
from clawkakad.sandboxes.profile import container_name
from clawkakad.sandboxes.secrets import instance_id
from clawkakad.simulator.people import Person
from tests.bench.cgroup import Cgroup
from tests.bench.process import cpu_s, rss_mib
from tests.daemon import PROJECT, Daemon, World, world
from tests.support import eventually, short_directory

REPLY_S = 240.0
STATE_S = 240.0
AGAIN_S = 30.0  # until a sandbox is told again to rest; one whose agent is still at work does not obey
ERRAND = "Uber to office {}"
SETTINGS = {
    "CLAWKAKA_HEARTBEAT_MINUTES": "0",
    "CLAWKAKA_BURST_S": "0",
    "CLAWKAKA_STILL_ON_IT_S": "0",
    "CLAWKAKA_LOG_LEVEL": "INFO",
    "OPENROUTER_PROVISIONING_KEY": "",
}
"""Nothing that waits on purpose, and nothing that happens by itself."""


@dataclass
class House:
    """People, their sandboxes, and who looks after them."""

    world: World
    engine: Engine
    instance: str
    image: str
    people: int = 0
    errands: int = 0

    @property
    def daemon(self) -> Daemon:
        return self.world.daemon

    def newcomer(self) -> Person:
        """Somebody who never wrote."""
        self.people += 1
        return self.world.person(f"Person {self.people}", f"+1555{self.people:07d}")

    async def reply_s(self, person: Person) -> float:
        """They write, the agent calls its tool and answers: seconds until they have it. Fails where it is no answer."""
        self.errands += 1
        began = time.monotonic()
        reply = await self.world.ask(person, ERRAND.format(self.errands), within_s=REPLY_S)
        took_s = time.monotonic() - began
        assert str(self.errands) in reply, f"no answer to the errand: {reply}"
        return took_s

    def row(self, person: Person) -> dict[str, Any]:
        """The person's sandbox as the registry has it."""
        sql = "SELECT s.* FROM sandboxes s JOIN identifiers i USING (user_id) WHERE i.value = ?"
        return self.daemon.rows(sql, person.wa_id)[0]

    async def facts(self, person: Person) -> dict[str, Any]:
        """The person's container as the engine has it."""
        facts = await self.engine.facts(container_name(self.row(person)["id"]))
        assert facts is not None, "the container is gone"
        return facts

    async def cgroup(self, person: Person) -> Cgroup:
        return Cgroup((await self.facts(person))["State"]["Pid"])

    @property
    def runtime_dir(self) -> Path:
        return Path(self.daemon.environ["CLAWKAKA_RUNTIME_DIR"])

    def rss_mib(self) -> float:
        """Of the daemon."""
        return rss_mib(self._pid)

    def cpu_s(self) -> float:
        """Of the daemon, since it started."""
        return cpu_s(self._pid)

    @property
    def _pid(self) -> int:
        assert self.daemon.process is not None
        return self.daemon.process.pid

    async def rests(self, person: Person, word: str, state: str) -> float:
        """Tell their sandbox to `doze` or `sleep`, until it does; seconds from the word that it obeyed."""
        deadline = time.monotonic() + STATE_S
        while True:
            await self.tell(person, word)
            began = time.monotonic()
            try:
                await eventually(lambda: self.row(person)["state"] == state, within_s=AGAIN_S, every_s=0.05)
                return time.monotonic() - began
            except AssertionError as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"{self.row(person)} is not {state}\n{self.daemon.tail()}") from error

    async def boot_s(self, person: Person) -> float:
        """From their container's last start to hello-ok, by the engine's clock and the registry's."""
        row, started = self.row(person), (await self.facts(person))["State"]["StartedAt"]
        assert row["state"] == "ready", row
        return (datetime.fromisoformat(row["changed_at"]) - datetime.fromisoformat(started)).total_seconds()

    async def tell(self, person: Person, word: str) -> None:
        """As an operator: `clawkakad sandbox doze` and the like."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "clawkakad", "sandbox", word, f"+{person.wa_id}"),
            env={"PATH": os.environ.get("PATH", ""), **self.daemon.environ},
            cwd=PROJECT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, f"clawkakad sandbox {word}: {output.decode()}"


@asynccontextmanager
async def house(settings: Mapping[str, str]) -> AsyncIterator[House]:
    """A fresh installation, whose daemon does not run yet. Whatever it made on the engine is removed."""
    address, image = os.environ.get("DOCKER_HOST", ADDRESS), os.environ.get("CLAWKAKA_IMAGE", DEFAULT_TAG)
    settings = {**SETTINGS, "DOCKER_HOST": address, "CLAWKAKA_IMAGE": image, **settings}
    with short_directory() as directory:
        async with (
            open_engine(address) as engine,
            world(directory, **settings) as made,
        ):
            made.daemon.state_dir.mkdir(mode=0o700)
            instance = instance_id(made.daemon.state_dir)
            try:
                yield House(made, engine, instance, settings["CLAWKAKA_IMAGE"])
            finally:
                await asyncio.shield(_leave(made.daemon, engine, instance))


async def _leave(daemon: Daemon, engine: Engine, instance: str) -> None:
    """The daemon first: it would heal what is removed."""
    if daemon.process is not None:
        await daemon.kill()
    await remove_all(engine, instance)


async def remove_all(engine: Engine, instance: str, at_once: int = 8) -> None:
    """Containers, several at a time, then volumes."""
    turns = asyncio.Semaphore(at_once)

    async def remove(container_id: str) -> None:
        async with turns:
            await engine.remove(container_id)

    await asyncio.gather(*(remove(container.id) for container in await engine.ours(instance)))
    await engine.remove_instance(instance)
