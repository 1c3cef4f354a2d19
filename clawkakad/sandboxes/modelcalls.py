"""What goes upstream for a model call, and what an answer other than 200 means. Pure: no I/O.

Errors, as the gateway takes them (tried on 2026.9.6): 400, 404 and 422 end the turn at once; 401 does too, and rests
the key for a minute; 402 rests it for ten minutes and more; 409, 413, 429, 5xx and an error inside a stream are asked
again six to eight times over more than a minute. So the proxy retries what may pass, twice and soon, and ends with 400.
"""

import json
from collections.abc import Mapping

from clawkakad.errors import Rejected, Transient

PASSED_ON = frozenset({400, 404, 422})  # the gateway has its own answers to these (a shorter context, say)
FIELDS = frozenset(
    {
        "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop",
        "tools", "tool_choice", "parallel_tool_calls", "response_format", "seed", "presence_penalty",
        "frequency_penalty", "reasoning_effort",
    }
)  # fmt: skip
"""What a sandbox may say: upstreams have fields that choose other models, providers or paid extras."""


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


def upstream_body(raw: bytes, model: str) -> dict[str, object]:
    """What goes upstream for what a sandbox sent. Raises UpstreamRefused."""
    try:
        sent = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UpstreamRefused("The body is not JSON.", status=400) from error
    if not isinstance(sent, dict) or not isinstance(sent.get("messages"), list):
        raise UpstreamRefused("The body is not a chat completion request.", status=400)
    body = {key: value for key, value in sent.items() if key in FIELDS}
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
    if status in (401, 403):
        return UpstreamRefused("The model is not set up: its key is refused.", status=401, grave=True)
    if status == 402:
        return UpstreamRefused("The allowance for the model is used up.", status=400)
    return UpstreamBusy(f"the model answered {status}", retry_after_s=_seconds(headers.get("Retry-After")))


def _seconds(text: str | None) -> float | None:
    """Of a Retry-After header in seconds; one with a date is not worth the reading."""
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def _message(text: str) -> str:
    try:
        error = json.loads(text)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
