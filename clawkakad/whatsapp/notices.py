"""What an operator should hear about from Meta: errors, and news about the account, the number and the templates.

Owns the wording and the level of each. A notice says what Meta says about *our* account; it never holds the text of a
message, a number or a name of a person.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from clawkakad.whatsapp.cleaning import clean_label
from clawkakad.whatsapp.delivery import Notice
from clawkakad.whatsapp.errors import Reaction, reaction_to
from clawkakad.whatsapp.wire import Error, Message

Level = Literal["info", "warning", "error"]

# Words of Meta's values, whole ones: UNFLAGGED is good news.
_GRAVE = re.compile(
    "BAN(NED)?|CRITICAL|DELET(ED|ION)|DISABLED?|DOWNGRADE|EXCEEDED|FLAGGED|LOCKED|OFFBOARDED|PAUSED|RED|REJECTED"
    "|RESTRICT(ED|ION)|SUSPENDED|VIOLATION"
)
_GOOD = re.compile("APPROVED|INFORMATIONAL|RECONNECTED|REINSTATED?|RESOLVED|UNFLAGGED|UNLOCKED|VERIFIED")
# What happens when people send what the Cloud API does not carry: nothing that an operator could do.
_EVERYDAY_ERRORS = frozenset({131051, 131052, 131060})
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
_TELLING = (
    "event",
    "decision",
    "reason",
    "rejection_reason",
    "alert_severity",
    "alert_type",
    "alert_status",
    "restriction_type",
    "violation_type",
    "waba_ban_state",
    "initiated_by",
    "message_template_name",
    "message_template_language",
    "previous_category",
    "new_category",
    "correct_category",
    "previous_quality_score",
    "new_quality_score",
    "current_limit",
)
_INSIDE = ("restriction_info", "violation_info", "ban_info", "alert_info", "disconnection_info", "rejection_info")
_MOST_WORDS = 20


def of_error(error: Error) -> Notice:
    """An error that Meta reports about the number as a whole."""
    return Notice(_level_of(error), f"Meta reports error {_told(error)}")


def of_message_error(error: Error, message: Message) -> Notice:
    """An error that came in the place of what somebody sent."""
    level: Level = "info" if error.code in _EVERYDAY_ERRORS else _level_of(error)
    inner = message.unsupported.type if message.unsupported else None
    kind = clean_label(inner or message.type or "", 60) or "unknown"
    return Notice(level, f"a message ({kind}) came with error {_told(error)}")


def describe(error: Error) -> str:
    """Meta's words for an error, in one line."""
    details = error.error_data.details if error.error_data else None
    words = [clean_label(word, 160) for word in (error.title or error.message, details) if word]
    return ": ".join(dict.fromkeys(words))


def of_field(field: str, value: Mapping[str, Any]) -> Notice:
    """A webhook field other than messages and user_id_update."""
    if field in _ACCOUNT_FIELDS:
        words = _said(value)
        level: Level = "error" if _grave(words) else "info" if _good(words) else "warning"
        return _news(field, words, level)
    if field in _NEWS_FIELDS:
        words = _said(value)
        return _news(field, words, "warning" if _grave(words) or field == "template_category_update" else "info")
    if field in _IGNORED_FIELDS:
        return Notice("info", f"webhook field {field} ignored")
    return Notice("info", f"unknown webhook field ignored: {clean_label(field, 60)}")


def skipped(what: str, reason: str) -> Notice:
    """An item that could not be read; its neighbours are not affected."""
    return Notice("warning", f"{what} could not be read and was skipped: {reason}")


def _news(field: str, words: list[str], level: Level) -> Notice:
    return Notice(level, f"{field}: {', '.join(words) or 'no details'}")


def _level_of(error: Error) -> Level:
    return "error" if reaction_to(error.code) is Reaction.STOP else "warning"


def _told(error: Error) -> str:
    words = describe(error)
    return f"{error.code}: {words}" if words else str(error.code)


def _said(value: Mapping[str, Any]) -> list[str]:
    """The few values that tell what happened, and none that could name a person."""
    told = [str(part[key]) for part in _parts(value) for key in _TELLING if isinstance(part.get(key), str | int)]
    words = dict.fromkeys(clean_label(word, 80) for word in told[:_MOST_WORDS])
    return [word for word in words if word and word != "NONE"]


def _parts(value: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """The value itself, and the objects inside it that have details, one or a list of them."""
    yield value
    for key in _INSIDE:
        inner = value.get(key)
        for part in inner if isinstance(inner, list) else [inner]:
            if isinstance(part, Mapping):
                yield part


def _grave(words: list[str]) -> bool:
    """Bad news; a ban that is lifted comes as DISABLED_UPDATE with REINSTATE, and is none."""
    return _any(_GRAVE, words) and not _good(words)


def _good(words: list[str]) -> bool:
    return _any(_GOOD, words)


def _any(pattern: re.Pattern[str], words: list[str]) -> bool:
    return any(pattern.fullmatch(token) for word in words for token in re.split(r"[^A-Z]+", word.upper()))
