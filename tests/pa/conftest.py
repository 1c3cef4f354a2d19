"""The program, its profile and database in a directory of the test, and a real host API on loopback."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SANDBOX = Path(__file__).resolve().parents[2] / "sandbox"
# Every change is synced to disk; in memory that costs nothing.
FAST_DISK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
sys.path.insert(0, str(SANDBOX))  # for the parts that think: `pa.money`, `pa.when`

from .fake_host import FakeHost  # noqa: E402
from .program import Program, Runner  # noqa: E402


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    """What starts the program."""
    starter = Runner(SANDBOX)
    yield starter
    starter.close()


@pytest.fixture
def pa(runner: Runner) -> Iterator[Program]:
    """The program for a person in India, at 08:30 of Monday 2026-11-23 there; nobody listens at its host."""
    with tempfile.TemporaryDirectory(prefix="ck-pa-", dir=FAST_DISK) as directory:
        yield Program(runner, Path(directory))


@pytest.fixture
def host(pa: Program) -> Iterator[FakeHost]:
    """A host API that the program talks to."""
    with FakeHost(pa.profile_path) as server:
        pa.host_url = server.url
        yield server
