"""The inside of a paragraph: Markdown's inline tokens in WhatsApp's marks. No I/O.

WhatsApp ends every mark at the end of its line, wants it to hug the text, does not know a mark inside itself, and shows
it as a plain character beside a letter or digit. So marks are put around each line, a bold word in a bold line adds
nothing, and what only looked like emphasis (`2*3*4`) stays as it was written.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from markdown_it.common.normalize_url import normalizeLink
from markdown_it.token import Token

_MARKS = {"strong_open": "*", "em_open": "_", "s_open": "~"}
_CLOSINGS = frozenset({"strong_close", "em_close", "s_close"})
_PREFIX = re.compile(r"^https?://|/$")
_PLAIN_SCHEME = re.compile(r"^(?:mailto|tel):")  # a phone knows an address and a number when it sees one
# CommonMark does not take "**Note:**text" for bold, which models write all the time where words have no spaces between.
_MISSED_BOLD = re.compile(r"(?<![A-Za-z0-9*])\*\*(\S|\S[^*\n]*\S)\*\*(?!\*)")


@dataclass
class _Part:
    """A piece of text. With a mark: `inner` is what stands between the marks, `markup` how the author wrote them."""

    text: str
    mark: str = ""
    inner: str = ""
    markup: str = ""


@dataclass
class _Frame:
    """Something open: a mark, a link, or the whole."""

    mark: str = ""
    href: str | None = None
    parts: list[_Part] = field(default_factory=list)

    def text(self) -> str:
        parts = self.parts
        befores = ["", *(part.text[-1:] for part in parts)]
        afters = [*(part.text[:1] for part in parts[1:]), ""]
        return "".join(map(_in_place, parts, befores, afters))


def render_inline(tokens: Sequence[Token], *, bold: bool = False) -> str:
    """The tokens as text; `bold` puts all of it in bold, as headings are."""
    stack = [_Frame("*" if bold else "")]
    for token in tokens:
        if token.type in _MARKS:
            stack.append(_Frame(_MARKS[token.type]))
        elif token.type == "link_open":
            stack.append(_Frame(href=str(token.attrs.get("href", ""))))
        else:
            part = (
                _closed(stack, token.markup) if token.type in _CLOSINGS or token.type == "link_close" else _leaf(token)
            )
            if part.text:
                stack[-1].parts.append(part)
    return _closed(stack, "").text


def _closed(stack: list[_Frame], markup: str) -> _Part:
    """Take the innermost frame off the stack, as one part."""
    frame = stack.pop()
    text = frame.text()
    if frame.href is not None:
        return _Part(_link(text, frame.href))
    if not frame.mark or any(outer.mark == frame.mark for outer in stack):
        return _Part(text)
    only = frame.parts[0] if len(frame.parts) == 1 else None
    if frame.mark == "_" and only is not None and only.mark == "*":
        inner = _marked("_", only.inner)
        return _Part(_marked("*", inner), "*", inner, "***")
    return _Part(_marked(frame.mark, text), frame.mark, text, markup)


def _in_place(part: _Part, before: str, after: str) -> str:
    """The part's text; as its author wrote it where its marks would not be seen as such."""
    beside = _is_word(before) or (part.mark == "_" and _is_word(after))
    return f"{part.markup}{part.inner}{part.markup}" if part.mark and beside else part.text


def _is_word(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _marked(mark: str, text: str) -> str:
    """The mark around every line that has something to mark."""
    return "\n".join(_marked_line(mark, line) for line in text.split("\n"))


def _marked_line(mark: str, line: str) -> str:
    core = line.strip()
    return line.replace(core, f"{mark}{core}{mark}", 1) if core else line


def _leaf(token: Token) -> _Part:
    match token.type:
        case "softbreak" | "hardbreak":
            return _Part("\n")
        case "code_inline":
            return _Part(_code(token.content))
        case "image":
            return _Part(_link(token.content, str(token.attrs.get("src", ""))))
        case _:
            return _Part(_MISSED_BOLD.sub(r"*\1*", token.content))


def _code(content: str) -> str:
    if not content.strip() or "```" in content:
        return content
    return f"```{content}```" if "`" in content else f"`{content}`"


def _link(label: str, address: str) -> str:
    """The label and the address, or the address alone when the label says no more."""
    if not address:
        return label
    words = label.strip()
    shown = _PLAIN_SCHEME.sub("", address)
    # The parser has escaped the address, as it would the label: "…/Köln" is "…/K%C3%B6ln".
    if not words or _said_by(shown) in (_said_by(words), _said_by(normalizeLink(words))):
        return shown
    return f"{words}: {shown}"


def _said_by(address: str) -> str:
    """What is left to compare: a number may be written with blanks and dashes, an address without its scheme."""
    digits = re.sub(r"[ ()./-]", "", address)
    return digits if re.fullmatch(r"\+?[0-9]+", digits) else _PREFIX.sub("", address)
