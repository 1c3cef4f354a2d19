"""Parsing: every recorded webhook, the rules that they show, and bytes that nobody recorded."""

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.model import IdentifierKind
from clawkakad.whatsapp.cleaning import clean_text
from clawkakad.whatsapp.parsing import Delivery, Inbound, Purpose, parse
from tests.support import DATA
from tests.whatsapp.expectations import EXPECTED, PHONE_NUMBER_ID, ROBIN, Expected, Said
from tests.whatsapp.wire import PAYLOADS, message, mutated, recorded_messages, webhook


def parsed(body: bytes) -> Delivery:
    return parse(body, phone_number_id=PHONE_NUMBER_ID)


def recorded(name: str) -> Delivery:
    return parsed((DATA / "payloads" / f"{name}.json").read_bytes())


def only(body: bytes) -> Inbound:
    (inbound,) = parsed(body).messages
    return inbound


def seen(delivery: Delivery) -> Expected:
    return Expected(
        messages=tuple(
            Said(m.kind, m.identifiers, m.purpose, m.text, m.media_id, m.target, m.reply_to, m.forwarded)
            for m in delivery.messages
        ),
        statuses=tuple((s.status, s.error_code) for s in delivery.statuses),
        changes=tuple((c.old, c.new) for c in delivery.changes),
        notices=tuple(n.level for n in delivery.notices),
    )


def test_every_recorded_webhook_has_an_expectation() -> None:
    assert {path.stem for path in PAYLOADS} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_a_recorded_webhook_comes_out_as_expected(name: str) -> None:
    assert seen(recorded(name)) == EXPECTED[name]


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_raw_keeps_the_whole_message_and_nothing_of_its_neighbours(path: Any) -> None:
    entries = json.loads(path.read_bytes())["entry"]
    values = [change["value"] for entry in entries for change in entry.get("changes", [])]
    originals = {item["id"]: item for value in values for item in value.get("messages", [])}

    for inbound in parsed(path.read_bytes()).messages:
        assert json.loads(inbound.raw) == originals[inbound.wamid]


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_notices_tell_no_number_name_or_text(path: Any) -> None:
    for notice in parsed(path.read_bytes()).notices:
        assert not any(word in notice.text for word in ("1555010", "Robin", "Kim", "US.1000", "object belongs", "plan"))


def test_times_are_instants_in_utc() -> None:
    assert recorded("text_basic").messages[0].sent_at == datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def test_a_quote_and_a_forward_are_told_apart() -> None:
    quote, forward = recorded("text_reply_to_assistant").messages[0], recorded("text_forwarded").messages[0]

    assert (quote.reply_to, quote.forwarded) == ("wamid.RkFLRS1PVVQtMDAwMQ==", False)
    assert (forward.reply_to, forward.forwarded) == (None, True)


def test_a_status_brings_back_what_we_gave_along() -> None:
    assert recorded("status_read_minimal_with_callback_data").statuses[0].callback_data == (
        "turn:00000000-0000-4000-8000-000000000001"
    )


def test_a_failed_status_tells_why() -> None:
    error_text = recorded("status_failed_131047_window_closed").statuses[0].error_text

    assert error_text == "Re-engagement message: (test) service window closed: last inbound is older than 24 h"


def test_a_name_is_the_senders_own() -> None:
    assert [m.name for m in recorded("batched_entries_changes_messages").messages] == [
        "Robin Example",
        "Kim Sample",
        "Robin Example",
        "Robin Example",
        "Robin Example",
    ]


def test_a_contact_adds_the_scoped_id_that_a_message_leaves_out() -> None:
    contacts = [{"wa_id": "15550100123", "user_id": "US.10000000000000000001"}]

    assert only(webhook(message(), contacts=contacts)).identifiers == ROBIN


@pytest.mark.parametrize(
    "contacts",
    [
        [{"wa_id": "447700900456", "user_id": "GB.2"}],
        [{"user_id": "GB.2"}],
        [{"wa_id": "15550100123", "user_id": "GB.2"}],
        "none",
        [None, 7, "x"],
    ],
)
def test_another_persons_contact_is_never_mixed_in(contacts: object) -> None:
    mine = message(from_user_id="US.1")

    assert only(webhook(mine, contacts=contacts)).identifiers == (
        (IdentifierKind.BSUID, "US.1"),
        (IdentifierKind.WA_ID, "15550100123"),
    )


def test_a_message_that_names_nobody_belongs_to_the_only_contact() -> None:
    nameless = message(**{"from": None})

    assert only(webhook(nameless, contacts=[{"user_id": "GB.2"}])).identifiers == ((IdentifierKind.BSUID, "GB.2"),)
    assert parsed(webhook(nameless, contacts=[{"user_id": "GB.2"}, {"user_id": "GB.3"}])).messages == ()
    assert parsed(webhook(nameless)).messages == ()


