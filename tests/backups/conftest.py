"""What every test of backups begins with."""

from collections.abc import AsyncIterator

import pytest

from tests.backups.world import Installation, installation


@pytest.fixture
async def home() -> AsyncIterator[Installation]:
    async with installation() as made:
        yield made
