"""The program, its profile and database in a directory of the test, and a real host API on loopback."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SANDBOX = Path(__file__).resolve().parents[2] / "sandbox"
sys.path.insert(0, str(SANDBOX))  # for the parts that think: `pa.money`, `pa.when`

from .fake_host import FakeHost  # noqa: E402
from .program import Program  # noqa: E402


@pytest.fixture
def pa(tmp_path: Path) -> Program:
    """The program for a person in India, at 08:30 of Monday 2026-11-23 there; nobody listens at its host."""
    return Program(SANDBOX, tmp_path)


@pytest.fixture
def host(pa: Program) -> Iterator[FakeHost]:
    """A host API that the program talks to."""
    with FakeHost(pa.profile_path) as server:
        pa.host_url = server.url
        yield server
