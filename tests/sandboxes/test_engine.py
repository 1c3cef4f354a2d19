"""The engine driver against a small engine on a real socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clawkakad.errors import EngineCrippled, EngineUnavailable, ImageMissing, Rejected, UsageError
from clawkakad.model import SandboxId
from clawkakad.sandboxes.engine import Engine, Event, MemoryUse, open_engine
from tests.fakes.engine import IMAGE_ID, FakeEngine, fake_engine
from tests.support import short_directory

LABELS = {"clawkaka.instance": "inst", "clawkaka.sandbox": "s00000000aa", "clawkaka.config": "c0ffee"}
BODY: dict[str, Any] = {"Image": "clawkaka-sandbox:latest", "Labels": LABELS, "HostConfig": {"Mounts": []}}


@pytest.fixture
async def fake() -> AsyncIterator[FakeEngine]:
    with short_directory() as directory:
        async with fake_engine(directory) as running:
            yield running


@pytest.fixture
async def engine(fake: FakeEngine) -> AsyncIterator[Engine]:
    async with open_engine(fake.address) as driver:
        yield driver


async def test_a_container_is_made_started_stopped_and_removed(engine: Engine) -> None:
    container_id = await engine.create("one", BODY)
    created = await engine.inspect("one")
    await engine.start(container_id)
    running = await engine.inspect("one")
    await engine.stop(container_id, grace_s=1)
    stopped = await engine.inspect("one")
    await engine.remove(container_id)

    assert created is not None
    assert (container_id, IMAGE_ID, "created", None) == (
        created.id,
        created.image_id,
        created.status,
        created.started_at,
    )
    assert ("inst", "s00000000aa", "c0ffee") == (created.instance, created.sandbox_id, created.config_hash)
    assert running is not None
    assert running.running
    assert running.started_at is not None
    assert stopped is not None
    assert not stopped.running
    assert await engine.inspect("one") is None


async def test_starting_twice_and_stopping_and_removing_what_is_gone_are_fine(engine: Engine) -> None:
    container_id = await engine.create("one", BODY)
    await engine.start(container_id)
    await engine.start(container_id)
    await engine.remove(container_id)
    await engine.remove(container_id)
    await engine.stop(container_id, grace_s=1)
    await engine.remove_volume("no-such-volume")


async def test_a_missing_image_is_told_apart(engine: Engine) -> None:
    with pytest.raises(ImageMissing, match="clawkakad image build"):
        await engine.create("one", {**BODY, "Image": "other:1"})
    assert await engine.image_id("other:1") is None
    assert IMAGE_ID == await engine.image_id("clawkaka-sandbox:latest")


async def test_a_name_that_is_taken_is_a_no(engine: Engine) -> None:
    await engine.create("one", BODY)
    with pytest.raises(Rejected, match="already in use"):
        await engine.create("one", BODY)


async def test_only_ours_are_listed(engine: Engine) -> None:
    await engine.create("one", BODY)
    await engine.create("two", {**BODY, "Labels": {"clawkaka.instance": "other"}})

    assert ["one"] == [container.name for container in await engine.ours("inst")]


async def test_a_commands_output_is_bounded(engine: Engine, fake: FakeEngine) -> None:
    fake.command = lambda command: (3, " ".join(command).encode() + b" " + b"x" * 100)
    container_id = await engine.create("one", BODY)
    await engine.start(container_id)
    ran = await engine.run("one", ["pa", "pulse"], deadline_s=5, limit=12)

    assert (3, "pa pulse xxx") == (ran.exit_code, ran.output)
    await engine.stop(container_id, grace_s=1)
    with pytest.raises(Rejected, match="not running"):
        await engine.run("one", ["pa"], deadline_s=5, limit=12)


async def test_a_container_is_frozen_and_goes_on_and_tells_what_is_not_on_the_disk_yet(
    engine: Engine, fake: FakeEngine
) -> None:
    container_id = await engine.create("one", BODY)
    with pytest.raises(Rejected, match="not running"):
        await engine.pause(container_id)
    await engine.start(container_id)
    fake.unwritten["one"] = 4096
    await engine.pause(container_id)
    paused = await engine.inspect("one")
    await engine.unpause(container_id)
    running = await engine.inspect("one")

    assert paused is not None
    assert running is not None
    assert ("paused", False, "running") == (paused.status, paused.running, running.status)
    assert 4096 == await engine.unwritten(container_id)
    assert {container_id} == await engine.ids()
    assert fake.root_dir == await engine.root_dir()


async def test_logs_have_a_tail_and_those_of_nobody_are_none(engine: Engine, fake: FakeEngine) -> None:
    await engine.create("one", BODY)
    fake.containers["one"].log = ["a", "b", "c"]

    assert ["b", "c"] == await engine.logs("one", tail=2)
    assert await engine.logs("two", tail=2) is None


async def test_logs_of_the_last_start_are_not_those_of_the_ones_before(engine: Engine, fake: FakeEngine) -> None:
    container_id = await engine.create("one", BODY)
    fake.containers["one"].log = ["a", "b"]
    await engine.start(container_id)
    fake.containers["one"].log = ["c"]
    found = await engine.inspect("one")

    assert found is not None
    assert ["c"] == await engine.logs("one", tail=5, since=found.started_at)
    assert ["a", "b", "c"] == await engine.logs("one", tail=5)


async def test_volumes_keep_their_first_labels(engine: Engine) -> None:
    await engine.create_volume({"Name": "v", "Labels": {"a": "1"}})
    await engine.create_volume({"Name": "v", "Labels": {"a": "2"}})

    assert {"a": "1"} == await engine.volume_labels("v")
    await engine.remove_volume("v")
    assert await engine.volume_labels("v") is None


async def test_a_whole_installation_goes_and_nothing_else(engine: Engine, fake: FakeEngine) -> None:
    other = {"clawkaka.instance": "other"}
    await engine.create("one", BODY)
    await engine.start("one")
    await engine.create("two", {**BODY, "Labels": other})
    await engine.create_volume({"Name": "one-data", "Labels": LABELS})
    await engine.create_volume({"Name": "two-data", "Labels": other})

    assert 2 == await engine.remove_instance("inst")
    assert 0 == await engine.remove_instance("inst")
    assert (["two"], ["two-data"]) == (list(fake.containers), list(fake.volumes))
    await engine.remove_image("clawkaka-sandbox:latest")
    await engine.remove_image("clawkaka-sandbox:latest")
    assert {} == fake.images


async def test_events_of_ours_are_told_after_the_subscription(engine: Engine, fake: FakeEngine) -> None:
    async with contextlib.aclosing(engine.events("inst")) as events:
        assert await anext(events) is None
        await engine.create("two", {**BODY, "Labels": {"clawkaka.instance": "other"}})
        await engine.start("two")
        await engine.create("one", BODY)
        await engine.start("one")

        assert Event(SandboxId("s00000000aa"), "start") == await asyncio.wait_for(anext(events), 5)
        await fake.down()
        with pytest.raises(EngineUnavailable):
            await asyncio.wait_for(anext(events), 5)


async def test_an_engine_that_is_away_is_unavailable_and_comes_back(engine: Engine, fake: FakeEngine) -> None:
    await engine.create("one", BODY)
    await fake.down()
    with pytest.raises(EngineUnavailable):
        await engine.inspect("one")
    await fake.up()

    assert await engine.inspect("one") is not None


async def test_an_error_of_the_engine_itself_is_a_no_and_its_proxy_s_is_not(engine: Engine, fake: FakeEngine) -> None:
    fake.fail = ("/json", 500)
    with pytest.raises(Rejected, match="told to fail"):
        await engine.inspect("one")
    fake.fail = ("/json", 503)
    with pytest.raises(EngineUnavailable):
        await engine.inspect("one")


NO_CONTAINERD = (
    'connection error: desc = "transport: Error while dialing dial unix /run/containerd/containerd.sock: connect: '
    'connection refused": unavailable'
)


@pytest.mark.parametrize(
    ("says", "raises"),
    [
        (NO_CONTAINERD, EngineCrippled),
        ("error reading from server: EOF: unavailable", EngineCrippled),
        ("transport is closing: unavailable", EngineCrippled),
        ("context deadline exceeded: unknown", EngineCrippled),
        ("failed to create shim task: OCI runtime create failed: exec: no such file: unknown", Rejected),
        ("mkdir /run/containerd/io.containerd.runtime.v2.task/moby/1: file exists: unknown", Rejected),
    ],
)
async def test_an_engine_that_has_lost_containerd_is_told_apart_from_a_container_that_cannot_start(
    engine: Engine, fake: FakeEngine, says: str, raises: type[Exception]
) -> None:
    await engine.create("one", BODY)
    fake.fail, fake.says = ("/start", 500), says

    with pytest.raises(raises):
        await engine.start("one")


async def test_a_slow_command_meets_its_deadline(engine: Engine, fake: FakeEngine) -> None:
    await engine.create("one", BODY)
    await engine.start("one")
    fake.slow_s = 5
    with pytest.raises(EngineUnavailable, match="did not answer"):
        await engine.run("one", ["pa"], deadline_s=0.1, limit=10)
    fake.slow_s = 0


async def test_an_address_that_is_none_is_the_operators_to_fix(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        async with open_engine(str(tmp_path)):
            pass


@pytest.mark.parametrize(
    ("told", "use"),
    [
        ({"usage": 409600, "failcnt": 7999, "limit": 157286400, "stats": {}}, MemoryUse(409600, 7999)),
        ({"usage": 215744512, "limit": 536870912, "stats": {}}, MemoryUse(215744512, 0)),
        ({}, MemoryUse(0, 0)),
    ],
)
async def test_how_much_memory_it_has_and_whether_it_fell_short(
    fake: FakeEngine, engine: Engine, told: dict[str, Any], use: MemoryUse
) -> None:
    """As an engine with cgroup v2 tells it: after a kill, without one, and of a container that has ended."""
    fake.told_of_memory = told

    assert await engine.memory_use(await engine.create("one", BODY)) == use