@pytest.mark.parametrize(
    "odd",
    [
        {"context": "odd"},
        {"context": {"id": 7, "forwarded": "perhaps"}},
        {"context": None},
        {"text": "odd"},
        {"text": {"body": None}},
        {"type": None},
        {"type": ["text"]},
        {"type": ""},
        {"from_user_id": {"a": 1}},
        {"system": 3},
    ],
    ids=str,
)
def test_an_odd_optional_part_costs_no_message(odd: dict[str, Any]) -> None:
    assert only(webhook(message(**odd) | odd)).wamid == "wamid.A"


@pytest.mark.parametrize(
    "odd",
    [
        {"id": None},
        {"id": ""},
        {"id": "with space"},
        {"id": "wamid." + "x" * 600},
        {"id": "\ud800"},
        {"timestamp": None},
        {"timestamp": "soon"},
        {"timestamp": "-1"},
        {"timestamp": "9" * 30},
        {"timestamp": True},
        {"timestamp": "٣"},
        {"from": "not a number"},
    ],
    ids=str,
)
def test_an_unusable_message_is_skipped_with_a_notice_and_spoils_no_neighbour(odd: dict[str, Any]) -> None:
    delivery = parsed(webhook(message(id="wamid.B"), message(**odd), message(id="wamid.C")))

    assert [m.wamid for m in delivery.messages] == ["wamid.B", "wamid.C"]
    assert [n.level for n in delivery.notices] == ["warning"]


@pytest.mark.parametrize("item", [None, 7, "x", [], {}])
def test_an_item_that_is_no_object_spoils_no_neighbour(item: object) -> None:
    status = {"id": "wamid.S", "status": "sent", "timestamp": 1795339800}
    delivery = parsed(webhook(item, message(), statuses=[item, status], errors=[item], contacts=[item]))

    assert [m.wamid for m in delivery.messages] == ["wamid.A"]
    assert [s.wamid for s in delivery.statuses] == ["wamid.S"]


def test_messages_of_one_second_keep_their_order() -> None:
    many = [message(id=f"wamid.{n}") for n in range(20)]

    assert [m.wamid for m in parsed(webhook(*many)).messages] == [f"wamid.{n}" for n in range(20)]


def test_a_webhook_that_does_not_say_which_number_it_is_about_is_left_alone() -> None:
    delivery = parsed(webhook(message(), metadata=None))

    assert (delivery.messages, [n.level for n in delivery.notices]) == ((), ["warning"])


def test_all_that_comes_out_can_be_stored() -> None:
    hostile = "a\ud800b\x00c"
    body = webhook(
        message(text={"body": hostile}, type="text"),
        message(id="wamid.B", type=hostile),
        contacts=[{"wa_id": "15550100123", "profile": {"name": hostile}}],
        statuses=[
            {
                "id": "wamid.S",
                "status": hostile,
                "timestamp": "1795339800",
                "biz_opaque_callback_data": hostile,
                "errors": [{"code": 10**30}, {"code": 131000, "title": hostile}],
            }
        ],
    )
    delivery = parsed(body)
    values = [delivery.messages[0].text, delivery.messages[1].kind, delivery.messages[0].raw, delivery.messages[0].name]
    values += [getattr(delivery.statuses[0], name) for name in ("status", "callback_data", "error_code", "error_text")]
    database = sqlite3.connect(":memory:")
    try:
        stored = database.execute("SELECT ?, ?, ?, ?, ?, ?, ?, ?", values).fetchone()
    finally:
        database.close()

    assert list(stored) == values
    assert values[0] == "abc"


@pytest.mark.parametrize(
    "huge", ["1e999", "-1E+0999", "1" * 320 + ".0", "9" * 220 + "e99", ".1e999".replace(".", "0.")]
)
@pytest.mark.parametrize("part", ['"hello"', '"wamid.A"'])
def test_a_number_without_end_is_nobodys_words_or_name(huge: str, part: str) -> None:
    body = webhook(message(id="wamid.A"))
    assert part.encode() in body

    delivery = parsed(body.replace(part.encode(), huge.encode()))

    assert [(m.wamid, m.text) for m in delivery.messages] == ([("wamid.A", None)] if part == '"hello"' else [])


def test_a_number_beside_the_value_of_a_change_is_not_meant() -> None:
    body = json.loads(webhook(message(), metadata=None))
    body["entry"][0]["changes"][0].update(phone_number_id=PHONE_NUMBER_ID, display_phone_number="1")

    delivery = parsed(json.dumps(body).encode())

    assert (delivery.messages, [n.level for n in delivery.notices]) == ((), ["warning"])


