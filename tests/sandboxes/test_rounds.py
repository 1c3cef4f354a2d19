"""What goes wrong in one round of the supervisor ends neither the daemon nor the care of others."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator

import pytest

from clawkakad.model import SandboxId, UserId
from clawkakad.registry import times
from clawkakad.sandboxes import paths
from tests.sandboxes.world import World, open_world
from tests.support import eventually


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        yield opened


async def test_directories_that_cannot_be_removed_end_neither_the_daemon_nor_other_removals(world: World) -> None:
    ann, bob = await world.person("4915100000001"), await world.person("4915100000002")
    async with world.daemon() as supervisor:
        for who in (ann, bob):
            await supervisor.ensure(who)
        row = await world.ready(ann)
        await world.ready(bob)
        where = paths.paths_of(world.runtime, row.id).root
        where.rename(world.runtime / "elsewhere")
        where.write_text("no directory: rmtree raises an OSError, for root too")
        await world.want_removed(ann)
        await world.removed(bob)

        assert (await world.row(ann)).remove_wanted
    where.unlink()
    async with world.daemon():
        await eventually(lambda: world.is_gone(ann))


async def test_a_mistake_in_a_removal_ends_neither_the_daemon_nor_other_removals(world: World) -> None:
    class Mistaken:
        asked = 0

        async def key(self, sandbox_id: SandboxId) -> str | None:
            return None

        async def forget(self, sandbox_id: SandboxId, key_hash: str | None) -> None:
            self.asked += 1
            if self.asked == 1:
                raise ValueError("nobody thought of this")

    world.keys = Mistaken()
    ann, bob = await world.person("4915100000001"), await world.person("4915100000002")
    async with world.daemon() as supervisor:
        for who in (ann, bob):
            await supervisor.ensure(who)
            await world.ready(who)
        for who in (ann, bob):
            await world.want_removed(who)
        await eventually(lambda: _one_is_gone(world, ann, bob))


async def _one_is_gone(world: World, *who: UserId) -> bool:
    return any([await world.is_gone(user_id) for user_id in who])


async def test_a_row_that_cannot_be_read_ends_no_loop(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        _sql(world, "UPDATE sandboxes SET created_at = 'nonsense'")
        await world.engine.down()
        await world.engine.up()  # the follower of events comes back, and looks at everything
        await eventually(lambda: world.engine.count("/events") >= 2)
        seen = world.engine.count("GET /containers/json")
        await eventually(lambda: world.engine.count("GET /containers/json") >= seen + 3)
        _sql(world, f"UPDATE sandboxes SET created_at = '{times.to_text(row.created_at)}'")

        await world.removed(ann)


async def test_a_registry_that_cannot_be_read_at_the_start_is_waited_for(world: World) -> None:
    ann = await world.person()
    await world.registry.sandboxes.ensure(ann)
    _sql(world, "ALTER TABLE sandboxes RENAME TO elsewhere")
    async with world.daemon():
        await asyncio.sleep(0.3)
        _sql(world, "ALTER TABLE elsewhere RENAME TO sandboxes")

        await world.ready(ann)


async def test_a_registry_that_is_away_for_a_while_ends_no_loop(world: World) -> None:
    ann, bob = await world.person("4915100000001"), await world.person("4915100000002")
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        await world.ready(ann)
        _sql(world, "ALTER TABLE sandboxes RENAME TO elsewhere")
        await world.engine.down()
        await world.engine.up()
        await eventually(lambda: world.engine.count("/events") >= 2)
        seen = world.engine.count("GET /containers/json")
        await eventually(lambda: world.engine.count("GET /containers/json") >= seen + 2)
        _sql(world, "ALTER TABLE elsewhere RENAME TO sandboxes")
        await world.registry.sandboxes.ensure(bob)

        await world.ready(bob)
        await world.removed(ann)


def _sql(world: World, statement: str) -> None:
    """Behind the daemon's back."""
    with contextlib.closing(sqlite3.connect(world.state / "registry.sqlite")) as connection, connection:
        connection.execute(statement)
