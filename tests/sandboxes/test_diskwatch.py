"""Whose disk is full is stopped, told once, and started again for a reason; on a host without room nobody is made."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from loguru import logger

from clawkakad.model import SandboxId, SandboxState, UserId
from clawkakad.registry.disks import DiskRow
from clawkakad.registry.sandboxes import SandboxRow
from clawkakad.sandboxes.diskwatch import Rhythm
from clawkakad.sandboxes.profile import LABEL_GAUGE, MIB, container_name, gauge_name, volume_name
from tests.fakes.engine import IMAGE_ID, FakeContainer
from tests.sandboxes.test_parking import told, writes
from tests.sandboxes.world import INSTANCE, LINES, NEVER, World, open_world
from tests.support import eventually, short_directory

QUICK = Rhythm(room_s=0.05, round_s=0.05, look_s=0.1, anxious_s=0.1, hurry_s=0.05, rest=0.1, apart_s=0.0, thaw_s=0.0)
BY_HURRY = replace(QUICK, round_s=3600, look_s=3600, anxious_s=3600)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        opened.disk_mb, opened.rhythm = 100, QUICK
        yield opened


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What an operator would see."""
    seen: list[str] = []
    handler = logger.add(lambda line: seen.append(str(line)), level="WARNING", format="{message} {extra}")
    yield seen
    logger.remove(handler)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 64 MB, which needs root to be mounted."""
    with short_directory() as place:
        options = "size=64m,nr_inodes=20000,mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def holds(world: World, sandbox_id: SandboxId, mb: float, **more: object) -> None:
    """So much is in its volume from now on."""
    world.engine.held[volume_name(sandbox_id)] = {"bytes": int(mb * MIB), "inodes": 10, "cut": "", **more}


async def known(world: World, sandbox_id: SandboxId) -> DiskRow | None:
    return (await world.registry.disks.all()).get(sandbox_id)


async def stopped(world: World, user_id: UserId) -> SandboxRow:
    """It is parked, and its container stopped."""

    async def is_so() -> bool:
        row = await world.row(user_id)
        return row.state is SandboxState.PARKED and world.container(row.id).status == "exited"

    await eventually(is_so)
    return await world.row(user_id)


async def looks(world: World, more: int = 3) -> None:
    """So many more looks at volumes."""
    before = world.engine.looks
    await eventually(lambda: world.engine.looks >= before + more)


async def test_whose_disk_is_full_is_stopped_and_said_once_to_both(world: World, lines: list[str]) -> None:
    ann = await world.person()
    await writes(world, ann, "wamid.1")
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        holds(world, row.id, 85)
        await eventually(lambda: [line for line in lines if "nearly full" in line])
        await looks(world)
        assert await world.is_ready(ann)
        holds(world, row.id, 130)
        row = await stopped(world, ann)
        await eventually(lambda: told(world, ann))
        await supervisor.ensure(ann)
        await looks(world)

        assert [LINES.full] == await told(world, ann)
        assert "its disk is full (130 MB of 100 MB): clawkakad sandbox retry" in row.reason
        assert [1, 1] == [len([line for line in lines if words in line]) for words in ("nearly full", "is parked")]
        assert volume_name(row.id) in world.engine.volumes
        assert 1 == world.engine.count(f"/{world.container(row.id).id}/start")


async def test_nobody_is_told_of_what_they_did_not_notice_until_they_write(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        holds(world, (await world.ready(ann)).id, 130)
        await stopped(world, ann)
        assert [] == await told(world, ann)
        await writes(world, ann, "wamid.1")
        await supervisor.ensure(ann)

        await eventually(lambda: told(world, ann))


async def test_an_operator_gives_it_time_to_clean_up_and_no_more_room(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        holds(world, row.id, 130)
        await stopped(world, ann)
        await world.registry.sandboxes.want_retry(row.id)
        await world.ready(ann)
        await looks(world)
        assert await world.is_ready(ann)
        holds(world, row.id, 150)
        await stopped(world, ann)
        await world.registry.sandboxes.want_retry(row.id)
        await world.ready(ann)
        holds(world, row.id, 60)
        await eventually(lambda: _has_no_grace(world, row.id))

        assert await world.is_ready(ann)


async def _has_no_grace(world: World, sandbox_id: SandboxId) -> bool:
    row = await known(world, sandbox_id)
    return row is not None and row.grace_until is None


async def test_a_volume_made_smaller_from_outside_is_reason_enough(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        holds(world, (await world.ready(ann)).id, 130)
        row = await stopped(world, ann)
        holds(world, row.id, 50)

        await world.ready(ann)


@pytest.mark.parametrize("quota_mb", [200, 0])
async def test_a_larger_quota_is_reason_enough_and_the_same_one_is_not(world: World, quota_mb: int) -> None:
    ann = await world.person()
    await writes(world, ann, "wamid.1")
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        holds(world, (await world.ready(ann)).id, 130)
        await stopped(world, ann)
        await eventually(lambda: told(world, ann))
    async with world.daemon():
        await looks(world)
        await stopped(world, ann)
    assert [LINES.full] == await told(world, ann)

    world.disk_mb = quota_mb
    async with world.daemon():
        await world.ready(ann)
        await looks(world)
        assert await world.is_ready(ann)


async def test_what_was_to_be_stopped_when_the_daemon_died_is_stopped_by_the_next_one(world: World) -> None:
    ann, world.rhythm = await world.person(), NEVER
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
    now = datetime.now(UTC)
    await world.registry.disks.put(row.id, DiskRow(130 * MIB, 1, "", 100 * MIB, now, full_at=now))
    assert world.container(row.id).status == "running"

    async with world.daemon():
        await stopped(world, ann)


async def test_who_hides_how_much_it_has_is_stopped(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        holds(world, row.id, 1, exit_code=137)

        await stopped(world, ann)


async def test_only_those_that_run_are_looked_at(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        await looks(world)
        assert (await known(world, row.id)) is not None
    await world.engine.die(container_name(row.id), 0)
    await world.registry.db.execute("UPDATE users SET last_inbound_at = NULL")
    async with world.daemon():
        before, listed = world.engine.looks, world.engine.count("GET /containers/json")
        await eventually(lambda: world.engine.count("GET /containers/json") > listed + 10)

        assert world.engine.looks == before
    assert {} == world.engine.gauges


async def test_a_gauge_that_a_crash_left_goes_with_its_sandbox(world: World) -> None:
    ann, world.rhythm = await world.person(), NEVER
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        mount = {"Type": "volume", "Source": volume_name(row.id), "Target": "/volume"}
        body = {"Labels": {LABEL_GAUGE: INSTANCE}, "HostConfig": {"Mounts": [mount]}}
        world.engine.gauges[gauge_name(row.id)] = FakeContainer("g", gauge_name(row.id), body, IMAGE_ID)
        await world.removed(ann)

        assert ({}, {}, {}) == (world.engine.containers, world.engine.gauges, world.engine.volumes)
        assert {} == await world.registry.disks.all()


# The host


def fill(disk: Path, leave_mb: int) -> Path:
    """A file that leaves so much room."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes((64 - leave_mb) * MIB))
    return ballast


