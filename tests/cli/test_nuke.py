"""`clawkakad nuke` where the registry cannot say what there is."""

from collections.abc import AsyncIterator

import pytest

from clawkakad.registry import FILE
from tests.backups.world import Installation, installation
from tests.cli.damage import damage


@pytest.fixture
async def home() -> AsyncIterator[Installation]:
    async with installation() as made:
        await made.person("4915123456789")
        yield made


@pytest.mark.parametrize("table", ["sandboxes", ""])
async def test_a_damaged_registry_keeps_nothing_from_going(home: Installation, table: str) -> None:
    if table:
        damage(home.state, table)
    else:
        (home.state / FILE).write_bytes(b"no database " * 1000)
    (home.state / "keys").mkdir()

    done = await home.ok("nuke", "--yes")

    assert "containers and volumes are found by their labels" in done.output
    assert f"delete the keys named clawkaka-{home.instance}-… at OpenRouter by hand" in done.output
    assert home.engine.volumes == {}
    assert not home.state.exists()


async def test_a_key_that_cannot_be_deleted_is_no_damage(home: Installation) -> None:
    home.write("UPDATE sandboxes SET key_hash = 'hash1'")

    refused = await home.clawkakad("nuke", "--yes")

    assert "set OPENROUTER_PROVISIONING_KEY" in str(refused.exception)
    assert len(home.engine.volumes) == 1
