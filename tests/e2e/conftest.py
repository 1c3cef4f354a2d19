"""One world for all of these tests: the real engine, image and OpenClaw, and the daemon as a user without rights."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest_asyncio

from clawkakad.sandboxes.profile import LABEL_GAUGE
from clawkakad.simulator.people import Person
from tests.daemon import World, world
from tests.support import IMAGE, short_directory

ENGINE_SOCKET = "/var/run/docker.sock"
HEARTBEAT_S = 15


async def docker(*words: str, stdin: str | None = None, check: bool = True) -> str:
    """The docker command line; its standard output."""
    process = await asyncio.create_subprocess_exec(
        "docker",
        *words,
        stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate(stdin.encode() if stdin is not None else None)
    assert process.returncode == 0 or not check, f"docker {words[0]}: {err.decode()}"
    return out.decode()


@dataclass
class Sandbox:
    """A person's container, from outside."""

    id: str

    @property
    def name(self) -> str:
        return f"clawkaka-{self.id}"

    async def inspect(self) -> dict[str, Any]:
        return dict(json.loads(await docker("inspect", self.name))[0])

    async def run(self, *command: str, stdin: str | None = None) -> str:
        """A command inside, as the sandbox's own user."""
        return await docker("exec", "-i", self.name, *command, stdin=stdin)

    async def rows(self, sql: str) -> list[dict[str, Any]]:
        """A look into the person's own database."""
        out = await self.run("sqlite3", "-json", "/data/pa/pa.sqlite", sql)
        return list(json.loads(out)) if out.strip() else []


def sandbox_of(world: World, person: Person) -> Sandbox:
    """Through the registry: number, user, sandbox."""
    rows = world.daemon.rows(
        "SELECT s.id FROM sandboxes s JOIN identifiers i USING (user_id) WHERE i.value = ?", person.wa_id
    )
    return Sandbox(rows[0]["id"])


@dataclass
class House:
    """The world, and the two who live in it."""

    world: World
    robin: Person
    mika: Person

    def sandbox(self, person: Person) -> Sandbox:
        return sandbox_of(self.world, person)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    settings = {
        "CLAWKAKA_HEARTBEAT_MINUTES": str(HEARTBEAT_S / 60),
        "CLAWKAKA_ACTIVE_HOURS": "00:00-23:59",
        "CLAWKAKA_STILL_ON_IT_S": "0",  # a first start takes longer on a busy machine
        "CLAWKAKA_IMAGE": IMAGE,
        "OPENROUTER_PROVISIONING_KEY": "",
    }
    gid = os.stat(ENGINE_SOCKET).st_gid
    with short_directory() as directory:
        async with world(directory, unprivileged_gid=gid, **settings) as made:
            await made.daemon.start()
            try:
                yield House(made, made.person("Robin", "+91 98765 43210"), made.person("Mika", "+49 1512 3456789"))
            finally:
                instance = (made.daemon.state_dir / "instance").read_text().strip()
                await made.daemon.stop()
                await remove_all(instance)


async def remove_all(instance: str) -> None:
    """Every container and volume of one installation."""
    mine = f"label=clawkaka.instance={instance}"
    gauges = f"label={LABEL_GAUGE}={instance}"  # that a daemon which was killed left
    containers = [id_ for each in (mine, gauges) for id_ in (await docker("ps", "-aq", "--filter", each)).split()]
    if containers:
        await docker("rm", "-f", *containers)
    volumes = (await docker("volume", "ls", "-q", "--filter", mine)).split()
    if volumes:
        await docker("volume", "rm", "-f", *volumes)
