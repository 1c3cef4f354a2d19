"""Who is it? Identifiers link to one person, and a recycled number inherits nobody's memory."""

import asyncio
import itertools
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clawkakad.model import IdentifierKind, OutboxState, UserId, Wamid
from clawkakad.registry import Registry, inbox, open_registry
from clawkakad.registry.identifiers import NOTICE_COMES_WITHIN, NUMBER_SPEAKS_FOR, Identifier, move
from clawkakad.registry.inbox import InboxState, NewInbound
from clawkakad.registry.sends import head_of
from clawkakad.registry.transaction import Transaction
from clawkakad.registry.users import ensure_user, touch
from tests.conftest import Clock
from tests.support import NOWHERE

NUMBER, NEW_NUMBER = (IdentifierKind.WA_ID, "15550100123"), (IdentifierKind.WA_ID, "15550100177")
ID, NEW_ID, THIRD_ID = (IdentifierKind.BSUID, "US.1"), (IdentifierKind.BSUID, "US.2"), (IdentifierKind.BSUID, "US.3")
PARENT, NEW_PARENT = (IdentifierKind.PARENT_BSUID, "US.ENT.1"), (IdentifierKind.PARENT_BSUID, "US.ENT.2")


class Desk:
    """Messages and notices, one after the other, a second apart."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self.registry = registry
        self.clock = clock

    async def wrote(self, *seen: Identifier, ago: timedelta = timedelta(0)) -> UserId:
        self.clock.advance(seconds=1)
        at = self.clock() - ago
        return await self.registry.db.write(lambda tx: ensure_user(tx, seen, NOWHERE, at))

    async def moved(self, old: Identifier, *new: Identifier) -> UserId | None:
        self.clock.advance(seconds=1)
        return await self.registry.db.write(lambda tx: move(tx, old, new, self.clock()))

    async def address_of(self, user_id: UserId) -> Identifier | None:
        """Where a message to this person goes."""
        await self.registry.outbox.add(user_id, ["hello"], origin="notice", source=f"to {user_id}")
        head = await self.registry.db.read(lambda tx: head_of(tx, user_id))
        assert head is not None
        return head.way.address

    async def known_as(self, user_id: UserId) -> tuple[Identifier, ...]:
        user = await self.registry.users.get(user_id)
        assert user is not None
        return user.identifiers


@pytest.fixture
def desk(registry: Registry, clock: Clock) -> Desk:
    return Desk(registry, clock)


@pytest.mark.parametrize("seen", [(NUMBER,), (ID,), (PARENT,), (ID, NUMBER), (ID, PARENT, NUMBER)])
async def test_the_same_identifiers_are_the_same_person(desk: Desk, seen: Sequence[Identifier]) -> None:
    assert await desk.wrote(*seen) == await desk.wrote(*seen)


async def test_a_number_that_comes_along_with_its_newer_id_was_not_left_with_the_id_before(desk: Desk) -> None:
    person = await desk.wrote(NUMBER)
    await desk.moved(NUMBER, ID)

    assert await desk.address_of(person) == ID
    assert await desk.wrote(ID, NUMBER) == person
    assert await desk.address_of(person) == NUMBER


async def test_what_comes_along_with_an_id_is_linked_to_its_person(desk: Desk) -> None:
    person = await desk.wrote(ID)

    assert await desk.wrote(ID, PARENT, NUMBER) == person
    assert await desk.known_as(person) == (ID, PARENT, NUMBER)
    assert await desk.wrote(NUMBER) == person
    assert await desk.wrote(PARENT) == person


async def test_a_recycled_number_is_somebody_new_and_takes_the_number_along(desk: Desk) -> None:
    before = await desk.wrote(ID, NUMBER)
    newcomer = await desk.wrote(NEW_ID, NUMBER)

    assert newcomer != before
    assert await desk.wrote(NUMBER) == newcomer
    assert await desk.wrote(ID) == before
    assert await desk.known_as(before) == (ID,)


async def test_a_recycled_number_inherits_nothing_also_where_its_owner_had_no_id(desk: Desk) -> None:
    before = await desk.wrote(NUMBER)
    await desk.registry.sandboxes.ensure(before)
    await desk.wrote(ID)

    assert await desk.wrote(NEW_ID, NUMBER) != before
    assert await desk.wrote(ID, NUMBER) != before


async def test_a_parents_id_passes_no_memory_on(desk: Desk) -> None:
    before = await desk.wrote(ID, PARENT, NUMBER)
    only_parent = await desk.wrote(NEW_PARENT)

    assert await desk.wrote(NEW_ID, PARENT, NUMBER) != before
    assert await desk.wrote(THIRD_ID, NEW_PARENT) != only_parent
    assert await desk.wrote(ID) == before


async def test_a_message_that_comes_late_takes_no_number_back(desk: Desk) -> None:
    before = await desk.wrote(ID, NUMBER)
    newcomer = await desk.wrote(NEW_ID, NUMBER)

    assert await desk.wrote(ID, NUMBER, ago=timedelta(days=3)) == before
    assert await desk.wrote(NUMBER) == newcomer


@pytest.mark.parametrize(
    ("known", "old", "new"),
    [
        ((NUMBER,), NUMBER, (NEW_NUMBER,)),
        ((NUMBER,), NUMBER, (NEW_ID, NEW_NUMBER)),
        ((ID, NUMBER), NUMBER, (NEW_NUMBER,)),
        ((ID, NUMBER), NUMBER, (NEW_ID, NEW_NUMBER)),
        ((ID, NUMBER), NUMBER, (NEW_ID,)),
        ((ID, NUMBER), ID, (NEW_ID,)),
        ((ID,), ID, (NEW_ID,)),
        ((ID, PARENT), PARENT, (NEW_PARENT,)),
        ((ID, PARENT), ID, (NEW_ID, NEW_PARENT)),
    ],
)
async def test_a_change_notice_keeps_the_person(
    desk: Desk, known: Sequence[Identifier], old: Identifier, new: Sequence[Identifier]
) -> None:
    person = await desk.wrote(*known)

    assert await desk.moved(old, *new) == person
    assert await desk.wrote(*new) == person


async def test_a_notice_may_come_twice_in_every_form_and_order(desk: Desk) -> None:
    forms = [(NUMBER, (NEW_ID, NEW_NUMBER)), (ID, (NEW_ID,)), (ID, (NEW_ID, NEW_NUMBER))]
    for order in itertools.permutations(forms):
        await desk.registry.db.execute("DELETE FROM users")
        person = await desk.wrote(ID, NUMBER)
        for old, new in (*order, *order):
            await desk.moved(old, *new)

        assert await desk.wrote(NEW_ID, NEW_NUMBER) == person
        assert (await desk.known_as(person))[0] == NEW_ID


async def test_the_number_that_was_left_is_the_next_ones(desk: Desk) -> None:
    person = await desk.wrote(ID, NUMBER)
    await desk.moved(NUMBER, NEW_ID, NEW_NUMBER)

    assert await desk.wrote(THIRD_ID, NUMBER) != person
    assert await desk.known_as(person) == (NEW_ID, ID, NEW_NUMBER)


async def test_a_number_that_was_left_is_no_proof_but_what_was_sent_before_still_counts(desk: Desk) -> None:
    person = await desk.wrote(NUMBER)
    await desk.moved(NUMBER, NEW_NUMBER)

    assert await desk.wrote(NUMBER, ago=timedelta(hours=1)) == person
    assert await desk.wrote(NUMBER) != person


async def test_whoever_changed_their_number_is_still_on_a_list_that_has_the_old_one(desk: Desk) -> None:
    person = await desk.wrote(ID, NUMBER)
    await desk.moved(NUMBER, NEW_ID, NEW_NUMBER)

    numbers = [known for known in await desk.known_as(person) if known[0] is IdentifierKind.WA_ID]
    assert numbers == [NEW_NUMBER, NUMBER]


async def test_a_notice_about_a_recycled_number_is_about_its_new_owner(desk: Desk) -> None:
    before = await desk.wrote(ID, NUMBER)
    owner = await desk.wrote(NEW_ID, NUMBER)

    assert await desk.moved(NUMBER, THIRD_ID, NEW_NUMBER) == owner
    assert await desk.wrote(THIRD_ID) == owner != before


async def test_a_notice_about_a_number_that_was_silent_for_long_passes_no_memory_on(desk: Desk) -> None:
    before = await desk.wrote(ID, NUMBER)
    desk.clock.advance(days=NUMBER_SPEAKS_FOR.days + 1)

    assert await desk.moved(NUMBER, NEW_ID, NEW_NUMBER) is None
    assert await desk.wrote(NEW_ID, NEW_NUMBER) != before


async def test_a_number_speaks_as_long_as_its_person_writes(desk: Desk) -> None:
    person = await desk.wrote(ID, NUMBER)
    desk.clock.advance(days=NUMBER_SPEAKS_FOR.days + 1)
    await desk.registry.db.write(lambda tx: touch(tx, person, desk.clock()))

    assert await desk.moved(NUMBER, NEW_ID, NEW_NUMBER) == person


async def test_an_id_in_a_notice_speaks_for_ever(desk: Desk) -> None:
    person = await desk.wrote(ID, NUMBER)
    desk.clock.advance(days=1000)

    assert await desk.moved(ID, NEW_ID) == person


async def test_a_number_in_a_notice_that_was_somebodys_takes_no_memory_along(desk: Desk) -> None:
    person, other = await desk.wrote(ID, NUMBER), await desk.wrote(NEW_ID, NEW_NUMBER)

    assert await desk.moved(NUMBER, THIRD_ID, NEW_NUMBER) == person
    assert await desk.wrote(NEW_ID) == other
    assert await desk.known_as(other) == (NEW_ID,)


async def test_the_id_of_somebody_who_was_here_before_is_passed_to_nobody(desk: Desk) -> None:
    person, other = await desk.wrote(ID), await desk.wrote(NEW_ID)
    desk.clock.advance(days=NOTICE_COMES_WITHIN.days + 1)

    assert await desk.moved(ID, NEW_ID) is None
    assert (await desk.wrote(ID), await desk.wrote(NEW_ID)) == (person, other)


async def test_a_message_that_overtakes_its_notice_is_no_newcomer_for_long(desk: Desk, clock: Clock) -> None:
    person = await desk.wrote(ID, NUMBER)
    newcomer = await desk.wrote(NEW_ID, NEW_NUMBER)
    assert newcomer != person
    await desk.registry.db.write(lambda tx: inbox.add(tx, message_of(newcomer, clock()), clock()))
    await desk.registry.db.write(lambda tx: touch(tx, newcomer, clock()))
    await desk.registry.outbox.add(newcomer, ["hello"], origin="notice", source="s")

    assert await desk.moved(NUMBER, NEW_ID, NEW_NUMBER) == person

    assert await desk.wrote(NEW_ID, NEW_NUMBER) == person
    row = await desk.registry.db.one(
        "SELECT (SELECT user_id FROM inbox) AS i, (SELECT user_id FROM outbox WHERE state = :state) AS o,"
        " (SELECT last_inbound_at FROM users WHERE id = :id) AS at",
        {"id": person, "state": OutboxState.QUEUED.value},
    )
    assert row is not None
    assert (row["i"], row["o"]) == (person, person)
    assert row["at"] is not None


async def test_the_reminders_of_one_who_was_no_newcomer_reach_their_person(desk: Desk, clock: Clock) -> None:
    person, newcomer = await desk.wrote(ID), await desk.wrote(NEW_ID)
    await desk.registry.reminders.add(newcomer, key="k", due_at=clock(), wall="now", zone="UTC", text="tea")

    await desk.moved(ID, NEW_ID)

    assert [reminder.user_id for reminder in await desk.registry.reminders.due(clock())] == [person]


async def test_a_notice_about_nobody_changes_nothing(desk: Desk) -> None:
    assert await desk.moved(NUMBER, NEW_NUMBER) is None
    assert await desk.registry.users.all() == []


async def test_the_number_that_was_seen_last_comes_first(desk: Desk) -> None:
    for number in (NUMBER, NEW_NUMBER, NUMBER):
        person = await desk.wrote(ID, number)

    assert await desk.known_as(person) == (ID, NUMBER, NEW_NUMBER)


async def test_nothing_goes_to_a_number_that_was_left_with_the_id_before(desk: Desk) -> None:
    person = await desk.wrote(ID, NUMBER)
    await desk.moved(ID, NEW_ID)

    await desk.wrote(NEW_ID)

    assert await desk.address_of(person) == NEW_ID


@pytest.mark.parametrize(
    "life",
    [
        [(NUMBER,)],
        [(ID, NUMBER)],
        [(ID, PARENT, NUMBER)],
        [(ID,), (ID, NUMBER)],
        [(NUMBER,), (ID, NUMBER)],
        [(ID, NUMBER), (ID,)],
    ],
)
async def test_whose_messages_brought_a_number_is_written_to_by_number(
    desk: Desk, life: Sequence[Sequence[Identifier]]
) -> None:
    for seen in life:
        person = await desk.wrote(*seen)

    assert await desk.address_of(person) == NUMBER


async def test_a_number_that_comes_along_with_the_new_id_counts_again(desk: Desk) -> None:
    person = await desk.wrote(ID, NUMBER)
    await desk.moved(ID, NEW_ID)

    await desk.wrote(NEW_ID, NUMBER, ago=timedelta(hours=1))
    assert await desk.address_of(person) == NEW_ID

    await desk.wrote(NEW_ID, NUMBER)
    assert await desk.address_of(person) == NUMBER


async def test_a_notice_that_tells_the_new_number_too_is_followed(desk: Desk) -> None:
    person = await desk.wrote(ID, NUMBER)
    await desk.moved(ID, NEW_ID)
    await desk.moved(NUMBER, NEW_ID, NEW_NUMBER)

    assert await desk.address_of(person) == NEW_NUMBER


def message_of(user_id: UserId, at: datetime) -> NewInbound:
    return NewInbound(
        wamid=Wamid("w1"),
        user_id=user_id,
        kind="text",
        text="hello",
        raw="{}",
        reply_to=None,
        forwarded=False,
        sent_at=at,
        state=InboxState.RECEIVED,
    )


def one_of(kind: IdentifierKind, *values: str) -> st.SearchStrategy[Identifier]:
    return st.sampled_from([(kind, value) for value in values])


ids = one_of(IdentifierKind.BSUID, "A", "B", "C", "D")
parents = one_of(IdentifierKind.PARENT_BSUID, "P", "Q")
numbers = one_of(IdentifierKind.WA_ID, "1", "2", "3")
persons = st.tuples(st.none() | ids, st.none() | parents, st.none() | numbers).map(
    lambda parts: tuple(part for part in parts if part is not None)
)
Step = tuple[str, tuple[Identifier, ...], float]
steps = st.lists(
    st.tuples(
        st.sampled_from(["message", "message", "notice"]),
        persons.filter(bool),
        st.sampled_from([0.0, 1.0, 86_400.0 * 6, 86_400.0 * 40]),
    ),
    max_size=30,
)


@settings(max_examples=150)
@given(steps)
def test_two_ids_are_one_person_only_where_a_notice_said_so(life: list[Step]) -> None:
    """Whatever comes, in whatever order: nobody gets to somebody else's memory by a message."""
    asyncio.run(_live(life))


