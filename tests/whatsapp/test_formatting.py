"""Markdown in, WhatsApp out: the cases that go wrong elsewhere, and texts that nobody thought of."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clawkakad.whatsapp.cleaning import clean_text
from clawkakad.whatsapp.formatting import _PIECE, _pieces, is_plain, render, simply_rendered, split, to_whatsapp

CASES = {
    "bold": ("**b** and __b__", "*b* and *b*"),
    "italic": ("*i* and _i_", "_i_ and _i_"),
    "strike": ("~~s~~", "~s~"),
    "bold italic": ("***x*** **_x_** _**x**_ *__x__*", "*_x_* *_x_* *_x_* *_x_*"),
    "bold italic in part": ("***a* b** ***a** b* *a **b***", "*_a_ b* _*a* b_ _a *b*_"),
    "struck bold": ("~~**a**~~ **~~a~~** ***~~a~~***", "~*a*~ *~a~* *_~a~_*"),
    "bold over paragraphs": ("**a\n\nb**", "**a\n\nb**"),
    "bold in punctuation": ('(**x**), "**y**": **z**.', '(*x*), "*y*": *z*.'),
    "stars of a program": ("f(*args, **kwargs)", "f(*args, **kwargs)"),
    "italic in bold": ("**a *b* c**", "*a _b_ c*"),
    "bold in bold": ("**a **b** c**", "*a b c*"),
    "arithmetic": ("2 * 3 * 4 and 2*3*4 and 2**3**4", "2 * 3 * 4 and 2*3*4 and 2**3**4"),
    "snake case": ("call snake_case_name or __init__.py", "call snake_case_name or *init*.py"),
    "bold before a word": ("**Note:**text", "*Note:*text"),
    "bold without spaces": ("这是**重点**内容", "这是*重点*内容"),
    "bold over a line end": ("**one\ntwo**", "*one*\n*two*"),
    "heading": ("# Title\ntext\n\n## Next\nmore", "*Title*\ntext\n\n*Next*\nmore"),
    "half bold heading": ("## **Bold** and not", "*Bold and not*"),
    "italic heading": ("### *Title*", "*_Title_*"),
    "heading with code": ("# The `x` flag #", "*The `x` flag*"),
    "no heading": ("#1 and #tag", "#1 and #tag"),
    "bold heading": ("# **Bold** title", "*Bold title*"),
    "underlined": ("Total\n---\n280", "Total\n\n280"),
    "link": ("[label](https://a.b/c_(d))", "label: https://a.b/c_(d)"),
    "link as its own label": ("[https://a.b](https://a.b) <https://a.b>", "https://a.b https://a.b"),
    "link with a like label": ("[a.b](https://a.b/)", "https://a.b/"),
    "address with letters of its own": (
        "<https://de.wikipedia.org/wiki/Köln> [ex.com/a b](<https://ex.com/a b>)",
        "https://de.wikipedia.org/wiki/K%C3%B6ln https://ex.com/a%20b",
    ),
    "label with letters of its own": ("[Köln](https://a.b/Köln)", "Köln: https://a.b/K%C3%B6ln"),
    "link in bold": ("**[label](https://a.b)**", "*label: https://a.b*"),
    "mail": ("<me@a.b> [me@a.b](mailto:me@a.b)", "me@a.b me@a.b"),
    "mail and number with labels": ("[Sam](mailto:s@a.b) [Sam](tel:+1555)", "Sam: s@a.b Sam: +1555"),
    "number as its own label": ("[+1 555-0100](tel:+15550100)", "+15550100"),
    "link with a title": ('[label](https://a.b "title")', "label: https://a.b"),
    "link with marks in its label": ("[**label**](https://a.b)", "*label*: https://a.b"),
    "unsafe link": ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
    "bare address": ("see https://a.b/x_y_z?a*b=c&d", "see https://a.b/x_y_z?a*b=c&d"),
    "footnote": ("as said [1]\n\n[1]: https://a.b", "as said [1]\n\n[1]: https://a.b"),
    "image": ("![alt](https://a.b/c.png) ![](https://a.b/c.png)", "alt: https://a.b/c.png https://a.b/c.png"),
    "inline code": ("`a *b* c`", "`a *b* c`"),
    "inline code with a backtick": ("``a`b``", "```a`b```"),
    "code block": ("```py\nx = 1  # *no*\n```\nafter", "```\nx = 1  # *no*\n```\nafter"),
    "code block with backticks": ("````\na ``` b\n````", "a ``` b"),
    "open code block": ("```\nx = 1", "```\nx = 1\n```"),
    "empty code block": ("a\n```\n\n```\nb", "a\n\nb"),
    "blank and backticks as code": ("a ` ` and ```` ``` ````", "a   and ```"),
    "link without an address": ("[label]()", "label"),
    "table without rows": ("|A|B|\n|-|-|", "A | B"),
    "table with a nameless column": ("||B|\n|-|-|\n|1|2|", "1\n*B:* 2"),
    "tilde block": ("~~~sh\n# not a heading\n~~~", "```\n# not a heading\n```"),
    "markup in code": ("`**a** [b](c) &amp; \\*`", "`**a** [b](c) &amp; \\*`"),
    "wrapped in between": ("So:\n```md\n- **x**\n```\nend", "So:\n- *x*\nend"),
    "wrapped answer": ("```markdown\n# Hi\n**x**\n```", "*Hi*\n*x*"),
    "indented text": ("text\n\n    more", "text\n\nmore"),
    "rule": ("a\n\n---\n\nb\n***\nc", "a\n\nb\n\nc"),
    "list": ("* a\n* b\n+ c", "- a\n- b\n- c"),
    "nested list": ("- a\n  - b\n    - c\n- d", "- a\n  - b\n    - c\n- d"),
    "loose list": ("- a\n\n- b", "- a\n\n- b"),
    "numbered list": ("3. a\n4. b\n\n1) c", "3. a\n4. b\n\n1. c"),
    "list with one number": ("1. a\n1. b\n1. c", "1. a\n2. b\n3. c"),
    "list with one number, not the first": ("3. a\n3. b\n   1. c\n   1. d\n3. e", "3. a\n4. b\n  1. c\n  2. d\n5. e"),
    "list that counts down": ("3. a\n2. b\n1. c", "3. a\n2. b\n1. c"),
    "numbered list in a list": ("- 1. a\n  1. b\n- c", "- 1. a\n  2. b\n- c"),
    "list after text": ("You have:\n- a\n- b\nand more", "You have:\n- a\n- b\n  and more"),
    "tasks": ("- [ ] a\n- [x] b", "- [ ] a\n- [x] b"),
    "quote": ("> a\n> b\n\nc", "> a\n> b\n\nc"),
    "nested quote": ("> a\n>> b", "> a\n> b"),
    "table": ("| Day | **Sum** |\n|:--|--:|\n| Mon | *280* |\n| Tue | |", "*Day:* Mon\n*Sum:* _280_\n\n*Day:* Tue"),
    "table between": ("a\n\n|A|\n|-|\n|1|\n\nb", "a\n\n*A:* 1\n\nb"),
    "table without outer bars": ("A | B\n--- | ---\n1 | 2", "*A:* 1\n*B:* 2"),
    "table with a bar in code": ("|A|B|\n|-|-|\n|1|`a|b`|", "*A:* 1\n*B:* `a | b`"),
    "table with too many cells": ("|A|B|\n|-|-|\n|1|2|**3**| |5|", "*A:* 1\n*B:* 2 | **3** | 5"),
    "table with an escaped bar": ("|A|\n|-|\n|a\\|b|", "*A:* a|b"),
    "table with an empty first cell": ("|A|B|\n|-|-|\n||2|", "*B:* 2"),
    "table with a line end in a cell": ("|A|B|\n|-|-|\n|1<br>2|3|", "*A:* 1\n2\n*B:* 3"),
    "table in a quote": ("> |A|B|\n> |-|-|\n> |1|2|3|", "> *A:* 1\n> *B:* 2 | 3"),
    "no table without its separator": ("|A|B|\n|1|2|", "|A|B|\n|1|2|"),
    "no table with another number of columns": ("|A|B|\n|-|\n|1|2|", "|A|B|\n|-|\n|1|2|"),
    "no table": ("| just | bars |", "| just | bars |"),
    "more escapes": ("\\_b\\_ \\# c \\[d\\] 1\\. x", "_b_ # c [d] 1. x"),
    "entities": ("&copy; &quot;x&quot; &#x41; &nope;", '© "x" A &nope;'),
    "escapes": ("\\*a\\* &amp; &lt; &#42;", "*a* & < *"),
    "html": ("<b>a</b> & <br>", "<b>a</b> & <br>"),
    "line breaks": ("a\nb  \nc\\\nd", "a\nb\nc\nd"),
    "blank lines": ("a\n\n\n\nb", "a\n\nb"),
    "only marks": ("---", "---"),
    "nothing": (" \n ", ""),
    "emoji": ("**👨‍👩‍👧** 👍🏽", "*👨‍👩‍👧* 👍🏽"),
    "deception": ("pay\u202etxt.exe\x00", "paytxt.exe"),
}


@pytest.mark.parametrize("name", CASES)
def test_markdown_becomes_what_whatsapp_shows(name: str) -> None:
    markdown, expected = CASES[name]

    assert to_whatsapp(markdown) == expected


@pytest.mark.parametrize("mark", [">", "- ", "> - ", "1. "])
def test_no_depth_of_nesting_loses_words(mark: str) -> None:
    for depth in (1, 5, 18, 30, 58, 60, 200):
        assert "word" in to_whatsapp(mark * depth + "word"), depth


PIECES = [
    "*",
    "**a",
    "*a **b ",
    "[",
    "![[",
    "[a](b",
    "> ",
    "- ",
    "- a\n",
    "`",
    "`a``b",
    "|a",
    "_a*",
    "<a",
    "&amp",
    "\\",
    "!",
]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", PIECES)
def test_hostile_repetition_takes_no_time(piece: str) -> None:
    for times in (300, 5000, 100_000):
        to_whatsapp(piece * times)


@given(st.text())
def test_no_text_makes_it_raise(text: str) -> None:
    to_whatsapp(text)


@given(st.text(st.sampled_from("ab1 \n\t*_~`#>-+.|[]()!<&\\:é"), max_size=120))
def test_no_markup_makes_it_raise(text: str) -> None:
    to_whatsapp(text)


@given(st.text(st.sampled_from("ab1 \n*_#>-+\\é"), max_size=120))
def test_no_word_is_ever_dropped(text: str) -> None:
    def words(of: str) -> str:
        return "".join(char for char in of if char.isalnum())

    assert words(to_whatsapp(text)) == words(text)


@given(st.text(st.sampled_from("ab1 \n*_#>-+.\\é"), max_size=120))
def test_no_letter_is_ever_dropped_where_numbers_are_counted_anew(text: str) -> None:
    def letters(of: str) -> str:
        return "".join(char for char in of if char.isalpha())

    assert letters(to_whatsapp(text)) == letters(text)


@given(st.text(st.sampled_from("abc .,!?é😀\n"), max_size=120))
def test_plain_text_stays_plain(text: str) -> None:
    assert to_whatsapp(text).split() == text.split()


@given(st.text(st.sampled_from("ab1 \n*_~`#>-|."), max_size=400), st.integers(16, 60))
def test_what_was_formatted_can_be_split(text: str, limit: int) -> None:
    whole = to_whatsapp(text)
    parts = split(whole, limit)

    assert all(len(part) <= limit for part in parts)
    assert re.sub(r"[\s*_~`>]", "", "".join(parts)) == re.sub(r"[\s*_~`>]", "", whole)


PIECES = st.sampled_from(
    [*"ab1.)-+#>=:!]({}@^$%?'\"/é🏴\u0301\u200d\u00a0 \n", "\n\n", "2. ", "---", "http://a.b", "mailto:a@b.c", "1) "]
)


@given(st.lists(PIECES, max_size=14).map("".join) | st.text())
def test_the_parser_would_leave_plain_text_as_it_is(text: str) -> None:
    source = clean_text(text)
    assume(is_plain(source))

    assert render(source) == source


@given(st.lists(PIECES | st.sampled_from(["**", "**", "**a**", " **b c** "]), max_size=14).map("".join))
def test_the_short_way_with_bold_words_is_the_parsers(text: str) -> None:
    source = clean_text(text)
    simple = simply_rendered(source)
    assume(simple is not None)

    assert render(source) == simple


def test_bold_words_take_the_short_way() -> None:
    assert simply_rendered("Done: **milk** and **oats (2 l)** are on it.") == "Done: *milk* and *oats (2 l)* are on it."
    assert simply_rendered("**Friday:** the dentist") == "*Friday:* the dentist"


def test_everyday_replies_are_plain() -> None:
    assert is_plain(
        "Done! Milk (2 l) is on your list - the dentist is at 10:30.\n\nAnything else? I'd check +49 30 1234."
    )
    assert is_plain("明天10:30看牙医。好的！")


def test_a_long_answer_is_formatted_to_its_end_and_no_code_of_it_is_torn() -> None:
    section = "# Title\n\nsome **bold** words\n\n```py\na = b ** c\n\n\nd = '**e**'\n```\n\n"
    shown = "*Title*\n\nsome *bold* words\n\n```\na = b ** c\n\n\nd = '**e**'\n```\n\n"
    assert to_whatsapp(section.strip()) == shown.strip()

    assert to_whatsapp((section * 1000).strip()) == (shown * 1000).strip()


LINE = r"def __init__(self, *args, **kw): return a * b * c\*"


@pytest.mark.parametrize(
    ("opening", "indent", "closing"),
    [
        ("```py", "", "```"),
        ("   ```", "   ", "   ```"),
        ("1. ```py", "   ", "   ```"),
        ("- ~~~", "  ", "  ~~~~"),
        ("````md\n```", "", "````"),
        ("~~~\n```", "", "~~~"),
    ],
)
def test_a_long_answer_is_not_parted_inside_of_a_block_of_code(opening: str, indent: str, closing: str) -> None:
    code = "\n\n".join([opening, *[indent + LINE] * 300]) + f"\n{closing}"
    prose = "some **bold** words and ```code``` here\n\n" * 400

    shown = to_whatsapp(f"{prose}{code}\n\n{prose}")

    assert shown.count(LINE) == 300
    assert shown.count("*bold*") == 800
    assert "**bold**" not in shown


def test_what_is_parted_comes_together_again_and_no_part_is_longer_than_need_be() -> None:
    words = "".join("a" * (n % 900) + "\n" * (1 + n % 4) for n in range(400)).strip("\n")
    pieces = list(_pieces(words))

    assert "".join(piece + gap for piece, gap in pieces) == words
    assert 1 < max(len(piece) for piece, _ in pieces) <= _PIECE


@pytest.mark.parametrize("text", ["*b* " * 10_000, "```\n" + "**b**\n\n" * 10_000])
def test_a_long_answer_that_cannot_be_parsed_in_pieces_goes_out_as_it_is(text: str) -> None:
    assert to_whatsapp(text) == clean_text(text)
