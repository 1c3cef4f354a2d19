"""An agent's answer as the messages that a person gets."""

import asyncio

from clawkakad.assistant import words
from clawkakad.whatsapp.formatting import to_whatsapp
from clawkakad.whatsapp.splitting import split

MOST_PARTS = 10  # each is billed and shows up on a phone; an agent in a loop must not send hundreds
MOST_CHARACTERS = 60_000  # that are looked at: more than fits into those parts, and no more work than that


LONG = 8_000  # characters from which on it is done on a thread: sixty thousand hostile ones take most of a second


async def parts_beside(markdown: str) -> list[str]:
    """`parts_of`, holding up nobody else."""
    return parts_of(markdown) if len(markdown) < LONG else await asyncio.to_thread(parts_of, markdown)


def parts_of(markdown: str) -> list[str]:
    """WhatsApp's formatting, cut into messages; none for an answer that says nothing."""
    if not markdown.strip():
        return []
    parts = split(to_whatsapp(markdown[:MOST_CHARACTERS]))
    if len(markdown) <= MOST_CHARACTERS and len(parts) <= MOST_PARTS:
        return parts
    return [*parts[: MOST_PARTS - 1], words.CUT_SHORT]
