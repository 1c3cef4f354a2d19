"""Splits a text that is too long for one message. No I/O.

Cuts between paragraphs if there is a fair place, else between lines, sentences, words, and only then inside a word, but
never inside what people see as one character unless that alone is too long. A code block stays in one piece if it can;
one that is cut is closed, and opened again in the next part, and so is bold, italic, struck or quoted text that has no
fair place to cut around it. Only whitespace around a cut is lost, and only these marks are added.
"""

import re
from itertools import takewhile

from clawkakad.whatsapp.graphemes import boundary_at_or_before, is_boundary
from clawkakad.whatsapp.marks import CODE_BLOCK, MOST, QUOTE, Marked, quoted_at

LIMIT = 4096  # code points of a text message
SMALLEST_LIMIT = 16  # room for the fences of a code block, and some code
_FENCE = "```"
_FAIR = 1 / 2  # how full a part should be before a better kind of place is given up for a worse one
_POOR = 1 / 4  # and before a word or a code block is cut in two
_WINDOW = 8192  # code points in which both marks have to be, to be seen as such

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
    marked = Marked(text[:_WINDOW])
    for room in (limit, limit - MOST):  # less when the marks that are closed at the cut have no room
        part, rest = _cut_within(text, room, marked)
        if len(part) <= limit and len(rest) < len(text):
            return part, rest
    return text[:limit], text[limit:]


def _cut_within(text: str, limit: int, marked: Marked) -> tuple[str, str]:
    blocks = list(takewhile(lambda block: block[0] <= limit, (found.span() for found in CODE_BLOCK.finditer(text))))
    gaps = [found.start() for found in _GAP.finditer(text, 1, limit + 1) if _allowed(text, found, blocks)]
    at = _best(text, [gap for gap in gaps if gap >= limit * _FAIR], marked)
    if at is None:
        begin, end = next(((b, e) for b, e in blocks if b < limit < e), (limit, limit))
        if begin < limit * _POOR:
            return _cut_code(text, begin, end, limit)
        at = begin if begin < limit else _best(text, [gap for gap in gaps if gap >= limit * _POOR], marked)
    if at is None:
        at = _inside_a_word(text, marked.place_before(limit) or limit)
        at = marked.place_before(at) or at
    return _marked_apart(text, at, marked)


def _marked_apart(text: str, at: int, marked: Marked) -> tuple[str, str]:
    """Both sides of a cut, with the marks that it tears from each other closed in the one, opened in the other."""
    part, rest = _apart(text, at)
    if "\n" in text[at : len(text) - len(text[at:].lstrip())]:
        return part, rest  # the line ends here, and with it everything that is marked
    torn = marked.torn_at(at)
    return part + torn[::-1], (QUOTE if quoted_at(text, at) else "") + torn + rest


def _allowed(text: str, gap: re.Match[str], blocks: list[tuple[int, int]]) -> bool:
    """Not inside a code block, and not between a character and its marks."""
    inside = any(begin < gap.start() < end for begin, end in blocks)
    return not inside and is_boundary(text, gap.start()) and is_boundary(text, gap.end())


def _best(text: str, gaps: list[int], marked: Marked) -> int | None:
    """The last gap of the best kind: between paragraphs, lines, sentences, words, and last inside of marks."""
    return max(gaps, key=lambda gap: (_kind(text, gap, marked), gap), default=None)


def _kind(text: str, gap: int, marked: Marked) -> int:
    blank = text[gap : gap + 200]
    newlines = blank[: len(blank) - len(blank.lstrip())].count("\n")
    if newlines:
        return 4 if newlines > 1 else 3
    if marked.tears(gap):
        return 0
    return 2 if _SENTENCE_END.search(text, max(0, gap - 8), gap) else 1


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
