"""Markdown as a model writes it, turned into what WhatsApp shows. No I/O.

Owns the blocks; `inline.py` has the inside of a paragraph, `splitting.py` the length of a message.
Works on the token stream of a CommonMark parser, never on patterns, so that `2 * 3 * 4`, snake_case and code stay as
they are. What WhatsApp cannot show becomes plain text: headings bold, links "label: address", tables one block a row.
Line breaks and blank lines stay where the author put them. No word is ever dropped.

https://faq.whatsapp.com/539178204879377
"""

import re
from collections.abc import Callable, Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from clawkakad.whatsapp.cleaning import clean_text
from clawkakad.whatsapp.inline import render_inline
from clawkakad.whatsapp.splitting import split

__all__ = ["is_plain", "render", "simply_rendered", "split", "to_whatsapp"]

_NESTING = 60  # levels; the parser drops what is deeper, so such a text is left alone
# A longer text is parsed in pieces, from one blank line to another: the parser's time grows with the square of some
# things. What is that long without one, or has that many brackets in a piece, goes out as it is.
_LENGTH, _PIECE = 32_768, 16_384
_BRACKETS = 1_000
_GAPS = re.compile(r"(\n{2,})")
_FENCE = re.compile(r"(?: |[-+*] |\d{1,9}[.)] )*(`{3,}(?=[^`]*$)|~{3,})")  # also in a list; a quote has no blank line
_UNWRAPPED = ("markdown", "md")  # a whole answer in a code block of this kind was meant as text
_BREAK = re.compile(r"<br ?/?>", re.IGNORECASE)  # the only way to begin a line inside of a cell
_BAR = re.compile(r"(?<!\\)\|")
_OUTER_BARS = re.compile(r"^[\s>]*\||(?<!\\)\|\s*$")
# What could be markup to the parser below, or blank space that it does not keep as it is. Matches much that is none.
_MARKUP = re.compile(
    r"[\\`*_~\[<&|]"  # anywhere: escapes, code, emphasis, links and images, addresses, entities, tables
    r"|^(?:[-+#>]|[0-9]+[.)])"  # at the beginning of a line: lists, headings, quotes, rules
    r"| \n|\n |\n\n\n|[^\S\n ]",
    re.MULTILINE,
)
# Bold that nobody could take for anything else: on one line, hugging its words, with room around it.
_BOLD = re.compile(r"(?<![^\s(])\*\*(?!\s)([^\\`*_~\[<&|\n]+)(?<!\s)\*\*(?![^\s.,;:!?)])")
_MARKDOWN = (
    MarkdownIt("commonmark", {"html": False, "maxNesting": _NESTING})
    .enable(["table", "strikethrough"])
    # In a chat, indented text is no code, dashes underline nothing, and "[1]: https://…" is meant to be read.
    .disable(["code", "lheading", "reference", "html_block", "html_inline"])
)


def to_whatsapp(markdown: str) -> str:
    """The text as WhatsApp shows it best; plain text without markup stays as it is."""
    source = clean_text(markdown)
    simple = simply_rendered(source)
    if simple is not None:
        return simple
    return "".join((render(piece) or piece) + gap for piece, gap in _pieces(source))


def _pieces(source: str) -> Iterator[tuple[str, str]]:
    """A text in parts that the parser takes, each with the blank lines behind it. A list may begin anew in each."""
    if len(source) <= _LENGTH:
        yield source, ""
        return
    piece, gap = "", ""
    for text, following in _sections(source):
        if piece and len(piece) + len(gap) + len(text) > _PIECE:
            yield piece, gap
            piece, gap = "", ""
        piece, gap = piece + gap + text, following
    yield piece, gap


def _sections(source: str) -> Iterator[tuple[str, str]]:
    """What stands between blank lines, with those behind it; a block of code is one, whatever is in it."""
    parts = [*_GAPS.split(source), ""]
    section, gap, fence = "", "", ""
    for text, following in zip(parts[::2], parts[1::2], strict=True):
        section, gap = section + gap + text, following
        for line in text.split("\n"):
            fence = _fence_behind(line, fence)
        if not fence:
            yield section, gap
            section, gap = "", ""
    yield section, gap


def _fence_behind(line: str, fence: str) -> str:
    """The fence of the block of code that is open behind a line, given that before it; empty: none is."""
    if not fence:
        opens = _FENCE.match(line)
        return opens[1] if opens else ""
    bare = line.strip(" ")
    return "" if len(bare) >= len(fence) and set(bare) == {fence[0]} else fence


def simply_rendered(source: str) -> str | None:
    """What `render` makes of a clean text with no markup but some bold words, in a tenth of its time; else None."""
    if "**" not in source:
        return source if is_plain(source) else None
    return _BOLD.sub(r"*\1*", source) if is_plain(_BOLD.sub(r"\1", source)) else None


def is_plain(source: str) -> bool:
    """Whether a clean text is one that `render` leaves as it is: to look takes 1 to 5 us, to render it 40 to 100."""
    return _MARKUP.search(source) is None


def render(source: str, *, unwrap: bool = True) -> str:
    """What the parser's tokens make of a clean text. `unwrap`: a code block of Markdown was meant as text."""
    if len(source) > _LENGTH or source.count("[") > _BRACKETS:
        return source
    tokens = _MARKDOWN.parse(source)
    if any(token.level >= _NESTING - 2 for token in tokens):
        return source
    _count_items(tokens)
    return _Blocks(tokens, source.split("\n"), unwrap=unwrap).all().strip("\n")


