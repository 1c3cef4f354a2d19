"""What goes upstream for a model call, and what an answer other than 200 means. Pure: no I/O.

Errors, as the gateway takes them (tried on 2026.9.6): 400, 404 and 422 end the turn at once; 401 does too, and rests
the key for a minute; 402 rests it for ten minutes and more; 409, 413, 429, 5xx and an error inside a stream are asked
again six to eight times over more than a minute. So the proxy retries what may pass, twice and soon, and ends with 400.
"""

import json
import re
from collections.abc import Mapping

from clawkakad.errors import Rejected, Transient
from clawkakad.sandboxes.bodies import structure
from clawkakad.sandboxes.modelrequest import allowed

REFUSED_KEY = "The model is not set up: its key is refused."
PASSED_ON = frozenset({400, 404, 422})  # the gateway has its own answers to these (a shorter context, say)
STRUCTURE_LIMIT = 100_000
"""Brackets, braces and commas of a request, together: they say what it grows to as objects in memory, and how long
reading it holds up everybody else. A real request has 18 of them in a kilobyte, 11,000 when its context is full."""

_LIMIT = re.compile(
    r"\blimit\b.*\b(exceeded|reached)|exceeded.*\blimit\b|quota|budget|spend|credits?\b|balance|billing", re.I
)
_MODERATION = re.compile(r"moderation|flagged|content.?(policy|filter)", re.I)


class UpstreamBusy(Transient):
    """The upstream cannot answer now. `retry_after_s`: what it asked for, if anything."""

    def __init__(self, text: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class UpstreamRefused(Rejected):
    """No, for good. `status`: what the gateway shall see; `text`: what it may read; `grave`: the operator must act."""

    def __init__(self, text: str, *, status: int, grave: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.grave = grave


class KeyUnknown(UpstreamRefused):
    """The upstream does not know the key. A 403 is none of this: that key is known, and may not."""


class AllowanceUsedUp(UpstreamRefused):
    """The key is fine, its money is gone: the operator can give more. 400, since 402 would rest the key."""

    def __init__(self) -> None:
        super().__init__(
            "The allowance for the model is used up: the limit of its key or the credit of its account.", status=400
        )


def upstream_body(raw: bytes, model: str) -> bytes:
    """What goes upstream for what a sandbox sent. Bytes, so that nothing else of it stays. Raises UpstreamRefused."""
    if structure(raw) > STRUCTURE_LIMIT:
        raise UpstreamRefused("The request has too many parts.", status=400)
    try:
        return json.dumps(_with_ours(allowed(json.loads(raw)), model), allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise UpstreamRefused("The body is not JSON.", status=400) from error
    except Rejected as error:
        raise UpstreamRefused(str(error), status=400) from error


def _with_ours(body: dict[str, object], model: str) -> dict[str, object]:
    body["model"] = model
    if body.get("stream") is True:
        body["stream_options"] = {"include_usage": True}
    return body


def decipher(status: int, headers: Mapping[str, str], text: str) -> UpstreamBusy | UpstreamRefused:
    """What an upstream's answer other than 200 means."""
    if status in PASSED_ON:
        return UpstreamRefused(_message(text) or "The model refused the request.", status=status)
    if status == 413:
        return UpstreamRefused("The request is too large.", status=400)
    if status == 402:
        return AllowanceUsedUp()
    if status == 403:
        return _forbidden(_message(text)[:1000])  # the patterns take time with the square of it
    if status == 401:
        return KeyUnknown(REFUSED_KEY, status=401, grave=True)
    return UpstreamBusy(f"the model answered {status}", retry_after_s=_seconds(headers.get("Retry-After")))


def _forbidden(message: str) -> UpstreamRefused:
    """OpenRouter says 403 of a key whose limit is reached, and of a message that it does not like, in words alone."""
    if _LIMIT.search(message):
        return AllowanceUsedUp()
    if _MODERATION.search(message):
        return UpstreamRefused("The message was refused by the moderation of the model's provider.", status=400)
    return UpstreamRefused(REFUSED_KEY, status=401, grave=True)


def _seconds(text: str | None) -> float | None:
    """Of a Retry-After header in seconds; one with a date is not worth the reading."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _message(text: str) -> str:
    try:
        error = json.loads(text)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
