"""Sandboxes that rest cost nothing, and whoever addresses one wakes it, at whatever moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from clawkakad.errors import Rejected
from clawkakad.model import Rest, SandboxId, SandboxState, UserId
from clawkakad.registry import SandboxRow
from clawkakad.sandboxes import paths
from clawkakad.sandboxes.profile import MIB, container_name
from clawkakad.sandboxes.rest import Rules
from clawkakad.sandboxes.supervisor import Supervisor
from tests.fakes.engine import FakeContainer
from tests.sandboxes.test_parking import writes
from tests.sandboxes.world import WAKING, World, kept, open_world
from tests.support import eventually

S = SandboxState
SOON = Rules(doze_after_s=0.3, sleep_after_s=0, reserve_mb=500)
NEVER = Rules(doze_after_s=3600, sleep_after_s=0, reserve_mb=500)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        opened.host = replace(opened.host, swap_mb=8000, swap_free_mb=8000)
        opened.memory_mb, opened.rules = 512, NEVER
        yield opened


async def _reaches(world: World, user_id: UserId, state: SandboxState) -> SandboxRow:
    async def there() -> bool:
        return (await world.row(user_id)).state is state

    await eventually(there)
    return await world.row(user_id)


async def _awake(world: World, supervisor: Supervisor) -> tuple[UserId, SandboxRow]:
    ann = await world.person()
    await supervisor.ensure(ann)
    return ann, await world.ready(ann)


async def _rests(world: World, user_id: UserId, to: SandboxState = S.DOZING) -> SandboxRow:
    """It is put to rest, and left by its keeper."""
    row = await world.row(user_id)
    await world.registry.sandboxes.want_rest(row.id, Rest.DOZE if to is S.DOZING else Rest.SLEEP)
    await _reaches(world, user_id, to)
    await eventually(lambda: row.id not in kept())
    return await world.row(user_id)


def _limit(world: World, sandbox_id: SandboxId) -> int:
    return int(world.container(sandbox_id).inspected()["HostConfig"]["Memory"]) // MIB


# Going to rest


async def test_one_that_nobody_needs_dozes_and_then_sleeps(world: World) -> None:
    world.rules = replace(SOON, sleep_after_s=1.0)
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        dozing = await _reaches(world, ann, S.DOZING)
        assert (world.container(row.id).status, _limit(world, row.id)) == ("paused", 80)
        assert dozing.reason == "nobody needed it for 0.005 min; frozen, 80 MiB of memory left to it"
        await _reaches(world, ann, S.ASLEEP)

        assert (world.container(row.id).status, world.container(row.id).exit_code) == ("exited", 0)
        assert _limit(world, row.id) == 512


@pytest.mark.parametrize("to", [S.DOZING, S.ASLEEP])
async def test_one_that_rests_costs_nothing(world: World, to: SandboxState) -> None:
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        before = {task.get_name() for task in asyncio.all_tasks()}
        await _rests(world, ann, to)
        assert world.pool.get(row.id) is None
        assert world.gateways.close_codes == [1001]
        assert not paths.paths_of(world.runtime, row.id).host_socket.exists()
        world.engine.calls.clear()
        await eventually(lambda: world.engine.count("GET /containers/json") >= 3)

        assert {call for call in world.engine.calls if not call.endswith("containers/json")} == set()
        assert {task.get_name() for task in asyncio.all_tasks()} <= before - {f"keeper {row.id}"}


async def test_who_has_a_message_waiting_is_not_put_to_rest(world: World) -> None:
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        await writes(world, ann, "wamid.1")
        world.rules = SOON
        await world.registry.sandboxes.want_rest(row.id, Rest.DOZE)
        await asyncio.sleep(0.3)
        assert await world.is_ready(ann)

        await world.registry.db.execute("UPDATE inbox SET state = 'answered'")
        await _rests(world, ann)


async def test_one_in_a_turn_or_in_a_request_is_not_put_to_rest(world: World) -> None:
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        with world.pool.using(row.id):
            await world.registry.sandboxes.want_rest(row.id, Rest.DOZE)
            await asyncio.sleep(0.3)
            assert await world.is_ready(ann)
        socket = paths.paths_of(world.runtime, row.id).host_socket
        _, writer = await asyncio.open_unix_connection(str(socket))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        await asyncio.sleep(0.1)
        await world.registry.sandboxes.want_rest(row.id, Rest.DOZE)
        await asyncio.sleep(0.3)
        assert await world.is_ready(ann)

        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        await _rests(world, ann)


async def test_a_gateway_at_work_is_asked_and_left_alone(world: World) -> None:
    world.rules, world.gateways.at_work = SOON, "background-exec"
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        await asyncio.sleep(1.0)
        connection = world.pool.get(row.id)
        assert connection is not None
        await connection.health(1.0)  # it is not suspended

        world.gateways.at_work = ""
        await _reaches(world, ann, S.DOZING)
        assert connection.is_closed


async def test_a_container_that_cannot_be_frozen_is_gone_on_with(world: World) -> None:
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        world.engine.fail = ("/pause", 500)
        await world.registry.sandboxes.want_rest(row.id, Rest.DOZE)
        await eventually(lambda: world.engine.count("/pause"))
        world.engine.fail = None
        await world.ready(ann)

        assert world.gateways.suspended == set()
        assert world.engine.count("/start") == 1


async def test_under_pressure_the_one_used_longest_ago_rests_and_no_other(world: World) -> None:
    world.rules = replace(NEVER, pressed_idle_s=0.1)
    async with world.daemon() as supervisor:
        ann, bob = await world.person("4915100000001"), await world.person("4915100000002")
        for who in (ann, bob):
            await supervisor.ensure(who)
            await world.ready(who)
        anns = world.container((await world.row(ann)).id)
        world.engine.slow_s = 0.05  # it takes some looks until its memory is there
        world.memory = lambda: replace(world.host, available_mb=400 if anns.used > 80 * MIB else 800)
        await _reaches(world, ann, S.DOZING)
        await asyncio.sleep(0.3)

        assert await world.is_ready(bob)
        assert "short of memory" in (await world.row(ann)).reason


async def test_under_pressure_no_more_of_those_who_doze_are_stopped_than_it_takes(world: World) -> None:
    async with world.daemon() as supervisor:
        people = [await world.person(f"491510000000{number}") for number in range(4)]
        for who in people:
            await supervisor.ensure(who)
            await world.ready(who)
            await _rests(world, who)
        stopped: list[str] = []

        async def take_time(container: FakeContainer) -> None:
            await asyncio.sleep(0.5)  # some looks: what it needs to end comes from disk first
            await world.gateways.close(container)
            stopped.append(container.name)

        world.engine.on_stop = take_time
        world.memory = lambda: replace(world.host, available_mb=600 if stopped else 470)  # 30 short; one gives 80
        await eventually(lambda: stopped)
        await asyncio.sleep(0.6)

        assert 1 == len(stopped)
        assert [S.ASLEEP, S.DOZING, S.DOZING, S.DOZING] == [(await world.row(who)).state for who in people]


# Waking


@pytest.mark.parametrize("to", [S.DOZING, S.ASLEEP])
async def test_who_addresses_it_wakes_it(world: World, to: SandboxState) -> None:
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        await _rests(world, ann, to)
        await supervisor.ensure(ann)
        await world.ready(ann)

        assert (world.container(row.id).status, _limit(world, row.id)) == ("running", 512)
        assert world.gateways.suspended == set()
        assert world.engine.count("/start") == (1 if to is S.DOZING else 2)


async def test_who_only_waits_for_its_connection_wakes_it(world: World) -> None:
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        await _rests(world, ann)

        assert (await world.pool.ready(row.id, timeout_s=10)).is_open


async def test_an_operator_wakes_it(world: World) -> None:
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        await _rests(world, ann)
        await world.registry.sandboxes.want_rest(row.id, Rest.WAKE)
        await world.ready(ann)

        assert (await world.row(ann)).rest_wanted is None


@pytest.mark.parametrize("call", ["/pause", "/update", "/stats", "/stop"])
async def test_who_addresses_it_while_it_is_put_to_rest_is_heard(world: World, call: str) -> None:
    """In the middle of freezing or stopping it."""
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        world.engine.slow_s = 0.05
        seen = world.engine.count(call)
        await world.registry.sandboxes.want_rest(row.id, Rest.SLEEP if call == "/stop" else Rest.DOZE)
        await eventually(lambda: world.engine.count(call) > seen, every_s=0.001)
        await supervisor.ensure(ann)
        world.engine.slow_s = 0.0
        await world.ready(ann)
        await asyncio.sleep(0.2)

        assert await world.is_ready(ann)
        assert (world.container(row.id).status, _limit(world, row.id)) == ("running", 512)


async def test_who_addresses_it_again_and_again_never_waits_in_vain(world: World) -> None:
    world.rules = replace(SOON, doze_after_s=0.05)
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        for number in range(12):
            await asyncio.sleep(0.02 * number)
            await supervisor.ensure(ann)
            await world.pool.ready(row.id, timeout_s=10)

        assert world.engine.count("/pause") >= 2
        assert world.engine.count("/start") == 1


async def test_one_whose_gateway_does_not_go_on_is_started_again(world: World) -> None:
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        await _rests(world, ann)
        await world.gateways.close(world.container(row.id))
        await supervisor.ensure(ann)
        await world.ready(ann)

        assert world.engine.count("/start") == 2


async def test_slow_answers_are_forgiven_while_its_memory_comes_back_and_no_longer(world: World) -> None:
    async with world.daemon() as supervisor:
        ann, _ = await _awake(world, supervisor)
        await _rests(world, ann)
        world.gateways.mute = True
        await supervisor.ensure(ann)
        await world.ready(ann)
        await asyncio.sleep(0.6)  # three misses take less
        assert (await world.is_ready(ann), world.engine.count("/start")) == (True, 1)

        await eventually(lambda: world.engine.count("/start") == 2)


async def test_they_wake_a_few_at_once_and_who_waits_long_for_memory_is_told_once(world: World) -> None:
    world.long_s = 0.3
    async with world.daemon() as supervisor:
        ann, bob = await world.person("4915100000001"), await world.person("4915100000002")
        for who in (ann, bob):
            await supervisor.ensure(who)
            await world.ready(who)
        await _rests(world, ann)
        world.host = replace(world.host, available_mb=600)
        with world.pool.using((await world.row(bob)).id):
            await writes(world, ann, "wamid.1")
            await supervisor.ensure(ann)
            await eventually(lambda: world.engine.count("/unpause") == 0 and _told(world))
            world.host = replace(world.host, available_mb=6000)
            await world.ready(ann)

        rows = await world.registry.db.all("SELECT text FROM outbox")
        assert [row["text"] for row in rows] == [WAKING]


async def _told(world: World) -> bool:
    return bool(await world.registry.db.all("SELECT 1 FROM outbox"))


# What others do to one that rests


async def test_one_that_is_let_go_on_by_hand_is_looked_after_soon(world: World) -> None:
    async with world.daemon(reconcile_every_s=60.0) as supervisor:
        ann, row = await _awake(world, supervisor)
        await _rests(world, ann)
        await world.engine.thaw(container_name(row.id))
        await world.ready(ann)

        assert _limit(world, row.id) == 512


async def test_one_that_ends_while_it_dozes_sleeps_and_starts_with_all_its_memory(world: World) -> None:
    async with world.daemon(reconcile_every_s=60.0) as supervisor:
        ann, row = await _awake(world, supervisor)
        await _rests(world, ann)
        await world.engine.die(container_name(row.id), 137)
        await _reaches(world, ann, S.ASLEEP)
        assert _limit(world, row.id) == 80
        await supervisor.ensure(ann)
        await world.ready(ann)

        assert _limit(world, row.id) == 512


@pytest.mark.parametrize("to", [S.DOZING, S.ASLEEP])
async def test_one_that_rests_is_removed_like_any_other(world: World, to: SandboxState) -> None:
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        await _rests(world, ann, to)
        await world.removed(ann)

        assert (world.engine.containers, world.engine.volumes) == ({}, {})
        assert not paths.paths_of(world.runtime, row.id).root.exists()


async def test_a_changed_profile_waits_until_it_is_awake(world: World) -> None:
    async with world.daemon() as supervisor:
        ann, before = await _awake(world, supervisor)
        await _rests(world, ann)
    world.memory_mb = 600
    async with world.daemon():
        await eventually(lambda: world.engine.count("GET /containers/json") >= 3)
        assert (await world.row(ann)).state is S.DOZING
        world.engine.calls.clear()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        await world.ready(ann)
        assert _limit(world, before.id) == 600


async def test_an_engine_that_is_away_when_it_is_to_wake_is_waited_for(world: World) -> None:
    async with world.daemon() as supervisor:
        ann, _ = await _awake(world, supervisor)
        await _rests(world, ann)
        await world.engine.down()
        await supervisor.ensure(ann)
        await asyncio.sleep(0.2)
        assert (await world.row(ann)).state is S.DOZING
        await world.engine.up()
        await world.ready(ann)


async def test_the_pulse_of_one_that_rests_is_not_taken(world: World) -> None:
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        await _rests(world, ann)

        with pytest.raises(Rejected):
            await supervisor.pulse(row.id, mark=False, at=datetime.now(UTC))


# Cut off in the middle


@pytest.mark.parametrize("rest", [Rest.DOZE, Rest.SLEEP])
@pytest.mark.parametrize("after", [1, 2, 3])
async def test_a_daemon_killed_while_it_puts_one_to_rest_leaves_nothing_to_mend(
    world: World, rest: Rest, after: int
) -> None:
    """Frozen, with some of its memory gone, or stopped; its gateway suspended; not written down."""
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        world.engine.dies_after = after
        await world.registry.sandboxes.want_rest(row.id, rest)
        await asyncio.sleep(0.3)
    world.engine.dies_after = None
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        await world.ready(ann)

        assert (world.container(row.id).status, _limit(world, row.id)) == ("running", 512)
        assert world.gateways.suspended == set()
        assert rest is Rest.SLEEP or world.engine.count("/start") == 1, "what was frozen goes on"
        assert row.container_id == (await world.row(ann)).container_id


@pytest.mark.parametrize("after", [1, 2])
async def test_a_daemon_killed_while_it_wakes_one_goes_on_with_it(world: World, after: int) -> None:
    async with world.daemon() as supervisor:
        ann, row = await _awake(world, supervisor)
        await _rests(world, ann)
        world.engine.dies_after = after
        await supervisor.ensure(ann)
        await asyncio.sleep(0.3)
    world.engine.dies_after = None
    async with world.daemon():
        await world.ready(ann)

        assert (world.container(row.id).status, _limit(world, row.id)) == ("running", 512)
        assert world.engine.count("/start") == 1
