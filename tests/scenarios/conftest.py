"""A stage for the real daemon: WhatsApp, the engine and the gateways are fakes on real sockets, in the test's process.

The engine's containers are scriptable gateways; everything between Meta's webhook and the Graph API is the real thing.
"""

import json
import os
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from clawkakad import config
from clawkakad.faults import POINTS
from clawkakad.simulator.people import Person
from clawkakad.whatsapp.signature import HEADER, sign
from tests.daemon import World, world
from tests.fakes.engine import FakeContainer, FakeEngine, fake_engine
from tests.fakes.gateway import FakeGateway
from tests.fakes.gateway_agent import Disk, Reply, echo
from tests.scenarios.nursery import Nursery
from tests.support import short_directory

SANDBOX_UID = 1000
ON_THE_WAY = [name for name in POINTS if name != "migration"]
"""The points at which it may die on the way of a message."""

RETRY_DELAYS_S = (0.1,) * 1200  # Meta waits longer; the daemon cannot tell


@dataclass
class Stage:
    """The world, the engine, and the gateways by container name. What a gateway wrote outlives its container's life."""

    world: World
    engine: FakeEngine
    gateways: dict[str, FakeGateway] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    agent_delay_s: float = 0.0
    begin_after_s: float = 0.0  # of gateways that are opened from now on

    def agent(self, text: str) -> Reply:
        """Repeats what it was told, after `agent_delay_s`."""
        return Reply(f"echo: {text}", after_s=self.agent_delay_s)

    async def open_gateway(self, container: FakeContainer) -> None:
        config = json.loads((container.source("/etc/clawkaka") / "openclaw.json").read_text())
        gateway = FakeGateway(
            container.source("/run/clawkaka/gateway") / "gateway.sock",
            config["gateway"]["auth"]["token"],
            agent=self.agent,
            disk=self.disks.setdefault(container.name, Disk()),
        )
        gateway.begin_after_s = self.begin_after_s
        await gateway.start()
        if os.geteuid() != SANDBOX_UID:
            os.chown(gateway.socket, SANDBOX_UID, -1)
        self.gateways[container.name] = gateway

    async def close_gateway(self, container: FakeContainer) -> None:
        gateway = self.gateways.pop(container.name, None)
        if gateway is not None:
            await gateway.kill()

    def gateway(self) -> FakeGateway:
        """The only one there is."""
        (gateway,) = self.gateways.values()
        return gateway

    def container(self) -> FakeContainer:
        """The only one there is."""
        (container,) = self.engine.containers.values()
        return container

    def person(self, name: str = "Robin") -> Person:
        return self.world.person(name)


@pytest.fixture
def settings() -> dict[str, str]:
    """What a test sets besides; override with parametrize."""
    return {}


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with Nursery() as opened:
        yield opened


@pytest.fixture
async def stage(settings: dict[str, str], nursery: Nursery) -> AsyncIterator[Stage]:
    async with open_stage(nursery, settings) as made:
        yield made


@asynccontextmanager
async def open_stage(
    nursery: Nursery, settings: Mapping[str, str], *, retry_delays_s: Sequence[float] = RETRY_DELAYS_S
) -> AsyncIterator[Stage]:
    """A stage with these settings besides; its daemon is not started yet."""
    with short_directory() as directory:
        async with fake_engine(directory) as engine:
            base = {
                "DOCKER_HOST": engine.address,
                "CLAWKAKA_SETTLE_S": "2",
                "CLAWKAKA_HEARTBEAT_MINUTES": "0",
                # Else swap that comes or goes on this machine, as other tests have it, is another profile.
                "CLAWKAKA_DOZE_AFTER_MINUTES": "0",
            }
            async with world(directory, nursery=nursery, retry_delays_s=retry_delays_s, **{**base, **settings}) as made:
                stage = Stage(made, engine)
                engine.on_start, engine.on_stop = stage.open_gateway, stage.close_gateway
                yield stage
                if made.daemon.process is not None:
                    await made.daemon.stop()
            for gateway in stage.gateways.values():
                await gateway.kill()


def known(**settings: str) -> dict[str, str]:
    """Those of the settings that there are."""
    return {name: value for name, value in settings.items() if name in config.names()}


def seed() -> int:
    """Of everything random in a test: TEST_SEED, or any. Printed, so that a failure can be repeated."""
    number = int(os.environ.get("TEST_SEED", random.randrange(10**6)))
    print(f"TEST_SEED={number}")
    return number


async def post(stage: Stage, body: bytes, header: str | None = None) -> int:
    """A webhook as Meta would send it; the status."""
    signed = header or sign(body, stage.world.simulator.secrets.app_secret)
    url = f"http://127.0.0.1:{stage.world.daemon.port}/whatsapp/webhook"
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers={HEADER: signed}) as answer:
        assert await answer.read() == b""
        return answer.status


def data(name: str) -> bytes:
    """A recorded webhook body, byte for byte."""
    return (Path(__file__).parent.parent / "data" / "payloads" / name).read_bytes()


__all__ = ["Stage", "data", "echo"]
