"""The nouns that every floor of the package shares: ids, states, and a person's profile. No I/O."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

UserId = NewType("UserId", str)
"""Ours, `u` and ten characters of base32. A phone number is an identifier of a user, never the key."""

SandboxId = NewType("SandboxId", str)
"""Ours, `s` and ten characters of base32: short, since unix socket paths end at 107 bytes."""

Wamid = NewType("Wamid", str)
"""Meta's message id, of a message in or out."""


class IdentifierKind(StrEnum):
    """What can stand for a person at a channel."""

    WA_ID = "wa_id"  # phone number, digits only, without "+"
    BSUID = "bsuid"  # business-scoped user id, "US.1349…"
    PARENT_BSUID = "parent_bsuid"  # the same for a managed portfolio, "US.ENT.1349…"


class InboxState(StrEnum):
    """The life of a message from a person."""

    RECEIVED = "received"  # on disk, waiting for its turn
    RUNNING = "running"  # a turn of the agent was asked for
    ANSWERED = "answered"  # the reply, or the decision to say nothing, is on disk
    FAILED = "failed"  # given up; the person was told
    PARKED = "parked"  # given up after two runs or five begins, or put back by a restore; the operator may look
    IGNORED = "ignored"  # kept for the record, nothing to answer (reaction, system notice)
    REFUSED = "refused"  # from somebody who is not let in
    LIMITED = "limited"  # more than a person may send in an hour; kept, not answered


class OutboxState(StrEnum):
    """The life of a message to a person."""

    QUEUED = "queued"  # waits for its turn to be sent
    SENDING = "sending"  # committed before the request goes out
    SENT = "sent"  # the Graph API took it and named its wamid
    DELIVERED = "delivered"
    READ = "read"
    FAILED = "failed"  # refused for good, here or by a status
    AMBIGUOUS = "ambiguous"  # may or may not be on its way; settled by a status, or by the resend rule
    HELD = "held"  # waits for the person to write (service window), or for the operator (outcome unknown): see Hold
    DROPPED = "dropped"  # the operator let it go


class Hold(StrEnum):
    """Why a message to a person is held."""

    WINDOW = "window"  # the service window is closed: it goes out when the person writes
    UNKNOWN = "unknown"  # it may have been sent; nobody will know: the operator decides


class UpgradeState(StrEnum):
    """The life of an upgrade: of one sandbox, or of all."""

    WANTED = "wanted"  # an operator asked for it
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # it stopped where a sandbox did not bear it; that one is as it was before


class StepState(StrEnum):
    """Where one sandbox stands in an upgrade."""

    WAITING = "waiting"  # not touched yet
    KEEPING = "keeping"  # stopped, and its data is copied; nothing else has changed
    TRYING = "trying"  # the copy is there; it is started with the new image
    RETURNING = "returning"  # the new image did not do: old data, old image
    DONE = "done"
    FAILED = "failed"  # it is as it was before
    SKIPPED = "skipped"  # removed meanwhile, or not reached


class SandboxState(StrEnum):
    """The life of a sandbox, as observed."""

    ABSENT = "absent"  # a row, no container yet
    CREATING = "creating"  # its container is made, or made ready to start
    STARTING = "starting"  # the container runs, no hello-ok yet
    READY = "ready"  # hello-ok
    UNHEALTHY = "unhealthy"  # died or does not answer; a restart is due
    STOPPING = "stopping"  # stopped on purpose: to be made again, or to sleep
    DOZING = "dozing"  # its processes are frozen and nobody needs it now; they go on when it is addressed
    ASLEEP = "asleep"  # stopped, and nobody needs it now; it starts when it is addressed
    PARKED = "parked"  # given up until something changes; the person and the operator were told


class Rest(StrEnum):
    """What an operator wishes of a sandbox."""

    DOZE = "doze"  # freeze it now, unless it is at work
    SLEEP = "sleep"  # stop it now, unless it is at work
    WAKE = "wake"


class ReminderState(StrEnum):
    """The life of a reminder."""

    PENDING = "pending"
    FIRED = "fired"  # its message is in the outbox
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Profile:
    """What the daemon knows about a person's place in the world. `time_zone` is an IANA name, `currency` ISO 4217."""

    name: str | None
    time_zone: str
    currency: str
    language: str
    country: str | None
