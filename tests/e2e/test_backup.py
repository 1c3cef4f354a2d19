"""Backup and restore on the real engine: real volumes, archive calls and image; the gateway need not run."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clawkakad.model import SandboxId
from clawkakad.sandboxes.profile import container_name, volume_name
from tests.backups.world import Installation
from tests.e2e.conftest import ENGINE_SOCKET, docker, remove_all
from tests.fakes.engine import FakeEngine
from tests.support import IMAGE, eventually, short_directory

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ANN = "4915123456789"
WRITER = (
    "import sqlite3, itertools\n"
    "c = sqlite3.connect('/data/pa/pa.sqlite', isolation_level=None, timeout=30)\n"
    "c.execute('PRAGMA journal_mode = WAL')\n"
    "c.execute('CREATE TABLE IF NOT EXISTS expenses (what TEXT)')\n"
    "for n in itertools.count():\n"
    "    c.execute('BEGIN IMMEDIATE')\n"
    "    c.execute('INSERT INTO expenses VALUES (?)', (f'one {n}',))\n"
    "    c.execute('INSERT INTO expenses VALUES (?)', (f'other {n}',))\n"
    "    c.execute('COMMIT')\n"
)


class RealHost(Installation):
    """An installation on the machine's own engine."""

    async def agent(self, sandbox_id: SandboxId, program: str) -> None:
        """A container of the sandbox that runs a program in place of the gateway."""
        labels = [f"--label=clawkaka.instance={self.instance}", f"--label=clawkaka.sandbox={sandbox_id}"]
        volume = volume_name(sandbox_id)
        await docker("volume", "create", *labels, volume)
        mount = f"--mount=type=volume,source={volume},target=/data"
        words = ["--network=none", "--entrypoint=python3", mount, f"--name={container_name(sandbox_id)}", IMAGE]
        await docker(
            "run", "-d", *labels, *words, "-c", f"import os\nos.makedirs('/data/pa', exist_ok=True)\n{program}"
        )

    async def sql(self, sandbox_id: SandboxId, statement: str) -> str:
        """Asked in a container of its own, as the sandbox's user."""
        mount = f"--mount=type=volume,source={volume_name(sandbox_id)},target=/data"
        line = ["sqlite3", "/data/pa/pa.sqlite", statement]
        return (
            await docker("run", "--rm", "--network=none", mount, f"--entrypoint={line[0]}", IMAGE, *line[1:])
        ).strip()


@pytest.fixture
async def hosts() -> AsyncIterator[tuple[RealHost, RealHost]]:
    with short_directory() as one, short_directory() as two:
        made = []
        for directory in (one, two):
            instance = uuid.uuid4().hex[:12]
            (directory / "state").mkdir(mode=0o700)
            (directory / "state" / "instance").write_text(instance)
            made.append(RealHost(directory, FakeEngine(Path(ENGINE_SOCKET)), instance))
        try:
            yield made[0], made[1]
        finally:
            for host in made:
                await remove_all(host.instance)


@pytest.mark.parametrize("state", ["running", "paused", "stopped"])
async def test_a_drill_on_the_real_engine(hosts: tuple[RealHost, RealHost], tmp_path: Path, state: str) -> None:
    home, away = hosts
    _, anns = await home.person(ANN)
    await home.agent(anns, WRITER)
    await docker(
        "exec", container_name(anns), "sh", "-c", "sleep 1; echo jazz > /data/MEMORY.md; mkdir -m 500 /data/closed"
    )
    if state != "running":
        await docker({"paused": "pause", "stopped": "kill"}[state], container_name(anns))
    file = tmp_path / "b.tar"
    await home.ok("backup", file)
    await remove_all(home.instance)  # the old server is gone
    await away.ok("restore", file, "--yes")

    assert "ok" == await away.sql(anns, "PRAGMA integrity_check")
    ones, others = [int(n) for n in (await away.sql(anns, COUNT)).split("|")]
    assert ones == others > 0
    owner = await docker(
        *("run", "--rm", "--network=none", f"--mount=type=volume,source={volume_name(anns)},target=/data"),
        *("--entrypoint=sh", IMAGE, "-c", "cat /data/MEMORY.md; stat -c '%u %a' /data/closed; ls -A /data"),
    )
    assert ["jazz", "1000 500", "MEMORY.md", "closed", "pa"] == owner.splitlines()

    async def no_copiers() -> bool:  # a busy engine lists one for a moment that it is removing
        names = [f"label=clawkaka.copier={host.instance}" for host in hosts]
        return not any([(await docker("ps", "-aq", "--filter", name)).strip() for name in names])

    await eventually(no_copiers)


COUNT = "SELECT sum(what LIKE 'one %'), sum(what LIKE 'other %') FROM expenses"


async def test_a_purge_leaves_nothing_on_the_engine(hosts: tuple[RealHost, RealHost]) -> None:
    home, _ = hosts
    _, anns = await home.person(ANN)
    await home.agent(anns, WRITER)
    await home.ok("user", "rm", ANN, "--purge", "--yes")

    mine = f"label=clawkaka.instance={home.instance}"
    assert "" == (await docker("ps", "-aq", "--filter", mine)) + (await docker("volume", "ls", "-q", "--filter", mine))
