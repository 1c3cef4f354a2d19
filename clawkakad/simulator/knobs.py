"""What can be made to go wrong on purpose: settings of the simulator that tests and the curious turn while it runs."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clawkakad.errors import UsageError

SERVICE_WINDOW_S = 24 * 3600.0  # free-form text is taken this long after a person's last message


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

    statuses: Literal["on", "off", "delayed"] = "on"
    """Whether status webhooks come; delayed: each comes `status_delay_s` late."""

    status_delay_s: float = Field(default=2.0, ge=0, le=600)

    window_s: float = Field(default=SERVICE_WINDOW_S, ge=0)
    """The length of the service window; 0 closes it for everybody."""

    pair_limit: bool = True
    """Whether one person can be sent too much (131056)."""

    read_by_itself: bool = False
    """Whether messages count as read where no page shows the chat; for a terminal, whose person reads them."""

    def turned(self, changes: dict[str, Any]) -> Self:
        """These knobs with some turned. Raises UsageError for a knob or a value that there is not."""
        try:
            return self.model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise UsageError(problems) from error
