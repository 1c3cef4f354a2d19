"""Intake: what becomes of each kind of message, once."""

import dataclasses
from datetime import UTC, datetime

from clawkakad.assistant.access import Door
from clawkakad.assistant.filing import Filing
from clawkakad.assistant.intake import Intake
from clawkakad.assistant.limits import Limits
from clawkakad.assistant.listening import Listening
from clawkakad.assistant.receipts import Receipts
from clawkakad.config import Access, Strangers
from clawkakad.model import IdentifierKind, InboxState, OutboxState, UserId, Wamid
from clawkakad.registry import Registry, sends
from clawkakad.whatsapp.delivery import Delivery, IdentifierChange, Inbound, Purpose, Status
from tests.conftest import Clock

SENT = datetime(2026, 11, 22, 9, 59, tzinfo=UTC)


class Desk:
    """An intake that remembers whom it woke."""

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        door: Door,
        *,
        messages_per_hour: int = 0,
        strangers: Strangers = Strangers.SILENT,
    ) -> None:
        self.woken: list[UserId] = []
        self.registry = registry
        self.listening = Listening()
        self.intake = Intake(
            registry,
            Filing(door, Limits(messages_per_hour, strangers), Receipts()),
            clock,
            listening=self.listening,
            on_message=self.woken.append,
            on_outbox=lambda: None,
        )

    async def take(self, *messages: Inbound, statuses: tuple[Status, ...] = (), changes=()) -> None:
        await self.intake.accept(Delivery(messages=messages, statuses=statuses, changes=changes, notices=()))

    async def states(self) -> dict[str, InboxState]:
        return {row.wamid: row.state for row in await self.registry.inbox.all()}


def inbound(
    wamid: str,
    kind: str = "text",
    text: str | None = "hello",
    number: str = "15550100123",
    purpose: Purpose = Purpose.TURN,
    target: str | None = None,
) -> Inbound:
    return Inbound(
        wamid=Wamid(wamid),
        identifiers=((IdentifierKind.WA_ID, number),),
        name="Robin",
        kind=kind,
        text=text,
        sent_at=SENT,
        reply_to=None,
        forwarded=False,
        raw='{"the": "message"}',
        purpose=purpose,
        target=Wamid(target) if target else None,
    )


def polite(wamid: str, kind: str = "image") -> Inbound:
    return inbound(wamid, kind, None, purpose=Purpose.POLITE)


def open_door() -> Door:
    return Door(Access.OPEN, ())


async def test_a_text_waits_for_its_turn(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())

    await desk.take(inbound("w1"))

    assert await desk.states() == {"w1": InboxState.RECEIVED}
    assert len(desk.woken) == 1


async def test_a_duplicate_changes_nothing_and_wakes_nobody(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())

    await desk.take(inbound("w1"), inbound("w1"))
    await desk.take(inbound("w1"))

    assert len(desk.woken) == 1
    assert len(await registry.inbox.all()) == 1


async def test_other_types_get_a_row_each_and_one_polite_line_for_all_that_come_together(
    registry: Registry, clock: Clock
) -> None:
    desk = Desk(registry, clock, open_door())

    await desk.take(polite("w1"), polite("w2", kind="hologram"))
    await desk.take(polite("w1"))

    assert set((await desk.states()).values()) == {InboxState.ANSWERED}
    assert len(await registry.outbox.all()) == 1
    assert desk.woken == []

    clock.advance(minutes=10)
    await desk.take(polite("w3"))
    assert len(await registry.outbox.all()) == 2


async def test_what_is_for_the_record_is_kept_and_not_answered(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())
    record = Purpose.RECORD

    await desk.take(inbound("w1", "reaction", None, purpose=record, target="w0"), inbound("w2", text=None))

    assert set((await desk.states()).values()) == {InboxState.IGNORED}
    assert await registry.outbox.all() == []


async def test_a_stranger_is_refused_unread_and_causes_nothing(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, Door(Access.LISTED, ("4915123456789",)))

    await desk.take(inbound("w1", text="let me in"), polite("w2"))

    rows = await registry.inbox.all()
    assert {row.state for row in rows} == {InboxState.REFUSED}
    assert {row.text for row in rows} == {None}
    assert {row["raw"] for row in await registry.db.all("SELECT raw FROM inbox")} == {"{}"}
    assert await registry.outbox.all() == []
    assert await registry.sandboxes.all() == []
    assert desk.woken == []


async def test_a_changed_number_keeps_its_person(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())
    await desk.take(inbound("w1"))
    change = IdentifierChange(old=(IdentifierKind.WA_ID, "15550100123"), new=((IdentifierKind.WA_ID, "15550100177"),))

    await desk.take(changes=(change,))
    await desk.take(inbound("w2", number="15550100177"))

    assert desk.woken[0] == desk.woken[1]


async def test_statuses_move_the_outbox(registry: Registry, clock: Clock, robin: UserId) -> None:
    desk = Desk(registry, clock, open_door())
    await registry.outbox.add(robin, ["hi"], origin="reply", source="s")
    (row,) = await registry.outbox.all()
    await registry.db.write(lambda tx: sends.begin(tx, [row.id], clock()))

    def status(word: str) -> Status:
        return Status(wamid=Wamid("out"), status=word, at=SENT, callback_data=row.key, error_code=None, error_text="")

    await desk.take(statuses=(status("teleported"), status("read"), status("sent")))

    assert (await registry.outbox.all())[0].state is OutboxState.READ


async def test_somebody_on_the_list_is_let_in_also_when_a_message_comes_without_the_number(
    registry: Registry, clock: Clock
) -> None:
    desk = Desk(registry, clock, Door(Access.LISTED, ("15550100123",)))
    number, bsuid = (IdentifierKind.WA_ID, "15550100123"), (IdentifierKind.BSUID, "US.1")

    await desk.take(dataclasses.replace(inbound("w1"), identifiers=(bsuid, number)))
    await desk.take(dataclasses.replace(inbound("w2"), identifiers=(bsuid,)))

    assert set((await desk.states()).values()) == {InboxState.RECEIVED}


async def test_an_old_message_that_comes_again_moves_no_number_back(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())
    number = (IdentifierKind.WA_ID, "15550100123")
    old = dataclasses.replace(inbound("w1"), identifiers=((IdentifierKind.BSUID, "US.1"), number))
    new = dataclasses.replace(inbound("w2"), identifiers=((IdentifierKind.BSUID, "US.2"), number))
    await desk.take(old)
    await desk.take(new)

    await desk.take(old)

    await desk.take(inbound("w3"))
    assert desk.woken[2] == desk.woken[1] != desk.woken[0]
