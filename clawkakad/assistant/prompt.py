"""What the agent is told: the person's own words, and before them, in square brackets, what it has to know."""

from collections.abc import Sequence

from clawkakad.registry.reminders import Reminder

HEARTBEAT = (
    "Heartbeat: this was found in the person's own records. If it is worth a message now, write that message, short"
    " and kind, as if you thought of it yourself. If it is not, answer NO_REPLY.\n"
)


def of_message(text: str, sent: Sequence[Reminder]) -> str:
    """The prompt of one message. `sent`: reminders that went out since the agent last heard of it."""
    notes = [f"[reminder sent {reminder.wall}: {reminder.text}]" for reminder in sent]
    return "\n".join([*notes, text])


def of_heartbeat(findings: str) -> str:
    """The prompt of a heartbeat. `findings`: the lines of `pa pulse`."""
    return HEARTBEAT + findings