async def test_on_a_low_disk_nobody_new_is_made_and_they_are_told_once(
    world: World, small_disk: Path, lines: list[str]
) -> None:
    world.places, ann, bob = [small_disk], await world.person(), await world.person("4915123456780")
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        await world.ready(ann)
        ballast = fill(small_disk, leave_mb=8)
        await eventually(lambda: [line for line in lines if "the disk is low" in line])
        await writes(world, bob, "wamid.1")
        await supervisor.ensure(bob)
        await eventually(lambda: told(world, bob))
        await supervisor.ensure(bob)
        await looks(world)

        assert [LINES.held_back] == await told(world, bob)
        assert [] == await told(world, ann)
        assert "disk is low" in (await world.row(bob)).reason
        assert (await world.row(bob)).state is SandboxState.ABSENT
        assert 1 == len(world.engine.volumes)
        assert 1 == len([line for line in lines if "the disk is low" in line])
        assert await world.is_ready(ann)
        await world.engine.die(container_name((await world.row(ann)).id), 1)
        await eventually(lambda: world.is_ready(ann))  # hers is not new
        ballast.unlink()
        await world.ready(bob)
        assert [LINES.held_back] == await told(world, bob)


async def test_on_a_low_disk_who_lost_their_container_is_not_new(world: World, small_disk: Path) -> None:
    """As after an upgrade that was given up before there was a container of the old image."""
    world.places, ann = [small_disk], await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
    await world.gateways.close(world.engine.containers.pop(container_name(row.id)))
    await world.registry.sandboxes.set_container(row.id, container_id=None, image_id=None, config_hash=None)
    fill(small_disk, leave_mb=8)
    async with world.daemon() as supervisor:
        await writes(world, ann, "wamid.1")
        await supervisor.ensure(ann)

        await world.ready(ann)
        assert [] == await told(world, ann)


