"""What can be made to go wrong on purpose: settings of the simulator that tests and the curious turn while it runs."""

from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clawkakad.errors import UsageError

SERVICE_WINDOW_S = 24 * 3600.0  # free-form text is taken this long after a person's last message


class Trouble(StrEnum):
    """What can happen to a send instead of a plain answer."""

    OVERLOADED = "overloaded"  # refused with 131016
    UNAVAILABLE = "unavailable"  # a bare 503
    RESET = "reset"  # the connection is reset
    HANG = "hang"  # no answer, ever
    BAD_GATEWAY = "bad gateway after it was taken"  # a bare 502
    RESET_AFTER = "reset after it was taken"
    HANG_AFTER = "hang after it was taken"
    LATE = "taken at once, answered a second later"  # the statuses are quicker
    NO_ID = "taken, but the answer names no id"
    NO_JSON = "taken, but the answer is no JSON"
    NO_HTTP = "taken, but the answer is no HTTP"
    CUT = "taken, but the answer breaks off"


BEFORE = (Trouble.OVERLOADED, Trouble.UNAVAILABLE, Trouble.RESET)
AFTER = (Trouble.BAD_GATEWAY, Trouble.RESET_AFTER, Trouble.NO_ID, Trouble.NO_JSON, Trouble.NO_HTTP, Trouble.CUT)
TAKEN = frozenset({*AFTER, Trouble.HANG_AFTER, Trouble.LATE})
"""What the rates choose from (a hanging request would take up their time), and with which the message is taken."""


class Knobs(BaseModel):
    """All knobs, at rest by default."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    latency_s: float = Field(default=0.0, ge=0, le=120)
    """Each request waits so long before anything happens."""

    error_rate: float = Field(default=0.0, ge=0, le=1)
    """So many of the requests are refused with 131016, by chance."""

    next_errors: list[int] = Field(default_factory=list, max_length=1000)
    """The next sends are refused with these codes, one each; from 400 to 599 a bare HTTP status."""

    next_failures: list[int] = Field(default_factory=list, max_length=1000)
    """The next messages are taken, and fail afterwards with these codes, by a status webhook."""

    lose_requests: int = Field(default=0, ge=0)
    """So many of the next sends get no answer, and are not taken."""

    lose_answers: int = Field(default=0, ge=0)
    """So many of the next sends are taken, but the connection breaks before the answer."""

    next_troubles: list[Trouble] = Field(default_factory=list, max_length=1000)
    """What happens to the next sends, one each."""

    troubles_before: float = Field(default=0.0, ge=0, le=1)
    """So many of the messages have trouble with their first send, before it is taken; which, follows from the seed."""

    troubles_after: float = Field(default=0.0, ge=0, le=1)
    """The same, after it was taken."""

    seed: int = 0
    """Of what is chosen message by message."""

    retry_after_s: float | None = Field(default=None, ge=0)
    """The Retry-After of every 429."""

    token_expired: bool = False
    """Every request is refused with 190."""

    statuses: Literal["on", "off", "delayed", "shuffled"] = "on"
    """Whether status webhooks come. Delayed: each `status_delay_s` late, in order. Shuffled: each by itself, between
    once and three times `status_delay_s` late."""

    status_delay_s: float = Field(default=2.0, ge=0, le=600)

    statuses_missing: float = Field(default=0.0, ge=0, le=1)
    """So many of the statuses never come."""

    statuses_twice: float = Field(default=0.0, ge=0, le=1)
    """So many of them come twice."""

    window_s: float = Field(default=SERVICE_WINDOW_S, ge=0)
    """The length of the service window; 0 closes it for everybody."""

    pair_limit: bool = True
    """Whether one person can be sent too much (131056)."""

    numbers_hidden: bool = False
    """Nobody's phone number comes along with what they write, as of people who have adopted a username."""

    read_by_itself: bool = False
    """Whether messages count as read where no page shows the chat; for a terminal, whose person reads them."""

    def turned(self, changes: dict[str, Any]) -> Self:
        """These knobs with some turned. Raises UsageError for a knob or a value that there is not."""
        try:
            return self.model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise UsageError(problems) from error
