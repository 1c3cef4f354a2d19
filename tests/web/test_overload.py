"""A disk that is too slow, played by another process that holds the registry's lock: an early 503, no late 200."""

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from loguru import logger

from clawkakad.config import Access, Strangers
from clawkakad.delivery.receipts import Receipts
from clawkakad.intake.access import Door
from clawkakad.intake.filing import Filing
from clawkakad.intake.intake import LONGEST_WAIT_S, MOST_WAITING, Intake
from clawkakad.intake.limits import Limits
from clawkakad.intake.listening import Listening
from clawkakad.registry import open_registry
from clawkakad.web.listener import listening
from clawkakad.web.public import WEBHOOK, public_site
from clawkakad.whatsapp.signature import HEADER, sign
from tests.conftest import Clock
from tests.support import DATA, SCALE, eventually, nobody_opens
from tests.whatsapp.expectations import PHONE_NUMBER_ID

SECRET = "test-app-secret"
TEXT = (DATA / "payloads" / "text_basic.json").read_text()
WAMID = "wamid.RkFLRS1URVhULTAwMDE="
HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""


@dataclass
class Site:
    """A running public side with the real intake behind it."""

    session: aiohttp.ClientSession
    listening: Listening
    file: Path

    async def post(self, number: int) -> int:
        body = TEXT.replace(WAMID, f"wamid.{number}").encode()
        async with self.session.post(WEBHOOK, data=body, headers={HEADER: sign(body, SECRET)}) as response:
            assert await response.read() == b""
            return response.status

    def stored(self) -> set[str]:
        """What is on disk, seen from elsewhere."""
        connection = sqlite3.connect(self.file)
        try:
            return {row[0] for row in connection.execute("SELECT wamid FROM inbox")}
        finally:
            connection.close()


@pytest.fixture
async def site(tmp_path: Path, clock: Clock) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        file = tmp_path / "registry.sqlite"
        registry = await stack.enter_async_context(open_registry(file, clock))
        known = Listening()
        intake = Intake(
            registry,
            Filing(Door(Access.OPEN, ()), Limits(0, Strangers.SILENT), Receipts()),
            clock,
            listening=known,
            opening=nobody_opens,
            on_message=lambda _: None,
            on_outbox=lambda: None,
        )
        handler = public_site(
            intake=intake,
            verification_token="t",
            app_secrets=[SECRET],
            phone_number_id=PHONE_NUMBER_ID,
            health=lambda: {"ok": True},
        )
        port = await stack.enter_async_context(listening(handler, "127.0.0.1", 0))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=aiohttp.TCPConnector(limit=0))
        )
        yield Site(session, known, file)


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Another process writes, and takes its time."""
    command = [sys.executable, "-c", HOLDER, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield
        finally:
            process.kill()


async def test_behind_one_that_waits_for_long_nobody_is_kept_waiting(site: Site) -> None:
    assert await site.post(1) == 200
    with held(site.file):
        waiting = asyncio.create_task(site.post(2))
        await eventually(lambda: site.listening.oldest_s > LONGEST_WAIT_S)
        began = time.monotonic()
        assert [await site.post(number) for number in range(10, 20)] == [503] * 10
        assert time.monotonic() - began < SCALE
        assert not waiting.done()
        assert not site.listening.caught_up

    assert await waiting == 200
    assert [await site.post(number) for number in range(10, 20)] == [200] * 10
    assert site.stored() == {f"wamid.{number}" for number in (1, 2, *range(10, 20))}
    assert site.listening.caught_up


async def test_no_more_wait_than_can_be_stored_in_time(site: Site) -> None:
    with held(site.file):
        waiting = [asyncio.create_task(site.post(number)) for number in range(MOST_WAITING)]
        await eventually(lambda: site.listening.waiting >= MOST_WAITING or site.listening.oldest_s > LONGEST_WAIT_S)
        assert await site.post(9999) == 503

    answers = await asyncio.gather(*waiting)
    accepted = {f"wamid.{number}" for number, status in enumerate(answers) if status == 200}
    assert accepted
    assert site.stored() == accepted


async def test_a_series_of_refusals_is_two_lines_in_the_log(site: Site) -> None:
    lines: list[str] = []
    number = logger.add(lines.append, level="INFO", format="{level} {message} {extra}")
    try:
        with held(site.file):
            waiting = asyncio.create_task(site.post(1))
            await eventually(lambda: site.listening.oldest_s > LONGEST_WAIT_S)
            for again in range(5):
                assert await site.post(again) == 503
        assert await waiting == 200
        assert await site.post(2) == 200
    finally:
        logger.remove(number)

    about = [line for line in lines if "webhook" in line]
    assert [line.split()[0] for line in about] == ["ERROR", "INFO"]
    assert "'refused': 5" in about[1]