async def _live(life: list[Step]) -> None:
    clock, linked = Clock(), Linked()
    with tempfile.TemporaryDirectory() as directory:
        async with open_registry(Path(directory) / "r.sqlite", clock) as registry:

            def everything(tx: Transaction) -> None:
                for kind, seen, pause_s in life:
                    clock.advance(seconds=pause_s)
                    if kind == "message":
                        _one_message(tx, seen, clock)
                    elif len(seen) > 1:
                        linked.by_notice(tx, seen[0], seen[1:], clock())
                    linked.check(tx)

            await registry.db.write(everything)


def _one_message(tx: Transaction, seen: Sequence[Identifier], clock: Callable[[], datetime]) -> None:
    before = owners(tx)
    user_id = ensure_user(tx, seen, NOWHERE, clock())
    strongest = seen[0]
    assert owners(tx)[strongest] == user_id
    if strongest[0] is IdentifierKind.BSUID:
        assert user_id == before.get(strongest, user_id)
        assert strongest in before or user_id not in before.values()


class Linked:
    """What the notices said, as groups of ids."""

    def __init__(self) -> None:
        self.group: dict[str, set[str]] = {}

    def of(self, value: str) -> set[str]:
        return self.group.setdefault(value, {value})

    def by_notice(self, tx: Transaction, old: Identifier, new: Sequence[Identifier], now: datetime) -> None:
        behind = owners(tx).get(old)
        said = [identifier for identifier, user in owners(tx).items() if user == behind and behind is not None]
        together: set[str] = set()
        for kind, value in (*said, *new):
            if kind is IdentifierKind.BSUID:
                together |= self.of(value)
        if move(tx, old, new, now) is not None:
            for value in together:
                self.group[value] = together

    def check(self, tx: Transaction) -> None:
        by_user: dict[UserId, list[str]] = {}
        for (kind, value), user_id in owners(tx).items():
            if kind is IdentifierKind.BSUID:
                by_user.setdefault(user_id, []).append(value)
        for values in by_user.values():
            assert set(values) <= self.of(values[0])


def owners(tx: Transaction) -> dict[Identifier, UserId]:
    rows = tx.all("SELECT kind, value, user_id FROM identifiers")
    return {(IdentifierKind(row["kind"]), row["value"]): UserId(row["user_id"]) for row in rows}
