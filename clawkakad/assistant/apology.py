"""A failed turn, in words for its person: never what the model or the gateway said. Pure."""

from clawkakad.assistant import words
from clawkakad.errors import GatewayRefused, GatewayUnavailable, TurnFailed
from clawkakad.gateway.failures import FailureKind
from clawkakad.model import InboxState

_WORDS = {
    FailureKind.AUTH: words.MODEL_KEY,
    FailureKind.MODEL: words.MODEL_KEY,
    FailureKind.BILLING: words.BUDGET,
    FailureKind.RATE_LIMIT: words.BUSY,
    FailureKind.OVERLOADED: words.BUSY,
    FailureKind.TIMEOUT: words.BUSY,
    FailureKind.CONTEXT: words.TOO_MUCH,
    FailureKind.CONTENT: words.NOT_THAT,
    FailureKind.ABORTED: words.NOT_NOW,
    FailureKind.INTERRUPTED: words.INTERRUPTED,
    FailureKind.UNCLASSIFIED: words.NOT_NOW,
}


def for_failure(error: TurnFailed | GatewayRefused | GatewayUnavailable) -> tuple[InboxState, str, str]:
    """What becomes of the messages, the cause in one word for the operator, and what the person is told."""
    if isinstance(error, GatewayUnavailable):
        return InboxState.FAILED, "too long", words.TOO_LONG
    if isinstance(error, GatewayRefused):
        return InboxState.FAILED, error.code, words.NOT_NOW
    kind = _kind(error.kind)
    state = InboxState.PARKED if kind is FailureKind.INTERRUPTED else InboxState.FAILED
    return state, kind.value, _WORDS[kind]


def _kind(word: str | None) -> FailureKind:
    try:
        return FailureKind(word or "")
    except ValueError:
        return FailureKind.UNCLASSIFIED
