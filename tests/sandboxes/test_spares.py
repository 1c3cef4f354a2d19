"""Spares: booted, nobody's, dozing; a newcomer gets one, whole, and it is replaced behind them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.model import SandboxId, SandboxState
from clawkakad.registry import SandboxRow, briefing, spares
from clawkakad.sandboxes.profile import container_name
from clawkakad.sandboxes.rest import Pressure, Resident, Rules, due
from clawkakad.sandboxes.spares import ON_THE_WAY, Step, decide
from tests.sandboxes.world import PROFILE, World, kept, open_world
from tests.support import eventually

S = SandboxState
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
NEVER = Rules(doze_after_s=3600, sleep_after_s=3600, reserve_mb=500)


def row(number: int, state: SandboxState = S.DOZING, *, leaving: bool = False) -> SandboxRow:
    return SandboxRow(
        id=SandboxId(f"s{number}"),
        user_id=None,
        state=state,
        reason="",
        container_id=None,
        image_id=None,
        config_hash=None,
        key_hash=None,
        remove_wanted=leaving,
        retry_wanted=False,
        rest_wanted=None,
        parked_at=NOW if state is S.PARKED else None,
        parked_with=None,
        ooms=0,
        oom_at=None,
        created_at=NOW,
        changed_at=NOW,
        pinned=None,
    )


# What is decided


@pytest.mark.parametrize(
    ("rows", "wanted", "has_room", "step"),
    [
        ([], 1, True, Step(make=True)),
        ([], 1, False, Step()),
        ([], 0, True, Step()),
        ([row(1)], 1, True, Step()),
        ([row(1)], 0, True, Step(remove=("s1",))),
        ([row(1), row(2)], 1, True, Step(remove=("s2",))),
        ([row(1, S.READY)], 1, False, Step(doze=("s1",))),
        ([row(1, S.STARTING)], 2, True, Step(start=("s1",))),
        ([row(1, S.STARTING)], 2, False, Step()),
        ([row(1, S.STOPPING)], 1, False, Step()),
        ([row(1, S.ASLEEP)], 1, True, Step(start=("s1",))),
        ([row(1, S.ASLEEP)], 1, False, Step()),
        ([row(1, S.PARKED)], 1, True, Step()),
        ([row(1, leaving=True)], 1, True, Step(make=True)),
    ],
)
def test_one_step_at_a_time(rows: Sequence[SandboxRow], wanted: int, has_room: bool, step: Step) -> None:
    assert decide(rows, (), wanted=wanted, has_room=has_room) == step


def test_one_of_another_image_goes_before_another_is_made() -> None:
    assert decide([row(1)], [SandboxId("s1")], wanted=1, has_room=True) == Step(remove=("s1",), make=True)


@given(st.lists(st.sampled_from(list(S)), max_size=5), st.integers(0, 4), st.booleans())
def test_there_are_never_more_than_are_wanted_and_one_boots_at_a_time(
    states: list[SandboxState], wanted: int, has_room: bool
) -> None:
    rows = [row(number, state) for number, state in enumerate(states)]
    step = decide(rows, (), wanted=wanted, has_room=has_room)

    left = len(rows) - len(step.remove) + step.make
    assert left <= max(wanted, 0)
    assert not (step.make and (not has_room or step.start))
    assert has_room or not step.start
    asleep = [one for one in step.start if rows[int(one[1:])].state not in ON_THE_WAY]
    assert len(asleep) <= 1


def test_a_spare_does_not_sleep_for_having_dozed_long_but_is_the_first_where_memory_is_short() -> None:
    spare = Resident(SandboxId("spare"), S.DOZING, 1e6, spare=True)
    ann = Resident(SandboxId("ann"), S.READY, 300)

    assert due([spare, ann], Pressure(available_mb=4000), NEVER) == []
    short = due([spare, ann], Pressure(available_mb=450, swap_free_mb=2000), NEVER)
    assert [(order.id, order.to) for order in short] == [("spare", S.ASLEEP)]


# With keepers


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        opened.host = replace(opened.host, swap_mb=8000, swap_free_mb=8000)
        opened.memory_mb, opened.rules, opened.spares = 512, NEVER, 1
        yield opened


async def waiting(world: World, *, but: str = "") -> SandboxRow:
    """The spare that dozes, and whose keeper has left."""

    async def there() -> SandboxRow | None:
        rows = [one for one in await world.registry.sandboxes.spares() if one.id != but]
        return next((one for one in rows if one.state is S.DOZING and one.id not in kept()), None)

    found = await eventually(there)
    assert found is not None
    return found


async def test_a_spare_boots_dozes_and_costs_nothing(world: World) -> None:
    async with world.daemon():
        spare = await waiting(world)
        paths = world.runtime / spare.id

        assert world.container(spare.id).status == "paused"
        assert not (paths / "host" / "host.sock").exists()  # it has nobody to ask for
        assert '"UTC"' in (paths / "config" / "profile.json").read_text()


REHEARSAL = ["chat.send", "agent.wait", "sessions.reset"]


def rehearsed(world: World, sandbox_id: str) -> list[str]:
    """What of a rehearsal its gateway heard."""
    asked = world.gateways.asked.get(container_name(SandboxId(sandbox_id)), [])
    return [method for method in asked if method in REHEARSAL]


async def is_marked(world: World, sandbox_id: str) -> bool:
    row = await world.registry.sandboxes.get(SandboxId(sandbox_id))
    return row is not None and row.rehearsing


async def test_a_spare_rehearses_before_it_dozes(world: World) -> None:
    async with world.daemon():
        spare = await waiting(world)

        assert rehearsed(world, spare.id) == REHEARSAL


async def test_one_that_somebody_owns_does_not(world: World) -> None:
    world.spares = 0
    async with world.daemon() as supervisor:
        ann = await world.person()
        sandbox_id = await supervisor.ensure(ann)
        await world.ready(ann)

        assert rehearsed(world, sandbox_id) == []


@pytest.mark.parametrize("method", REHEARSAL[:2])
async def test_one_that_cannot_rehearse_is_a_spare_all_the_same(world: World, method: str) -> None:
    world.gateways.refused = {method}
    async with world.daemon():
        spare = await waiting(world)

    assert rehearsed(world, spare.id)[-1] == "sessions.reset"
    assert not await is_marked(world, spare.id)


async def test_one_whose_gateway_dies_in_it_rehearses_no_second_time(world: World) -> None:
    world.gateways.drops = {"chat.send"}
    async with world.daemon():
        spare = await waiting(world)

    assert rehearsed(world, spare.id) == ["chat.send", "sessions.reset"]


async def test_one_that_cannot_forget_is_given_to_nobody(world: World) -> None:
    """It is started again, and parked in the end; that it forgot is not assumed."""
    world.gateways.refused = {"sessions.reset"}
    async with world.daemon():
        await eventually(lambda: len(world.gateways.asked) > 0)
        (spare,) = await world.registry.sandboxes.spares()
        await eventually(lambda: rehearsed(world, spare.id).count("sessions.reset") > 2)

        assert rehearsed(world, spare.id).count("chat.send") == 1
        assert await is_marked(world, spare.id)
        assert world.pool.get(spare.id) is None


@pytest.mark.parametrize("at", REHEARSAL)
async def test_one_that_is_claimed_in_its_rehearsal_forgets_it_first(world: World, at: str) -> None:
    world.gateways.ignored = {at}
    async with world.daemon() as supervisor:
        spare = await in_rehearsal(world, at)
        ann = await world.person()
        world.gateways.ignored = set()
        assert await supervisor.ensure(ann) == spare.id
        await world.ready(ann)

        assert rehearsed(world, spare.id)[-1] == "sessions.reset"
        assert not await is_marked(world, spare.id)
        assert (world.runtime / spare.id / "host" / "host.sock").is_socket()
        assert keepers_of(spare.id) == 1


async def test_a_claim_that_is_given_up_and_made_again_leaves_one_keeper(world: World) -> None:
    world.gateways.ignored = {"agent.wait"}
    async with world.daemon() as supervisor:
        spare = await in_rehearsal(world, "agent.wait")
        ann = await world.person()
        first = asyncio.create_task(supervisor.ensure(ann))
        await asyncio.sleep(0.02)
        first.cancel()
        await supervisor.ensure(ann)
        await world.ready(ann)

        assert keepers_of(spare.id) == 1


def keepers_of(sandbox_id: SandboxId) -> int:
    return sum(task.get_name() == f"keeper {sandbox_id}" for task in asyncio.all_tasks())


@pytest.mark.parametrize("claimed", [True, False])
async def test_what_a_killed_daemon_left_half_done_the_next_one_forgets_first(world: World, claimed: bool) -> None:
    world.gateways.ignored = {"agent.wait"}
    async with world.daemon():
        spare = await in_rehearsal(world, "agent.wait")
        before = len(rehearsed(world, spare.id))
    assert await is_marked(world, spare.id)
    world.gateways.ignored = set()
    if claimed:
        await world.registry.sandboxes.ensure(await world.person())
    async with world.daemon():
        await eventually(lambda: rehearsed(world, spare.id)[before:])

        async def is_there() -> bool:
            row = await world.registry.sandboxes.get(spare.id)
            return row is not None and row.state in (S.READY, S.DOZING)

        await eventually(is_there)
        assert rehearsed(world, spare.id)[before:] == ["sessions.reset"]
        assert not await is_marked(world, spare.id)


async def in_rehearsal(world: World, at: str) -> SandboxRow:
    """The spare that has been asked this, and has not answered."""
    wanted = REHEARSAL[: REHEARSAL.index(at) + 1]

    async def there() -> SandboxRow | None:
        rows = await world.registry.sandboxes.spares()
        return next((row for row in rows if rehearsed(world, row.id) == wanted), None)

    found = await eventually(there)
    assert found is not None
    return found


async def test_a_newcomer_gets_the_spare_with_their_own_profile_and_another_takes_its_place(world: World) -> None:
    async with world.daemon() as supervisor:
        spare = await waiting(world)
        started = world.engine.count(f"/{world.container(spare.id).id}/start")
        ann = await world.person()

        assert await supervisor.ensure(ann) == spare.id
        await world.ready(ann)

        assert PROFILE.time_zone in (world.runtime / spare.id / "config" / "profile.json").read_text()
        assert (world.runtime / spare.id / "host" / "host.sock").is_socket()
        assert world.engine.count(f"/{world.container(spare.id).id}/start") == started  # it went on
        assert (await waiting(world, but=spare.id)).id != spare.id


async def test_one_that_boots_is_claimed_too(world: World) -> None:
    world.gateways.dead = True
    async with world.daemon() as supervisor:
        await eventually(lambda: kept())
        (spare,) = await world.registry.sandboxes.spares()

        async def starting() -> bool:
            found = await world.registry.sandboxes.get(spare.id)
            return found is not None and found.state is S.STARTING

        await eventually(starting)
        ann = await world.person()
        assert await supervisor.ensure(ann) == spare.id
        world.gateways.dead = False
        await world.gateways.open(world.container(spare.id))
        await world.ready(ann)


async def test_one_that_is_claimed_while_it_is_frozen_is_frozen_first_and_then_goes_on(world: World) -> None:
    """The engine would freeze it behind the back of who keeps it next."""
    world.engine.slow_s = 0.2
    async with world.daemon() as supervisor:
        await eventually(lambda: world.engine.count("/pause"), within_s=20)
        (spare,) = await world.registry.sandboxes.spares()
        ann = await world.person()
        assert await supervisor.ensure(ann) == spare.id
        await eventually(lambda: world.engine.count("/unpause"))
        await world.ready(ann)

        assert "running" == world.container(spare.id).status


async def test_two_newcomers_never_share_one(world: World) -> None:
    async with world.daemon() as supervisor:
        spare = await waiting(world)
        ann, bob = await world.person(), await world.person("4915123456780")
        got = await asyncio.gather(supervisor.ensure(ann), supervisor.ensure(bob))

        assert len(set(got)) == 2
        assert spare.id in got


async def test_who_claimed_one_is_a_stranger_until_they_were_introduced(world: World) -> None:
    async with world.daemon() as supervisor:
        await waiting(world)
        ann = await world.person()
        await supervisor.ensure(ann)
        before = await world.registry.db.read(lambda tx: briefing.of_user(tx, ann).is_stranger)
        await world.registry.db.write(lambda tx: spares.introduced(tx, ann))
        after = await world.registry.db.read(lambda tx: briefing.of_user(tx, ann).is_stranger)

    assert (before, after) == (True, False)


async def test_one_that_was_parked_long_ago_makes_way_for_another(world: World) -> None:
    async with world.daemon():
        spare = await waiting(world)
        made_of = f"{spare.config_hash} {spare.image_id}"
        await world.registry.sandboxes.park(spare.id, "it did not come up", made_of)
        long_ago = "UPDATE sandboxes SET parked_at = '2026-01-01T00:00:00.000Z' WHERE id = :id"
        await world.registry.db.execute(long_ago, {"id": spare.id})

        assert (await waiting(world, but=spare.id)).id != spare.id


async def test_a_claim_outlives_the_daemon(world: World) -> None:
    async with world.daemon() as supervisor:
        spare = await waiting(world)
        ann = await world.person()
        assert (await world.registry.sandboxes.ensure(ann)).id == spare.id  # and here it died
        del supervisor
    async with world.daemon() as supervisor:
        assert await supervisor.ensure(ann) == spare.id
        await world.ready(ann)


async def test_a_spare_that_somebody_claims_meanwhile_is_not_removed(world: World) -> None:
    async with world.daemon():
        spare = await waiting(world)
        ann = await world.person()
        await world.registry.sandboxes.ensure(ann)

        assert not await world.registry.db.write(lambda tx: spares.give_up(tx, spare.id))


@pytest.mark.parametrize("reason", ["switched off", "no swap", "no memory"])
async def test_there_is_none_where_it_would_be_in_the_way(world: World, reason: str) -> None:
    if reason == "switched off":
        world.spares = 0
    elif reason == "no swap":
        world.host = replace(world.host, swap_mb=0, swap_free_mb=0)
    else:
        world.host = replace(world.host, available_mb=NEVER.reserve_mb + 2 * NEVER.awake_mb - 1)
    async with world.daemon() as supervisor:
        ann = await world.person()
        await supervisor.ensure(ann)
        await world.ready(ann)
        await asyncio.sleep(0.3)

        assert await world.registry.sandboxes.spares() == []


async def test_one_that_is_not_wanted_any_more_goes_with_all_that_it_had(world: World) -> None:
    async with world.daemon():
        spare = await waiting(world)
    world.spares = 0
    async with world.daemon():

        async def gone() -> bool:
            return await world.registry.sandboxes.spares() == []

        await eventually(gone)

    assert container_name(spare.id) not in world.engine.containers


async def test_one_that_the_host_lost_at_a_reboot_boots_again(world: World) -> None:
    async with world.daemon():
        spare = await waiting(world)
    await world.engine.die(container_name(spare.id), 137)
    async with world.daemon():

        async def frozen() -> bool:
            return world.container(spare.id).status == "paused"

        await eventually(frozen)
