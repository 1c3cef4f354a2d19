"""What one webhook brought, as values: messages, statuses, changes of identifiers, and notices for the operator.

Everything in here has been checked and cleaned; nothing of Meta's wire format is left except `raw` and `kind`.
"""

from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple

from clawkakad.model import IdentifierKind, Wamid

Identifier = tuple[IdentifierKind, str]


class Purpose(StrEnum):
    """What a message is there for."""

    TURN = "turn"  # the agent answers it
    POLITE = "polite"  # nothing in it can be read: one polite line
    RECORD = "record"  # kept, and nothing said: a reaction, a text of blanks
    EDIT = "edit"  # `target` says something else from now on: `text`
    REVOKE = "revoke"  # `target` was taken back


class Inbound(NamedTuple):
    """A message from a person."""

    wamid: Wamid
    identifiers: tuple[
        Identifier, ...
    ]  #: at least one; the business-scoped id first, then the parent's, then the number
    name: str | None  #: what the person calls themselves: for show, never identity
    kind: str  #: Meta's `type`, also one that we never heard of
    #: Clean words for the agent, ours in square brackets; on every TURN and EDIT, and what a file without words is.
    text: str | None
    sent_at: datetime  #: aware UTC, whole seconds; may be days ago after an outage
    reply_to: Wamid | None  #: the message that it quotes; we may never have seen that one
    forwarded: bool  #: somebody else's words
    raw: str  #: compact JSON of this one message as it came
    purpose: Purpose = Purpose.TURN
    media_id: str | None = None  #: of the file that came along; serves for seven days to fetch it
    target: Wamid | None = None  #: the message that a reaction, an edit or a revoke is about


class Status(NamedTuple):
    """What became of a message of ours. May arrive late, twice, out of order, and for messages that are not ours."""

    wamid: Wamid
    status: str  #: sent, delivered, read, played, failed, or a word that we never heard of
    at: datetime  #: aware UTC
    callback_data: str | None  #: what we gave along when sending
    error_code: int | None  #: Meta's code, on "failed"
    error_text: str  #: Meta's words for it, "" when there are none


class IdentifierChange(NamedTuple):
    """Meta says that a person who was `old` is `new` from now on."""

    old: Identifier
    new: tuple[Identifier, ...]


class Notice(NamedTuple):
    """A line for the operator's log: never the text of a message, never a number, never a name."""

    level: Literal["info", "warning", "error"]
    text: str


class Delivery(NamedTuple):
    """Everything of one webhook that concerns us. Messages are in the order in which they were sent."""

    messages: tuple[Inbound, ...] = ()
    statuses: tuple[Status, ...] = ()
    changes: tuple[IdentifierChange, ...] = ()
    notices: tuple[Notice, ...] = ()
