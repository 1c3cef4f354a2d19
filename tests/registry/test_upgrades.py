"""Upgrades in the registry: one at a time, a step and its pin together, and none that goes on after a restore."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clawkakad.model import SandboxId, StepState, UpgradeState, UserId
from clawkakad.registry import Registry, open_registry, restoring
from clawkakad.registry.upgrades import Step

NOW = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.fixture
async def sandbox(registry: Registry, robin: UserId) -> SandboxId:
    """One that was ready with the image "old"."""
    row = await registry.sandboxes.ensure(robin)
    await registry.sandboxes.set_container(row.id, container_id="c", image_id="old", config_hash="h")
    await registry.sandboxes.pin(row.id)
    return row.id


async def _tried(registry: Registry, sandbox: SandboxId) -> Step:
    upgrade, _ = await registry.upgrades.ask(None)
    await registry.upgrades.begin(upgrade.id, "new", [(sandbox, "old")])
    (step,) = await registry.upgrades.steps(upgrade.id)
    await registry.upgrades.take(step, awake=True)
    await registry.upgrades.try_new(step, "new")
    (step,) = await registry.upgrades.steps(upgrade.id)
    return step


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as there, closing(sqlite3.connect(target)) as here:
        there.backup(here)


async def test_the_first_image_with_which_it_was_ready_stays_its_own(registry: Registry, sandbox: SandboxId) -> None:
    await registry.sandboxes.set_container(sandbox, container_id="d", image_id="other", config_hash="h")
    await registry.sandboxes.pin(sandbox)

    assert "old" == await registry.sandboxes.pinned(sandbox)


async def test_there_is_one_at_a_time(registry: Registry) -> None:
    first, is_new = await registry.upgrades.ask(None)
    second, is_second_new = await registry.upgrades.ask(SandboxId("s"))

    assert (True, False, first) == (is_new, is_second_new, second)
    await registry.upgrades.finish(first.id, UpgradeState.FAILED, "no image")
    third, _ = await registry.upgrades.ask(None)
    assert third.id != first.id


async def test_who_is_tried_is_in_hand_and_pinned_to_the_new_image(registry: Registry, sandbox: SandboxId) -> None:
    step = await _tried(registry, sandbox)

    assert (StepState.TRYING, True, "old") == (step.state, step.awake, step.before)
    assert {sandbox} == await registry.upgrades.in_hand()
    assert "new" == await registry.sandboxes.pinned(sandbox)


async def test_who_is_given_up_has_its_old_image_and_the_rest_is_left_out(
    registry: Registry, sandbox: SandboxId
) -> None:
    step = await _tried(registry, sandbox)
    await registry.upgrades.give_up(step, "it hangs")
    ended = await registry.upgrades.get(step.upgrade_id)

    assert "old" == await registry.sandboxes.pinned(sandbox)
    assert ended is not None
    assert (UpgradeState.FAILED, f"{sandbox}: it hangs") == (ended.state, ended.reason)
    assert set() == await registry.upgrades.in_hand()


async def test_nothing_of_it_goes_on_after_a_restore(registry: Registry, sandbox: SandboxId, tmp_path: Path) -> None:
    await _tried(registry, sandbox)
    path = tmp_path / "copy.sqlite"
    _copy(tmp_path / "registry.sqlite", path)
    restoring.settle(path, "2026-11-28T00:00", NOW)
    async with open_registry(path, lambda: NOW) as restored:
        assert await restored.upgrades.open() is None
        assert set() == await restored.upgrades.in_hand()


async def test_who_is_restored_alone_is_not_put_back_once_more(
    registry: Registry, sandbox: SandboxId, robin: UserId, tmp_path: Path
) -> None:
    path = tmp_path / "copy.sqlite"
    _copy(tmp_path / "registry.sqlite", path)
    await _tried(registry, sandbox)
    restoring.add_user(tmp_path / "registry.sqlite", path, robin)

    assert set() == await registry.upgrades.in_hand()
    (step,) = await registry.upgrades.steps(1)
    assert (StepState.SKIPPED, "restored") == (step.state, step.reason)
