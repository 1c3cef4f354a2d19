"""The inbox: what becomes of a message that is edited, taken back, or one too many."""

from datetime import datetime, timedelta

from clawkakad.model import InboxState, UserId, Wamid
from clawkakad.registry import Registry, inbox, overview
from clawkakad.registry.transaction import Transaction
from tests.conftest import Clock


def message(user_id: UserId, name: str, at: datetime, state: InboxState = InboxState.RECEIVED) -> inbox.NewInbound:
    return inbox.NewInbound(
        wamid=Wamid(f"wamid.{name}"),
        user_id=user_id,
        kind="text",
        text=name,
        raw='{"text": "' + name + '"}',
        reply_to=None,
        forwarded=False,
        sent_at=at,
        state=state,
        media_id="77",
    )


async def test_what_is_added_is_given_back_as_it_is_stored(registry: Registry, clock: Clock, robin: UserId) -> None:
    about = message(robin, "one", clock())._replace(reply_to=Wamid("w0"), forwarded=True)

    row = await registry.db.write(lambda tx: inbox.add(tx, about, clock()))

    assert [row] == await registry.inbox.waiting(robin)


async def test_a_message_that_waits_can_be_edited_and_taken_back(
    registry: Registry, clock: Clock, robin: UserId
) -> None:
    def work(tx: Transaction) -> list[bool]:
        now = clock()
        inbox.add(tx, message(robin, "one", now), now)
        return [
            inbox.is_known(tx, Wamid("wamid.one")),
            inbox.replace_text(tx, Wamid("wamid.one"), "two", now),
            inbox.replace_text(tx, Wamid("wamid.other"), "two", now),
        ]

    assert await registry.db.write(work) == [True, True, False]
    assert [row.text for row in await registry.inbox.all()] == ["two"]
    assert [await registry.db.write(lambda tx: inbox.withdraw(tx, Wamid("wamid.one"), clock())) for _ in (1, 2)] == [
        True,
        False,
    ]
    (row,) = await registry.inbox.all()
    assert (row.state, row.text) == (InboxState.IGNORED, None)
    assert not await registry.db.write(lambda tx: inbox.replace_text(tx, Wamid("wamid.one"), "three", clock()))


async def test_only_what_is_new_and_answered_counts_for_the_limit(
    registry: Registry, clock: Clock, robin: UserId
) -> None:
    now = clock()

    def work(tx: Transaction) -> int:
        inbox.add(tx, message(robin, "now", now), now)
        inbox.add(tx, message(robin, "polite", now, InboxState.ANSWERED), now)
        inbox.add(tx, message(robin, "too many", now, InboxState.LIMITED), now)
        inbox.add(tx, message(robin, "reaction", now, InboxState.IGNORED), now)
        inbox.add(tx, message(robin, "before an outage", now - timedelta(hours=5)), now)
        inbox.add(tx, message(robin, "earlier", now - timedelta(hours=2)), now - timedelta(hours=2))
        return inbox.count_hour(tx, robin, now - timedelta(hours=1))

    assert await registry.db.write(work) == 2


async def test_what_was_parked_counts_as_trouble_for_a_day(registry: Registry, clock: Clock, robin: UserId) -> None:
    parked = message(robin, "one", clock(), InboxState.PARKED)
    await registry.db.write(lambda tx: inbox.add(tx, parked, clock()))

    async def counted() -> int:
        since = clock() - timedelta(days=1)
        return (await registry.db.read(lambda tx: overview.counts(tx, since))).parked

    assert await counted() == 1
    clock.advance(hours=25)
    assert await counted() == 0
