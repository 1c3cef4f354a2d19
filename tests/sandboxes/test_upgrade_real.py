"""Upgrades on the real engine, with light images that are good, broken or hanging; volumes, SQLite and pa are real."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import web

from clawkakad.gateway.runs import Answer
from clawkakad.gateway.turns import Turns
from clawkakad.model import SandboxId, StepState, UpgradeState, UserId
from clawkakad.registry.upgrades import Step, Upgrade
from clawkakad.sandboxes import image, paths
from clawkakad.sandboxes.engine import Engine, open_engine
from clawkakad.sandboxes.modelproxy import Upstream
from clawkakad.sandboxes.policy import Limits
from clawkakad.sandboxes.profile import container_name
from clawkakad.sandboxes.timing import Timing
from clawkakad.simulator.model import offline_model_app
from tests.e2e.conftest import ENGINE_SOCKET, docker, remove_all
from tests.light.images import build, light_image
from tests.sandboxes.world import QUICK, World, open_world
from tests.support import SCALE, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

ADDRESS = f"unix://{ENGINE_SOCKET}"
SPOILS = "DELETE FROM expenses"
SOURCE = image.source_directory()
SCHEMA_2 = {
    "seed": (SOURCE / "seed").read_bytes(),
    "migrate": (SOURCE / "migrate").read_bytes(),
    "schema.sql": (SOURCE / "schema.sql").read_bytes().replace(b"user_version = 1;", b"user_version = 2;"),
    "migrations/0002_shared.sql": b"ALTER TABLE expenses ADD COLUMN shared_with TEXT;\n",
}
"""An image that knows one more schema."""
COPIES = (
    "COPY seed migrate /usr/local/lib/clawkaka/\n"
    "COPY schema.sql /usr/local/share/clawkaka/\nCOPY migrations/ /usr/local/share/clawkaka/migrations/"
)
REAL = replace(Timing(), owner_uids=frozenset({1000}), start_s=120.0 * SCALE)
TIMING = replace(
    Timing(),
    owner_uids=frozenset({1000}),
    start_s=3.0 * SCALE,
    attempt_s=1.0,
    limits=Limits(restarts=30, first_delay_s=0.1, last_delay_s=1.0),
)


@dataclass
class House:
    """Two people with sandboxes of a light image, and their data."""

    world: World
    engine: Engine
    turns: Turns
    ann: UserId
    bob: UserId

    async def sandboxes(self) -> list[SandboxId]:
        return [(await self.world.ready(person)).id for person in (self.ann, self.bob)]

    async def pa(self, sandbox_id: SandboxId, *words: str) -> str:
        ran = await self.engine.run(container_name(sandbox_id), ["pa", *words], deadline_s=30, limit=2000)
        assert 0 == ran.exit_code, ran.output
        return ran.output

    async def image(self, sandbox_id: SandboxId) -> str:
        found = await self.engine.inspect(container_name(sandbox_id))
        assert found is not None
        return found.image_id

    async def build(self, mode: str, *, sql: str = "") -> None:
        """A new image of the same name, which knows schema 2."""
        version = f"{self.world.instance}-2"
        await build(self.world.image, mode, version=version, sql=sql, lines=COPIES, files=SCHEMA_2)

    async def says(self, sandbox_id: SandboxId, key: str, text: str) -> str:
        return (await self.turns.ask(sandbox_id, key=key, text=text, again=False, timeout_s=30 * SCALE)).text

    async def upgraded(self, *, within_s: float = 40) -> tuple[Upgrade, list[Step]]:
        upgrades = self.world.registry.upgrades
        asked, _ = await upgrades.ask(None)

        async def over() -> bool:
            return await upgrades.open() is None

        await eventually(over, within_s=within_s)
        ended = await upgrades.get(asked.id)
        assert ended is not None
        return ended, await upgrades.steps(asked.id)


async def _unheard(sandbox_id: SandboxId, answer: Answer) -> None:
    raise AssertionError("nobody speaks unasked here")


@pytest.fixture
async def house() -> AsyncIterator[House]:
    own = uuid.uuid4().hex[:12]  # an image that no other test has
    async with light_image("good", version=own) as tag, open_world() as world, open_engine(ADDRESS) as engine:
        world.engine.address, world.image, world.instance = ADDRESS, tag, own
        ann, bob = await world.person("4915123456781"), await world.person("4915123456782")
        await world.registry.db.execute(
            "UPDATE users SET last_inbound_at = '2026-01-01T00:00:00.000Z' WHERE id = :id", {"id": ann}
        )
        try:
            async with world.daemon(timing=TIMING, patience=QUICK, gid=paths.socket_gid()) as supervisor:
                house = House(world, engine, Turns(world.pool, on_stray=_unheard), ann, bob)
                for person in (ann, bob):
                    sandbox_id = await supervisor.ensure(person)
                    await world.pool.ready(sandbox_id, timeout_s=20 * SCALE)
                    await house.pa(sandbox_id, "expense", "add", "280", "--what", "tea")
                yield house
                await house.turns.aclose()
        finally:
            await remove_all(world.instance)
            left = await docker(
                "images", "--quiet", "--filter", "dangling=true", "--filter", f"label=clawkaka.light={own}"
            )
            if left.split():
                await docker("rmi", *left.split(), check=False)


async def test_a_good_image_is_taken_and_a_conversation_in_the_middle_goes_on(house: House) -> None:
    ann, bob = await house.sandboxes()
    before = await house.image(ann)
    assert "echo: one" == await house.says(ann, "k1", "one")
    await house.build("good")
    asking = asyncio.create_task(house.upgraded())
    await eventually(lambda: house.world.pool.get(ann) is None, within_s=20)
    assert "echo: two" == await house.says(ann, "k2", "two")
    ended, steps = await asking

    assert UpgradeState.DONE is ended.state
    assert [StepState.DONE] * 2 == [step.state for step in steps]
    assert [ended.image_id] * 2 == [await house.image(ann), await house.image(bob)]
    assert before != ended.image_id
    assert "tea" in await house.pa(ann, "sql", "SELECT what, shared_with FROM expenses")
    assert "pa-of-schema-0001.sqlite" in await docker("exec", container_name(ann), "ls", "/data/pa/copies")
    said = str(await (await house.world.pool.ready(ann, timeout_s=10)).history(10, timeout_s=5))
    assert "one" in said
    assert "two" in said
    # The image of before is kept, by its id alone: the next build sweeps it.
    assert before in await docker("images", "--no-trunc", "--quiet", "--filter", "dangling=true")


@pytest.mark.parametrize(("mode", "why"), [("broken", "exit code 1"), ("hanging", "no hello-ok within")])
async def test_a_bad_image_is_taken_back_with_the_data_as_it_was(house: House, mode: str, why: str) -> None:
    ann, bob = await house.sandboxes()
    before, others = await house.image(ann), await house.engine.inspect(container_name(bob))
    assert "echo: one" == await house.says(ann, "k1", "one")
    data = await docker("exec", container_name(ann), "sh", "-c", LISTING)
    await house.build(mode, sql=SPOILS)
    ended, _ = await house.upgraded()

    assert UpgradeState.FAILED is ended.state
    assert why in ended.reason
    assert [ann, bob] == await house.sandboxes()
    assert [before, before] == [await house.image(ann), await house.image(bob)]
    assert "tea" in await house.pa(ann, "sql", "SELECT what FROM expenses")
    assert "shared_with" not in await house.pa(ann, "sql", "SELECT sql FROM sqlite_schema WHERE name = 'expenses'")
    assert data == await docker("exec", container_name(ann), "sh", "-c", LISTING)
    assert "echo: two" == await house.says(ann, "k2", "two")
    assert "one" in str(await (await house.world.pool.ready(ann, timeout_s=10)).history(10, timeout_s=5))
    assert others == await house.engine.inspect(container_name(bob))
    assert "" == await docker("ps", "-aq", "--filter", f"name={container_name(ann)}-keepsake")


LISTING = "find /data -not -name '*-wal' -not -name '*-shm' -printf '%P %m %l\\n' | sort"


@pytest.mark.timeout(900)
async def test_the_real_gateway_is_upgraded_and_the_conversation_goes_on() -> None:
    own = f"clawkaka-upgrade:{uuid.uuid4().hex[:12]}"
    async with open_world() as world, open_engine(ADDRESS) as engine, serving_model(world.runtime.parent) as model:
        world.engine.address, world.image, world.instance, world.upstream = ADDRESS, own, own[-12:], model
        await docker("tag", "clawkaka-sandbox:latest", own)
        ann = await world.person()
        try:
            async with world.daemon(timing=REAL, patience=QUICK, gid=paths.socket_gid()) as supervisor:
                house = House(world, engine, Turns(world.pool, on_stray=_unheard), ann, ann)
                sandbox_id = await supervisor.ensure(ann)
                await world.pool.ready(sandbox_id, timeout_s=150 * SCALE)
                assert "280" in await house.says(sandbox_id, "k1", "Uber to office 280")
                before = await house.image(sandbox_id)
                await docker("build", "--quiet", "--tag", own, "-", stdin=f"FROM {before}\nLABEL clawkaka.more=1\n")
                ended, _ = await house.upgraded(within_s=150)

                assert UpgradeState.DONE is ended.state, ended.reason
                assert before != await house.image(sandbox_id) == ended.image_id
                assert "Uber" in await house.pa(sandbox_id, "sql", "SELECT what FROM expenses")
                said = await (await world.pool.ready(sandbox_id, timeout_s=60)).history(20, timeout_s=20)
                assert "Uber to office 280" in str(said)
                assert "280" in await house.says(sandbox_id, "k2", "how much today?")
                await house.turns.aclose()
        finally:
            await remove_all(world.instance)
            await docker("rmi", own, check=False)


@contextlib.asynccontextmanager
async def serving_model(directory: Path) -> AsyncIterator[Upstream]:
    """The offline model."""
    runner = web.AppRunner(offline_model_app(), access_log=None)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(directory / "model.sock")).start()
        yield Upstream("http://offline/v1", "offline", directory / "model.sock")
    finally:
        await runner.cleanup()
