"""Why a turn failed, in one word that a conversation can put into plain words.

The gateway has a word of its own for most causes, but only in one of the places where it tells of a failure (the run's
first event); everywhere else, and for what it has no word for, its sentence says it. Where even that says nothing,
the words of our own model endpoint do: the gateway hides every refusal with status 400 behind one sentence about "the
request schema" (`Turns` knows whom to ask). Pure; knows no model and no endpoint. Texts seen on gateway 2026.9.6.
"""

import re
from enum import StrEnum

from clawkakad.errors import TurnFailed


class FailureKind(StrEnum):
    """What `TurnFailed.kind` can be."""

    AUTH = "auth"  # the key of the model is missing or refused: the operator must act
    BILLING = "billing"  # the budget or the account's credit is used up
    MODEL = "model"  # there is no such model: the operator must act
    RATE_LIMIT = "rate_limit"  # too many calls: it passes
    OVERLOADED = "overloaded"  # the model's provider cannot answer now: it passes
    TIMEOUT = "timeout"  # the model took too long
    CONTEXT = "context"  # the conversation, or this message, is too long for the model
    CONTENT = "content"  # the model's provider refused what the message is about
    ABORTED = "aborted"  # the run was stopped, not by the one who waited for it
    INTERRUPTED = "interrupted"  # cut short as often as it may be run
    UNCLASSIFIED = "unclassified"


_WORDS_OF_GATEWAY = {
    "auth": FailureKind.AUTH,
    "auth_permanent": FailureKind.AUTH,
    "billing": FailureKind.BILLING,
    "rate_limit": FailureKind.RATE_LIMIT,
    "overloaded": FailureKind.OVERLOADED,
    "server_error": FailureKind.OVERLOADED,
    "timeout": FailureKind.TIMEOUT,
    "context_overflow": FailureKind.CONTEXT,
    "model_not_found": FailureKind.MODEL,
    "aborted": FailureKind.ABORTED,
    "interrupted": FailureKind.INTERRUPTED,
    "draining": FailureKind.INTERRUPTED,
    "orphaned": FailureKind.INTERRUPTED,
}
"""The gateway's own words; those that say nothing ("format", "unknown", …) are left out."""

_SENTENCES = (
    # A key that is resting: our endpoint only ever rests one that was refused
    (FailureKind.AUTH, r"auth/billing failure"),
    (FailureKind.RATE_LIMIT, r"(HTTP|answered) 429|rate.?limit|too many (model calls|requests)"),
    (FailureKind.BILLING, r"allowance .*used up|billing|credits?\b|insufficient (balance|funds)|quota|HTTP 402"),
    (FailureKind.CONTENT, r"content.?(policy|filter)|safety system|moderation|inappropriate content"),
    (FailureKind.AUTH, r"auth(entication|orization) (failed|was rejected)|key is refused|HTTP 40[13]\b"),
    (FailureKind.CONTEXT, r"context (overflow|limit|length|window)|compaction could not|prompt is too long"),
    (FailureKind.CONTEXT, r"too large|too long for|too many parts"),
    (FailureKind.MODEL, r"model not found|model was not found|configured model is unavailable"),
    (FailureKind.TIMEOUT, r"timed out|took too long|HTTP 408"),
    (FailureKind.OVERLOADED, r"overloaded|at capacity|internal error|not available right now|did not answer"),
    (FailureKind.OVERLOADED, r"(HTTP|answered) 5\d\d"),
)
"""What only sentences tell; the first that fits counts."""


def failure_kind(word: str | None, text: str) -> FailureKind:
    """The cause of a failure: by the gateway's `word` for it if that says something, else by its sentence."""
    known = _WORDS_OF_GATEWAY.get(word or "")
    if known is not None:
        return known
    told = (kind for kind, pattern in _SENTENCES if re.search(pattern, text, re.IGNORECASE))
    return next(told, FailureKind.UNCLASSIFIED)


def explained(failure: TurnFailed, refusal: str | None) -> TurnFailed:
    """A failure whose cause the gateway did not tell, by the words of the model endpoint's last `refusal`, if any."""
    if failure.kind != FailureKind.UNCLASSIFIED or refusal is None:
        return failure
    return TurnFailed(f"{failure} (the model endpoint said: {refusal[:300]})", kind=failure_kind(None, refusal))
