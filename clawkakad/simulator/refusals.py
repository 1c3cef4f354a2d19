"""Errors as Meta's Graph API words them, by code. No I/O.

Keyed on the code alone, as the platform's own error page tells clients to:
https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
"""

import secrets
from typing import Any

HTTP_STATUS = range(400, 600)  # none of Meta's codes: these stand for a bare answer, as of a broken proxy

STATUS: dict[int, int] = {4: 400, 80007: 400, 190: 401, 0: 401, 10: 403, 3: 403, 131005: 403, 130429: 429, 131016: 503}
"""HTTP status by code where it is not 400."""

MEANING: dict[int, str] = {
    0: "We were unable to authenticate the app user",
    1: "An unknown error has occurred",
    2: "Service temporarily unavailable",
    4: "Application request limit reached",
    10: "Application does not have permission for this action",
    33: "The business phone number has been deleted",
    100: "Invalid parameter",
    190: "Error validating access token: the session is invalid or has expired",
    368: "Temporarily blocked for policies violations",
    80007: "Rate limit hit",
    130429: "Rate limit hit",
    130472: "User's number is part of an experiment",
    131000: "Something went wrong",
    131005: "Access denied",
    131008: "Required parameter is missing",
    131009: "Parameter value is not valid",
    131016: "Service unavailable",
    131021: "Recipient cannot be sender",
    131026: "Message undeliverable",
    131030: "Recipient phone number not in allowed list",
    131031: "Account has been locked",
    131042: "Business eligibility payment issue",
    131047: "Re-engagement message",
    131048: "Spam rate limit hit",
    131051: "Unsupported message type",
    131052: "Media download error",
    131053: "Media upload error",
    131056: "(Business Account, Consumer Account) pair rate limit hit",
    131057: "Account in maintenance mode",
    133010: "Phone number not registered",
}
TRANSIENT = frozenset({2, 131000, 131016, 131057})


def status_of(code: int) -> int:
    """The HTTP status that comes with a code."""
    return STATUS.get(code, 400)


def title_of(code: int) -> str:
    """What a code means, in Meta's words as far as they are known."""
    return MEANING.get(code, "Unknown error")


def refusal(code: int, details: str = "") -> dict[str, Any]:
    """The error object of an answer. `details`: the sentence that says what was wrong with this request."""
    error: dict[str, Any] = {
        "message": f"(#{code}) {title_of(code)}",
        "type": "OAuthException",
        "code": code,
        "fbtrace_id": "A" + secrets.token_urlsafe(16),
    }
    if details:
        error["error_data"] = {"messaging_product": "whatsapp", "details": details}
    if code in TRANSIENT:
        error["is_transient"] = True
    return {"error": error}


def status_error(code: int, details: str = "") -> dict[str, Any]:
    """The same in a status webhook, whose form differs."""
    return {
        "code": code,
        "title": title_of(code),
        "message": title_of(code),
        "error_data": {"details": details or title_of(code)},
        "href": "/documentation/business-messaging/whatsapp/support/error-codes",
    }