async def test_on_a_full_disk_there_is_no_grace(world: World, small_disk: Path) -> None:
    world.places, ann = [small_disk], await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        holds(world, row.id, 130)
        await stopped(world, ann)
        await world.registry.sandboxes.want_retry(row.id)
        await world.ready(ann)
        await looks(world)
        assert await world.is_ready(ann)
        fill(small_disk, leave_mb=2)

        await stopped(world, ann)


async def test_where_the_disk_fills_quickly_all_are_looked_at_at_once(world: World, small_disk: Path) -> None:
    world.places, world.rhythm, ann = [small_disk], BY_HURRY, await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        assert await known(world, row.id) is None
        for number in range(16500):
            (small_disk / str(number)).touch()

        await eventually(lambda: known(world, row.id))


async def test_who_fills_the_disk_is_frozen_until_it_is_measured(world: World, small_disk: Path) -> None:
    world.places, world.rhythm = [small_disk], BY_HURRY
    ann, bob = await world.person(), await world.person("4915123456780")
    async with world.daemon() as supervisor:
        rows = {}
        for person in (ann, bob):
            await supervisor.ensure(person)
            rows[person] = await world.ready(person)
            world.engine.unwritten[container_name(rows[person].id)] = 100 * MIB
        holds(world, rows[bob].id, 130)
        for number in range(16500):
            (small_disk / str(number)).touch()
        await stopped(world, bob)
        await eventually(lambda: known(world, rows[ann].id))
        await eventually(lambda: world.container(rows[ann].id).status == "running")

        changes = [call.split("/")[-1] for call in world.engine.calls if rows_of(world, rows[bob], call)]
        assert changes == ["start", "pause", "kill"]  # it never went on
        assert await world.is_ready(ann)
        assert 1 == world.engine.count(f"/{world.container(rows[ann].id).id}/start")


async def test_one_that_could_not_be_let_go_on_is_let_go_on_in_the_next_round(world: World, small_disk: Path) -> None:
    seldom = replace(QUICK, look_s=3600, anxious_s=3600, first_s=3600)
    world.places, world.rhythm, ann = [small_disk], seldom, await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        world.engine.unwritten[container_name(row.id)] = 100 * MIB
        world.engine.fail = ("/unpause", 503)
        for number in range(16500):
            (small_disk / str(number)).touch()
        await eventually(lambda: world.engine.count("/unpause"))
        world.engine.unwritten.clear()
        world.engine.fail = None

        await eventually(lambda: world.container(row.id).status == "running")


def rows_of(world: World, row: SandboxRow, call: str) -> bool:
    """Whether a call changes the container of this sandbox."""
    return call.startswith("POST") and f"/{world.container(row.id).id}/" in call
