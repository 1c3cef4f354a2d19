"""The registry against the engine: whatever either has and the other has not, one reconcile puts right, and no more.

Each row breaks something between two lives of the daemon, and says what must be there in the end. Each is also run
with a daemon that is killed in the middle of putting it right, and each with one more life that must change nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace

import pytest

from clawkakad.model import SandboxState, UserId
from clawkakad.registry import SandboxRow
from clawkakad.sandboxes import paths
from clawkakad.sandboxes.policy import RESTING
from clawkakad.sandboxes.profile import MIB, container_name, volume_name
from tests.fakes.engine import FakeContainer
from tests.sandboxes.world import World, kept, open_world
from tests.support import eventually

S = SandboxState


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        opened.host = replace(opened.host, swap_mb=8000, swap_free_mb=8000)
        opened.memory_mb = 512
        yield opened


@dataclass(frozen=True)
class Fault:
    """`breaks`: what happened while nobody looked. `ends`: the state that follows; `starts`: how many containers are
    started for that, and `makes`: made; `changes`: how many calls that change something there may be, at most."""

    name: str
    breaks: Callable[[World, SandboxRow], Awaitable[None]]
    ends: SandboxState = S.READY
    starts: int = 1
    makes: int = 0
    changes: int = 5


async def _gone(world: World, row: SandboxRow) -> None:
    await world.gateways.close(world.container(row.id))
    del world.engine.containers[container_name(row.id)]


async def _status(world: World, row: SandboxRow, status: str) -> None:
    await world.gateways.close(world.container(row.id))
    world.container(row.id).status = status


async def nothing(world: World, row: SandboxRow) -> None:
    pass


async def removed(world: World, row: SandboxRow) -> None:
    await _gone(world, row)


async def ended(world: World, row: SandboxRow) -> None:
    await world.engine.die(container_name(row.id), 1)


async def dead(world: World, row: SandboxRow) -> None:
    await _status(world, row, "dead")


async def paused(world: World, row: SandboxRow) -> None:
    world.container(row.id).status = "paused"
    await world.gateways.freeze(world.container(row.id))


async def paused_without_a_gateway(world: World, row: SandboxRow) -> None:
    """What goes on again does not answer."""
    await _status(world, row, "paused")


async def dozes(world: World, row: SandboxRow) -> None:
    """As it was left."""
    await paused(world, row)
    world.container(row.id).updated = {"Memory": 80 * MIB, "MemorySwap": 2048 * MIB}
    await world.registry.sandboxes.set_state(row.id, S.DOZING, "nobody needed it")


async def cut_off_while_it_froze(world: World, row: SandboxRow) -> None:
    """Frozen, half of its memory gone, and not written down; its person did not write for days."""
    await dozes(world, row)
    await world.registry.sandboxes.set_state(row.id, S.READY, "")
    await _wrote_long_ago(world)


async def cut_off_while_it_froze_and_needed(world: World, row: SandboxRow) -> None:
    await dozes(world, row)
    await world.registry.sandboxes.set_state(row.id, S.READY, "")


async def dozes_and_was_unpaused(world: World, row: SandboxRow) -> None:
    await dozes(world, row)
    await world.engine.thaw(container_name(row.id))


async def dozes_and_ended(world: World, row: SandboxRow) -> None:
    """The host was booted anew while it dozed."""
    await dozes(world, row)
    await directories_gone(world, row)


async def dozes_and_was_removed(world: World, row: SandboxRow) -> None:
    await dozes(world, row)
    await _gone(world, row)


async def dozes_and_the_swap_is_gone(world: World, row: SandboxRow) -> None:
    await dozes(world, row)
    world.host = replace(world.host, swap_mb=0, swap_free_mb=0)


async def sleeps(world: World, row: SandboxRow) -> None:
    await ended(world, row)
    await world.registry.sandboxes.set_state(row.id, S.ASLEEP, "nobody needed it")


async def sleeps_and_runs(world: World, row: SandboxRow) -> None:
    await world.registry.sandboxes.set_state(row.id, S.ASLEEP, "nobody needed it")


async def sleeps_and_is_frozen(world: World, row: SandboxRow) -> None:
    await paused(world, row)
    await world.registry.sandboxes.set_state(row.id, S.ASLEEP, "nobody needed it")


async def sleeps_and_was_removed(world: World, row: SandboxRow) -> None:
    await sleeps(world, row)
    await _gone(world, row)


async def cut_off_while_it_was_stopped(world: World, row: SandboxRow) -> None:
    await ended(world, row)
    await world.registry.sandboxes.set_state(row.id, S.STOPPING, "nobody needed it")
    await _wrote_long_ago(world)


async def half_created(world: World, row: SandboxRow) -> None:
    """Made, never started, and not written down."""
    await _status(world, row, "created")
    await world.registry.sandboxes.set_container(row.id, container_id=None, image_id=None, config_hash=None)


async def another_image(world: World, row: SandboxRow) -> None:
    await world.engine.die(container_name(row.id), 0)
    world.container(row.id).image_id = "sha256:" + "9" * 64


async def volume_gone(world: World, row: SandboxRow) -> None:
    await _gone(world, row)
    world.engine.volumes.clear()


async def volume_foreign(world: World, row: SandboxRow) -> None:
    await _gone(world, row)
    world.engine.volumes[volume_name(row.id)] = {"clawkaka.instance": "other"}


async def container_foreign(world: World, row: SandboxRow) -> None:
    await world.gateways.close(world.container(row.id))
    world.container(row.id).body["Labels"] = {"clawkaka.instance": "other"}


async def image_gone(world: World, row: SandboxRow) -> None:
    await _gone(world, row)
    world.engine.images.clear()


async def a_double(world: World, row: SandboxRow) -> None:
    """Somebody made a copy of it, and started that too."""
    ours = world.container(row.id)
    copy = FakeContainer("d" * 64, "copy-of-it", ours.body, ours.image_id, status="running")
    world.engine.containers[copy.name] = copy


async def a_double_under_its_name(world: World, row: SandboxRow) -> None:
    """Somebody renamed it, and made another one."""
    ours = world.engine.containers.pop(container_name(row.id))
    ours.name = "before"
    world.engine.containers["before"] = ours
    double = FakeContainer("d" * 64, container_name(row.id), ours.body, ours.image_id, status="running")
    world.engine.containers[double.name] = double
    world.gateways._running["before"] = world.gateways._running.pop(double.name)


async def directories_gone(world: World, row: SandboxRow) -> None:
    """The host was booted anew: the runtime directory is empty, and nothing runs."""
    await world.engine.die(container_name(row.id), 255)
    paths.discard(paths.paths_of(world.runtime, row.id))


async def parked(world: World, row: SandboxRow) -> None:
    await world.engine.die(container_name(row.id), 1)
    await world.registry.sandboxes.set_state(row.id, S.UNHEALTHY, "it died")
    made_of = f"{row.config_hash} {row.image_id}"
    await world.registry.sandboxes.park(row.id, "it dies all the time", made_of)


async def not_needed(world: World, row: SandboxRow) -> None:
    """Its person did not write for days, and the host was booted anew."""
    await directories_gone(world, row)
    await _wrote_long_ago(world)


async def _wrote_long_ago(world: World) -> None:
    await world.registry.db.execute("UPDATE users SET last_inbound_at = '2026-01-01T00:00:00.000Z'")


MATRIX = [
    Fault("nothing", nothing, starts=0),
    Fault("missing", removed, makes=1),
    Fault("ended", ended),
    Fault("dead", dead, makes=1),
    Fault("paused", paused, starts=0),
    Fault("paused, without a gateway", paused_without_a_gateway),
    Fault("half created", half_created),
    Fault("wrong image", another_image, makes=1),
    Fault("volume missing", volume_gone, makes=1),
    Fault("volume foreign", volume_foreign, ends=S.UNHEALTHY, starts=0),
    Fault("container foreign", container_foreign, ends=S.UNHEALTHY, starts=0),
    Fault("image missing", image_gone, ends=S.UNHEALTHY, starts=0),
    Fault("double", a_double, starts=0),
    Fault("double under its name", a_double_under_its_name, starts=0),
    Fault("host booted anew", directories_gone),
    Fault("host booted anew, not needed", not_needed, ends=S.ASLEEP, starts=0),
    Fault("parked", parked, ends=S.PARKED, starts=0),
    Fault("dozes", dozes, ends=S.DOZING, starts=0, changes=2),
    Fault("cut off while it froze", cut_off_while_it_froze, ends=S.DOZING, starts=0, changes=2),
    Fault("cut off while it froze, needed", cut_off_while_it_froze_and_needed, starts=0, changes=2),
    Fault("dozes, unpaused by hand", dozes_and_was_unpaused, starts=0, changes=2),
    Fault("dozes, host booted anew", dozes_and_ended, ends=S.ASLEEP, starts=0, changes=2),
    Fault("dozes, container removed", dozes_and_was_removed, ends=S.ASLEEP, starts=0, changes=2),
    Fault("dozes, swap gone", dozes_and_the_swap_is_gone, ends=S.DOZING, starts=0, changes=2),
    Fault("sleeps", sleeps, ends=S.ASLEEP, starts=0, changes=2),
    Fault("sleeps, started by hand", sleeps_and_runs, starts=0, changes=2),
    Fault("sleeps, frozen by hand", sleeps_and_is_frozen, ends=S.DOZING, starts=0, changes=2),
    Fault("sleeps, container removed", sleeps_and_was_removed, ends=S.ASLEEP, starts=0, changes=2),
    Fault("cut off while it was stopped", cut_off_while_it_was_stopped, ends=S.ASLEEP, starts=0, changes=2),
]
ALL = pytest.mark.parametrize("fault", MATRIX, ids=lambda fault: fault.name)


async def _broken(world: World, fault: Fault) -> tuple[UserId, SandboxRow]:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
    await fault.breaks(world, row)
    world.engine.calls.clear()
    return ann, row


async def _settled(world: World, user_id: UserId, fault: Fault) -> None:
    """It is where it should be, and stays there for some reconciles."""

    async def there() -> bool:
        state = (await world.row(user_id)).state
        return await world.is_ready(user_id) if fault.ends is S.READY else state is fault.ends

    await eventually(there)
    seen = world.engine.count("GET /containers/json")
    await eventually(lambda: world.engine.count("GET /containers/json") >= seen + 2)
    await eventually(there)


def _picture(world: World) -> object:
    containers = {c.id: (c.name, c.status, c.started_at) for c in world.engine.containers.values()}
    return containers, {name: dict(labels) for name, labels in world.engine.volumes.items()}


def _running(world: World) -> list[str]:
    return [c.name for c in world.engine.containers.values() if c.status == "running"]


@ALL
async def test_it_is_put_right_and_a_second_time_changes_nothing(world: World, fault: Fault) -> None:
    ann, row = await _broken(world, fault)
    async with world.daemon():
        await _settled(world, ann, fault)
        if fault.ends is S.READY:  # a double is stopped last
            await eventually(lambda: _running(world) == [container_name(row.id)])
        assert (fault.makes, fault.starts) == (
            world.engine.count("POST /containers/create"),
            world.engine.count("/start"),
        )
    before, calls = _picture(world), world.engine.calls
    calls.clear()
    async with world.daemon():
        await _settled(world, ann, fault)
    if fault.ends is S.READY:
        assert [container_name(row.id)] == _running(world)
        assert world.container(row.id).inspected()["HostConfig"]["Memory"] == 512 * MIB
    if fault.ends in RESTING:
        assert kept() == set()
        assert not paths.paths_of(world.runtime, row.id).host_socket.exists()

    assert before == _picture(world)
    assert [] == [call for call in calls if not call.startswith("GET")]


@pytest.mark.parametrize(
    ("fault", "after"),
    [pytest.param(fault, n, id=f"{fault.name}-{n}") for fault in MATRIX for n in range(1, fault.changes + 1)],
)
async def test_a_daemon_killed_in_the_middle_is_gone_on_from(world: World, fault: Fault, after: int) -> None:
    """After each of the first calls that change something the daemon has no engine any more, and then ends."""
    ann, row = await _broken(world, fault)
    world.engine.dies_after = after
    async with world.daemon():
        await asyncio.sleep(0.25)
    world.engine.dies_after = None
    async with world.daemon():
        await _settled(world, ann, fault)

    if fault.ends is S.READY:
        assert [container_name(row.id)] == _running(world)
        assert world.container(row.id).inspected()["HostConfig"]["Memory"] == 512 * MIB
        assert row.id == (await world.row(ann)).id
        assert [volume_name(row.id)] == list(world.engine.volumes)


# While the daemon looks on


async def test_a_container_that_is_removed_under_a_connection_is_made_again(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        before = await world.ready(ann)
        await _gone(world, before)
        await eventually(lambda: container_name(before.id) in world.engine.containers)
        after = await world.ready(ann)

        assert before.container_id != after.container_id
        assert [volume_name(before.id)] == list(world.engine.volumes)


async def test_a_container_that_is_paused_under_a_connection_is_found_and_started_again(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        world.container(row.id).status, world.gateways.mute = "paused", True
        await eventually(lambda: world.engine.count("/stop"))
        world.gateways.mute = False
        await eventually(lambda: world.engine.count("/start") == 2)

        assert row.container_id == (await world.ready(ann)).container_id


async def test_after_a_boot_of_the_host_two_at_a_time_are_started_and_only_those_who_wrote(world: World) -> None:
    people = [await world.person(f"49151000000{number:02}") for number in range(8)]
    async with world.daemon() as supervisor:
        for person in people:
            await supervisor.ensure(person)
        rows = [await world.ready(person) for person in people]
    for row in rows:
        await directories_gone(world, row)
    await world.registry.db.execute(
        "UPDATE users SET last_inbound_at = '2026-01-01T00:00:00.000Z' WHERE id IN (:a, :b)",
        {"a": people[0], "b": people[1]},
    )
    booting, most = 0, 0

    async def slowly(container: FakeContainer) -> None:
        nonlocal booting, most
        booting += 1
        most = max(most, booting)
        await asyncio.sleep(0.1)
        booting -= 1
        await world.gateways.open(container)

    world.engine.on_start = slowly
    world.engine.calls.clear()
    async with world.daemon() as supervisor:
        for person in people[2:]:
            await world.ready(person)
        assert (6, 2) == (world.engine.count("/start"), most)
        assert {S.ASLEEP} == {(await world.row(person)).state for person in people[:2]}
        await supervisor.ensure(people[0])
        await world.ready(people[0])  # it was addressed

        assert 7 == world.engine.count("/start")
