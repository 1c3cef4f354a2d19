"""Who is it? Identifiers link to one person, and a recycled number inherits nobody's memory."""

from clawkakad.model import IdentifierKind, UserId
from clawkakad.registry import Registry
from clawkakad.registry.users import Identifier, ensure_user, move_identifiers, touch
from tests.conftest import Clock
from tests.support import NOWHERE

NUMBER = (IdentifierKind.WA_ID, "15550100123")
BSUID = (IdentifierKind.BSUID, "US.1")


async def ensure(registry: Registry, clock: Clock, *identifiers: Identifier) -> UserId:
    return await registry.db.write(lambda tx: ensure_user(tx, identifiers, NOWHERE, clock()))


async def test_the_same_identifier_is_the_same_person(registry: Registry, clock: Clock) -> None:
    assert await ensure(registry, clock, NUMBER) == await ensure(registry, clock, NUMBER)


async def test_a_number_seen_with_a_business_scoped_id_links_both(registry: Registry, clock: Clock) -> None:
    person = await ensure(registry, clock, NUMBER)

    assert await ensure(registry, clock, BSUID, NUMBER) == person
    assert await ensure(registry, clock, BSUID) == person


async def test_a_recycled_number_is_somebody_new_and_takes_the_number_along(registry: Registry, clock: Clock) -> None:
    before = await ensure(registry, clock, BSUID, NUMBER)
    newcomer = await ensure(registry, clock, (IdentifierKind.BSUID, "US.2"), NUMBER)

    assert newcomer != before
    assert await ensure(registry, clock, NUMBER) == newcomer
    assert await ensure(registry, clock, BSUID) == before


async def test_a_change_notice_keeps_the_person(registry: Registry, clock: Clock) -> None:
    person = await ensure(registry, clock, NUMBER)
    other = (IdentifierKind.WA_ID, "15550100177")

    moved = await registry.db.write(lambda tx: move_identifiers(tx, NUMBER, [other], clock()))
    assert moved == person

    assert await ensure(registry, clock, other) == person
    assert await ensure(registry, clock, NUMBER) != person


async def test_the_last_message_only_moves_forward(registry: Registry, clock: Clock, robin: UserId) -> None:
    later = clock()
    clock.advance(hours=-2)
    await registry.db.write(lambda tx: touch(tx, robin, later))
    await registry.db.write(lambda tx: touch(tx, robin, clock()))

    user = await registry.users.get(robin)
    assert user is not None
    assert user.last_inbound_at == later


async def test_the_number_that_was_seen_last_comes_first(registry: Registry, clock: Clock) -> None:
    travelling = (IdentifierKind.WA_ID, "15550100177")
    for number in (NUMBER, travelling, NUMBER):
        clock.advance(days=1)
        person = await ensure(registry, clock, BSUID, number)

    user = await registry.users.get(person)
    assert user is not None
    assert user.identifiers == (BSUID, NUMBER, travelling)


async def test_of_two_rows_of_one_person_the_one_with_a_sandbox_is_kept(registry: Registry, clock: Clock) -> None:
    housed = await ensure(registry, clock, NUMBER)
    await registry.sandboxes.ensure(housed)
    await ensure(registry, clock, BSUID)

    assert await ensure(registry, clock, BSUID, NUMBER) == housed
    assert await ensure(registry, clock, BSUID) == housed
