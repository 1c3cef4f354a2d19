"""Reads what a model call cost from the answer as it passes by. Pure: no I/O; it never changes or holds back a byte.

The numbers are in the last event of a stream, or in the body of a plain answer: `usage.prompt_tokens`,
`usage.completion_tokens`, and at OpenRouter `usage.cost` in US dollars
(https://openrouter.ai/docs/use-cases/usage-accounting).
"""

import json
from dataclasses import dataclass
from typing import Any

LINE_LIMIT = 1024 * 1024  # bytes; a longer line of a stream is passed on, not read
BODY_LIMIT = 8 * 1024 * 1024


@dataclass(frozen=True)
class Cost:
    """Of one model call. Zeros where the upstream does not say."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0


class StreamMeter:
    """Fed the chunks of a `text/event-stream` body, cut anywhere."""

    def __init__(self) -> None:
        self.cost = Cost()
        self._rest = b""
        self._skipping = False

    def feed(self, chunk: bytes) -> None:
        """Look at the lines that this chunk completes."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if not self._skipping and line.startswith(b"data:") and b'"usage"' in line:
                self._read(line[len(b"data:") :])
            self._skipping = False
        if len(self._rest) > LINE_LIMIT:
            self._rest, self._skipping = b"", True

    def end(self) -> Cost:
        """The cost, once the last chunk was fed."""
        self.feed(b"\n")
        return self.cost

    def _read(self, text: bytes) -> None:
        self.cost = cost_in(text) or self.cost


class BodyMeter:
    """Fed the chunks of a plain JSON body."""

    def __init__(self) -> None:
        self._body = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Keep it, up to the limit."""
        if len(self._body) + len(chunk) <= BODY_LIMIT:
            self._body += chunk

    def end(self) -> Cost:
        """The cost, once the last chunk was fed."""
        return cost_in(bytes(self._body)) or Cost()


def cost_in(text: bytes) -> Cost | None:
    """The cost that a JSON object of the upstream tells, or None."""
    try:
        usage = json.loads(text).get("usage")
    except (ValueError, AttributeError, RecursionError):
        return None
    if not isinstance(usage, dict):
        return None
    return Cost(
        tokens_in=int(_number(usage, "prompt_tokens")),
        tokens_out=int(_number(usage, "completion_tokens")),
        cost_usd=_number(usage, "cost"),
    )


def _number(usage: dict[str, Any], key: str) -> float:
    value = usage.get(key)
    return value if isinstance(value, int | float) and 0 <= value < 1e12 else 0
