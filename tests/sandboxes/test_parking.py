"""A sandbox that cannot be helped is parked, said once to whom it concerns, and tried again when there is reason to."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from loguru import logger

from clawkakad.model import InboxState, SandboxState, UserId, Wamid
from clawkakad.registry import inbox, times
from clawkakad.registry.inbox import NewInbound
from clawkakad.sandboxes.policy import Limits
from clawkakad.sandboxes.profile import container_name
from tests.fakes.engine import FakeContainer
from tests.sandboxes.test_engine import NO_CONTAINERD
from tests.sandboxes.world import FAST, OOM_AT_ONCE_S, PARKED, World, open_world
from tests.support import eventually

HASTY = replace(FAST, limits=Limits(first_delay_s=0.01, last_delay_s=0.02))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        yield opened


@pytest.fixture
def errors() -> list[str]:
    """What the operator was told at ERROR."""
    said: list[str] = []
    handler = logger.add(lambda message: said.append(str(message)), level="ERROR", format="{message} {extra}")
    yield said  # type: ignore[misc]
    logger.remove(handler)


def ends_with(world: World, code: int, *words: str):  # type: ignore[no-untyped-def]
    async def die(container: FakeContainer) -> None:
        container.log = ["\x1b[31mbooting", "x" * 5000, "no such model", "call 4915123456789", *words]
        await world.engine.die(container.name, code)

    return die


def refuses(world: World):  # type: ignore[no-untyped-def]
    return ends_with(
        world, 78, "Invalid config at /etc/clawkaka/openclaw.json:", '<root>: Unrecognized key: "nonsense"'
    )


async def writes(world: World, user_id: UserId, wamid: str) -> None:
    now = datetime.now(UTC)
    message = NewInbound(
        wamid=Wamid(wamid),
        user_id=user_id,
        kind="text",
        text="hello",
        raw="{}",
        reply_to=None,
        forwarded=False,
        sent_at=now,
        state=InboxState.RECEIVED,
    )
    await world.registry.db.write(lambda tx: inbox.add(tx, message, now))


async def is_parked(world: World, user_id: UserId) -> bool:
    return (await world.row(user_id)).state is SandboxState.PARKED


async def told(world: World, user_id: UserId) -> list[str]:
    rows = await world.registry.db.all("SELECT text FROM outbox WHERE user_id = :id", {"id": user_id})
    return [row["text"] for row in rows]


async def parked(world: World, user_id: UserId) -> None:
    await eventually(lambda: is_parked(world, user_id))


async def test_after_five_restarts_it_is_parked_stopped_and_said_once_to_both(world: World, errors: list[str]) -> None:
    ann = await world.person()
    await writes(world, ann, "wamid.1")
    world.engine.on_start = ends_with(world, 1)
    async with world.daemon(timing=HASTY) as supervisor:
        await supervisor.ensure(ann)
        await parked(world, ann)
        assert 6 == world.engine.count("/start")
        await eventually(lambda: told(world, ann))
        for _ in range(3):
            await supervisor.ensure(ann)
        seen = world.engine.count("GET /containers/json")
        await eventually(lambda: world.engine.count("GET /containers/json") > seen + 3)

        assert 6 == world.engine.count("/start")
        assert [PARKED] == await told(world, ann)
        (error,) = errors
        assert "no such model" in error
        assert "\x1b" not in error
        assert not re.search(r"4915123456789|x{300}", error)
        assert "restarts" in (await world.row(ann)).reason


async def test_nobody_is_told_of_what_they_did_not_notice_until_they_write(world: World) -> None:
    ann = await world.person()
    world.engine.on_start = ends_with(world, 1)
    async with world.daemon(timing=HASTY) as supervisor:
        await supervisor.ensure(ann)
        await parked(world, ann)
        assert [] == await told(world, ann)
        await writes(world, ann, "wamid.1")
        await supervisor.ensure(ann)

        await eventually(lambda: told(world, ann))


async def test_an_engine_that_has_lost_containerd_parks_nobody_and_that_is_said_once(world: World) -> None:
    ann, said = await world.person(), list[str]()
    handler = logger.add(lambda message: said.append(str(message)), level="WARNING", format="{message} {extra}")
    async with world.daemon(timing=HASTY) as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        world.engine.fail, world.engine.says = ("/start", 500), NO_CONTAINERD
        await world.engine.die(container_name(row.id), 137)
        await eventually(lambda: world.engine.count("/start") > 10)
        world.engine.fail = None

        await world.ready(ann)
    logger.remove(handler)
    assert 1 == len([line for line in said if "containerd.sock" in line])


async def test_a_gateway_that_ends_every_connection_is_started_again_and_in_the_end_parked(world: World) -> None:
    ann = await world.person()
    async with world.daemon(timing=HASTY) as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        world.gateways.hangs_up = True
        await world.gateways.close(world.container(row.id))
        await world.gateways.open(world.container(row.id))
        await parked(world, ann)

        assert 6 == world.engine.count("/start")
        assert "restarts" in (await world.row(ann)).reason


async def test_a_gateway_that_ends_a_few_connections_is_not_started_again(world: World) -> None:
    ann = await world.person()
    async with world.daemon(timing=HASTY) as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        for _ in range(HASTY.limits.hang_ups - 1):
            before = world.pool.get(row.id)
            await world.gateways.close(world.container(row.id))
            await world.gateways.open(world.container(row.id))
            await eventually(lambda before=before: world.pool.get(row.id) not in (None, before))  # type: ignore[misc]

        assert 1 == world.engine.count("/start")


async def test_a_refused_configuration_is_parked_at_once(world: World) -> None:
    ann = await world.person()
    world.engine.on_start = refuses(world)
    async with world.daemon(timing=HASTY) as supervisor:
        await supervisor.ensure(ann)
        await parked(world, ann)

        assert 1 == world.engine.count("/start")
        assert "configuration" in (await world.row(ann)).reason


async def test_what_ends_with_the_code_of_a_refusal_for_another_reason_is_started_again(world: World) -> None:
    ann, starts = await world.person(), 0

    async def loses_its_lease_twice(container: FakeContainer) -> None:
        nonlocal starts
        starts += 1
        if starts > 2:
            return await world.gateways.open(container)
        container.log = ["agent database maintenance lease was lost"]
        await world.engine.die(container.name, 78)

    world.engine.on_start = loses_its_lease_twice
    async with world.daemon(timing=HASTY) as supervisor:
        await supervisor.ensure(ann)
        await world.ready(ann)

        assert 3 == starts


async def test_a_refusal_of_an_earlier_start_parks_nobody(world: World) -> None:
    ann = await world.person()
    world.engine.on_start = refuses(world)
    async with world.daemon(timing=HASTY) as supervisor:
        await supervisor.ensure(ann)
        await parked(world, ann)
        (container,) = world.engine.containers.values()
        container.started_at = "2026-01-01T00:00:00Z"  # the next start is in another second
        world.engine.on_start = ends_with(world, 78)
        await world.registry.sandboxes.want_retry((await world.row(ann)).id)
        await eventually(lambda: _parked_for(world, ann, "restarts"))

        assert 7 == world.engine.count("/start")
        assert any("Unrecognized key" in line for line in container.old_log)


async def _parked_for(world: World, user_id: UserId, word: str) -> bool:
    row = await world.row(user_id)
    return row.state is SandboxState.PARKED and word in row.reason


async def test_parked_stays_parked_over_a_restart_of_the_daemon(world: World, errors: list[str]) -> None:
    ann = await world.person()
    await writes(world, ann, "wamid.1")
    world.engine.on_start = refuses(world)
    for _ in range(2):
        async with world.daemon(timing=HASTY) as supervisor:
            await supervisor.ensure(ann)
            await parked(world, ann)
            await eventually(lambda: told(world, ann))

    assert 1 == world.engine.count("/start")
    assert [PARKED] == await told(world, ann)
    assert 1 == len(errors)


@pytest.mark.parametrize("why", ["operator", "profile", "image", "person"])
async def test_it_is_tried_again_when_there_is_reason_to(world: World, why: str) -> None:
    ann = await world.person()
    world.engine.on_start = refuses(world)
    async with world.daemon(timing=HASTY) as supervisor:
        await supervisor.ensure(ann)
        await parked(world, ann)
    world.engine.on_start = world.gateways.open
    if why == "profile":
        world.memory_mb = 2048
    async with world.daemon(timing=HASTY):
        if why == "operator":
            await world.registry.sandboxes.want_retry((await world.row(ann)).id)
        if why == "image":
            world.engine.images[world.image] = "sha256:" + "2" * 64
        if why == "person":
            since = datetime.now(UTC) - timedelta(minutes=61)
            with closing(sqlite3.connect(world.state / "registry.sqlite")) as db, db:
                db.execute("UPDATE sandboxes SET parked_at = ?", (times.to_text(since),))
        row = await world.ready(ann)

        assert row.parked_at is None
        assert not row.retry_wanted


async def test_who_is_parked_again_is_told_again(world: World) -> None:
    ann = await world.person()
    await writes(world, ann, "wamid.1")
    world.engine.on_start = refuses(world)
    async with world.daemon(timing=HASTY) as supervisor:
        await supervisor.ensure(ann)
        await eventually(lambda: told(world, ann))
        await world.registry.sandboxes.want_retry((await world.row(ann)).id)

        await eventually(lambda: _twice(world, ann))


async def _twice(world: World, user_id: UserId) -> bool:
    return await told(world, user_id) == [PARKED, PARKED]


# Memory


async def test_memory_that_ran_out_is_counted_and_said_when_it_happens_twice(world: World, errors: list[str]) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        for _ in range(3):  # of one moment
            world.engine.out_of_memory(container_name(row.id))
        await eventually(lambda: _ooms(world, ann, 1))
        assert [] == errors
        await asyncio.sleep(OOM_AT_ONCE_S)
        world.engine.out_of_memory(container_name(row.id))
        await eventually(lambda: _ooms(world, ann, 2))

        assert ["twice within an hour" in error for error in errors] == [True]
        assert await world.is_ready(ann)  # only a child of it died


async def _ooms(world: World, user_id: UserId, count: int) -> bool:
    return (await world.row(user_id)).ooms == count


async def test_an_end_with_137_is_not_taken_for_want_of_memory(world: World) -> None:
    ann = await world.person()
    async with world.daemon() as supervisor:
        await supervisor.ensure(ann)
        row = await world.ready(ann)
        await world.engine.die(container_name(row.id), 137)
        await eventually(lambda: world.engine.count("/start") == 2)

        assert 0 == (await world.ready(ann)).ooms
