"""The gauge on the real engine: it finds what an agent hides, has an end whatever there is, and leaves nothing."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from clawkakad.model import SandboxId
from clawkakad.sandboxes import paths
from clawkakad.sandboxes.disk import Found
from clawkakad.sandboxes.engine import Engine, open_engine
from clawkakad.sandboxes.gauge import Gauge
from clawkakad.sandboxes.profile import (
    MIB,
    Sealing,
    container_body,
    container_name,
    gauge_name,
    volume_body,
    volume_name,
)
from tests.e2e.conftest import ENGINE_SOCKET
from tests.support import eventually, short_directory

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

IMAGE = "clawkaka-sandbox:latest"
MANY = 5_000
SOME = 8 * MIB  # in each hiding place
BLOCK = 512 * 1024  # directories and the like

# Each takes 8 MiB of the disk, in a way of its own.
HIDES = {
    "in a file": "head -c 8M /dev/zero > /data/file",
    "behind a directory that nobody may read": "mkdir /data/z; head -c 8M /dev/zero > /data/z/f; chmod 000 /data/z",
    "in blocks taken in advance": "touch /data/p; fallocate -n -l 8M /data/p",
    "in a file that was deleted and is open": "exec 5<>/data/gone; rm /data/gone; head -c 8M /dev/zero >&5; sleep 600",
    "deeper than a path is long": (
        "cd /data; n=$(printf %0200d 0); for i in $(seq 40); do mkdir $n; cd $n; done; head -c 8M /dev/zero > f"
    ),
    "in many small files": "mkdir /data/s; cd /data/s; for i in $(seq 2048); do echo > $i; done",
}
# And these take next to nothing, though they look large.
BLUFFS = {
    "a file of holes": "truncate -s 1G /data/holes",
    "one file with many names": "cd /data; head -c 4k /dev/zero > one; for i in $(seq 500); do ln one $i; done",
    "links to large places": "cd /data; ln -s / root; ln -s /proc proc; mkfifo pipe",
    "files in the tmpfs": "head -c 64M /dev/zero > /tmp/f",
}


@dataclass
class Sealed:
    """A sandbox of the profile with a shell in place of the gateway."""

    engine: Engine
    sealing: Sealing
    id: SandboxId

    async def run(self, script: str, *, seconds: float = 60) -> None:
        ran = await self.engine.run(container_name(self.id), ["sh", "-c", script], deadline_s=seconds, limit=2000)
        assert ran.exit_code == 0, ran.output

    async def measure(self, *, inodes: int = 1_000_000) -> Found:
        container = await self.engine.inspect(container_name(self.id))
        found = await Gauge(self.engine, self.sealing).measure(self.id, container, inodes=inodes)
        assert found is not None
        return found


@contextlib.asynccontextmanager
async def sealed(engine: Engine) -> AsyncIterator[Sealed]:
    sandbox_id = SandboxId(f"st{uuid.uuid4().hex[:9]}")
    sealing = Sealing(instance=f"test-{sandbox_id}", image=IMAGE, gid=paths.socket_gid())
    with short_directory() as runtime:
        where = paths.paths_of(runtime, sandbox_id)
        paths.prepare(where, sealing.gid)
        paths.open_gateway_dir(where, sealing.gid)
        body = {**container_body(sealing, sandbox_id, where), "Entrypoint": ["/usr/bin/tini", "--", "sleep", "600"]}
        try:
            await engine.create_volume(volume_body(sealing, sandbox_id))
            await engine.start(await engine.create(container_name(sandbox_id), body))
            yield Sealed(engine, sealing, sandbox_id)
        finally:
            assert await engine.inspect(gauge_name(sandbox_id)) is None
            await engine.remove(container_name(sandbox_id))
            await engine.remove_volume(volume_name(sandbox_id))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine() -> AsyncIterator[Engine]:
    async with open_engine(f"unix://{ENGINE_SOCKET}") as driver:
        yield driver


async def test_nothing_that_takes_room_is_hidden_from_it_and_nothing_else_counts(engine: Engine) -> None:
    async with sealed(engine) as sandbox:
        seen = await sandbox.measure()
        for how, script in HIDES.items():
            await sandbox.run(f"({script}) > /dev/null 2>&1 & sleep 0.3; [ -z '{'gone' in script or ''}' ] && wait; :")
            before, seen = seen, await sandbox.measure()
            assert SOME <= seen.bytes - before.bytes <= SOME + BLOCK, how
            assert seen.cut == ""
        for how, script in BLUFFS.items():
            await sandbox.run(script)
            before, seen = seen, await sandbox.measure()
            assert 0 <= seen.bytes - before.bytes <= BLOCK, how
        await engine.pause(container_name(sandbox.id))
        frozen = await sandbox.measure()
        await engine.unpause(container_name(sandbox.id))
        assert frozen == seen
        await engine.stop(container_name(sandbox.id), grace_s=1)
        without_processes = await sandbox.measure()

        assert SOME <= seen.bytes - without_processes.bytes <= SOME + BLOCK  # what was deleted is gone with them


async def test_its_work_ends_where_the_quota_of_files_does(engine: Engine) -> None:
    async with sealed(engine) as sandbox:
        make = "import os\nfor n in range(%d): os.close(os.open(f'/data/{n}', os.O_CREAT))"
        await sandbox.run(f'exec python3 -c "{make % MANY}"')
        found = await sandbox.measure(inodes=MANY // 10)
        whole = await sandbox.measure()

        assert (found.inodes, found.cut) == (MANY // 10 + 1, "inodes")
        assert whole.inodes >= MANY
        assert whole.cut == ""


async def test_one_that_ends_meanwhile_and_its_gauge_with_it_is_measured_all_the_same(engine: Engine) -> None:
    async with sealed(engine) as sandbox:
        make = "import os\nfor n in range(%d): os.close(os.open(f'/data/{n}', os.O_CREAT))"
        await sandbox.run(f'exec python3 -c "{make % (20 * MANY)}"')
        measuring = asyncio.create_task(sandbox.measure())

        async def works() -> bool:
            gauge = await engine.inspect(gauge_name(sandbox.id))
            return gauge is not None and gauge.running

        await eventually(works, every_s=0.01)
        await engine.kill(container_name(sandbox.id))

        found = await measuring
        assert found.inodes >= 20 * MANY
        assert found.cut == ""


async def test_its_container_changes_nothing_and_has_only_what_it_needs(engine: Engine) -> None:
    async with sealed(engine) as sandbox:
        container = await engine.inspect(container_name(sandbox.id))
        body = Gauge(engine, sandbox.sealing)._body(sandbox.id, container, 1)
        host = body["HostConfig"]
        assert isinstance(host, dict)

        assert [True] == [mount["ReadOnly"] for mount in host["Mounts"]]
        assert ("none", True, ["ALL"]) == (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"])
        assert {"DAC_READ_SEARCH", "SYS_PTRACE"} == set(host["CapAdd"])
        assert await Gauge(engine, sandbox.sealing).measure(SandboxId("s0nobody"), None, inodes=1) is None
        assert await engine.volume_labels(volume_name(SandboxId("s0nobody"))) is None
