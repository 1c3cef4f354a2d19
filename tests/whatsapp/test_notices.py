"""Notices: the level that an operator needs, and the words that tell why."""

from typing import Any

import pytest

from clawkakad.whatsapp.delivery import Notice
from clawkakad.whatsapp.notices import Level
from clawkakad.whatsapp.parsing import parse
from tests.whatsapp.expectations import PHONE_NUMBER_ID
from tests.whatsapp.wire import change, message, webhook


def told(field: str, value: Any) -> Notice:
    (notice,) = parse(change(field, value), phone_number_id=PHONE_NUMBER_ID).notices
    return notice


@pytest.mark.parametrize(
    ("field", "value", "level", "words"),
    [
        (
            "account_update",
            {"event": "ACCOUNT_VIOLATION", "violation_info": {"violation_type": "ADULT"}},
            "error",
            "ACCOUNT_VIOLATION, ADULT",
        ),
        ("account_update", {"event": "ACCOUNT_DELETED"}, "error", "ACCOUNT_DELETED"),
        (
            "account_update",
            {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "DISABLE", "waba_ban_date": "April 17"}},
            "error",
            "DISABLED_UPDATE, DISABLE",
        ),
        (
            "account_update",
            {"event": "DISABLED_UPDATE", "ban_info": {"waba_ban_state": "REINSTATE"}},
            "info",
            "DISABLED_UPDATE, REINSTATE",
        ),
        ("account_update", {"event": "ACCOUNT_OFFBOARDED"}, "error", "ACCOUNT_OFFBOARDED"),
        ("account_update", {"event": "PARTNER_REMOVED"}, "warning", "PARTNER_REMOVED"),
        ("account_review_update", {"decision": "REJECTED"}, "error", "REJECTED"),
        ("account_review_update", {"decision": "APPROVED"}, "info", "APPROVED"),
        ("account_alerts", {"alert_severity": "CRITICAL", "alert_type": "OBA_X"}, "error", "CRITICAL, OBA_X"),
        ("account_alerts", {"alert_severity": "WARNING", "alert_type": "OBA_X"}, "warning", "WARNING, OBA_X"),
        (
            "security",
            {"event": "PIN_CHANGED", "display_phone_number": "15550100199", "requester": "1"},
            "warning",
            "PIN_CHANGED",
        ),
        (
            "message_template_status_update",
            {"event": "PAUSED", "message_template_name": "r", "reason": "NONE"},
            "warning",
            "PAUSED, r",
        ),
        ("message_template_status_update", {"event": "DISABLED"}, "warning", "DISABLED"),
        ("message_template_status_update", {"event": "PENDING_DELETION"}, "warning", "PENDING_DELETION"),
        ("message_template_status_update", {"event": "APPROVED", "reason": "NONE"}, "info", "APPROVED"),
        (
            "message_template_quality_update",
            {"previous_quality_score": "GREEN", "new_quality_score": "RED", "message_template_name": "r"},
            "warning",
            "r, GREEN, RED",
        ),
        (
            "template_category_update",
            {"message_template_name": "r", "previous_category": "UTILITY", "new_category": "MARKETING"},
            "warning",
            "r, UTILITY, MARKETING",
        ),
        (
            "template_category_update",
            {"message_template_name": "r", "new_category": "UTILITY", "correct_category": "MARKETING"},
            "warning",
            "r, UTILITY, MARKETING",
        ),
        ("phone_number_quality_update", {"event": "FLAGGED"}, "warning", "FLAGGED"),
        ("phone_number_quality_update", {"event": "UNFLAGGED"}, "info", "UNFLAGGED"),
        ("phone_number_quality_update", {"event": "DOWNGRADE", "current_limit": "TIER_250"}, "warning", "TIER_250"),
        ("phone_number_name_update", {"decision": "REJECTED", "rejection_reason": "NAME_X"}, "warning", "NAME_X"),
        ("business_capability_update", {"max_phone_numbers_per_business": 2}, "info", "no details"),
        ("account_update", {"event": 7 * [1], "ban_info": [3, None], "violation_info": 4}, "warning", "no details"),
    ],
)
def test_news_of_the_account_have_the_level_that_they_need(field: str, value: Any, level: str, words: str) -> None:
    notice = told(field, value)

    assert notice.level == level
    assert notice.text.startswith(f"{field}: ")
    assert notice.text.endswith(words)


NONE_OF_OURS = """calls flows group_lifecycle_update history smb_app_state_sync smb_message_echoes message_echoes
standby partner_solutions payment_configuration_update business_username_updates messaging_handovers automatic_events
user_preferences something_new"""


@pytest.mark.parametrize("field", NONE_OF_OURS.split())
def test_what_is_none_of_our_business_starts_nothing_and_tells_nothing(field: str) -> None:
    inner = {"messages": [message()], "message_echoes": [message()], "contacts": [{"wa_id": "15550100123"}]}
    delivery = parse(change(field, inner), phone_number_id=PHONE_NUMBER_ID)

    assert (delivery.messages, delivery.statuses, delivery.changes) == ((), (), ())
    assert [notice.level for notice in delivery.notices] == ["info"]
    assert field in delivery.notices[0].text


@pytest.mark.parametrize(
    ("code", "level"),
    [(131051, "info"), (131052, "info"), (131060, "info"), (131000, "warning"), (999999, "warning"), (131031, "error")],
)
def test_an_error_in_place_of_a_message_is_told_and_the_message_kept(code: int, level: Level) -> None:
    item = message(type="unsupported", text=None, errors=[None, {"code": code, "title": "What\nit is"}, "odd"])
    delivery = parse(webhook(item), phone_number_id=PHONE_NUMBER_ID)

    assert [m.wamid for m in delivery.messages] == ["wamid.A"]
    assert delivery.notices == (Notice(level, f"a message (unsupported) came with error {code}: What it is"),)


@pytest.mark.parametrize(("code", "level"), [(130429, "warning"), (131031, "error"), (190, "error"), (131042, "error")])
def test_an_error_about_the_number_stops_or_warns(code: int, level: Level) -> None:
    (notice,) = parse(webhook(errors=[{"code": code}]), phone_number_id=PHONE_NUMBER_ID).notices

    assert notice == Notice(level, f"Meta reports error {code}")
