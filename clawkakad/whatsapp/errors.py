"""Meta's error codes: one table from code to reaction, and one function from an answer to an exception. No I/O.

The code decides, not the HTTP status, the type or the title: nearly everything is a 400 of type OAuthException.
https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from clawkakad.errors import GraphRejected, GraphUnavailable, SendUnknown
from clawkakad.whatsapp.cleaning import clean_label


class Reaction(StrEnum):
    """What to do after an error code."""

    RETRY = "retry"  # refused for now, nothing was sent: again after a while
    UNKNOWN = "unknown"  # may have been sent: settle it first
    NEVER = "never"  # this request will never be taken
    TEMPLATE = "template"  # the service window is closed: a template, or wait until they write
    STOP = "stop"  # nothing can be sent until the operator has acted
    PAIR_LIMIT = "pair_limit"  # too many to this one person: again after 4^n seconds, others are not affected


def _each(reaction: Reaction, codes: Iterable[int]) -> dict[int, Reaction]:
    return dict.fromkeys(codes, reaction)


TABLE: Mapping[int, Reaction] = {
    **_each(Reaction.STOP, range(200, 300)),  # permission missing, or no token sent
    **_each(Reaction.STOP, range(133000, 133017)),  # registration and PIN; 133004 and 133010 below
    **_each(Reaction.NEVER, (134100, 134101, 134102)),  # marketing API only
    **_each(Reaction.NEVER, range(147001, 147006)),  # usernames
    0: Reaction.STOP,  # token invalid or expired
    1: Reaction.UNKNOWN,  # bad request, or a fault of theirs
    2: Reaction.UNKNOWN,  # temporary, overload
    3: Reaction.STOP,  # permission missing
    4: Reaction.RETRY,  # call limit of the app, minutes
    10: Reaction.STOP,  # permission missing
    33: Reaction.STOP,  # phone number id wrong or deleted
    100: Reaction.NEVER,  # bad parameter
    190: Reaction.STOP,  # token invalid or expired
    368: Reaction.STOP,  # restricted for a violation of policy
    80007: Reaction.RETRY,  # call limit of the account, minutes
    130403: Reaction.NEVER,  # we blocked this person
    130429: Reaction.RETRY,  # throughput, seconds
    130472: Reaction.NEVER,  # held out by an experiment of Meta's
    130497: Reaction.NEVER,  # country restricted
    131000: Reaction.UNKNOWN,  # something went wrong
    131005: Reaction.STOP,  # permission missing
    131008: Reaction.NEVER,  # parameter missing
    131009: Reaction.NEVER,  # parameter value; also a stale message id when marking as read
    131016: Reaction.UNKNOWN,  # temporarily unavailable
    131020: Reaction.NEVER,  # group
    131021: Reaction.NEVER,  # the recipient is ourselves
    131026: Reaction.NEVER,  # cannot be delivered to this person
    131030: Reaction.NEVER,  # not in the list of a test number (dashboard, at most 5)
    131031: Reaction.STOP,  # account locked
    131037: Reaction.STOP,  # display name not approved
    131041: Reaction.NEVER,  # group
    131042: Reaction.STOP,  # payment method
    131045: Reaction.STOP,  # number not registered
    131047: Reaction.TEMPLATE,  # more than 24 hours since they wrote
    131048: Reaction.STOP,  # spam restriction: trying again makes it worse
    131049: Reaction.NEVER,  # limit on marketing to this person
    131050: Reaction.NEVER,  # stopped marketing
    131051: Reaction.NEVER,  # unsupported type
    131052: Reaction.NEVER,  # media of theirs cannot be had
    131053: Reaction.NEVER,  # media of ours refused
    131055: Reaction.NEVER,  # marketing API only
    131056: Reaction.PAIR_LIMIT,
    131057: Reaction.RETRY,  # maintenance of the account, about a minute
    131062: Reaction.NEVER,  # a business-scoped id will not do for this kind of message
    131063: Reaction.NEVER,  # marketing API only
    131064: Reaction.STOP,  # templates limited for wrong categories
    132000: Reaction.NEVER,  # template: number of parameters
    132001: Reaction.NEVER,  # template: missing, or not in this language
    132005: Reaction.NEVER,  # template: too long
    132007: Reaction.NEVER,  # template: policy
    132008: Reaction.NEVER,  # template: format of a value
    132012: Reaction.NEVER,  # template: format of a parameter
    132015: Reaction.NEVER,  # template: paused (stop this template, not the number)
    132016: Reaction.NEVER,  # template: disabled for good
    132018: Reaction.NEVER,  # template: parameters
    132068: Reaction.NEVER,  # flow blocked
    132069: Reaction.NEVER,  # flow throttled
    133004: Reaction.UNKNOWN,  # server temporarily unavailable
    133010: Reaction.STOP,  # number not registered
    135000: Reaction.NEVER,  # bad parameter
    137000: Reaction.NEVER,  # identity key does not match
    2494100: Reaction.RETRY,  # maintenance
}


def reaction_to(code: int | None) -> Reaction:
    """What to do after this code. One that is not in the table counts as a refusal for good."""
    return TABLE.get(code, Reaction.NEVER) if code is not None else Reaction.NEVER


def decipher(status: int, headers: Mapping[str, str], body: bytes) -> GraphUnavailable | GraphRejected | SendUnknown:
    """The exception that an answer other than success stands for. The caller raises it.

    A status of 500 and more without a code that says otherwise, and a code that Meta calls transient, may both come
    after the message was taken: SendUnknown, never a reason to send again unasked.
    """
    error = _error_in(body)
    if error is None:
        return _by_status(status, headers)
    reaction = TABLE.get(error.code)
    if reaction is None and (status >= 500 or error.transient):
        reaction = Reaction.UNKNOWN
    text = f"error {error.code} (HTTP {status}): {error.message}"
    if reaction in (Reaction.RETRY, Reaction.PAIR_LIMIT):
        return GraphUnavailable(text, retry_after_s=_retry_after_s(headers), code=error.code)
    if reaction is Reaction.UNKNOWN:
        return SendUnknown(text)
    return GraphRejected(text, code=error.code, details=error.details)


def _by_status(status: int, headers: Mapping[str, str]) -> GraphUnavailable | GraphRejected | SendUnknown:
    """For an answer without an error object: a proxy's, or something that is not the Graph API at all."""
    text = f"HTTP {status} without an error object"
    if status == 429:
        return GraphUnavailable(text, retry_after_s=_retry_after_s(headers))
    if 300 <= status < 500 and status != 408:
        return GraphRejected(text)
    return SendUnknown(text)


@dataclass(frozen=True)
class _GraphError:
    code: int
    message: str
    details: str
    transient: bool


def _error_in(body: bytes) -> _GraphError | None:
    """The `error` object of an answer, None where there is none with a code."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict) or isinstance(error.get("code"), bool) or not isinstance(error.get("code"), int):
        return None
    return _GraphError(
        code=error["code"],
        message=_words(error.get("message")),
        details=_details(error),
        transient=error.get("is_transient") is True,
    )


def _details(error: Mapping[str, Any]) -> str:
    data = error.get("error_data")
    return _words(data.get("details")) if isinstance(data, dict) else ""


def _words(value: object) -> str:
    return clean_label(value, 300) if isinstance(value, str) else ""


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds from Retry-After, at most a day. Meta does not document the header, so its date form is left alone."""
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return None
    return min(seconds, 86400.0) if math.isfinite(seconds) and seconds >= 0 else None
