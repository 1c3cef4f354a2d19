"""A sandbox that rests, on the real engine with the real OpenClaw and a swap file of the test's own."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from clawkakad.sandboxes.dozing import Freezer
from clawkakad.sandboxes.engine import open_engine
from clawkakad.sandboxes.hostmemory import host_memory
from clawkakad.sandboxes.rehearsal import TEXT as REHEARSED
from clawkakad.simulator import model
from clawkakad.simulator.people import Person
from tests.daemon import World, world
from tests.e2e.conftest import ENGINE_SOCKET, docker, remove_all, sandbox_of
from tests.support import IMAGE, eventually, short_directory

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

SWAP_MB = 2048
DOZE_AFTER_S = 6
MIB = 1024 * 1024
KEEPS_300_MB = """
import hashlib, os, time
kept = b"".join(os.urandom(1 << 20) for _ in range(300))
while True:
    print(hashlib.sha256(kept).hexdigest(), flush=True)
    time.sleep(0.5)
"""
FIRST_S = 120
NEXT_S = 60


async def run(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.DEVNULL)
    assert await process.wait() == 0, words


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def swap(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[None]:
    """A swap file, unless this machine has swap."""
    if host_memory().has_swap:
        yield
        return
    if os.geteuid() != 0:
        pytest.skip("there is no swap, and only root can make some")
    file = tmp_path_factory.mktemp("swap") / "file"
    await run("fallocate", "-l", f"{SWAP_MB}M", str(file))
    file.chmod(0o600)
    await run("mkswap", str(file))
    await run("swapon", str(file))
    try:
        yield
    finally:
        await run("swapoff", str(file))
        file.unlink()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(swap: None) -> AsyncIterator[World]:
    settings = {
        "CLAWKAKA_DOZE_AFTER_MINUTES": str(DOZE_AFTER_S / 60),
        "CLAWKAKA_HEARTBEAT_MINUTES": "0",
        "CLAWKAKA_STILL_ON_IT_S": "0",
        "OPENROUTER_PROVISIONING_KEY": "",
    }
    gid = os.stat(ENGINE_SOCKET).st_gid
    with short_directory() as directory:
        async with world(directory, unprivileged_gid=gid, **settings) as made:
            await made.daemon.start()
            try:
                yield made
            finally:
                instance = (made.daemon.state_dir / "instance").read_text().strip()
                if made.daemon.process is not None:
                    await made.daemon.stop()
                await remove_all(instance)


@pytest.fixture(scope="module")
def robin(home: World) -> Person:
    return home.person("Robin", "+91 98765 43210")


async def reaches(home: World, state: str, *, within_s: float = 60) -> dict[str, Any]:
    """Wait until the only sandbox is in this state; its row."""

    def there() -> list[dict[str, Any]]:
        return home.daemon.rows("SELECT * FROM sandboxes WHERE state = ?", state)

    try:
        return (await eventually(there, within_s=within_s, every_s=0.1))[0]
    except AssertionError as error:
        raise AssertionError(f"not {state}:\n{home.daemon.tail(60)}") from error


async def facts(home: World, robin: Person) -> tuple[str, int, int]:
    """What the engine says: status, memory limit, and memory used."""
    sandbox = sandbox_of(home, robin)
    async with open_engine() as engine:
        inspected = await sandbox.inspect()
        used = (await engine.memory_use(sandbox.name)).used
        return inspected["State"]["Status"], inspected["HostConfig"]["Memory"], used


async def clawkakad(home: World, *words: str) -> str:
    """The operator's command line; its output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "clawkakad", *words),
        env={**os.environ, **home.daemon.environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def test_what_a_frozen_program_had_in_memory_comes_back_whole(swap: None) -> None:
    name, limits = f"clawkaka-test-{os.getpid()}", (512 * MIB, 2048 * MIB)
    words = ["--network=none", "--memory=512m", "--memory-swap=2048m", "--entrypoint=python3", IMAGE]
    await docker("run", "-d", f"--name={name}", *words, "-c", KEEPS_300_MB)
    try:
        async with open_engine() as engine:
            await eventually(lambda: logged(name), within_s=60, every_s=0.5)
            found = await engine.inspect(name)
            assert found is not None
            how = await Freezer(engine, host_memory).freeze(found, limits)
            assert (await engine.memory_use(name)).used < 100 * MIB, how
            before = len(await logged(name))
            await engine.limit_memory(name, *limits)
            await engine.unpause(name)
            lines = await eventually(lambda: more(name, before), within_s=60, every_s=0.5)

        assert len(set(lines)) == 1
    finally:
        await docker("rm", "-f", name)


async def logged(name: str) -> list[str]:
    return (await docker("logs", name)).split()


async def more(name: str, than: int) -> list[str]:
    """What it printed, once it went on."""
    lines = await logged(name)
    return lines if len(lines) > than else []


async def test_one_that_is_awake_has_less_memory_and_swap_beside_it(home: World, robin: Person) -> None:
    assert "280" in await home.ask(robin, "Uber to office 280", within_s=FIRST_S)

    host = (await sandbox_of(home, robin).inspect())["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (512 * MIB, 2048 * MIB)


async def test_it_dozes_when_nobody_needs_it_and_costs_hardly_any_memory(home: World, robin: Person) -> None:
    row = await reaches(home, "dozing")
    sockets = Path(home.daemon.environ["CLAWKAKA_RUNTIME_DIR"]) / row["id"]

    status, limit, used = await facts(home, robin)
    assert status == "paused"
    assert used < 100 * MIB, row["reason"]
    assert limit < 100 * MIB
    await eventually(lambda: not (sockets / "host/host.sock").exists())
    assert "yes, " in await clawkakad(home, "doctor", "sandbox"), "dozing is no drift"
    assert "dozing" in await clawkakad(home, "sandbox", "list")


async def test_a_message_wakes_it_and_it_knows_what_it_knew(home: World, robin: Person) -> None:
    container = await sandbox_of(home, robin).inspect()

    assert "280" in await home.ask(robin, "how much today?", within_s=NEXT_S)

    status, limit, _ = await facts(home, robin)
    assert (status, limit) == ("running", 512 * MIB)
    assert (await sandbox_of(home, robin).inspect())["State"]["StartedAt"] == container["State"]["StartedAt"]


async def test_a_daemon_that_is_restarted_while_it_dozes_leaves_it_so_until_it_is_needed(
    home: World, robin: Person
) -> None:
    before = await reaches(home, "dozing")
    await home.daemon.replace()
    await eventually(lambda: any(line["message"] == "ready" for line in home.daemon.logged()[-200:]))
    assert "paused" == (await facts(home, robin))[0]

    assert "280" in await home.ask(robin, "how much today?", within_s=NEXT_S)
    assert before["container_id"] == home.daemon.rows("SELECT * FROM sandboxes")[0]["container_id"]


async def test_one_that_dozes_is_put_to_sleep_and_a_message_wakes_it(home: World, robin: Person) -> None:
    await reaches(home, "dozing")
    await clawkakad(home, "sandbox", "sleep", "Robin")
    await reaches(home, "asleep")
    status, limit, _ = await facts(home, robin)
    assert (status, limit) == ("exited", 512 * MIB)

    assert "280" in await home.ask(robin, "how much today?", within_s=FIRST_S)


async def test_one_that_dozes_is_removed_like_any_other(home: World, robin: Person) -> None:
    name = sandbox_of(home, robin).name
    await reaches(home, "dozing")
    await clawkakad(home, "sandbox", "rm", "Robin", "--yes")

    assert "" == (await docker("ps", "-aq", "--filter", f"name={name}")).strip()


async def test_a_newcomer_gets_the_spare_that_dozes(home: World) -> None:
    """It has had its first turn in a rehearsal, of which neither they nor their model ever hear."""
    await home.daemon.stop()
    async with listening_model() as (url, asked):
        await home.daemon.start(CLAWKAKA_SPARES="1", MODEL="offline", MODEL_BASE_URL=url)
        await is_claimed(home)
        await home.daemon.stop()

    said = [message for body in asked for message in body["messages"]]
    assert any("Uber to office 280" in str(message) for message in said)
    assert not any(REHEARSED in str(message) for message in said)


async def is_claimed(home: World) -> None:
    spare = await reaches(home, "dozing", within_s=FIRST_S)
    assert spare["user_id"] is None
    rehearsals = [line for line in home.daemon.logged() if line["message"] == "a spare has rehearsed"]
    assert [line["ending"] for line in rehearsals] == ["final"]

    mira = home.person("Mira", "+49 151 23456789")
    began = time.monotonic()
    assert "280" in await home.ask(mira, "Uber to office 280", within_s=NEXT_S)
    print(f"a newcomer's first reply with a spare: {time.monotonic() - began:.1f} s")

    rows = home.daemon.rows("SELECT s.id, s.container_id FROM sandboxes s JOIN users u ON u.id = s.user_id")
    assert [(row["id"], row["container_id"]) for row in rows] == [(spare["id"], spare["container_id"])]
    assert "EUR" in await said_in(home, mira, "pa", "profile")
    assert len(home.heard(mira)) == 1


@asynccontextmanager
async def listening_model() -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """The offline model behind an address of its own, and all that it is asked."""
    asked: list[dict[str, Any]] = []

    async def complete(request: web.Request) -> web.StreamResponse:
        asked.append(await request.json())
        return await model.complete(request)

    app = web.Application(client_max_size=model.LARGEST_REQUEST)
    app.router.add_post("/v1/chat/completions", complete)
    async with TestServer(app) as server:
        yield str(server.make_url("/v1")), asked


async def said_in(home: World, person: Person, *words: str) -> str:
    """What a command says in somebody's sandbox."""
    return await docker("exec", sandbox_of(home, person).name, *words)
