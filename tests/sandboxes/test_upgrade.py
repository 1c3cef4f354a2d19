"""Sandboxes move to a new image one by one, when they are asked to, and back with their data where it does not do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from loguru import logger

from clawkakad.model import Rest, SandboxState, StepState, UpgradeState
from clawkakad.registry.upgrades import IN_HAND
from clawkakad.sandboxes.upgradeplan import MOVES
from tests.sandboxes.test_engine import NO_CONTAINERD
from tests.sandboxes.test_parking import writes
from tests.sandboxes.upgrading import IMAGE_ID, NEW, Town, open_town
from tests.sandboxes.world import FAST, QUICK, World
from tests.support import eventually

ANN, BOB, CLEO = "4915123456781", "4915123456782", "4915123456783"
SOON = replace(FAST, start_s=1.0)  # of a hanging one


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    async with open_town() as opened:
        yield opened


@pytest.fixture
def errors() -> list[str]:
    """What the operator was told at ERROR."""
    said: list[str] = []
    handler = logger.add(lambda message: said.append(str(message)), level="ERROR", format="{message} {extra}")
    yield said  # type: ignore[misc]
    logger.remove(handler)


async def test_nobody_is_moved_unless_asked(town: Town) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon(timing=replace(FAST, idle_s=0.0)):
        before = await town.world.ready(ann)
        town.build()
        seen = town.world.engine.count("/images/")
        await eventually(lambda: town.world.engine.count("/images/") > seen + 10)

        assert before.container_id == (await town.world.row(ann)).container_id


async def test_the_one_idle_longest_goes_first_and_the_others_when_it_has_stayed_well(town: Town) -> None:
    people = [await town.resident(n, wrote_h=h) for n, h in ((ANN, 1), (BOB, 20), (CLEO, 10))]
    async with town.world.daemon(patience=replace(QUICK, canary_s=0.6)):
        ann, bob, cleo = [row.id for row in await town.all_ready(*people)]
        town.build()
        asked = await town.ask()
        await eventually(lambda: town.is_at(StepState.TRYING, bob))
        await asyncio.sleep(0.3)
        assert [(bob, NEW)] == [start for start in town.starts if start[1] == NEW]
        ended, steps = await town.ended(asked)

        assert UpgradeState.DONE is ended.state
        assert {StepState.DONE} == {step.state for step in steps}
        assert [bob, cleo, ann] == [who for who, image in town.starts if image == NEW]
        assert [NEW] * 3 == await town.images(*people)
        assert [NEW] * 3 == [row.pinned for row in await town.all_ready(*people)]
        assert [f"of {ANN}", "by the new image"] == town.tasks(ann)
    assert [] == town.leftovers()


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("broken", "exit code 1"),
        ("refusing", "exit code 78"),
        ("hanging", "no hello-ok within"),
        ("deaf", "missed 3 health checks"),
        ("dying", "ended"),
        ("toolless", "its tools do not work"),
    ],
)
async def test_a_bad_image_is_taken_back_with_the_data_of_before(
    town: Town, errors: list[str], mode: str, why: str
) -> None:
    ann, bob = await town.resident(ANN, wrote_h=20), await town.resident(BOB, wrote_h=1)
    async with town.world.daemon(timing=SOON):
        first, second = await town.all_ready(ann, bob)
        town.build(mode)
        ended, steps = await town.ended(await town.ask())

        assert UpgradeState.FAILED is ended.state
        assert why in ended.reason
        assert {first.id: StepState.FAILED, second.id: StepState.SKIPPED} == {s.sandbox_id: s.state for s in steps}
        assert [IMAGE_ID, IMAGE_ID] == await town.images(ann, bob)
        assert [f"of {ANN}"] == town.tasks(first.id)
        assert second.container_id == (await town.world.row(bob)).container_id
        assert 1 == sum(image == NEW for _, image in town.starts)  # it is not tried again by itself
    assert 1 == len([line for line in errors if "gets its old one back" in line])
    assert mode not in ("broken", "refusing") or "no such model" in errors[0]
    assert [] == town.leftovers()


async def test_the_same_image_is_tried_again_when_asked_to(town: Town) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon():
        row = await town.world.ready(ann)
        town.build("broken")
        assert UpgradeState.FAILED is (await town.ended(await town.ask()))[0].state
        town.mode = "good"
        assert UpgradeState.DONE is (await town.ended(await town.ask(ann)))[0].state

        assert [NEW] == await town.images(ann)
        assert [f"of {ANN}", "by the new image"] == town.tasks(row.id)


async def test_who_waits_for_an_answer_is_upgraded_after_it(town: Town) -> None:
    ann, bob = await town.resident(ANN, wrote_h=20), await town.resident(BOB, wrote_h=1)
    async with town.world.daemon():
        busy, _ = await town.all_ready(ann, bob)
        await writes(town.world, ann, "wamid.1")
        town.build()
        asked = await town.ask()
        await eventually(lambda: _is(town, bob, NEW))
        assert busy.container_id == (await town.world.row(ann)).container_id

        await town.world.registry.db.execute("UPDATE inbox SET state = 'answered'")
        ended, _ = await town.ended(asked)
        assert UpgradeState.DONE is ended.state
        assert [NEW, NEW] == await town.images(ann, bob)


async def test_an_agent_at_work_is_not_stopped_whatever_the_registry_knows(town: Town) -> None:
    ann = await town.resident(ANN, wrote_h=20)
    async with town.world.daemon():
        before = await town.world.ready(ann)
        town.world.gateways.at_work = "a turn"
        town.build()
        asked = await town.ask()
        await eventually(lambda: town.world.gateways.suspensions >= 5)
        assert before.container_id == (await town.world.row(ann)).container_id

        town.world.gateways.at_work = ""
        assert UpgradeState.DONE is (await town.ended(asked))[0].state


async def _is(town: Town, user_id, image: str) -> bool:  # type: ignore[no-untyped-def]
    return (await town.world.row(user_id)).image_id == image and await town.world.is_ready(user_id)


async def test_one_that_sleeps_is_started_for_the_gate_and_sleeps_again(town: Town) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon():
        row = await town.world.ready(ann)
        await town.world.registry.sandboxes.want_rest(row.id, Rest.SLEEP)
        await eventually(lambda: _state(town.world, ann, SandboxState.ASLEEP))
        town.build()
        assert UpgradeState.DONE is (await town.ended(await town.ask()))[0].state

        await eventually(lambda: _state(town.world, ann, SandboxState.ASLEEP))
        assert (NEW, "exited") == (town.world.container(row.id).image_id, town.world.container(row.id).status)


async def _state(world: World, user_id, state: SandboxState) -> bool:  # type: ignore[no-untyped-def]
    return (await world.row(user_id)).state is state


async def test_one_that_sleeps_has_its_old_image_after_a_bad_one_whatever_is_built_then(town: Town) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon() as supervisor:
        row = await town.world.ready(ann)
        await town.world.registry.sandboxes.want_rest(row.id, Rest.SLEEP)
        await eventually(lambda: _state(town.world, ann, SandboxState.ASLEEP))
        town.build("broken")
        assert UpgradeState.FAILED is (await town.ended(await town.ask()))[0].state
        await eventually(lambda: _state(town.world, ann, SandboxState.ASLEEP))
        assert [] == town.leftovers()
        town.sweep()
        await supervisor.ensure(ann)

        assert [IMAGE_ID] == await town.images(ann)
        assert [f"of {ANN}"] == town.tasks(row.id)


@pytest.mark.parametrize(
    ("mode", "changes"),
    [*(("good", count) for count in (1, 2, 3, 5, 6, 8, 9)), *(("broken", count) for count in (4, 6, 7, 8, 9, 10, 11))],
)
async def test_a_daemon_killed_at_any_change_of_the_engine_goes_on_or_back(town: Town, mode: str, changes: int) -> None:
    """The change is made and not answered; the next daemon finds whatever there is."""
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon():
        row = await town.world.ready(ann)
        town.build(mode)
        town.world.engine.dies_after = changes
        asked = await town.ask()
        with contextlib.suppress(AssertionError):
            await eventually(lambda: town.world.engine.dies_after < 1, within_s=1.0)  # type: ignore[operator]
    town.world.engine.dies_after = None
    await town.settle()
    async with town.world.daemon():
        ended, _ = await town.ended(asked)
        image = {"good": NEW, "broken": IMAGE_ID}[mode]

        assert (UpgradeState.DONE if mode == "good" else UpgradeState.FAILED) is ended.state
        assert [image] == await town.images(ann)
        expected = [f"of {ANN}"] if mode == "broken" else [f"of {ANN}", "by the new image"]
        assert expected == list(dict.fromkeys(town.tasks(row.id)))
    assert [] == town.leftovers()


@pytest.mark.parametrize("state", IN_HAND)
async def test_a_daemon_killed_in_any_step_leaves_nobody_else_to_touch_the_sandbox(
    town: Town, state: StepState
) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon():
        row = await town.world.ready(ann)
        town.build("broken")
        town.world.engine.slow_s = 0.05
        asked = await town.ask()
        await eventually(lambda: town.is_at(state))
    town.world.engine.slow_s = 0.0
    await town.settle()
    async with town.world.daemon() as supervisor:
        await supervisor.ensure(ann)
        ended, _ = await town.ended(asked)

        assert UpgradeState.FAILED is ended.state
        assert [IMAGE_ID] == await town.images(ann)
        assert [f"of {ANN}"] == town.tasks(row.id)


async def test_an_engine_that_is_away_in_the_middle_is_waited_for(town: Town) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon():
        await town.world.ready(ann)
        town.build()
        asked = await town.ask()
        await eventually(lambda: town.is_at(StepState.TRYING))
        town.world.engine.fail = ("", 503)
        await asyncio.sleep(0.5)
        assert await town.world.registry.upgrades.open() is not None
        town.world.engine.fail = None

        assert UpgradeState.DONE is (await town.ended(asked))[0].state
        assert [NEW] == await town.images(ann)


async def test_data_is_put_back_by_an_engine_that_had_lost_containerd_or_says_no_once(town: Town) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon():
        row = await town.world.ready(ann)
        town.build("hanging")
        asked, engine = await town.ask(), town.world.engine
        await eventually(lambda: town.is_at(StepState.TRYING))
        (copy,) = town.leftovers()
        engine.fail, engine.says = (f"POST /containers/{copy}/start", 500), NO_CONTAINERD
        await eventually(lambda: engine.count(engine.fail[0]) > 6)  # type: ignore[index]
        engine.says, seen = "something else", engine.count(engine.fail[0])
        await eventually(lambda: engine.count(engine.fail[0]) > seen)  # type: ignore[index]
        engine.fail = None
        ended, _ = await town.ended(asked)

        assert "put back" not in ended.reason
        assert [IMAGE_ID] == await town.images(ann)
        assert [f"of {ANN}"] == town.tasks(row.id)
    assert [] == town.leftovers()


async def test_who_is_removed_in_the_middle_is_gone_with_the_copy(town: Town) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon(patience=replace(QUICK, canary_s=1.0)):
        row = await town.world.ready(ann)
        town.build()
        asked = await town.ask()
        await eventually(lambda: town.is_at(StepState.TRYING))
        await town.world.registry.sandboxes.want_removed(row.id)
        await eventually(lambda: town.world.is_gone(ann), within_s=10)
        await town.ended(asked)
    assert ({}, {}) == (town.world.engine.containers, town.world.engine.volumes)


async def test_a_copy_that_cannot_be_made_stops_it_before_anything_has_changed(town: Town, errors: list[str]) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon():
        before = await town.world.ready(ann)
        town.build()
        town.world.engine.fail = ("POST /containers/create", 409)
        asked = await town.ask()
        ended, _ = await town.ended(asked)
        town.world.engine.fail = None

        assert "its data cannot be kept" in ended.reason
        assert before.container_id == (await town.world.ready(ann)).container_id
        assert [f"of {ANN}"] == town.tasks(before.id)
    assert errors


async def test_a_copy_that_is_gone_is_said_and_the_old_image_comes_back(town: Town, errors: list[str]) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon():
        row = await town.world.ready(ann)
        town.build("hanging")
        asked = await town.ask()
        await eventually(lambda: town.is_at(StepState.TRYING))
        (name,) = town.leftovers()
        del town.world.engine.containers[name]
        ended, _ = await town.ended(asked)

        assert "could not be put back" in ended.reason
        assert [IMAGE_ID] == await town.images(ann)
        assert f"of {ANN}" in town.tasks(row.id)
    assert [line for line in errors if "cannot be put back" in line]


async def test_a_no_of_the_engine_that_lasts_does_not_keep_a_sandbox_in_hand(town: Town, errors: list[str]) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon():
        row = await town.world.ready(ann)
        town.build("hanging")
        asked = await town.ask()
        await eventually(lambda: (row.id, NEW) in town.starts)
        town.world.engine.fail = ("DELETE /containers/", 409)  # the new container cannot be removed
        ended, _ = await town.ended(asked)
        town.world.engine.fail = None

        assert "told to fail" in ended.reason
        assert await town.world.ready(ann)
    assert [line for line in errors if "a sandbox stays" in line]
    assert f"of {ANN}" in town.tasks(row.id)


async def test_one_whose_old_container_cannot_be_removed_goes_on_with_it(town: Town) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon():
        before = await town.world.ready(ann)
        town.build()
        town.world.engine.fail = (f"DELETE /containers/{before.container_id}", 409)
        ended, _ = await town.ended(await town.ask())
        town.world.engine.fail = None

        assert "told to fail" in ended.reason
        assert before.container_id == (await town.world.ready(ann)).container_id
        assert [f"of {ANN}"] == town.tasks(before.id)
    assert [] == town.leftovers()


async def test_a_copy_that_the_engine_keeps_does_not_keep_an_upgrade_from_its_end(town: Town) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon():
        row = await town.world.ready(ann)
        town.build()
        asked = await town.ask()
        await eventually(lambda: town.is_at(StepState.TRYING))
        (name,) = town.leftovers()
        town.world.engine.fail = (f"DELETE /containers/{town.world.engine.containers[name].id}", 500)
        ended, steps = await town.ended(asked)
        town.world.engine.fail = None

        assert UpgradeState.DONE is ended.state
        assert [StepState.DONE] == [step.state for step in steps]
        assert f"of {ANN}" in town.tasks(row.id)


async def test_a_copy_that_was_put_back_goes_though_the_engine_and_the_daemon_are_away_in_between(town: Town) -> None:
    ann = await town.resident(ANN, wrote_h=1)
    async with town.world.daemon():
        row = await town.world.ready(ann)
        town.build("hanging")
        asked, engine = await town.ask(), town.world.engine
        await eventually(lambda: town.is_at(StepState.TRYING))
        (name,) = town.leftovers()
        engine.fail = (f"DELETE /containers/{engine.containers[name].id}", 503)
        await eventually(lambda: engine.count(engine.fail[0]) > 1)  # type: ignore[index]
    engine.fail = None
    async with town.world.daemon():
        ended, _ = await town.ended(asked)

        assert "put back" not in ended.reason
        assert [IMAGE_ID] == await town.images(ann)
        assert [f"of {ANN}"] == town.tasks(row.id)
    assert [] == town.leftovers()


async def test_a_first_one_that_falls_ill_afterwards_stops_the_rest(town: Town, errors: list[str]) -> None:
    ann, bob = await town.resident(ANN, wrote_h=20), await town.resident(BOB, wrote_h=1)
    async with town.world.daemon():
        first, second = await town.all_ready(ann, bob)
        await writes(town.world, bob, "wamid.1")  # he waits
        town.build()
        asked = await town.ask()
        await eventually(lambda: _is(town, ann, NEW))
        town.mode = "broken"
        await town.world.engine.die(town.world.container(first.id).name, 1)
        ended, _ = await town.ended(asked)

        assert f"{first.id} was upgraded and is" in ended.reason
        assert second.container_id == (await town.world.row(bob)).container_id


async def test_without_the_image_it_fails_and_says_so(town: Town) -> None:
    async with town.world.daemon():
        await town.world.ready(await town.resident(ANN, wrote_h=1))
        town.world.engine.untagged.add(town.world.engine.images.pop(town.world.image))
        ended, steps = await town.ended(await town.ask())

        assert "clawkakad image build" in ended.reason
        assert [] == steps


async def test_with_nothing_to_do_it_is_done_at_once(town: Town) -> None:
    async with town.world.daemon():
        before = await town.world.ready(await town.resident(ANN, wrote_h=1))
        ended, steps = await town.ended(await town.ask())

        assert (UpgradeState.DONE, []) == (ended.state, steps)
        assert before.container_id == (await town.world.row(before.user_id)).container_id


def test_every_state_of_a_step_has_its_moves() -> None:
    assert set(StepState) == set(MOVES)
    ends = {state for state in StepState if not MOVES[state]}
    assert {StepState.DONE, StepState.FAILED, StepState.SKIPPED} == ends
    assert all(set(MOVES[state]) - ends or state is StepState.RETURNING or MOVES[state] for state in IN_HAND)
