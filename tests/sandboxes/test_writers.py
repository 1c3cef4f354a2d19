"""Who is frozen for filling the disk goes on again, in whatever order the engine answers, or whether it does."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest_asyncio

from clawkakad.model import SandboxId
from clawkakad.sandboxes.engine import Container, open_engine
from clawkakad.sandboxes.profile import MIB
from clawkakad.sandboxes.writers import Writers
from tests.fakes.engine import FakeEngine, fake_engine
from tests.support import eventually

ONE = SandboxId("s0one")
TWO = SandboxId("s0two")
NAME, OTHER = "clawkaka-one", "clawkaka-two"


@dataclass
class Full:
    """A container that runs and writes a lot."""

    engine: FakeEngine
    writers: Writers
    container: Container

    async def freeze(self) -> None:
        await self.writers.freeze_writers({ONE: self.container})

    @property
    def status(self) -> str:
        return self.engine.containers[NAME].status


@pytest_asyncio.fixture
async def full(tmp_path: Path) -> AsyncIterator[Full]:
    async with fake_engine(tmp_path) as fake, open_engine(fake.address) as engine:
        await engine.create(NAME, {"Image": "clawkaka-sandbox:latest", "Labels": {}, "HostConfig": {"Mounts": []}})
        await engine.start(NAME)
        fake.unwritten[NAME] = 100 * MIB
        container = await engine.inspect(NAME)
        assert container is not None
        yield Full(fake, Writers(engine, rest_s=0.0), container)


async def test_a_thaw_does_not_overtake_its_freeze(full: Full) -> None:
    full.engine.slow_s = 0.3
    freezing = asyncio.create_task(full.freeze())
    await eventually(lambda: full.engine.count("/pause"))
    full.engine.slow_s = 0.0

    await full.writers.release(ONE, thaw=True)
    await freezing

    assert full.engine.count("/unpause")
    assert "running" == full.status
    assert [] == full.writers.frozen


async def test_a_release_does_not_take_away_a_freeze_that_has_not_begun(full: Full) -> None:
    async with open_engine(full.engine.address) as engine:
        await engine.create(OTHER, {"Image": "clawkaka-sandbox:latest", "Labels": {}, "HostConfig": {"Mounts": []}})
        await engine.start(OTHER)
        other = await engine.inspect(OTHER)
    assert other is not None
    full.engine.unwritten[OTHER] = 100 * MIB
    full.engine.slow_s = 0.2
    freezing = asyncio.create_task(full.writers.freeze_writers({ONE: full.container, TWO: other}))
    await eventually(lambda: full.engine.count("/pause"))

    await full.writers.release(TWO, thaw=True)  # it was looked at, as its turn was
    await freezing

    assert "paused" == full.engine.containers[OTHER].status
    assert [ONE, TWO] == full.writers.frozen


async def test_one_that_the_engine_does_not_let_go_on_is_let_go_on_later(full: Full) -> None:
    await full.freeze()
    assert "paused" == full.status
    await full.engine.down()

    await full.writers.release(ONE, thaw=True)
    assert [ONE] == full.writers.frozen
    assert full.writers.has_some.is_set()

    await full.engine.up()
    await full.writers.release(ONE, thaw=True)
    assert "running" == full.status
    assert [] == full.writers.frozen
    assert not full.writers.has_some.is_set()


async def test_one_that_is_to_be_stopped_never_goes_on(full: Full) -> None:
    await full.freeze()

    await full.writers.release(ONE, thaw=False)

    assert "paused" == full.status
    assert [] == full.writers.frozen
