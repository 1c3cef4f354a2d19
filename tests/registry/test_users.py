"""Users: what is kept of a person."""

from clawkakad.model import UserId
from clawkakad.registry import Registry
from clawkakad.registry.users import touch
from tests.conftest import Clock


async def test_the_last_message_only_moves_forward(registry: Registry, clock: Clock, robin: UserId) -> None:
    later = clock()
    clock.advance(hours=-2)
    await registry.db.write(lambda tx: touch(tx, robin, later))
    await registry.db.write(lambda tx: touch(tx, robin, clock()))

    user = await registry.users.get(robin)
    assert user is not None
    assert user.last_inbound_at == later


async def test_whoever_writes_can_be_reached(registry: Registry, clock: Clock, robin: UserId) -> None:
    await registry.db.execute("UPDATE users SET unreachable_at = '2026-11-21T00:00:00.000Z', unreachable_reason = 'x'")
    await registry.db.write(lambda tx: touch(tx, robin, clock()))

    row = await registry.db.one("SELECT unreachable_at, unreachable_reason FROM users")
    assert row is not None
    assert tuple(row) == (None, None)
