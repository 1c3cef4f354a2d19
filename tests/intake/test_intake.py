"""Intake: what becomes of each kind of message, once."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from clawkakad.assistant import words
from clawkakad.assistant.opening import Opening
from clawkakad.assistant.turnbook import Turn
from clawkakad.config import Access, Strangers
from clawkakad.delivery.receipts import Receipts
from clawkakad.errors import RegistryUnavailable
from clawkakad.intake.access import Door
from clawkakad.intake.filing import EDITED, Filed, Filing
from clawkakad.intake.intake import Intake
from clawkakad.intake.limits import KEPT_OF_A_STRANGER, LINES_TO_STRANGERS, Limits
from clawkakad.intake.listening import Listening
from clawkakad.model import IdentifierKind, InboxState, OutboxState, UserId, Wamid
from clawkakad.registry import Registry, sends
from clawkakad.registry.inbox import InboxRow
from clawkakad.registry.transaction import Transaction
from clawkakad.whatsapp.delivery import Delivery, IdentifierChange, Inbound, Purpose, Status
from clawkakad.whatsapp.parsing import parse
from tests.conftest import Clock
from tests.support import DATA, counted_commits, nobody_opens
from tests.whatsapp.expectations import EXPECTED, PHONE_NUMBER_ID

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
        opening: Callable[[], Opening] = nobody_opens,
    ) -> None:
        self.woken: list[UserId] = []
        self.outbox_calls = 0
        self.registry = registry
        self.listening = Listening()
        self.receipts = Receipts()
        self.intake = Intake(
            registry,
            Filing(door, Limits(messages_per_hour, strangers), self.receipts),
            clock,
            listening=self.listening,
            opening=opening,
            on_message=self.woken.append,
            on_outbox=self._on_outbox,
        )

    def _on_outbox(self) -> None:
        self.outbox_calls += 1

    async def take(self, *messages: Inbound, statuses: tuple[Status, ...] = (), changes=()) -> None:
        await self.intake.accept(Delivery(messages=messages, statuses=statuses, changes=changes, notices=()))

    async def lines(self) -> list[str]:
        """What the daemon itself said, the latest first."""
        return [row.text for row in await self.registry.outbox.all()]

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
    await registry.db.write(lambda tx: sends.begin(tx, sends.due(tx).heads, clock()))

    def status(word: str) -> Status:
        return Status(wamid=Wamid("out"), status=word, at=SENT, callback_data=row.key, error_code=None, error_text="")

    await desk.take(statuses=(status("teleported"), status("read"), status("sent")))

    assert (await registry.outbox.all())[0].state is OutboxState.READ


async def test_somebody_on_the_list_is_let_in_also_when_a_message_comes_without_the_number(
    registry: Registry, clock: Clock
) -> None:
    desk = Desk(registry, clock, Door(Access.LISTED, ("15550100123",)))
    number, bsuid = (IdentifierKind.WA_ID, "15550100123"), (IdentifierKind.BSUID, "US.1")

    await desk.take(inbound("w1")._replace(identifiers=(bsuid, number)))
    await desk.take(inbound("w2")._replace(identifiers=(bsuid,)))

    assert set((await desk.states()).values()) == {InboxState.RECEIVED}


async def test_an_old_message_that_comes_again_moves_no_number_back(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())
    number = (IdentifierKind.WA_ID, "15550100123")
    old = inbound("w1")._replace(identifiers=((IdentifierKind.BSUID, "US.1"), number))
    new = inbound("w2")._replace(identifiers=((IdentifierKind.BSUID, "US.2"), number))
    await desk.take(old)
    await desk.take(new)

    await desk.take(old)

    await desk.take(inbound("w3"))
    assert desk.woken[2] == desk.woken[1] != desk.woken[0]


async def test_a_kind_that_nobody_can_open_gets_other_words_than_a_picture(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())

    await desk.take(polite("w1", kind="hologram"))
    clock.advance(minutes=6)
    await desk.take(polite("w2", kind="sticker"))

    assert await desk.lines() == [words.ONLY_TEXT, words.ONLY_TEXT_KIND]


async def test_what_a_file_is_and_its_id_are_kept(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())

    await desk.take(inbound("w1", "image", "[an image] look")._replace(media_id="42"))
    await desk.take(polite("w2")._replace(text="[an image]", media_id="43"))

    rows = await registry.db.all("SELECT media_id, state, text FROM inbox")
    assert [tuple(row) for row in rows] == [("42", "received", "[an image] look"), ("43", "answered", "[an image]")]


async def test_an_edit_changes_a_message_that_still_waits(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())
    await desk.take(inbound("w1", text="at 8"))

    await desk.take(inbound("w2", "edit", "at 9", purpose=Purpose.EDIT, target="w1"))

    rows = {row.wamid: (row.state, row.text) for row in await registry.inbox.all()}
    assert rows == {"w1": (InboxState.RECEIVED, "at 9"), "w2": (InboxState.IGNORED, None)}
    assert len(desk.woken) == 1


async def test_no_turn_is_begun_at_once_with_a_message_that_came_with_its_edit(
    registry: Registry, clock: Clock
) -> None:
    host = Grants()
    desk = Desk(registry, clock, open_door(), opening=lambda: Opening(host))

    await desk.take(inbound("w1", text="at 8"), inbound("w2", "edit", "at 9", purpose=Purpose.EDIT, target="w1"))
    assert host.opened == []
    assert len(desk.woken) == 1

    await desk.take(inbound("w3", text="and at 10"))
    assert host.opened == ["and at 10"]
    assert [row.text for row in await registry.inbox.all()] == ["and at 10", None, "at 9"]


class Grants:
    """Grants every opening, begins none, and notes the words."""

    def __init__(self) -> None:
        self.opened: list[str | None] = []

    def grant(self, user_id: UserId) -> bool:
        return True

    def open(self, tx: Transaction, message: InboxRow, now: datetime) -> Turn | None:
        self.opened.append(message.text)
        return None

    def ask(self, user_id: UserId, turn: Turn) -> None:
        raise AssertionError("nothing was begun")

    def go(self, user_id: UserId, lost: Turn | None) -> None:
        pass


async def test_an_edit_that_comes_too_late_is_a_turn_that_says_so(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())
    await desk.take(inbound("w1", text="at 8"))
    await registry.db.execute("UPDATE inbox SET state = 'running'")

    await desk.take(inbound("w2", "edit", "at 9", purpose=Purpose.EDIT, target="w1"))
    await desk.take(inbound("w3", "edit", "at 10", purpose=Purpose.EDIT, target="never seen"))

    texts = [row.text for row in await registry.inbox.all()]
    assert texts == [EDITED + "at 10", EDITED + "at 9", "at 8"]
    assert len(desk.woken) == 3


async def test_a_message_that_is_taken_back_while_it_waits_is_not_answered(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())
    await desk.take(inbound("w1"), inbound("w2"))
    await registry.db.execute("UPDATE inbox SET state = 'running' WHERE wamid = 'w2'")

    for number, target in enumerate(("w1", "w2", "never seen")):
        await desk.take(inbound(f"r{number}", "revoke", None, purpose=Purpose.REVOKE, target=target))

    states = await desk.states()
    assert states["w1"] is InboxState.IGNORED
    assert states["w2"] is InboxState.RUNNING
    assert {states[f"r{number}"] for number in range(3)} == {InboxState.IGNORED}


async def test_a_message_that_was_taken_back_before_it_came_is_not_answered_nor_its_words_kept(
    registry: Registry, clock: Clock
) -> None:
    desk = Desk(registry, clock, open_door())
    await desk.take(inbound("r1", "revoke", None, purpose=Purpose.REVOKE, target="w1"))
    clock.advance(days=6)

    await desk.take(inbound("w1", text="a secret"))

    row = await registry.db.one("SELECT state, text, raw, reason FROM inbox WHERE wamid = 'w1'")
    assert row is not None
    assert tuple(row) == ("ignored", None, "{}", "taken back")
    assert desk.woken == []


@pytest.mark.parametrize("is_first", [True, False])
async def test_of_a_file_that_is_taken_back_nothing_is_kept(registry: Registry, clock: Clock, is_first: bool) -> None:
    desk = Desk(registry, clock, open_door())
    file = polite("w1")._replace(text="[a document named “a secret”]", media_id="42")
    revoke = inbound("r1", "revoke", None, purpose=Purpose.REVOKE, target="w1")

    for message in (revoke, file) if is_first else (file, revoke):
        await desk.take(message)

    row = await registry.db.one("SELECT state, text, raw, reason FROM inbox WHERE wamid = 'w1'")
    assert row is not None
    assert tuple(row) == ("ignored", None, "{}", "taken back")
    assert await desk.lines() == ([] if is_first else [words.ONLY_TEXT])


async def test_what_was_taken_back_counts_for_no_limit_and_is_not_kept_because_of_one(
    registry: Registry, clock: Clock
) -> None:
    desk = Desk(registry, clock, open_door(), messages_per_hour=1)
    await desk.take(*(inbound(f"r{n}", "revoke", None, purpose=Purpose.REVOKE, target=f"w{n}") for n in (1, 3)))

    await desk.take(*(at(clock, inbound(f"w{n}")) for n in (1, 2, 3)))

    texts = {row.wamid: row.text for row in await registry.inbox.all() if row.kind == "text"}
    assert texts == {"w1": None, "w2": "hello", "w3": None}
    assert (await desk.states())["w2"] is InboxState.RECEIVED
    assert await desk.lines() == []


@pytest.mark.parametrize("purpose", [Purpose.EDIT, Purpose.REVOKE])
async def test_nobody_edits_or_takes_back_what_somebody_else_wrote(
    registry: Registry, clock: Clock, purpose: Purpose
) -> None:
    desk = Desk(registry, clock, open_door())
    await desk.take(inbound("w1", text="mine"))

    await desk.take(inbound("w2", purpose.value, "yours", purpose=purpose, target="w1", number="15550100177"))
    await desk.take(inbound("w3", purpose.value, "yours", purpose=purpose, target="w4", number="15550100177"))
    await desk.take(inbound("w4", text="mine"))

    rows = [(row.state, row.text) for row in await registry.inbox.all() if row.wamid in ("w1", "w4")]
    assert rows == [(InboxState.RECEIVED, "mine")] * 2


async def test_what_the_window_held_goes_out_when_its_person_writes(
    registry: Registry, clock: Clock, robin: UserId
) -> None:
    desk = Desk(registry, clock, open_door())
    await registry.outbox.add(robin, ["hold this"], origin="reminder", source="s")
    await registry.db.execute("UPDATE outbox SET state = 'held', hold = 'window'")

    await desk.take(inbound("w1"))

    assert (await registry.outbox.all())[0].state is OutboxState.QUEUED
    assert desk.outbox_calls == 1


async def test_the_delivery_is_not_woken_where_there_is_nothing_to_send(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())

    await desk.take(inbound("w1"))

    assert desk.outbox_calls == 0


async def test_more_than_the_hours_messages_are_kept_and_answered_by_one_line_a_day(
    registry: Registry, clock: Clock
) -> None:
    desk = Desk(registry, clock, open_door(), messages_per_hour=3)

    for number in range(6):
        await desk.take(at(clock, inbound(f"w{number}")))
    await desk.take(at(clock, inbound("other", number="15550100177")))

    states = await desk.states()
    assert [states[f"w{number}"] for number in range(6)] == [InboxState.RECEIVED] * 3 + [InboxState.LIMITED] * 3
    assert states["other"] is InboxState.RECEIVED
    assert len(desk.woken) == 4
    assert await desk.lines() == [words.TOO_MANY]

    clock.advance(minutes=61)
    for number in range(6, 10):
        await desk.take(at(clock, inbound(f"w{number}")))
    states = await desk.states()
    assert states["w6"] is states["w8"] is InboxState.RECEIVED
    assert states["w9"] is InboxState.LIMITED
    assert len(await desk.lines()) == 1

    clock.advance(days=1)
    for number in range(10, 14):
        await desk.take(at(clock, inbound(f"w{number}")))
    assert len(await desk.lines()) == 2


async def test_a_restart_forgives_nothing(registry: Registry, clock: Clock) -> None:
    for number in range(4):
        await Desk(registry, clock, open_door(), messages_per_hour=3).take(at(clock, inbound(f"w{number}")))

    assert list((await Desk(registry, clock, open_door()).states()).values()).count(InboxState.LIMITED) == 1


async def test_what_needs_no_answer_does_not_count(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door(), messages_per_hour=1)

    for number in range(5):
        await desk.take(at(clock, inbound(f"r{number}", "reaction", None, purpose=Purpose.RECORD)))
    await desk.take(at(clock, inbound("w1")))

    assert (await desk.states())["w1"] is InboxState.RECEIVED


async def test_a_stranger_gets_one_polite_line_a_day(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, Door(Access.LISTED, ()), strangers=Strangers.LINE)

    for number in range(3):
        await desk.take(at(clock, inbound(f"w{number}")))
    assert await desk.lines() == [words.STRANGER]
    assert (await registry.users.all())[0].last_inbound_at == clock()

    clock.advance(days=1)
    await desk.take(at(clock, inbound("w3")))
    assert len(await desk.lines()) == 2


async def test_a_line_that_would_come_late_is_not_sent(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, Door(Access.LISTED, ()), strangers=Strangers.LINE)
    message = at(clock, inbound("w1"))
    clock.advance(hours=2)

    await desk.take(message)

    assert await desk.lines() == []


async def test_all_strangers_together_get_so_many_lines_a_day(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, Door(Access.LISTED, ()), strangers=Strangers.LINE)

    for number in range(LINES_TO_STRANGERS + 5):
        await desk.take(at(clock, inbound(f"w{number}", number=f"1555{number:07}")))
    assert len(await registry.outbox.all(limit=1000)) == LINES_TO_STRANGERS

    clock.advance(days=1)
    await desk.take(at(clock, inbound("next day")))
    assert len(await registry.outbox.all(limit=1000)) == LINES_TO_STRANGERS + 1


async def test_a_stranger_cannot_fill_the_disk(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, Door(Access.LISTED, ()))

    for number in range(KEPT_OF_A_STRANGER + 5):
        await desk.take(at(clock, inbound(f"w{number}")))
    assert len(await registry.inbox.all(limit=1000)) == KEPT_OF_A_STRANGER

    clock.advance(days=1)
    await desk.take(at(clock, inbound("next day")))
    assert len(await registry.inbox.all(limit=1000)) == KEPT_OF_A_STRANGER + 1


def poison(wamid: str) -> Inbound:
    """SQLite takes no lone surrogate."""
    return inbound(wamid, text="\ud800")


async def test_a_message_that_cannot_be_stored_spoils_no_neighbour(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())
    change = IdentifierChange(old=(IdentifierKind.WA_ID, "1"), new=((IdentifierKind.WA_ID, "2"),))

    await desk.take(inbound("w1"), poison("w2"), inbound("w3"), changes=(change,))

    assert await desk.states() == {
        "w1": InboxState.RECEIVED,
        "w2": InboxState.FAILED,
        "w3": InboxState.RECEIVED,
    }
    assert await desk.lines() == [words.GAVE_UP]
    assert len(desk.woken) == 2
    assert desk.listening.caught_up


class FullFor(Filing):
    """While it is full, the disk has no room for the last message of a delivery that is stored part by part."""

    is_full = True

    def file(self, tx: Transaction, delivery: Delivery, now: datetime, opening: Opening | None = None) -> Filed:
        if self.is_full and [message.wamid for message in delivery.messages] == ["w3"]:
            raise RegistryUnavailable("full")
        return super().file(tx, delivery, now, opening)


async def test_on_a_full_disk_nothing_is_begun(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())
    filing = Filing(open_door(), Limits(0, Strangers.SILENT), Receipts())
    full = Intake(
        registry,
        filing,
        clock,
        listening=desk.listening,
        is_full=lambda: True,
        opening=nobody_opens,
        on_message=desk.woken.append,
        on_outbox=lambda: None,
    )

    with pytest.raises(RegistryUnavailable, match="disk"):
        full.admit()
    assert not desk.listening.caught_up  # that no status came says nothing now
    desk.intake.admit()


async def test_what_was_stored_before_the_disk_was_full_is_answered_too(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())
    filing = FullFor(open_door(), Limits(0, Strangers.SILENT), Receipts())
    intake = Intake(
        registry,
        filing,
        clock,
        listening=desk.listening,
        opening=nobody_opens,
        on_message=desk.woken.append,
        on_outbox=lambda: None,
    )
    delivery = Delivery(messages=(inbound("w1"), poison("w2"), inbound("w3", number="15550100124")))

    with pytest.raises(RegistryUnavailable):
        await intake.accept(delivery)
    assert not desk.listening.caught_up
    filing.is_full = False
    await intake.accept(delivery)

    assert set(desk.woken) == set(await registry.inbox.users_waiting())
    assert len(desk.woken) == 2


async def test_a_bad_name_or_time_is_no_reason_to_lose_a_message(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())

    await desk.take(
        inbound("w1")._replace(name="\udfff"),
        inbound("w2")._replace(raw="\ud800", kind="\ud800"),
    )
    await desk.take(inbound("w3")._replace(raw="\ud800"))

    assert set((await desk.states()).values()) == {InboxState.FAILED}
    assert len(await desk.states()) == 3


async def test_where_not_even_that_it_came_can_be_stored_the_rest_still_is(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())
    nameless = inbound("w1")._replace(identifiers=((IdentifierKind.WA_ID, "\ud800"),))

    await desk.take(nameless, inbound("w2"))

    assert await desk.states() == {"w2": InboxState.RECEIVED}


async def test_a_strangers_bad_message_is_still_a_strangers(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, Door(Access.LISTED, ()))

    await desk.take(inbound("w1")._replace(kind="\ud800"))

    assert await desk.states() == {}
    assert await desk.lines() == []


async def test_somebody_on_the_list_is_let_in_also_under_a_new_number(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, Door(Access.LISTED, ("15550100123",)))
    await desk.take(at(clock, inbound("w1")))
    clock.advance(seconds=1)
    change = IdentifierChange(old=(IdentifierKind.WA_ID, "15550100123"), new=((IdentifierKind.WA_ID, "15550100177"),))

    await desk.take(changes=(change,))
    clock.advance(seconds=1)
    await desk.take(at(clock, inbound("w2", number="15550100177")))

    assert set((await desk.states()).values()) == {InboxState.RECEIVED}


def recorded(name: str) -> Delivery:
    body = (DATA / "payloads" / f"{name}.json").read_bytes()
    return parse(body, phone_number_id=PHONE_NUMBER_ID)


async def test_a_number_that_somebody_passes_on_is_no_identity(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())

    await desk.intake.accept(recorded("contacts_own_number_on_request_bsuid_only"))

    (user,) = await registry.users.all()
    assert [kind for kind, _ in user.identifiers] == [IdentifierKind.BSUID]


async def test_two_people_with_one_name_stay_apart(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())

    await desk.intake.accept(recorded("two_people_same_profile_name"))

    names = [user.profile.name for user in await registry.users.all()]
    assert len(names) == 2
    assert len(set(names)) == 1
    assert len(set(desk.woken)) == 2


async def test_every_recorded_webhook_is_stored_twice_and_known_once(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())

    for name in EXPECTED:
        await desk.intake.accept(recorded(name))
    states = await registry.inbox.all(limit=1000)
    for name in EXPECTED:
        await desk.intake.accept(recorded(name))

    assert await registry.inbox.all(limit=1000) == states
    assert InboxState.FAILED not in {row.state for row in states}


def at(clock: Clock, message: Inbound) -> Inbound:
    """The message, written just now."""
    return message._replace(sent_at=clock())


async def test_a_status_that_is_no_news_takes_no_commit_and_spoils_none(registry: Registry, clock: Clock) -> None:
    desk = Desk(registry, clock, open_door())
    known, other = (Status(Wamid(wamid), "sent", clock(), None, None, "") for wamid in ("wamid.known", "wamid.other"))
    desk.receipts.sent(known.wamid, clock())
    with counted_commits() as commits:
        await desk.take(statuses=(known,))
        assert commits == []
        await desk.take(statuses=(known,))  # a second time it is looked up
        assert commits == ["commit"]
        desk.receipts.sent(known.wamid, clock())
        await desk.take(inbound("wamid.1"), statuses=(known, other))

    assert len(commits) == 2
    assert list(await desk.states()) == ["wamid.1"]
    assert desk.listening.caught_up
