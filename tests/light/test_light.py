"""The light image keeps the contract: what the daemon asks of a sandbox is answered as by the real one."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from clawkakad.gateway.runs import Answer
from clawkakad.gateway.turns import Turns
from clawkakad.model import SandboxId, SandboxState
from clawkakad.sandboxes import paths
from clawkakad.sandboxes.engine import Engine, open_engine
from clawkakad.sandboxes.policy import Limits
from clawkakad.sandboxes.profile import container_name
from clawkakad.sandboxes.timing import Timing
from tests.e2e.conftest import ENGINE_SOCKET, remove_all
from tests.light.images import light_image
from tests.sandboxes.world import World, open_world
from tests.support import SCALE, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ADDRESS = f"unix://{ENGINE_SOCKET}"
QUICK = replace(
    Timing(),
    owner_uids=frozenset({1000}),
    start_s=3.0 * SCALE,
    attempt_s=1.0,
    limits=Limits(restarts=1, first_delay_s=0.1),
)


@contextlib.asynccontextmanager
async def _sandbox(mode: str) -> AsyncIterator[tuple[World, Engine, SandboxId]]:
    """A person's sandbox of a light image, kept by a real supervisor on the real engine."""
    async with light_image(mode) as tag, open_world() as world, open_engine(ADDRESS) as engine:
        world.engine.address, world.image, world.instance = ADDRESS, tag, uuid.uuid4().hex[:12]
        ann = await world.person()
        try:
            async with world.daemon(timing=QUICK, gid=paths.socket_gid()) as supervisor:
                yield world, engine, await supervisor.ensure(ann)
        finally:
            await remove_all(world.instance)


async def _unheard(sandbox_id: SandboxId, answer: Answer) -> None:
    raise AssertionError("nobody speaks unasked here")


async def test_a_good_one_talks_remembers_and_has_its_tools() -> None:
    async with _sandbox("good") as (world, engine, sandbox_id):
        name = container_name(sandbox_id)
        connection = await world.pool.ready(sandbox_id, timeout_s=20)
        turns = Turns(world.pool, on_stray=_unheard)

        assert await connection.health(5)
        assert "echo: hello" == (await turns.ask(sandbox_id, key="k1", text="hello", again=False, timeout_s=10)).text
        assert (await turns.wake(sandbox_id, text="anything?", timeout_s=10)) is None
        added = await engine.run(name, ["pa", "expense", "add", "280", "--what", "tea"], deadline_s=20, limit=500)
        assert added.output.startswith("ok expense 1")
        profile = await engine.run(name, ["pa", "profile"], deadline_s=20, limit=500)
        assert "Asia/Kolkata" in profile.output

        await engine.stop(name, grace_s=10)
        stopped = await engine.inspect(name)
        assert stopped is not None
        assert stopped.exit_code == 0
        await eventually(lambda: world.pool.get(sandbox_id) not in (None, connection), within_s=20)
        again = await world.pool.ready(sandbox_id, timeout_s=20)
        said = await again.history(5, timeout_s=5)
        assert "hello" in str(said)
        await turns.aclose()


async def test_a_suspended_one_refuses_until_it_is_resumed() -> None:
    async with _sandbox("good") as (world, _, sandbox_id):
        connection = await world.pool.ready(sandbox_id, timeout_s=20)

        prepared = await connection.request("gateway.suspend.prepare", {"requestId": "r1"}, 5)
        assert "ready" == prepared["status"]
        with pytest.raises(Exception, match="unavailable during gateway suspension"):
            await connection.history(1, timeout_s=5)
        resumed = await connection.request("gateway.suspend.resume", {"suspensionId": prepared["suspensionId"]}, 5)
        assert "running" == resumed["status"]
        await connection.history(1, timeout_s=5)


@pytest.mark.parametrize(
    ("mode", "why"), [("broken", "exit code 1"), ("refusing", "exit code 78"), ("hanging", "no hello-ok within")]
)
async def test_one_that_is_not_good_is_told_by_its_end(mode: str, why: str) -> None:
    async with _sandbox(mode) as (world, _, sandbox_id):

        async def told() -> bool:
            row = await world.registry.sandboxes.get(sandbox_id)
            return row is not None and row.state in (SandboxState.UNHEALTHY, SandboxState.PARKED) and why in row.reason

        await eventually(told, within_s=20)
