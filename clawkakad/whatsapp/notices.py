"""What an operator should hear about from Meta: errors, and news about the account, the number and the templates.

Owns the wording and the level of each. A notice says what Meta says about *our* account; it never holds the text of a
message, a number or a name of a person.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from clawkakad.whatsapp.cleaning import clean_label
from clawkakad.whatsapp.delivery import Notice
from clawkakad.whatsapp.errors import Reaction, reaction_to
from clawkakad.whatsapp.wire import Error

_GRAVE = ("RESTRICT", "VIOLATION", "DISABLED", "BAN", "DELETED", "REJECTED", "PAUSED", "FLAGGED", "LOCK")
_ACCOUNT_FIELDS = frozenset({"account_alerts", "account_review_update", "account_update", "security"})
_NEWS_FIELDS = frozenset(
    {
        "business_capability_update",
        "message_template_components_update",
        "message_template_quality_update",
        "message_template_status_update",
        "phone_number_name_update",
        "phone_number_quality_update",
        "template_category_update",
    }
)
_IGNORED_FIELDS = frozenset(
    {
        "automatic_events",
        "business_username_updates",
        "calls",
        "flows",
        "group_lifecycle_update",
        "group_participants_update",
        "group_settings_update",
        "group_status_update",
        "history",
        "message_echoes",
        "messaging_handovers",
        "partner_solutions",
        "payment_configuration_update",
        "smb_app_state_sync",
        "smb_message_echoes",
        "standby",
        "user_preferences",
    }
)
_TELLING = ("event", "reason", "message_template_name", "message_template_language", "new_category", "current_limit")


def of_error(error: Error) -> Notice:
    """An error that Meta reports about the number as a whole."""
    words = describe(error)
    level: Literal["warning", "error"] = "error" if reaction_to(error.code) is Reaction.STOP else "warning"
    return Notice(level, f"Meta reports error {error.code}: {words}" if words else f"Meta reports error {error.code}")


def describe(error: Error) -> str:
    """Meta's words for an error, in one line."""
    details = error.error_data.details if error.error_data else None
    words = [clean_label(word, 160) for word in (error.title or error.message, details) if word]
    return ": ".join(dict.fromkeys(words))


def of_field(field: str, value: Mapping[str, Any]) -> Notice:
    """A webhook field other than messages and user_id_update."""
    if field in _ACCOUNT_FIELDS:
        said = _said(value)
        return Notice("error" if _grave(said) else "warning", f"{field}: {said}")
    if field in _NEWS_FIELDS:
        said = _said(value)
        return Notice("warning" if _grave(said) or field == "template_category_update" else "info", f"{field}: {said}")
    if field in _IGNORED_FIELDS:
        return Notice("info", f"webhook field {field} ignored")
    return Notice("info", f"unknown webhook field ignored: {clean_label(field, 60)}")


def skipped(what: str, reason: str) -> Notice:
    """An item that could not be read; its neighbours are not affected."""
    return Notice("warning", f"{what} could not be read and was skipped: {reason}")


def _said(value: Mapping[str, Any]) -> str:
    """The few values that tell what happened, `restriction_info` included, and none that could name a person."""
    told = [str(value[key]) for key in _TELLING if isinstance(value.get(key), str | int)]
    words = [clean_label(word, 80) for word in [*told, *_restrictions(value)] if word != "NONE"]
    return ", ".join(words) or "no details"


def _restrictions(value: Mapping[str, Any]) -> Iterable[str]:
    infos = value.get("restriction_info")
    for info in infos if isinstance(infos, list) else []:
        if isinstance(info, dict) and isinstance(info.get("restriction_type"), str):
            yield info["restriction_type"]


def _grave(said: str) -> bool:
    return any(word in said.upper() for word in _GRAVE)
