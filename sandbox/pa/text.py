"""Cleaning what comes in and quoting what goes out. No input or output.

What a person wrote is stored as it is: quotes, emoji, SQL and all. Only what text in SQLite cannot carry is replaced:
a NUL (which would cut the text in its tools) and bytes that were not UTF-8.
"""

import re
import unicodedata

from .errors import PaError

MOST_CHARACTERS = 4000  # a WhatsApp message ends at 4096; longer means something else went wrong
SHOWN_CHARACTERS = 200  # a line of output is for a small model's eyes
JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # letters of Persian, Sinhala and others, and of emoji
UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # NUL, and what Python makes of bytes that are no UTF-8


def clean(text: str) -> str:
    """The text as it may be stored: trimmed, without NUL and broken characters. Raises PaError when too long."""
    stored = UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text).strip()
    if len(stored) > MOST_CHARACTERS:
        raise PaError(f"that text has {len(stored)} characters; write at most {MOST_CHARACTERS}")
    return stored


def one_line(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """The text on a single line: no line breaks or control characters, cut with an ellipsis."""
    flat = " ".join("".join(c if c.isprintable() or c in JOINERS else " " for c in text).split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"


def quoted(text: str) -> str:
    """The text on one line in double quotes, as every line of output shows it."""
    return f'"{one_line(text)}"'


def folded(text: str) -> str:
    """For comparing without case, in every script, however a phone puts its letters together (é, ड़)."""
    return unicodedata.normalize("NFC", text.casefold())


def plural(count: int, noun: str) -> str:
    """`1 meal`, `2 meals`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def plain_number(value: float) -> str:
    """A measure without a useless `.0`: `120`, `62.5`."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
