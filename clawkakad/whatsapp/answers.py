"""What an answer of the Graph API other than success means, as an exception. No I/O."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clawkakad.errors import GraphRejected, GraphUnavailable, SendUnknown
from clawkakad.whatsapp.cleaning import clean_label
from clawkakad.whatsapp.errors import BAD_PARAMETER, LIMIT_WITHOUT_CODE, NO_SUCH_NUMBER, TABLE, TOKEN_INVALID, Reaction

LONGEST_RETRY_AFTER_S = 3600.0
# What the status says where the table does not know the code. No 403: one that a single message gets stops nobody else.
_BY_STATUS = {401: TOKEN_INVALID, 429: LIMIT_WITHOUT_CODE}


def decipher(status: int, fields: Mapping[str, str], body: bytes) -> GraphUnavailable | GraphRejected | SendUnknown:
    """The exception that an answer other than success stands for. The caller raises it. `fields`: names in lower case.

    The code decides; of one that the table does not know, a status that has but one meaning.
    A status of 500 and more without a code that says otherwise, and a code that Meta calls transient, may both come
    after the message was taken: SendUnknown, never a reason to send again unasked.
    """
    error = _error_in(body)
    if error is None:
        return _by_status(status, fields)
    code = error.code if error.code in TABLE else _BY_STATUS.get(status, error.code)
    rule = TABLE.get(code)
    reaction = rule.reaction if rule else None
    if reaction is None and (status >= 500 or error.transient):
        reaction = Reaction.UNKNOWN
    text = f"error {error.code} (HTTP {status}): {error.message}"
    if reaction in (Reaction.RETRY, Reaction.PAIR_LIMIT):
        return GraphUnavailable(text, retry_after_s=_retry_after_s(fields), code=code)
    if reaction is Reaction.UNKNOWN:
        return SendUnknown(text)
    return GraphRejected(text, code=code, details=error.details)


def _by_status(status: int, fields: Mapping[str, str]) -> GraphUnavailable | GraphRejected | SendUnknown:
    """For an answer without an error object: a proxy's, or something that is not the Graph API at all."""
    text = f"HTTP {status} without an error object"
    if status == 429:
        return GraphUnavailable(text, retry_after_s=_retry_after_s(fields), code=LIMIT_WITHOUT_CODE)
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
        code=NO_SUCH_NUMBER if _asks_for_nothing(error) else error["code"],
        message=_words(error.get("message")),
        details=_details(error),
        transient=error.get("is_transient") is True,
    )


def _asks_for_nothing(error: Mapping[str, Any]) -> bool:
    """Whether no such object is there, or it is none of ours (any more): what we ask is always asked of our number."""
    return error["code"] == BAD_PARAMETER and error.get("error_subcode") == NO_SUCH_NUMBER


def _details(error: Mapping[str, Any]) -> str:
    data = error.get("error_data")
    return _words(data.get("details")) if isinstance(data, dict) else ""


def _words(value: object) -> str:
    return clean_label(value, 300) if isinstance(value, str) else ""


def _retry_after_s(fields: Mapping[str, str]) -> float | None:
    """Seconds from Retry-After, at most an hour: a proxy may say so. Undocumented, so its date form is left alone."""
    try:
        seconds = float(fields.get("retry-after", ""))
    except ValueError:
        return None
    return min(seconds, LONGEST_RETRY_AFTER_S) if math.isfinite(seconds) and seconds >= 0 else None
