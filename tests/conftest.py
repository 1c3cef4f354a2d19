"""What every test may use."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings

from clawkakad.model import IdentifierKind, UserId
from clawkakad.registry import Registry, open_registry
from clawkakad.registry.users import ensure_user
from tests.support import NOWHERE, short_directory

# On a busy machine a slow example says nothing about the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


class Clock:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **delta: float) -> None:
        self.now += timedelta(**delta)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def short_path() -> Iterator[Path]:
    with short_directory() as path:
        yield path


@pytest.fixture
async def registry(tmp_path: Path, clock: Clock) -> AsyncIterator[Registry]:
    async with open_registry(tmp_path / "registry.sqlite", clock) as opened:
        yield opened


@pytest.fixture
async def robin(registry: Registry, clock: Clock) -> UserId:
    """A person with a phone number."""
    number = [(IdentifierKind.WA_ID, "15550100123")]
    return await registry.db.write(lambda tx: ensure_user(tx, number, NOWHERE, clock()))
