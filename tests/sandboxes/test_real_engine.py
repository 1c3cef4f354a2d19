"""The same driver, builder and keeper against the real engine, and the real image where it is there."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiodocker
import pytest

from clawkakad.errors import EngineUnavailable
from clawkakad.model import SandboxId, SandboxState, UserId
from clawkakad.sandboxes import paths
from clawkakad.sandboxes.engine import Engine, Event, open_engine
from clawkakad.sandboxes.openclaw import ModelLimits
from clawkakad.sandboxes.profile import Sealing, container_body, container_name, volume_body, volume_name
from clawkakad.sandboxes.seccomp import seccomp_option
from clawkakad.sandboxes.timing import Timing
from tests.sandboxes.world import World, open_world
from tests.support import IMAGE, eventually, short_directory

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ADDRESS = "unix:///var/run/docker.sock"


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with open_engine(ADDRESS) as driver:
        try:
            image_id = await driver.image_id(IMAGE)
        except EngineUnavailable:
            pytest.fail("no Docker engine answers here: scripts/test starts one")
        if image_id is None:
            pytest.fail("the sandbox image is not here: clawkakad image build")
        yield driver


@pytest.fixture
def runtime() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


@contextlib.asynccontextmanager
async def _cleaned(engine: Engine, sandbox_id: SandboxId) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await engine.remove(container_name(sandbox_id))
        await engine.remove_volume(volume_name(sandbox_id))


async def _facts(name: str) -> Any:
    async with aiodocker.Docker(ADDRESS) as docker:
        return await (await docker.containers.get(name)).show()


async def test_the_seal_is_what_the_engine_says_it_is(engine: Engine, runtime: Path) -> None:
    sandbox_id = SandboxId(f"st{uuid.uuid4().hex[:9]}")
    sealing = Sealing(instance=f"test-{sandbox_id}", image=IMAGE, gid=paths.socket_gid())
    where = paths.paths_of(runtime, sandbox_id)
    paths.prepare(where, sealing.gid)
    paths.open_gateway_dir(where, sealing.gid)
    async with _cleaned(engine, sandbox_id):
        await engine.create_volume(volume_body(sealing, sandbox_id))
        container_id = await engine.create(container_name(sandbox_id), container_body(sealing, sandbox_id, where))
        facts = await _facts(container_id)
        host, config = facts["HostConfig"], facts["Config"]

        assert "none" == host["NetworkMode"]
        assert host["ReadonlyRootfs"] is True
        assert ["ALL"] == host["CapDrop"]
        assert not host["CapAdd"]
        assert not host["Privileged"]
        assert not host["PortBindings"]
        assert not host["Binds"]
        assert not host["Devices"]
        assert ["no-new-privileges", seccomp_option()] == host["SecurityOpt"]
        assert 256 == host["PidsLimit"]
        assert 1280 * 1024 * 1024 == host["Memory"] == host["MemorySwap"]
        assert host["NanoCpus"] > 0
        assert [str(sealing.gid)] == host["GroupAdd"]
        assert "no" == host["RestartPolicy"]["Name"]
        assert "json-file" == host["LogConfig"]["Type"]
        assert "1000:1000" == config["User"]
        assert not [line for line in config["Env"] if any(word in line.upper() for word in ("TOKEN", "KEY", "SECRET"))]
        mounts = {mount["Destination"]: mount for mount in facts["Mounts"]}
        assert {"/data", "/run/clawkaka/gateway", "/run/clawkaka/host", "/etc/clawkaka"} == set(mounts)
        assert [True, True, False, False] == [
            mounts[target]["RW"] for target in ("/data", "/run/clawkaka/gateway", "/run/clawkaka/host", "/etc/clawkaka")
        ]
        listed = await engine.ours(sealing.instance)
        assert [container_id] == [container.id for container in listed]
        inspected = await engine.inspect(container_id)
        assert inspected is not None
        assert (inspected.image_id, inspected.config_hash) == (await engine.image_id(IMAGE), listed[0].config_hash)
        assert inspected.started_at is None
    assert await engine.inspect(container_name(sandbox_id)) is None
    assert await engine.volume_labels(volume_name(sandbox_id)) is None


async def test_inside_there_is_no_way_out(engine: Engine, runtime: Path) -> None:
    """Commands in the sealed profile, with a shell in place of the gateway: quick, and true of any image."""
    sandbox_id = SandboxId(f"st{uuid.uuid4().hex[:9]}")
    sealing = Sealing(instance=f"test-{sandbox_id}", image=IMAGE, gid=paths.socket_gid())
    where = paths.paths_of(runtime, sandbox_id)
    paths.prepare(where, sealing.gid)
    paths.open_gateway_dir(where, sealing.gid)
    body = {**container_body(sealing, sandbox_id, where), "Entrypoint": ["sh", "-c", "echo up; sleep 600"]}

    async def sh(command: str) -> tuple[int, str]:
        ran = await engine.run(container_name(sandbox_id), ["sh", "-c", command], deadline_s=20, limit=4000)
        return ran.exit_code, ran.output.strip()

    async with _cleaned(engine, sandbox_id), contextlib.aclosing(engine.events(sealing.instance)) as events:
        assert await anext(events) is None
        await engine.create_volume(volume_body(sealing, sandbox_id))
        container_id = await engine.create(container_name(sandbox_id), body)
        while (event := await asyncio.wait_for(anext(events), 10)) != Event(sandbox_id, "create"):
            assert event is not None
        await engine.start(container_id)

        assert (0, "lo") == await sh("ls /sys/class/net")
        assert "0000000000000000" in (await sh("grep CapEff /proc/self/status"))[1]
        assert "NoNewPrivs:\t1" == (await sh("grep NoNewPrivs /proc/self/status"))[1]
        assert 0 != (await sh("touch /x"))[0]
        assert 0 != (await sh("touch /etc/clawkaka/x"))[0]
        assert 0 != (await sh("touch /run/clawkaka/host/x"))[0]
        assert 0 == (await sh("touch /run/clawkaka/gateway/x /data/x /tmp/x"))[0]
        assert 0 != (await sh("chmod 777 /run/clawkaka/gateway"))[0]
        groups = (await sh("id -G"))[1].split()
        assert "0" not in groups
        assert str(sealing.gid) in groups
        assert (3, "out") == await sh("echo out; echo err >&2; exit 3")
        assert ["up"] == await engine.logs(container_id, tail=10)
        await engine.kill(container_id)
        await eventually(lambda: _ended(engine, container_id))


async def _ended(engine: Engine, container_id: str) -> bool:
    found = await engine.inspect(container_id)
    return found is not None and not found.running and found.exit_code == 137


async def test_what_the_real_gateway_refuses_is_parked_after_one_start(engine: Engine) -> None:
    async with open_world() as world:
        world.engine.address, world.image = ADDRESS, IMAGE
        world.limits = ModelLimits(context_window=-1)
        ann = await world.person()
        async with world.daemon(gid=paths.socket_gid(), timing=Timing()) as supervisor:
            sandbox_id = await supervisor.ensure(ann)
            async with _cleaned(engine, sandbox_id):
                await eventually(lambda: _is_parked(world, ann), within_s=120)
                found = await engine.inspect(container_name(sandbox_id))
                assert found is not None
                printed = "\n".join(await engine.logs(found.id, tail=200) or [])

                assert 78 == found.exit_code
                assert "configuration" in (await world.row(ann)).reason
                assert 1 == printed.count("Invalid config at"), printed
                await world.removed(ann)


async def _is_parked(world: World, user_id: UserId) -> bool:
    return (await world.row(user_id)).state is SandboxState.PARKED


async def test_a_whole_life_with_the_real_gateway(engine: Engine) -> None:
    async with open_world() as world:
        world.engine.address, world.image = ADDRESS, IMAGE
        timing = replace(Timing(), owner_uids=frozenset({1000}))
        ann = await world.person()
        async with world.daemon(timing=timing, gid=paths.socket_gid()) as supervisor:
            sandbox_id = await supervisor.ensure(ann)
            async with _cleaned(engine, sandbox_id):
                connection = await world.pool.ready(sandbox_id, timeout_s=150)

                assert await connection.health(10)
                assert "" == await supervisor.pulse(sandbox_id, mark=False, at=datetime.now(UTC))
                name = container_name(sandbox_id)
                assert "Asia/Kolkata" in (await engine.run(name, ["pa", "profile"], deadline_s=20, limit=500)).output
                config = json.loads((world.runtime / sandbox_id / "config" / "openclaw.json").read_text())
                assert config["gateway"]["auth"]["token"] not in json.dumps(await _facts(name))
                before = await engine.inspect(name)
                # What an agent leaves runs before the gateway answers, but not before the directory is closed.
                left = ".shell touch /data/ran /run/clawkaka/gateway/left"
                await engine.run(name, ["sh", "-c", f"echo '{left}' > ~/.sqliterc"], deadline_s=20, limit=500)

                # The gateway's process is killed: healed, in the same container.
                await engine.kill(name)
                await eventually(lambda: world.pool.get(sandbox_id) not in (None, connection), within_s=150)
                after = await engine.inspect(name)
                assert before is not None
                assert after is not None
                assert before.id == after.id
                assert 0 == (await engine.run(name, ["rm", "/data/ran"], deadline_s=20, limit=500)).exit_code
                assert ["gateway.sock"] == [path.name for path in world.runtime.glob("*/gateway/*")]
                await world.want_removed(ann)
                await eventually(lambda: world.is_gone(ann), within_s=60)

                assert await engine.inspect(name) is None
                assert await engine.volume_labels(volume_name(sandbox_id)) is None
                assert not (world.runtime / sandbox_id).exists()
