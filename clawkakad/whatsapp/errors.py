"""Meta's error codes: one table from a code to what is done about it. No I/O.

The code decides, not the HTTP status, the type or the title: nearly everything is a 400 of type OAuthException. The
same codes come as answers to a request and, minutes later, in failed statuses.
https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Reaction(StrEnum):
    """What to do after an error code."""

    RETRY = "retry"  # refused for now, nothing was sent: everybody waits a while
    UNKNOWN = "unknown"  # may have been sent: settle it first
    NEVER = "never"  # this request will never be taken
    TEMPLATE = "template"  # the service window is closed: a template, or wait until they write
    STOP = "stop"  # nothing can be sent until the operator has acted, or Meta relents
    PAIR_LIMIT = "pair_limit"  # too many to this one person: again after 4^n seconds, others are not affected


class Width(StrEnum):
    """Whom a code concerns besides the message that got it."""

    MESSAGE = "message"
    PERSON = "person"
    ALL = "all"
    TEMPLATES = "templates"


@dataclass(frozen=True)
class Rule:
    """What is done about a code. `wait_s`: until the next try, the first one. `advice`: a line for the operator."""

    reaction: Reaction
    width: Width = Width.MESSAGE
    wait_s: float = 0.0
    advice: str = ""


FIVE_MINUTES_S, HOUR_S, SIX_HOURS_S = 5 * 60.0, 3600.0, 6 * 3600.0
PAYMENT_S = 30 * 60.0
LIMIT_WITHOUT_CODE = 429  # our own: HTTP says that there is a limit, and no code that we know says which
NO_SUCH_NUMBER = 33
BAD_PARAMETER = 100
TOKEN_INVALID = 190
UNREACHABLE = 131026
WINDOW_CLOSED = 131047

NEVER = Rule(Reaction.NEVER)
UNKNOWN = Rule(Reaction.UNKNOWN)


def _stop(wait_s: float, advice: str, width: Width = Width.ALL) -> Rule:
    return Rule(Reaction.STOP, width, wait_s, advice)


def _slow(wait_s: float) -> Rule:
    """A limit of the number or the app: all sending slows down."""
    return Rule(Reaction.RETRY, Width.ALL, wait_s)


def _never(advice: str, width: Width = Width.MESSAGE) -> Rule:
    return Rule(Reaction.NEVER, width, advice=advice)


TOKEN = _stop(FIVE_MINUTES_S, "make a new system user token, set WHATSAPP_ACCESS_TOKEN and restart")
PERMISSION = _stop(
    FIVE_MINUTES_S,
    "give the system user the WhatsApp account and the number, and the token the scopes whatsapp_business_messaging"
    " and whatsapp_business_management",
)
REGISTRATION = _stop(
    FIVE_MINUTES_S, "register the number with the Cloud API, in WhatsApp Manager or by its register call"
)
POLICY = _stop(HOUR_S, "Meta has restricted the account: see Account Quality in Business Support Home")
TEMPLATE_MISTAKE = _never("look at the template in WhatsApp Manager")


def _each(rule: Rule, codes: Iterable[int]) -> dict[int, Rule]:
    return dict.fromkeys(codes, rule)


TABLE: Mapping[int, Rule] = {
    **_each(PERMISSION, range(200, 300)),  # permission missing, or no token sent
    **_each(REGISTRATION, range(133000, 133017)),  # registration and PIN; 133004 and 133016 below
    **_each(NEVER, (134100, 134101, 134102)),  # marketing API only
    **_each(NEVER, range(147001, 147006)),  # usernames
    0: TOKEN,  # token invalid or expired
    1: UNKNOWN,  # bad request, or a fault of theirs
    2: UNKNOWN,  # temporary, overload
    3: PERMISSION,
    4: _slow(60),  # call limit of the app
    10: PERMISSION,
    NO_SUCH_NUMBER: _stop(  # comes as 100 with this as its subcode, too
        FIVE_MINUTES_S,
        "no such number: set WHATSAPP_SENDER_PHONE_NUMBER_ID to the id of one of yours and restart,"
        " or give the system user its number back",
    ),
    BAD_PARAMETER: NEVER,
    TOKEN_INVALID: TOKEN,  # token invalid or expired
    368: POLICY,  # restricted for a violation of policy
    LIMIT_WITHOUT_CODE: _slow(5),
    80007: _slow(60),  # call limit of the account
    130403: _never("this person is blocked for your number: unblock them in WhatsApp Manager", Width.PERSON),
    130429: _slow(2),  # throughput of the number
    130472: NEVER,  # held out by an experiment of Meta's
    130497: _never("Meta does not let this number write to that country", Width.PERSON),
    131000: UNKNOWN,  # something went wrong
    131005: PERMISSION,
    131008: NEVER,  # parameter missing
    131009: NEVER,  # parameter value; also a stale message id when marking as read
    131016: UNKNOWN,  # temporarily unavailable
    131020: NEVER,  # group
    131021: NEVER,  # the recipient is ourselves
    UNREACHABLE: _never(
        "not on WhatsApp, an old app, or its terms not accepted: sent to again once they write", Width.PERSON
    ),
    131030: _never(
        "a test number writes to five people at most: add this one under API Setup, in Meta's own spelling",
        Width.PERSON,
    ),
    131031: POLICY,  # account locked
    131037: _stop(HOUR_S, "Meta has not approved the display name of your number yet: see WhatsApp Manager"),
    131041: NEVER,  # group
    131042: _stop(PAYMENT_S, "give the WhatsApp account a valid payment method, under Billing in WhatsApp Manager"),
    131045: REGISTRATION,  # number not registered
    WINDOW_CLOSED: Rule(Reaction.TEMPLATE, Width.PERSON),  # more than 24 hours since they wrote
    131048: _stop(
        SIX_HOURS_S, "people reported or blocked your number: see its quality in WhatsApp Manager; trying harms it"
    ),
    131049: NEVER,  # limit on marketing to this person
    131050: NEVER,  # stopped marketing
    131051: NEVER,  # unsupported type
    131052: NEVER,  # media of theirs cannot be had
    131053: NEVER,  # media of ours refused
    131055: NEVER,  # marketing API only
    131056: Rule(Reaction.PAIR_LIMIT, Width.PERSON, 1),
    131057: _slow(15),  # maintenance of the account, about a minute
    131062: NEVER,  # a business-scoped id will not do for this kind of message; a number is taken where there is one
    131063: NEVER,  # marketing API only
    131064: _stop(
        SIX_HOURS_S, "templates are limited for wrong categories: correct them in WhatsApp Manager", Width.TEMPLATES
    ),
    132000: TEMPLATE_MISTAKE,  # number of parameters
    132001: TEMPLATE_MISTAKE,  # missing, or not in this language
    132005: TEMPLATE_MISTAKE,  # too long
    132007: TEMPLATE_MISTAKE,  # policy
    132008: TEMPLATE_MISTAKE,  # format of a value
    132012: TEMPLATE_MISTAKE,  # format of a parameter
    132015: TEMPLATE_MISTAKE,  # paused for quality: this one template
    132016: TEMPLATE_MISTAKE,  # disabled for quality: this one template
    132018: TEMPLATE_MISTAKE,  # parameters
    132068: NEVER,  # flow blocked
    132069: NEVER,  # flow throttled
    133004: UNKNOWN,  # server temporarily unavailable
    133016: _stop(SIX_HOURS_S, "too many tries to register the number: wait three days, then register it once"),
    135000: NEVER,  # bad parameter
    137000: _never("this person's identity key has changed: see them verified", Width.PERSON),
    2494100: _slow(15),  # maintenance
}


def rule_of(code: int | None) -> Rule:
    """What is done about this code. One that is not in the table counts as a refusal for good."""
    return NEVER if code is None else TABLE.get(code, NEVER)


def reaction_to(code: int | None) -> Reaction:
    """The reaction alone."""
    return rule_of(code).reaction
