"""Which of WhatsApp's marks are open where in a text that has them already. No I/O.

`*bold*`, `_italic_`, `~struck~` and `` `code` `` begin and end on one line, hug what they mark, and stand beside no
letter or digit on the outside; anything else that looks like a mark is a plain character. In a code block nothing is.
"""

import re
from dataclasses import dataclass

CODE_BLOCK = re.compile(r"```.*?```", re.DOTALL)
MOST = 4  # marks that can be open at once: one of each
QUOTE = "> "
_TOKEN = re.compile(rf"{CODE_BLOCK.pattern}|`[^`\n]+`|[*_~\n]", re.DOTALL)


@dataclass(frozen=True)
class Span:
    """Something marked. The marks stand at `begin` and right before `end`."""

    mark: str
    begin: int
    end: int


def spans(text: str) -> list[Span]:
    """Everything that is marked, inner before outer."""
    found: list[Span] = []
    opened: dict[str, int] = {}  # in the order in which they were opened
    for token in _TOKEN.finditer(text):
        mark, at = token[0], token.start()
        if "\n" in mark:
            opened.clear()
        elif mark.startswith("`"):
            found += [] if mark.startswith("```") else [Span("`", at, token.end())]
        elif mark in opened and _closes(text, at) and at > opened[mark] + 1:
            begin = opened[mark]
            opened = {other: place for other, place in opened.items() if place < begin}
            found.append(Span(mark, begin, at + 1))
        elif mark not in opened and _opens(text, at):
            opened[mark] = at
    return found


class Marked:
    """A text with its marks, and questions about places to cut it. Each is answered in no time."""

    def __init__(self, text: str) -> None:
        self._spans = spans(text)
        self._edges = {edge for span in self._spans for edge in (span.begin + 1, span.end - 1)}
        self._inside = bytearray(len(text) + 1)
        for span in self._spans:
            self._inside[span.begin + 1 : span.end] = b"\1" * (span.end - span.begin - 1)

    def tears(self, at: int) -> bool:
        """Whether a cut at this place tears marks from each other."""
        return at < len(self._inside) and bool(self._inside[at])

    def torn_at(self, at: int) -> str:
        """The marks that a cut at this place tears from each other, the outermost first."""
        around = [span for span in self._spans if span.begin < at < span.end]
        return "".join(span.mark for span in sorted(around, key=lambda span: span.begin))

    def place_before(self, at: int) -> int:
        """The nearest place, not behind `at`, with something between the marks on both sides of it; 0 for none."""
        while at in self._edges:
            at -= 1
        return at


def quoted_at(text: str, at: int) -> bool:
    """Whether the line with this place is a quote."""
    return text.startswith(QUOTE, text.rfind("\n", 0, at) + 1)


def _opens(text: str, at: int) -> bool:
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    return bool(after) and not after.isspace() and not _is_word(before)


def _closes(text: str, at: int) -> bool:
    return not text[at - 1].isspace() and not _is_word(text[at + 1 : at + 2])


def _is_word(char: str) -> bool:
    return char.isascii() and char.isalnum()
