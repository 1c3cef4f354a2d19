"""Changed numbers and ids: every form in which Meta tells it, and nothing that somebody could make up."""

from typing import Any

import pytest

from clawkakad.model import IdentifierKind
from clawkakad.whatsapp.delivery import Delivery
from clawkakad.whatsapp.parsing import parse
from tests.whatsapp.expectations import PHONE_NUMBER_ID
from tests.whatsapp.wire import change, message, webhook

OLD, NEW = (IdentifierKind.BSUID, "US.1"), (IdentifierKind.BSUID, "US.9")
OLD_PARENT, NEW_PARENT = (IdentifierKind.PARENT_BSUID, "US.ENT.1"), (IdentifierKind.PARENT_BSUID, "US.ENT.9")
OLD_NUMBER, NEW_NUMBER = (IdentifierKind.WA_ID, "15550100123"), (IdentifierKind.WA_ID, "15550100177")


def told(kind: str, system: dict[str, Any], **sender: object) -> Delivery:
    item = message(type="system", text=None, system={"type": kind, **system}, **sender)
    return parse(webhook(item), phone_number_id=PHONE_NUMBER_ID)


def moved(delivery: Delivery) -> list[Any]:
    return [(change.old, change.new) for change in delivery.changes]


@pytest.mark.parametrize("kind", ["user_changed_number", "customer_changed_number", "user_changed_user_id"])
@pytest.mark.parametrize("key", ["wa_id", "new_wa_id"])
def test_a_new_number_is_followed_by_every_name_of_it(kind: str, key: str) -> None:
    assert moved(told(kind, {key: "+15550100177"})) == [(OLD_NUMBER, (NEW_NUMBER,))]


def test_all_that_is_new_goes_to_whoever_had_any_of_the_old() -> None:
    system = {"wa_id": "15550100177", "user_id": "US.9", "parent_user_id": "US.ENT.9"}
    delivery = told("user_changed_user_id", system, from_user_id="US.1", from_parent_user_id="US.ENT.1")
    new = (NEW, NEW_PARENT, NEW_NUMBER)

    assert moved(delivery) == [(OLD, new), (OLD_PARENT, new), (OLD_NUMBER, new)]


def test_an_older_form_names_the_old_number_as_the_customer() -> None:
    system = {"customer": "15550100123", "wa_id": "15550100177"}

    assert moved(told("customer_changed_number", system, **{"from": None})) == [(OLD_NUMBER, (NEW_NUMBER,))]
    assert moved(told("customer_changed_number", system)) == [(OLD_NUMBER, (NEW_NUMBER,))]


def test_a_new_id_with_the_same_number_stays_with_its_person() -> None:
    delivery = told("user_changed_user_id", {"wa_id": "15550100123", "user_id": "US.9"})

    assert moved(delivery) == [(OLD_NUMBER, (NEW, OLD_NUMBER))]


def test_the_old_id_may_stand_in_the_words_only() -> None:
    system = {"body": "User Robin changed from US.1 to US.9", "user_id": "US.9"}

    assert moved(told("user_changed_user_id", system, **{"from": None})) == [(OLD, (NEW,))]


@pytest.mark.parametrize(
    "body",
    [
        "User Eve changed from US.1 to US.8",
        "User Eve changed from US.1 to US.9 changed from US.2 to US.3",
        "User changed from US.1 to US.9 is called Eve",
        "changed from \ud800 to US.9",
        7,
    ],
)
def test_no_name_makes_up_a_change(body: object) -> None:
    delivery = told("user_changed_user_id", {"body": body, "user_id": "US.9"}, **{"from": None})

    assert moved(delivery) == []
    assert [notice.level for notice in delivery.notices] == ["warning"]


@pytest.mark.parametrize(
    "system", [{"type": "customer_identity_changed"}, {"type": None}, {"type": {"x": True}}, {}, "odd", None]
)
def test_other_news_of_a_person_are_ignored_in_silence(system: object) -> None:
    delivery = parse(webhook(message(type="system", system=system)), phone_number_id=PHONE_NUMBER_ID)

    assert (delivery.messages, delivery.changes) == ((), ())
    assert [notice.level for notice in delivery.notices] == ["info"]


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        ({"user_id": {"previous": "US.1", "current": "US.9"}}, [(OLD, (NEW,))]),
        ({"parent_user_id": {"previous": "US.ENT.1", "current": "US.ENT.9"}}, [(OLD_PARENT, (NEW_PARENT,))]),
        (
            {
                "user_id": {"previous": "US.1", "current": "US.9"},
                "parent_user_id": {"previous": "US.ENT.1", "current": "US.ENT.9"},
            },
            [(OLD, (NEW,)), (OLD_PARENT, (NEW_PARENT,))],
        ),
        ({"user_id": {"previous": "US.1"}}, []),
        ({"user_id": {"previous": "US.1", "current": "US.1"}}, []),
        ({}, []),
        (None, []),
    ],
)
def test_the_field_for_changed_ids_is_followed(update: object, expected: list[Any]) -> None:
    value = {"metadata": {"phone_number_id": PHONE_NUMBER_ID}, "user_id_update": [update]}
    delivery = parse(change("user_id_update", value), phone_number_id=PHONE_NUMBER_ID)

    assert moved(delivery) == expected
    assert [notice.level for notice in delivery.notices] == ([] if expected else ["warning"])


def test_a_change_at_another_number_of_the_account_is_not_ours() -> None:
    value = {"metadata": {"phone_number_id": "9"}, "user_id_update": [{"user_id": {"previous": "a", "current": "b"}}]}

    assert parse(change("user_id_update", value), phone_number_id=PHONE_NUMBER_ID).changes == ()