def _count_items(tokens: Sequence[Token]) -> None:
    """Number the items of a list anew in which a number comes twice: "1. 1. 1." is Markdown for "1. 2. 3.".

    Else the numbers mean something, as in "3. 2. 1.", and stay as they were written.
    """
    lists: list[list[Token]] = []
    for token in tokens:
        if token.type in ("bullet_list_open", "ordered_list_open"):
            lists.append([])
        elif token.type == "list_item_open":
            lists[-1].append(token)
        elif token.type == "bullet_list_close":
            lists.pop()
        elif token.type == "ordered_list_close":
            items = lists.pop()
            if len({item.info for item in items}) < len(items):
                for number, item in enumerate(items, start=int(items[0].info)):
                    item.info = str(number)


class _Blocks:
    """Walks the block tokens of one text, depth first. Nesting is bounded by the parser."""

    def __init__(self, tokens: Sequence[Token], lines: Sequence[str], *, unwrap: bool) -> None:
        self._tokens = tokens
        self._lines = lines
        self._unwrap = unwrap
        self._at = 0

    def all(self) -> str:
        return self._until("")

    def _until(self, closing: str) -> str:
        """The blocks up to the closing token, which is consumed, with a blank line where the source has one."""
        text = ""
        blank = False
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if token.type == closing:
                break
            blank = blank or self._blank_before(token)
            block = self._block(token)
            if block:
                text += ("\n\n" if blank else "\n") * bool(text) + block
                blank = token.type == "table_open"
            else:
                blank = True  # a rule: "---"
        return text

    def _blank_before(self, token: Token) -> bool:
        return bool(token.map and token.map[0] > 0 and not self._lines[token.map[0] - 1].strip(" \t>"))

    def _block(self, token: Token) -> str:
        render = _RENDERERS.get(token.type)
        return render(self, token) if render else token.content

    def _inline(self, closing: str, *, bold: bool = False) -> str:
        """The inline content of a paragraph, heading or cell, up to its closing token."""
        text = ""
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if token.type == closing:
                break
            text += render_inline(token.children or [], bold=bold)
        return text

    def paragraph(self, token: Token) -> str:
        return self._inline("paragraph_close")

    def heading(self, token: Token) -> str:
        return self._inline("heading_close", bold=True)

    def fence(self, token: Token) -> str:
        code = token.content.rstrip("\n")
        if self._unwrap and token.info.strip().lower() in _UNWRAPPED:
            return render(code, unwrap=False)
        if not code.strip():
            return ""
        # WhatsApp ends a block at the first three backticks, wherever they stand.
        return code if "```" in code else f"```\n{code}\n```"

    def quote(self, token: Token) -> str:
        inner = self._until("blockquote_close")
        return "\n".join(line if line.startswith("> ") else f"> {line}".rstrip() for line in inner.split("\n"))

    def listing(self, token: Token) -> str:
        return self._until(token.type.replace("open", "close"))

    def item(self, token: Token) -> str:
        marker = f"{token.info}. " if token.info else "- "
        first, *others = self._until("list_item_close").split("\n")
        return "\n".join([marker + first, *(f"  {line}" if line else "" for line in others)])

    def table(self, token: Token) -> str:
        """One block for each row: WhatsApp has no tables, and a phone no width."""
        header, *rows = self._rows()
        if not rows:
            return " | ".join(cell for cell in header if cell)
        return "\n\n".join(filter(None, (_row(header, row) for row in rows)))

    def _rows(self) -> list[list[str]]:
        rows: list[list[str]] = []
        left_over: list[str] = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if token.type == "table_close":
                break
            if token.type == "tr_open":
                left_over = self._left_over(token, len(rows[0])) if rows else []
                rows.append([])
            elif token.type in ("th_open", "td_open"):
                rows[-1].append(_BREAK.sub("\n", self._inline(token.type.replace("open", "close"))))
            elif token.type == "tr_close":
                rows[-1][-1] = " | ".join(filter(None, [rows[-1][-1], *left_over]))
        return rows

    def _left_over(self, row: Token, columns: int) -> list[str]:
        """Cells without a column, and the second half of code with a bar in it: the parser would drop them."""
        line = self._lines[row.map[0]] if row.map else ""
        cells = _BAR.split(_OUTER_BARS.sub("", line))
        return [cell.strip() for cell in cells[columns:]]


def _row(header: Sequence[str], row: Sequence[str]) -> str:
    titles = [title.strip("*") for title in header]
    return "\n".join(f"*{title}:* {cell}" if title else cell for title, cell in zip(titles, row, strict=True) if cell)


_RENDERERS: dict[str, Callable[[_Blocks, Token], str]] = {
    "paragraph_open": _Blocks.paragraph,
    "heading_open": _Blocks.heading,
    "fence": _Blocks.fence,
    "blockquote_open": _Blocks.quote,
    "bullet_list_open": _Blocks.listing,
    "ordered_list_open": _Blocks.listing,
    "list_item_open": _Blocks.item,
    "table_open": _Blocks.table,
}
