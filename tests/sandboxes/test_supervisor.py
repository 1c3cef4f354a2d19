"""Sandboxes are made, found again, healed and removed; nothing foreign is touched; an absent engine changes nothing."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from loguru import logger

from clawkakad.errors import Rejected, SandboxGone, Transient
from clawkakad.model import SandboxId, SandboxState
from clawkakad.registry import SandboxRow
from clawkakad.sandboxes import keepers, paths
from clawkakad.sandboxes.policy import Limits
from clawkakad.sandboxes.profile import container_name, volume_name
from tests.fakes.engine import FakeContainer
from tests.sandboxes.test_matrix import a_double, a_double_under_its_name
from tests.sandboxes.world import FAST, INSTANCE, World, kept, open_world
from tests.support import eventually

Double = Callable[[World, SandboxRow], Awaitable[None]]
ANOTHER_IMAGE = "sha256:" + "2" * 64


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        yield opened


async def _state(world: World, user_id: str) -> SandboxState:
    row = await world.registry.sandboxes.of_user(user_id)  # type: ignore[arg-type]
    assert row is not None
    return row.state


# Making


async def test_a_new_person_gets_a_container_a_volume_and_a_connection(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        sandbox_id = await supervisor.ensure(ann)
        assert sandbox_id == await supervisor.ensure(ann)
        row = await world.ready(ann)

        container = world.container(row.id)
        assert (container.id, container.image_id) == (row.container_id, row.image_id)
        assert container.labels["clawkaka.config"] == row.config_hash
        assert {
            volume_name(row.id): {"clawkaka.instance": INSTANCE, "clawkaka.sandbox": row.id}
        } == world.engine.volumes
        assert 1 == world.engine.count("POST /containers/create")


async def test_the_container_finds_its_config_its_profile_and_the_host_api(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        config_dir = world.container(row.id).source("/etc/clawkaka")
        config = json.loads((config_dir / "openclaw.json").read_text())

        assert 64 == len(config["gateway"]["auth"]["token"])
        assert "Asia/Kolkata" == config["agents"]["defaults"]["userTimezone"]
        assert "INR" == json.loads((config_dir / "profile.json").read_text())["currency"]
        assert 0o640 == (config_dir / "openclaw.json").stat().st_mode & 0o777
        assert (world.container(row.id).source("/run/clawkaka/host") / "host.sock").is_socket()


async def test_a_changed_profile_is_told_to_the_container(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        door = aiohttp.UnixConnector(str(world.container(row.id).source("/run/clawkaka/host") / "host.sock"))
        async with aiohttp.ClientSession(connector=door) as agent:
            answer = await agent.put("http://host/pa/v1/profile", json={"currency": "EUR"})
            assert 200 == answer.status

        profile = world.container(row.id).source("/etc/clawkaka") / "profile.json"
        assert "EUR" == json.loads(profile.read_text())["currency"]


async def test_a_missing_image_is_waited_for(world: World) -> None:
    image_id = world.engine.images.pop(world.image)
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        await eventually(lambda: _is(world, ann, SandboxState.UNHEALTHY))
        assert "clawkakad image build" in (await world.row(ann)).reason
        world.engine.images[world.image] = image_id

        await world.ready(ann)


async def _is(world: World, user_id: str, state: SandboxState) -> bool:
    return await _state(world, user_id) is state


# Finding again


async def test_a_restart_of_the_daemon_finds_the_running_container_and_makes_nothing(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        before = await world.ready(ann)
    assert "running" == world.container(before.id).status
    assert [1001] == world.gateways.close_codes
    assert not (world.container(before.id).source("/run/clawkaka/host") / "host.sock").exists()

    world.engine.calls.clear()
    async with world.daemon():
        after = await world.ready(ann)  # nobody wrote

    assert before.container_id == after.container_id
    assert 0 == world.engine.count("/containers/create") == world.engine.count("/start")


async def test_a_container_that_ended_while_the_daemon_was_away_is_started(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        before = await world.ready(ann)
    await world.engine.die(container_name(before.id), 1)
    async with world.daemon():
        after = await world.ready(ann)

    assert before.container_id == after.container_id


async def test_a_container_removed_behind_our_back_is_made_again_with_the_same_volume(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        before = await world.ready(ann)
    del world.engine.containers[container_name(before.id)]
    await world.gateways.close_all()
    async with world.daemon():
        after = await world.ready(ann)

    assert before.container_id != after.container_id
    assert [volume_name(before.id)] == list(world.engine.volumes)


async def test_a_drifted_container_is_made_again_at_its_next_start_and_not_before(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        before = await world.ready(ann)
    world.memory_mb = 2048
    async with world.daemon():
        assert before.container_id == (await world.ready(ann)).container_id
        await world.engine.die(container_name(before.id), 1)
        await eventually(lambda: _another_container(world, ann, before.container_id))
        after = await world.ready(ann)

    assert before.config_hash != after.config_hash
    assert 2048 * 1024 * 1024 == world.container(after.id).body["HostConfig"]["Memory"]


async def _lose(world: World, sandbox_id: SandboxId) -> None:
    """Its container is removed by somebody."""
    await world.gateways.close(world.engine.containers.pop(container_name(sandbox_id)))


async def test_a_restart_keeps_the_image_and_a_newcomer_gets_the_new_one(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        before = await world.ready(ann)
        world.engine.tag(world.image, ANOTHER_IMAGE)
        await _lose(world, before.id)
        await eventually(lambda: _another_container(world, ann, before.container_id))
        bob = await world.person("4915198765432")
        await supervisor.ensure(bob)

        assert before.image_id == (await world.ready(ann)).image_id
        assert ANOTHER_IMAGE == (await world.ready(bob)).image_id


async def test_an_image_that_is_gone_is_replaced_by_the_one_that_is_there_and_that_is_said(world: World) -> None:
    ann = await world.person()
    said: list[str] = []
    handler = logger.add(lambda message: said.append(str(message)), level="WARNING", format="{message}")
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        before = await world.ready(ann)
        world.engine.images[world.image] = ANOTHER_IMAGE
        await world.engine.die(container_name(before.id), 1)
        again = await world.ready(ann)
        assert before.container_id == again.container_id  # there is a container of it left

        await _lose(world, before.id)
        await eventually(lambda: _another_container(world, ann, before.container_id))
        after = await world.ready(ann)
        assert (ANOTHER_IMAGE, ANOTHER_IMAGE) == (after.image_id, after.pinned)
    logger.remove(handler)
    assert [line for line in said if "image is gone" in line]


async def _another_container(world: World, user_id: str, than: str | None) -> bool:
    row = await world.registry.sandboxes.of_user(user_id)  # type: ignore[arg-type]
    return row is not None and row.container_id is not None and row.container_id != than


# Healing


async def test_a_container_that_dies_is_started_again(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        await world.engine.die(container_name(row.id), 137)
        await eventually(lambda: world.engine.count("/start") == 2)

        assert row.container_id == (await world.ready(ann)).container_id


async def test_a_container_that_keeps_dying_is_tried_ever_more_rarely(world: World) -> None:
    ann = await world.person()
    world.engine.on_start = _dies_at_once(world)
    async with world.daemon(timing=replace(FAST, limits=Limits(first_delay_s=0.05))) as supervisor:
        await supervisor.ensure(ann)
        await eventually(lambda: world.engine.count("/start") >= 4)
        await asyncio.sleep(0.5)  # 0.05 + 0.1 + 0.2 + 0.4 s: without backoff there would be dozens

        assert world.engine.count("/start") <= 6
        assert SandboxState.READY is not await _state(world, ann)


async def test_after_a_healthy_stretch_the_next_failure_counts_as_a_first_one(world: World) -> None:
    ann = await world.person()
    async with world.daemon(timing=replace(FAST, limits=Limits(first_delay_s=0.05, healthy_s=0.02))) as supervisor:
        await supervisor.ensure(ann)
        for life in range(1, 9):  # the eighth wait would be 6 s
            row = await world.ready(ann)
            await asyncio.sleep(0.03)
            await world.engine.die(container_name(row.id), 1)
            await eventually(lambda life=life: world.engine.count("/start") == life + 1)  # type: ignore[misc]


def _dies_at_once(world: World):  # type: ignore[no-untyped-def]
    async def die(container: FakeContainer) -> None:
        await world.engine.die(container.name, 1)

    return die


async def test_a_gateway_that_hangs_is_restarted_though_the_engine_calls_it_running(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        world.gateways.mute = True
        await eventually(lambda: world.engine.count("/stop") == 1)
        world.gateways.mute = False
        await eventually(lambda: world.engine.count("/start") == 2)

        assert row.container_id == (await world.ready(ann)).container_id


async def test_after_a_missed_answer_a_gateway_is_asked_again_sooner(world: World) -> None:
    """At its usual rhythm alone it would be seen to hang after a minute."""
    timing = replace(FAST, liveness_every_s=2.0, liveness_again_s=0.03, misses=30)
    async with world.daemon(timing=timing) as supervisor:
        ann = await world.person()
        await supervisor.ensure(ann)
        await world.ready(ann)
        world.gateways.mute = True
        await eventually(lambda: world.engine.count("/stop") == 1, within_s=20)


async def test_a_container_whose_gateway_never_comes_up_is_restarted(world: World) -> None:
    ann = await world.person()
    world.gateways.dead = True
    async with world.daemon(timing=replace(FAST, start_s=0.3)) as supervisor:
        await supervisor.ensure(ann)
        await eventually(lambda: world.engine.count("/start") == 2)
        world.gateways.dead = False

        await world.ready(ann)


async def test_a_lost_connection_is_made_again_without_touching_the_container(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        first = world.pool.get(row.id)
        await world.gateways.close(world.container(row.id))
        await eventually(lambda: world.pool.get(row.id) is None)
        await world.gateways.open(world.container(row.id))
        await eventually(lambda: world.pool.get(row.id) not in (None, first))

        assert 1 == world.engine.count("/start")


async def test_a_runtime_directory_that_was_emptied_is_laid_out_again(world: World) -> None:
    ann = await world.person()
    async with world.daemon(timing=replace(FAST, adopt_s=0.2, start_s=0.5)) as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        paths.discard(paths.paths_of(world.runtime, row.id))
        await world.gateways.close(world.container(row.id))
        await eventually(lambda: world.engine.count("/start") == 2)
        await world.ready(ann)

        assert (world.container(row.id).source("/run/clawkaka/host") / "host.sock").is_socket()


async def test_a_symlink_in_place_of_the_socket_is_never_followed_and_cleared_away(world: World) -> None:
    ann = await world.person()

    async def plant(container: FakeContainer) -> None:
        (container.source("/run/clawkaka/gateway") / "gateway.sock").symlink_to(world.engine.socket)

    world.engine.on_start = plant
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        await eventually(lambda: _is(world, ann, SandboxState.UNHEALTHY))
        assert "symlink" in (await world.row(ann)).reason
        world.engine.on_start = world.gateways.open

        await world.ready(ann)


async def test_one_persons_trouble_is_not_anothers(world: World) -> None:
    ann, bob = await world.person("4915100000001"), await world.person("4915100000002")
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        world.engine.fail = (f"/containers/{container_name(row.id)}", 500)
        await world.gateways.close(world.container(row.id))
        await supervisor.ensure(bob)

        await world.ready(bob)
        assert SandboxState.UNHEALTHY is await _state(world, ann)


# The engine is away


async def test_an_engine_that_goes_away_changes_nothing_for_who_is_connected(world: World) -> None:
    ann, bob = await world.person("4915100000001"), await world.person("4915100000002")
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        connection = world.pool.get(row.id)
        await world.engine.down()
        await supervisor.ensure(bob)
        await asyncio.sleep(0.5)  # several rounds of everything

        assert connection is world.pool.get(row.id)
        assert SandboxState.READY is await _state(world, ann)
        assert SandboxState.ABSENT is await _state(world, bob)

        await world.engine.up()
        await world.ready(bob)
        assert connection is world.pool.get(row.id)


async def test_a_daemon_that_starts_before_its_engine_waits_for_it(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
    await world.engine.down()
    async with world.daemon():
        await asyncio.sleep(0.3)
        assert SandboxState.READY is await _state(world, ann)  # as it was: nothing is known
        await world.engine.up()
        await world.ready(ann)

    assert 1 == world.engine.count("/start")
    assert "running" == world.container(row.id).status


# What is not ours


async def test_a_container_of_another_installation_is_refused_and_never_touched(world: World) -> None:
    ann = await world.person()
    row = await world.registry.sandboxes.ensure(ann)
    body = {"Image": world.image, "Labels": {"clawkaka.instance": "other"}, "HostConfig": {"Mounts": []}}
    foreign = FakeContainer("f" * 64, container_name(row.id), body, "sha256:0", status="running")
    world.engine.containers[foreign.name] = foreign
    async with world.daemon():
        await eventually(lambda: _is(world, ann, SandboxState.UNHEALTHY))
        assert "not ours" in (await world.row(ann)).reason
        await world.removed(ann)

    assert foreign is world.engine.containers[foreign.name]
    assert "running" == foreign.status


async def test_a_volume_of_another_installation_is_refused_and_never_touched(world: World) -> None:
    ann = await world.person()
    row = await world.registry.sandboxes.ensure(ann)
    world.engine.volumes[volume_name(row.id)] = {"clawkaka.instance": "other"}
    async with world.daemon():
        await eventually(lambda: _is(world, ann, SandboxState.UNHEALTHY))
        await world.removed(ann)

    assert {volume_name(row.id): {"clawkaka.instance": "other"}} == world.engine.volumes


async def test_a_container_of_ours_that_nobody_knows_is_stopped_and_kept(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
    await world.registry.sandboxes.remove(row.id)
    async with world.daemon():
        await eventually(lambda: world.container(row.id).status == "exited")

    assert [volume_name(row.id)] == list(world.engine.volumes)


# Removing


async def test_removal_takes_everything_and_the_person_may_come_back(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        await world.removed(ann)

        assert {} == world.engine.containers
        assert {} == world.engine.volumes
        assert [] == list(world.runtime.iterdir())
        assert set() == kept()
        assert world.pool.get(row.id) is None

        assert row.id != await supervisor.ensure(ann)
        await world.ready(ann)


async def test_a_removal_in_the_middle_of_a_start_leaves_nothing_behind(world: World) -> None:
    ann = await world.person()
    world.engine.slow_s = 0.1
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        await eventually(lambda: world.engine.count("POST /containers/create"))
        await world.removed(ann)
        world.engine.slow_s = 0
        await asyncio.sleep(0.3)  # what the engine was asked before would be done by now

        assert ({}, {}) == (world.engine.containers, world.engine.volumes)


async def test_a_removal_waits_for_a_start_however_long_that_takes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepers, "LET_GO_S", 0.2)
    world.removal_again_s = 0.1

    class Slow:
        def __init__(self) -> None:
            self.there: set[SandboxId] = set()

        async def key(self, sandbox_id: SandboxId) -> str | None:
            await asyncio.sleep(1.0)
            self.there.add(sandbox_id)
            return "key"

        async def forget(self, sandbox_id: SandboxId, key_hash: str | None) -> None:
            self.there.discard(sandbox_id)

    world.keys = keys = Slow()
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        await eventually(lambda: world.engine.volumes)
        await world.removed(ann)
        await asyncio.sleep(1.2)  # the start would be over by now

        assert (set(), {}, {}) == (keys.there, world.engine.containers, world.engine.volumes)
        assert [] == list(world.runtime.iterdir())


@pytest.mark.parametrize("double", [a_double, a_double_under_its_name])
async def test_a_removal_takes_the_double_that_was_set_aside_too(world: World, double: Double) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        await double(world, row)
        await eventually(lambda: "exited" in {one.status for one in world.engine.containers.values()})
        assert 2 == len(world.engine.containers)
        await world.removed(ann)

    assert ({}, {}) == (world.engine.containers, world.engine.volumes)


async def test_who_waits_for_a_sandbox_learns_that_it_is_removed(world: World) -> None:
    ann = await world.person()
    world.gateways.dead = True
    async with world.daemon() as supervisor:
        sandbox_id = await supervisor.ensure(ann)
        waiting = asyncio.create_task(world.pool.ready(sandbox_id, timeout_s=30))
        await eventually(lambda: world.engine.count("/start"))
        await world.removed(ann)

        with pytest.raises(SandboxGone):
            await waiting


async def test_a_removal_while_strays_are_stopped_is_not_undone_by_what_was_known_before(world: World) -> None:
    ann, bob = await world.person("4915100000001"), await world.person("4915100000002")
    async with world.daemon() as supervisor:
        for who in (ann, bob):
            await supervisor.ensure(who)
        anns, bobs = await world.ready(ann), await world.ready(bob)
    await world.registry.sandboxes.remove(bobs.id)
    stopping, may_stop = asyncio.Event(), asyncio.Event()

    async def take_time(container: FakeContainer) -> None:
        if container.name == container_name(bobs.id):
            stopping.set()
            await may_stop.wait()
        await world.gateways.close(container)

    world.engine.on_stop = take_time
    async with world.daemon():
        await asyncio.wait_for(stopping.wait(), 5)
        await world.ready(ann)
        await world.removed(ann)
        may_stop.set()
        await eventually(lambda: world.container(bobs.id).status == "exited")
        seen = world.engine.count("GET /containers/json")
        await eventually(lambda: world.engine.count("GET /containers/json") > seen)  # that round is over

        assert set() == kept()
        assert container_name(anns.id) not in world.engine.containers


@pytest.mark.parametrize("call", ["DELETE /containers", "DELETE /volumes", "GET /volumes"])
async def test_a_removal_that_failed_half_way_is_finished_after_a_restart(world: World, call: str) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        await world.ready(ann)
        world.engine.fail = (call, 503)
        world.engine.calls.clear()
        await world.want_removed(ann)
        await eventually(lambda: world.engine.count(call))
        with pytest.raises(Transient):
            await supervisor.ensure(ann)
    world.engine.fail = None
    async with world.daemon():
        await eventually(lambda: world.is_gone(ann))

    assert ({}, {}) == (world.engine.containers, world.engine.volumes)
    assert [] == list(world.runtime.iterdir())


async def test_a_key_that_cannot_be_deleted_holds_back_the_row_but_not_the_data(world: World) -> None:
    class Stubborn:
        away = True

        async def key(self, sandbox_id: SandboxId) -> str | None:
            return None

        async def forget(self, sandbox_id: SandboxId, key_hash: str | None) -> None:
            if self.away:
                raise Transient("away")

    world.keys = keys = Stubborn()
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        await world.ready(ann)
        await world.want_removed(ann)
        await eventually(lambda: ({}, {}) == (world.engine.containers, world.engine.volumes))
        await eventually(lambda: not list(world.runtime.iterdir()))

        assert (await world.row(ann)).remove_wanted
    keys.away = False
    async with world.daemon():
        await eventually(lambda: world.is_gone(ann))


async def test_a_neighbour_is_not_touched_by_a_removal(world: World) -> None:
    ann, bob = await world.person("4915100000001"), await world.person("4915100000002")
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        await supervisor.ensure(bob)
        await world.ready(ann)
        row = await world.ready(bob)
        await world.removed(ann)

        assert [container_name(row.id)] == list(world.engine.containers)
        assert [volume_name(row.id)] == list(world.engine.volumes)
        assert await world.is_ready(bob)


# The pulse


async def test_the_pulse_is_what_pa_says(world: World) -> None:
    ann = await world.person()
    at = datetime(2026, 11, 23, 3, tzinfo=UTC)
    commands: list[list[str]] = []

    def pa(command: list[str]) -> tuple[int, bytes]:
        commands.append(command)
        return 0, b'overdue task 3: "Pay rent"\n'

    world.engine.command = pa
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)

        assert 'overdue task 3: "Pay rent"' == await supervisor.pulse(row.id, mark=False, at=at)
        await supervisor.pulse(row.id, mark=True, at=at)
        assert [["pa", "pulse", "--new"], ["pa", "pulse", "--mark"]] == [command[-3:] for command in commands]
        assert all(f"PA_NOW={at.isoformat()}" in command for command in commands)
        world.engine.command = lambda _: (0, b"")
        assert "" == await supervisor.pulse(row.id, mark=True, at=at)
        world.engine.command = lambda _: (1, b"half an answer")
        with pytest.raises(Rejected):
            await supervisor.pulse(row.id, mark=True, at=at)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root owns what another user's check would refuse")
async def test_a_socket_of_another_user_is_refused(world: World) -> None:
    ann = await world.person()

    async def give_away(container: FakeContainer) -> None:
        await world.gateways.open(container)
        socket: Path = container.source("/run/clawkaka/gateway") / "gateway.sock"
        os.chown(socket, 4321, -1)

    world.engine.on_start = give_away
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        await eventually(lambda: _is(world, ann, SandboxState.UNHEALTHY))

        assert "uid 4321" in (await world.row(ann)).reason


async def test_what_cannot_even_be_looked_at_is_looked_at_ever_more_rarely(world: World) -> None:
    ann = await world.person()
    row = await world.registry.sandboxes.ensure(ann)
    body = {"Image": world.image, "Labels": {"clawkaka.instance": "other"}, "HostConfig": {"Mounts": []}}
    foreign = FakeContainer("f" * 64, container_name(row.id), body, "sha256:0", status="running")
    world.engine.containers[foreign.name] = foreign
    async with world.daemon(timing=replace(FAST, limits=Limits(first_delay_s=0.1))):
        await eventually(lambda: _is(world, ann, SandboxState.UNHEALTHY))
        await asyncio.sleep(1.0)

        assert world.engine.count(f"GET /containers/{foreign.name}/json") <= 10
