"""A fake gateway on a real socket, and connections to it that nobody forgets to close."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from clawkakad.gateway.connection import Connection
from clawkakad.gateway.dialing import open_connection
from clawkakad.model import SandboxId
from tests.fakes.gateway import FakeGateway
from tests.support import SCALE, short_directory

TOKEN = "a token of a test"
ME = frozenset({os.getuid()})
SANDBOX = SandboxId("sabcdefghij")

STEPS_OF_A_DROP = 8
"""More turns of the event loop than a dropped socket takes until its reader ends: in one of them, it only closes."""


@pytest.fixture
def socket() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory / "gateway.sock"


@pytest.fixture
async def gateway(socket: Path) -> AsyncIterator[FakeGateway]:
    async with FakeGateway(socket, TOKEN) as fake:
        yield fake


async def dial(gateway: FakeGateway, *, token: str = TOKEN, timeout_s: float = 5.0) -> Connection:
    """One try to connect."""
    return await open_connection(gateway.socket, token, owner_uids=ME, timeout_s=timeout_s * SCALE)


@pytest.fixture
async def connection(gateway: FakeGateway) -> AsyncIterator[Connection]:
    opened = await dial(gateway)
    yield opened
    await opened.aclose()
