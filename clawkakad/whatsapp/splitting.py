"""Splits a text that is too long for one message. No I/O.

Cuts between paragraphs if there is a fair place, else between lines, sentences, words, and only then inside a word, but
never inside what people see as one character unless that alone is too long. A code block stays in one piece if it can;
one that is cut is closed, and opened again in the next part. Only whitespace around a cut is lost.
"""

import re
from itertools import takewhile

from clawkakad.whatsapp.graphemes import boundary_at_or_before, is_boundary

LIMIT = 4096  # code points of a text message
SMALLEST_LIMIT = 16  # room for the fences of a code block, and some code
_FENCE = "```"
_FAIR = 1 / 2  # how full a part should be before a better kind of place is given up for a worse one
_POOR = 1 / 4  # and before a word or a code block is cut in two

_CODE = re.compile(r"```.*?```", re.DOTALL)
_GAP = re.compile(r"\s+|(?<=[。！？])(?=\S)")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]*_~]*\Z")
_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")


def split(text: str, limit: int = LIMIT) -> list[str]:
    """The text in parts of at most `limit` code points, none of them blank. Raises ValueError for a limit below 16."""
    if limit < SMALLEST_LIMIT:
        raise ValueError(f"a part must have room for {SMALLEST_LIMIT} characters")
    parts = []
    rest = text.strip()
    while len(rest) > limit:
        part, rest = _cut(rest, limit)
        parts.append(part)
    return [part for part in [*parts, rest] if part.strip()]


def _cut(text: str, limit: int) -> tuple[str, str]:
    """The first part, and what is left: always less than there was."""
    blocks = list(takewhile(lambda block: block[0] <= limit, (found.span() for found in _CODE.finditer(text))))
    gaps = [found.start() for found in _GAP.finditer(text, 1, limit + 1) if _allowed(text, found, blocks)]
    at = _best(text, [gap for gap in gaps if gap >= limit * _FAIR])
    if at is None:
        begin, end = next(((b, e) for b, e in blocks if b < limit < e), (limit, limit))
        if begin < limit * _POOR:
            return _cut_code(text, begin, end, limit)
        at = begin if begin < limit else max((gap for gap in gaps if gap >= limit * _POOR), default=None)
    return _apart(text, _inside_a_word(text, limit) if at is None else at)


def _allowed(text: str, gap: re.Match[str], blocks: list[tuple[int, int]]) -> bool:
    """Not inside a code block, and not between a character and its marks."""
    inside = any(begin < gap.start() < end for begin, end in blocks)
    return not inside and is_boundary(text, gap.start()) and is_boundary(text, gap.end())


def _best(text: str, gaps: list[int]) -> int | None:
    """The last gap of the best kind: between paragraphs, lines, sentences, words."""
    return max(gaps, key=lambda gap: (_kind(text, gap), gap), default=None)


def _kind(text: str, gap: int) -> int:
    blank = text[gap : gap + 200]
    newlines = blank[: len(blank) - len(blank.lstrip())].count("\n")
    if newlines:
        return 3 if newlines > 1 else 2
    return 1 if _SENTENCE_END.search(text, max(0, gap - 8), gap) else 0


def _apart(text: str, at: int) -> tuple[str, str]:
    """Both sides of a cut without the blank space there; an indented line keeps its indentation."""
    rest = text[at:]
    blank = rest[: len(rest) - len(rest.lstrip())]
    return text[:at].rstrip(), _BLANK_LINES.sub("", rest) if "\n" in blank else rest.lstrip()


def _cut_code(text: str, begin: int, end: int, limit: int) -> tuple[str, str]:
    """Cut the block from `begin` to `end`, which does not fit: behind a line of code if possible."""
    room = limit - len("\n" + _FENCE)
    at = text.rfind("\n", begin + len(_FENCE) + 1, room + 1)
    if at < 0:
        at = _inside_a_word(text, room)
    if at <= begin + len(_FENCE) + 1:  # nothing of the code but its opening: a character too long for any part
        at = room
    rest = text[at:].removeprefix("\n")
    closing = end - len(_FENCE)
    if not text[at:closing].strip():
        return f"{text[:at]}\n{_FENCE}", _apart(text, end)[1]
    return f"{text[:at]}\n{_FENCE}", f"{_FENCE}\n{rest}"


def _inside_a_word(text: str, limit: int) -> int:
    """The last place where no character is broken, nor a row of backticks."""
    at = boundary_at_or_before(text, limit)
    begin = at
    while text[at : at + 1] == "`" and begin > 0 and text[begin - 1] == "`":
        begin -= 1
    return begin or at
