"""What the agent's gateway sends to a model, read for a model that has only rules. No I/O.

Recorded from OpenClaw 2026.9.6:

* the person's words stand in a user message behind a time, `[Mon 2026-11-23 04:20 GMT+5:30] Uber to office 280`; the
  first of a session has a last paragraph `Runtime: agent=…`;
* behind them often comes one more user message that is not from the person at all, between the marks below;
* results of tools are messages of role `tool`, in front of that one;
* a heartbeat is a user message without a time, and what the daemon found is a `System:` line between the marks.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

INTERNAL = re.compile(r"<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>.*?(?:<<<END_OPENCLAW_INTERNAL_CONTEXT>>>|\Z)", re.DOTALL)
RUNTIME = re.compile(r"\n+Runtime: agent=[^\n]*\Z")
TIME = re.compile(r"\A\s*\[[^\]\n]{0,60}\d\d:\d\d[^\]\n]{0,20}\]\s*(?=\[)")
BRACKETS = re.compile(r"\A(?:\s*\[[^\]\n]{0,400}\])+\s*")
NOTES = re.compile(r"\A(?:\[reminder sent [^\n]*\]\n)+")
HEARTBEAT = re.compile(r"\bheartbeat\b|NO_REPLY", re.IGNORECASE)
NOT_MET = re.compile(r"^Status: not met yet", re.MULTILINE)
SYSTEM_LINE = re.compile(r"\A\s*System:\s*(?:\[[^\]\n]*\]\s*)?")

Message = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """The turn that a request asks to go on with.

    `text`: the person's last words. `results`: what the tools said since, oldest first. `said`: what the assistant said
    before those words, oldest first. `findings`: for a heartbeat the lines that need attention, None for a person's
    turn. `is_new`: nothing was said yet, and the notes about the person still say that nobody has met them.
    """

    text: str
    results: tuple[str, ...]
    said: tuple[str, ...]
    findings: tuple[str, ...] | None
    is_new: bool


def read_turn(messages: Sequence[Message]) -> Turn:
    """The turn in the messages of a request. Odd messages are skipped, an empty request is an empty turn."""
    asked = _last_asked(messages)
    before, after = messages[:asked], messages[asked + 1 :]
    words = "" if asked < 0 else without_internal(content_of(messages[asked]))
    said = tuple(text for m in before if m.get("role") == "assistant" and (text := content_of(m).strip()))
    return Turn(
        text=without_envelope(words),
        results=tuple(content_of(m) for m in after if m.get("role") == "tool"),
        said=said,
        findings=tuple(_findings(after)) if _is_heartbeat(words) else None,
        is_new=not said and _not_met(messages),
    )


def content_of(message: Message) -> str:
    """The text of a message, whose content may be a string, a list of parts, or null."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
    return "\n".join(text for text in parts if isinstance(text, str))


def without_internal(text: str) -> str:
    """What a user message holds besides the gateway's own context."""
    return RUNTIME.sub("", INTERNAL.sub("", text)).strip()


def without_envelope(text: str) -> str:
    """The person's words without the time, and without notes of the daemon, in square brackets in front of them."""
    behind_time = TIME.sub("", text)
    return BRACKETS.sub("", NOTES.sub("", behind_time)).strip()


def _last_asked(messages: Sequence[Message]) -> int:
    """The position of the last user message that holds more than internal context, or -1."""
    for position in range(len(messages) - 1, -1, -1):
        if messages[position].get("role") == "user" and without_internal(content_of(messages[position])):
            return position
    return -1


def _is_heartbeat(words: str) -> bool:
    """The gateway puts a time in front of what a person writes, and none in front of its own prompt."""
    return HEARTBEAT.search(words) is not None and not words.startswith("[")


def _not_met(messages: Sequence[Message]) -> bool:
    """Without notes about the person everybody is new."""
    system = "\n".join(content_of(m) for m in messages if m.get("role") in ("system", "developer"))
    return "USER.md" not in system or NOT_MET.search(system) is not None


def _findings(messages: Sequence[Message]) -> Iterator[str]:
    """The lines of the system events between the marks, each without its time."""
    for message in messages:
        for line in content_of(message).splitlines():
            event = _quoted(line)
            if SYSTEM_LINE.match(event):
                yield from (found for raw in event.splitlines() if (found := SYSTEM_LINE.sub("", raw).strip()))


def _quoted(line: str) -> str:
    """The gateway writes its context as JSON strings, one a line."""
    try:
        value = json.loads(line)
    except ValueError:
        return line
    return value if isinstance(value, str) else ""
