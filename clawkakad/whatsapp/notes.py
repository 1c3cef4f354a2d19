"""Our own remarks to the agent, in square brackets. No I/O.

What people can choose (a file name, a contact card, a place) stands inside of a remark, so it must never end one or
begin another: it is put on one line, cut to a length, and loses its square brackets.
"""

from clawkakad.whatsapp.cleaning import clean_label

_BRACKETS = str.maketrans("[]\uff3b\uff3d", "()()")


def note(words: str) -> str:
    """A remark. Everything in `words` that is not ours has been through `quoted`."""
    return f"[{words}]"


def quoted(text: str | None, limit: int) -> str:
    """Somebody else's words, fit to stand in a remark; "" when nothing is left."""
    return clean_label(text, limit).translate(_BRACKETS) if text else ""


def joined(*words: str) -> str:
    """The words that are not empty, with commas between."""
    return ", ".join(word for word in words if word)
