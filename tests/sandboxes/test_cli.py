"""`clawkakad sandbox`: beside a running daemon, and without one."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner, Result

from clawkakad.cli.sandbox import app
from clawkakad.errors import UsageError
from clawkakad.model import SandboxState
from clawkakad.registry import DiskRow, locked
from clawkakad.sandboxes.profile import MIB, container_name
from clawkakad.sandboxes.secrets import INSTANCE_FILE
from tests.fakes.engine import IMAGE_ID
from tests.sandboxes.world import INSTANCE, World, kept, open_world

NUMBER = "4915123456789"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        (opened.state / INSTANCE_FILE).write_text(INSTANCE)
        yield opened


async def _clawkakad(world: World, *words: str, typed: str = "") -> Result:
    """One command, in a thread: it has an event loop of its own, and the engine needs this one."""
    places = {
        "CLAWKAKA_STATE_DIR": str(world.state),
        "CLAWKAKA_RUNTIME_DIR": str(world.runtime),
        "DOCKER_HOST": world.engine.address,
        "COLUMNS": "200",
    }
    return await asyncio.to_thread(CliRunner().invoke, app, list(words), input=typed, env=places)


async def test_the_list_shows_whose_in_which_state_and_what_the_engine_says(world: World) -> None:
    ann = await world.person(NUMBER)
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        result = await _clawkakad(world, "list")

        assert 0 == result.exit_code, result.output
        assert all(word in result.output for word in (row.id, ann, "Asha", "ready", "running"))
        assert NUMBER not in result.output


async def test_the_list_works_while_the_engine_is_away(world: World) -> None:
    row = await world.registry.sandboxes.ensure(await world.person())
    await world.engine.down()
    result = await _clawkakad(world, "list")

    assert 0 == result.exit_code, result.output
    assert row.id in result.output
    assert "did not answer" in result.output


@pytest.mark.parametrize("who", ["+49 151 23456789", "asha"])
async def test_logs_are_those_of_the_person_in_any_form(world: World, who: str) -> None:
    ann = await world.person(NUMBER)
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        world.container(row.id).log = ["one", "two", "three"]
        result = await _clawkakad(world, "logs", who, "--tail", "2")

        assert "two\nthree\n" == result.output


async def test_logs_of_somebody_without_a_container_are_a_usage_error(world: World) -> None:
    await world.registry.sandboxes.ensure(await world.person(NUMBER))
    result = await _clawkakad(world, "logs", NUMBER)

    assert isinstance(result.exception, UsageError)
    assert "no container" in str(result.exception)


async def test_removing_beside_a_running_daemon_is_left_to_the_daemon(world: World) -> None:
    ann = await world.person(NUMBER)
    with locked(world.state):
        async with world.daemon() as supervisor:
            await supervisor.ensure(ann)
            await world.ready(ann)
            result = await _clawkakad(world, "rm", NUMBER, "--yes")

            assert 0 == result.exit_code, result.exception
            assert "is gone" in result.output
            assert set() == kept()
    assert ({}, {}) == (world.engine.containers, world.engine.volumes)


async def test_removing_without_a_daemon_is_done_at_once(world: World) -> None:
    ann = await world.person(NUMBER)
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        await world.ready(ann)
    result = await _clawkakad(world, "rm", ann, "--yes")

    assert 0 == result.exit_code, result.exception
    assert ({}, {}) == (world.engine.containers, world.engine.volumes)
    assert await world.registry.sandboxes.of_user(ann) is None
    assert [] == list(world.runtime.iterdir())


async def test_without_a_yes_nothing_is_removed(world: World) -> None:
    ann = await world.person(NUMBER)
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        result = await _clawkakad(world, "rm", NUMBER, typed="n\n")

        assert isinstance(result.exception, UsageError)
        assert container_name(row.id) in world.engine.containers


async def test_a_key_that_nobody_here_can_delete_is_not_forgotten(world: World) -> None:
    ann = await world.person(NUMBER)
    row = await world.registry.sandboxes.ensure(ann)
    await world.registry.sandboxes.set_key_hash(row.id, "hash1")
    result = await _clawkakad(world, "rm", NUMBER, "--yes")

    assert isinstance(result.exception, UsageError)
    assert "OPENROUTER_PROVISIONING_KEY" in str(result.exception)
    assert await world.registry.sandboxes.of_user(ann) is not None


async def test_a_parked_sandbox_is_tried_again_on_request(world: World) -> None:
    ann = await world.person(NUMBER)
    row = await world.registry.sandboxes.ensure(ann)
    await world.registry.sandboxes.set_state(row.id, SandboxState.UNHEALTHY, "it died")
    await world.registry.sandboxes.park(row.id, "it dies all the time", "this profile and that image")
    world.engine.images.clear()
    async with world.daemon():
        listed = await _clawkakad(world, "list")
        assert "it dies all the time" in listed.output
        assert "parked" in listed.output
        world.engine.images[world.image] = IMAGE_ID
        result = await _clawkakad(world, "retry", NUMBER)

        assert 0 == result.exit_code, result.output
        await world.ready(ann)


async def test_the_list_tells_that_memory_ran_out(world: World) -> None:
    row = await world.registry.sandboxes.ensure(await world.person(NUMBER))
    await world.registry.sandboxes.count_oom(row.id)
    result = await _clawkakad(world, "list")

    assert "out of memory 1 time, last" in " ".join(result.output.split())


async def test_the_list_masks_numbers_and_keys_in_a_reason(world: World) -> None:
    row = await world.registry.sandboxes.ensure(await world.person(NUMBER))
    await world.registry.sandboxes.park(row.id, f"it wrote to {NUMBER} with sk-or-v1-0123456789", "")
    result = await _clawkakad(world, "list")

    assert "it wrote to 49…89 with [secret]" in " ".join(result.output.split())


async def test_the_list_tells_how_full_a_disk_is(world: World) -> None:
    row = await world.registry.sandboxes.ensure(await world.person(NUMBER))
    assert "MB" not in (await _clawkakad(world, "list")).output
    await world.registry.disks.put(row.id, DiskRow(130 * MIB, 10, "", 200 * MIB, datetime.now(UTC)))
    result = await _clawkakad(world, "list")

    assert "130 MB of 200 MB" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("state", "word", "said"),
    [
        (SandboxState.ASLEEP, "doze", "sleeps already"),
        (SandboxState.ASLEEP, "sleep", "sleeps already"),
        (SandboxState.ASLEEP, "wake", "is to wake"),
        (SandboxState.DOZING, "doze", "dozes already"),
        (SandboxState.DOZING, "sleep", "is to sleep"),
        (SandboxState.PARKED, "wake", "is parked, and clawkakad sandbox retry tries it again"),
        (SandboxState.READY, "doze", "is to doze"),
        (SandboxState.READY, "wake", "is awake already"),
        (SandboxState.READY, "retry", "is ready: there is nothing to try again"),
        (SandboxState.UNHEALTHY, "retry", "is tried again"),
    ],
)
async def test_what_is_so_already_is_said(world: World, state: SandboxState, word: str, said: str) -> None:
    row = await world.registry.sandboxes.ensure(await world.person(NUMBER))
    if state is SandboxState.PARKED:
        await world.registry.sandboxes.park(row.id, "", "")
    else:
        await world.registry.sandboxes.set_state(row.id, state, "")
    with locked(world.state):
        result = await _clawkakad(world, word, NUMBER)

    assert 0 == result.exit_code, result.exception
    assert f"the sandbox of Asha {said}: clawkakad sandbox list\n" == result.output


@pytest.mark.parametrize(
    ("word", "said"), [("retry", "is tried again"), ("doze", "is to doze"), ("wake", "is to wake")]
)
async def test_where_no_daemon_runs_it_is_said_when_a_wish_comes_true(world: World, word: str, said: str) -> None:
    row = await world.registry.sandboxes.ensure(await world.person(NUMBER))
    await world.registry.sandboxes.set_state(row.id, SandboxState.READY, "")
    result = await _clawkakad(world, word, NUMBER)

    assert 0 == result.exit_code, result.exception
    assert f"Asha {said} when the daemon starts: none runs now: clawkakad sandbox list\n" in result.output