def test_raw_is_json_whatever_numbers_came() -> None:
    body = webhook(message()).replace(b'"hello"', b'"hello","a":NaN,"b":1e999,"c":123456789012345678901234567890')

    strict = json.loads(only(body).raw, parse_constant=lambda word: pytest.fail(f"{word} in raw"))

    assert strict["text"] == {"body": "hello", "a": None, "b": None, "c": 123456789012345678901234567890}


@pytest.mark.parametrize("depth", [10, 400, 900, 940, 960, 970, 980, 990, 1000, 100_000])
def test_nesting_of_any_depth_is_survived(depth: int) -> None:
    body = webhook(message()).replace(b'"hello"', b'"hello","deep":' + b"[" * depth + b"]" * depth)

    assert len(parsed(body).messages) + len(parsed(body).notices) == 1


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"7", b"{", b"\xff\xfe\x00", b'"' + b"\xed\xa0\x80" + b'"'])
def test_what_is_no_webhook_is_an_empty_delivery_with_a_notice(body: bytes) -> None:
    delivery = parsed(body)

    assert seen(delivery) == Expected(notices=(delivery.notices[0].level,))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
WORDS = """id from from_user_id from_parent_user_id timestamp type text body context forwarded system wa_id user_id
group_id profile name status errors code title error_data biz_opaque_callback_data previous current"""
KEYS = st.sampled_from(WORDS.split())
NEARLY = st.recursive(
    st.sampled_from([None, True, 0, -1, 1e999, "", "text", "system", "1795339800", "wamid.A", "15550100123", "\ud83d"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(body: bytes) -> None:
    parsed(body)


@given(JSON)
def test_no_json_makes_it_raise(value: object) -> None:
    parsed(json.dumps(value).encode())
    parsed(json.dumps({"object": "whatsapp_business_account", "entry": value}).encode())


@given(
    messages=NEARLY,
    statuses=NEARLY,
    contacts=NEARLY,
    errors=NEARLY,
    field=st.sampled_from(["messages", "user_id_update"]),
)
def test_nothing_that_looks_like_a_webhook_makes_it_raise(
    messages: object, statuses: object, contacts: object, errors: object, field: str
) -> None:
    value = {
        "metadata": {"phone_number_id": PHONE_NUMBER_ID, "display_phone_number": contacts},
        "messages": messages,
        "statuses": statuses,
        "contacts": contacts,
        "errors": errors,
        "user_id_update": messages,
    }
    change = {"field": field, "value": value}
    parsed(json.dumps({"object": "whatsapp_business_account", "entry": [{"changes": [change]}]}).encode())


@given(st.sampled_from(PAYLOADS), st.randoms())
def test_no_change_to_a_real_webhook_makes_it_raise(path: Path, chance: Random) -> None:
    parsed(json.dumps(mutated(json.loads(path.read_bytes()), chance)).encode())


@given(st.sampled_from(PAYLOADS), st.integers(0, 5000), st.binary(max_size=4))
def test_no_changed_bytes_of_a_real_webhook_make_it_raise(path: Path, at: int, other: bytes) -> None:
    body = path.read_bytes()
    at %= len(body)
    parsed(body[:at] + other + body[at + len(other) :])


@given(st.sampled_from(recorded_messages()), st.randoms())
def test_no_change_to_a_real_message_costs_its_neighbours(original: dict[str, Any], chance: Random) -> None:
    before, after = message(id="wamid.before"), message(id="wamid.after", text={"body": "world"})
    status = {"id": "wamid.S", "status": "sent", "timestamp": 1795339800}

    delivery = parsed(webhook(before, mutated(original, chance), after, statuses=[status]))

    said = {str(m.wamid): m.text for m in delivery.messages}
    assert (said["wamid.before"], said["wamid.after"]) == ("hello", "world")
    assert len(delivery.statuses) == 1


@given(st.sampled_from(recorded_messages()), st.randoms())
def test_whatever_a_message_is_its_purpose_and_its_parts_fit_together(original: dict[str, Any], chance: Random) -> None:
    for m in parsed(webhook(mutated(original, chance))).messages:
        is_file = m.purpose is Purpose.POLITE and m.media_id is not None
        assert bool(m.text) == (m.purpose in (Purpose.TURN, Purpose.EDIT) or is_file)
        assert m.target is not None or m.purpose not in (Purpose.EDIT, Purpose.REVOKE)
        assert m.text is None or (m.text == clean_text(m.text) and m.text.encode())
