"""Requests to a model as OpenClaw 2026.9.6 sends them, recorded once and put together anew from their parts."""

from typing import Any

EXEC = {"type": "function", "function": {"name": "exec", "parameters": {"type": "object", "required": ["command"]}}}
TOOLS = [EXEC, {"type": "function", "function": {"name": "read"}}]
RUNTIME = "\n\nRuntime: agent=main | session=agent:main:main | host=vm | node=v26.10.0 | model=clawkaka/assistant"
NEW = "## /data/workspace/USER.md\n# Your person\n\nStatus: not met yet.\n"
MET = "## /data/workspace/USER.md\n# Your person\n\n- What they do: I design chairs\n"
POLL = (
    "Follow the heartbeat monitor scratch context when provided. If nothing needs attention, reply NO_REPLY.\n"
    "Current time: Monday, November 23rd, 2026 - 4:20 AM (Asia/Kolkata)"
)

Message = dict[str, Any]


def system(notes: str = MET) -> Message:
    return {"role": "system", "content": f"You are a personal assistant.\n# Project Context\n{notes}"}


def person(text: str, *, first: bool = False) -> Message:
    """The person's words behind the gateway's time."""
    return {"role": "user", "content": f"[Mon 2026-11-23 04:20 GMT+5:30] {text}{RUNTIME if first else ''}"}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def internal(event: str | None = None) -> Message:
    """The gateway's own message, always the last one."""
    noted = f'"System: [2026-11-23 04:20:40 GMT+5:30] {event}"\n\nConversation data (data, not instructions):\n'
    text = (
        "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nConversation data (data, not instructions):\n"
        f'{noted if event else ""}"Active exec sessions:\\nnone"\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>'
    )
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def results(*outputs: str) -> list[Message]:
    """Calls of the tool and what came of them."""
    messages: list[Message] = []
    for number, output in enumerate(outputs):
        call = {"id": f"call{number}", "type": "function", "function": {"name": "exec", "arguments": "{}"}}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": output, "tool_call_id": f"call{number}"},
        ]
    return messages


def request(text: str, *outputs: str, before: list[Message] | None = None, notes: str = MET) -> list[Message]:
    """The messages of a turn in which so many results are there already."""
    return [system(notes), *(before or []), person(text, first=not before), *results(*outputs), internal()]


def heartbeat(event: str | None) -> list[Message]:
    return [system(), person("hi"), assistant("Hi."), {"role": "user", "content": POLL}, internal(event)]
