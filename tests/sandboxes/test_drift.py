"""A container that is not what it should be is made again: when its person is idle, and never in a turn."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from loguru import logger

from clawkakad.model import SandboxState, UserId
from clawkakad.sandboxes.profile import volume_name
from tests.fakes.engine import IMAGE_ID
from tests.sandboxes.test_parking import writes
from tests.sandboxes.world import FAST, IDLE_S, World, open_world
from tests.support import eventually

ANOTHER = "sha256:" + "2" * 64
SOON_IDLE = replace(FAST, idle_s=IDLE_S)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        yield opened


async def _is_another(world: World, user_id: UserId, than: str | None) -> bool:
    row = await world.row(user_id)
    return row.container_id != than and await world.is_ready(user_id)


async def _looks(world: World, count: int) -> None:
    seen = world.engine.count("/images/")
    await eventually(lambda: world.engine.count("/images/") >= seen + count)


async def test_drift_is_repaired_when_idle_and_only_once(world: World) -> None:
    ann = await world.person()
    async with world.daemon(timing=SOON_IDLE) as supervisor:
        await supervisor.ensure(ann)
        before = await world.ready(ann)
        world.container(before.id).updated = {"Memory": 0, "PidsLimit": 0}
        await eventually(lambda: _is_another(world, ann, before.container_id))
        after = await world.row(ann)
        await _looks(world, 4)

        assert after.container_id == (await world.row(ann)).container_id
        assert {} == world.container(after.id).updated
        assert [volume_name(after.id)] == list(world.engine.volumes)
        assert 1 == len(world.engine.containers)


async def test_a_new_image_is_no_drift_and_a_wrong_one_is(world: World) -> None:
    """Nobody is moved behind the operator's back: see test_upgrade.py."""
    ann = await world.person()
    async with world.daemon(timing=SOON_IDLE) as supervisor:
        await supervisor.ensure(ann)
        before = await world.ready(ann)
        world.engine.tag(world.image, ANOTHER)
        await asyncio.sleep(IDLE_S)
        await _looks(world, 8)
        assert before.container_id == (await world.row(ann)).container_id

        world.container(before.id).image_id = ANOTHER
        await eventually(lambda: _is_another(world, ann, before.container_id))
        assert IMAGE_ID == (await world.row(ann)).image_id


async def test_a_changed_profile_is_taken_over_when_idle(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        before = await world.ready(ann)
    world.memory_mb = 2048
    async with world.daemon(timing=SOON_IDLE):
        await eventually(lambda: _is_another(world, ann, before.container_id))

        assert before.config_hash != (await world.row(ann)).config_hash


async def test_a_container_as_it_should_be_is_left_alone(world: World) -> None:
    ann = await world.person()
    async with world.daemon(timing=SOON_IDLE) as supervisor:
        await supervisor.ensure(ann)
        before = await world.ready(ann)
        await asyncio.sleep(IDLE_S)
        await _looks(world, 4)

        assert before.container_id == (await world.row(ann)).container_id
        assert SandboxState.READY is (await world.row(ann)).state


async def test_nobody_who_waits_for_an_answer_is_interrupted(world: World) -> None:
    ann = await world.person()
    async with world.daemon(timing=SOON_IDLE) as supervisor:
        await supervisor.ensure(ann)
        before = await world.ready(ann)
        await writes(world, ann, "wamid.1")
        world.container(before.id).updated = {"Memory": 0}
        await asyncio.sleep(3 * IDLE_S)
        assert before.container_id == (await world.row(ann)).container_id

        await world.registry.db.execute("UPDATE inbox SET state = 'answered'")
        await eventually(lambda: _is_another(world, ann, before.container_id))


async def test_what_making_it_again_does_not_mend_is_said_and_not_tried_for_ever(world: World) -> None:
    ann = await world.person()

    async def odd(container):  # type: ignore[no-untyped-def]
        container.updated = {"Memory": 0}
        await world.gateways.open(container)

    world.engine.on_start = odd
    said: list[str] = []
    handler = logger.add(lambda message: said.append(str(message)), level="ERROR", format="{message}")
    async with world.daemon(timing=SOON_IDLE) as supervisor:
        await supervisor.ensure(ann)
        await eventually(lambda: said)
        await _looks(world, 4)
    logger.remove(handler)

    assert 2 == world.engine.count("POST /containers/create")
    assert "made again or not" in said[0]


async def test_a_daemon_that_dies_while_it_repairs_goes_on_after_it(world: World) -> None:
    ann = await world.person()
    async with world.daemon(timing=SOON_IDLE) as supervisor:
        await supervisor.ensure(ann)
        before = await world.ready(ann)
        world.engine.fail = ("DELETE /containers", 503)
        world.container(before.id).updated = {"Memory": 0}
        await eventually(lambda: world.engine.count("DELETE /containers"))
    world.engine.fail = None
    async with world.daemon(timing=SOON_IDLE):
        await eventually(lambda: _is_another(world, ann, before.container_id))

        assert {} == world.container(before.id).updated
