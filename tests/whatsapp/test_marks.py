"""Marks: what WhatsApp takes for one, and that splitting tears none in two."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.whatsapp.formatting import split, to_whatsapp
from clawkakad.whatsapp.marks import Marked, spans


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("*a* _b_ ~c~ `d`", ["*a*", "_b_", "~c~", "`d`"]),
        ("*_a_ b*", ["_a_", "*_a_ b*"]),
        ("*_a_*", ["_a_", "*_a_*"]),
        ("*a `*` b*", ["`*`", "*a `*` b*"]),
        ("*a ```*``` b*", ["*a ```*``` b*"]),
        ("(*a*), *b:* 这是*c*内", ["*a*", "*b:*", "*c*"]),
        ("2 * 3 * 4 2*3*4 snake_case_name * a * ** a", []),
        ("*a\nb* _c", []),
        ("a* *b", []),
        ("```\n*a*\n```", []),
        ("*a _b* c_", ["*a _b*"]),
        ("", []),
    ],
)
def test_marks_are_seen_as_whatsapp_sees_them(text: str, marked: list[str]) -> None:
    assert [text[span.begin : span.end] for span in spans(text)] == marked


def test_the_marks_around_a_place_come_from_the_outermost() -> None:
    text = "*a _b_ c* d"

    assert [Marked(text).torn_at(at) for at in (0, 2, 4, 6, 8, 9)] == ["", "*", "*_", "*", "*", ""]


def test_no_place_is_between_a_mark_and_its_text() -> None:
    text = "a *_b_* c"

    assert [Marked(text).place_before(at) for at in range(len(text))] == [0, 1, 2, 2, 2, 2, 2, 7, 8]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain words *bold words* and more", ["plain words *bold words*", "and more"]),
        ("some plain words *bold words in here*", ["some plain words", "*bold words in here*"]),
        ("*bold words that do not end here*", ["*bold words that do not*", "*end here*"]),
        ("*_bold words that do not end here_*", ["*_bold words that do_*", "*_not end here_*"]),
        ("`code words that do not end here`", ["`code words that do not`", "`end here`"]),
        ("> quoted words that do not end here", ["> quoted words that do", "> not end here"]),
        ("> *quoted words that do not end*", ["> *quoted words that do*", "> *not end*"]),
        ("> a quote is here\n> and here is more", ["> a quote is here", "> and here is more"]),
        ("*" + "x" * 30 + "*", ["*" + "x" * 19 + "*", "*" + "x" * 11 + "*"]),
        ("x" * 23 + "*bold*", ["x" * 23 + "*", "bold*"]),  # no mark: a letter stands before it
    ],
)
def test_a_mark_is_kept_whole_or_closed_and_opened_again(text: str, parts: list[str]) -> None:
    assert split(text, 24) == parts


WORDS = st.text(st.sampled_from("abcdefé日"), min_size=1, max_size=9)


def marked(mark: str) -> st.SearchStrategy[str]:
    inner = st.lists(WORDS, min_size=1, max_size=12).map(" ".join)
    return inner.map(lambda text: f"{mark}{text}{mark[::-1]}")


PIECES = st.one_of(WORDS, WORDS, *(marked(mark) for mark in ("*", "_", "~", "`", "*_", "_*", "*`", "~*_")))
LINES = st.tuples(st.sampled_from(["", "", "> ", "- "]), st.lists(PIECES, min_size=1, max_size=8)).map(
    lambda line: line[0] + " ".join(line[1])
)
TEXTS = st.lists(LINES, min_size=1, max_size=6).map("\n".join)


def shown(text: str) -> list[tuple[str, str]]:
    """Every letter with the marks that it has on a phone, and ">" where it is quoted."""
    marked = Marked(text)
    letters = []
    for line in re.finditer(r"[^\n]+", text):
        quote = ">" if line[0].startswith("> ") else ""
        places = [place for place in range(line.start(), line.end()) if text[place].isalpha()]
        letters += [(text[place], quote + "".join(sorted(marked.torn_at(place)))) for place in places]
    return letters


@given(TEXTS, st.integers(24, 80))
def test_every_letter_looks_the_same_in_its_part(text: str, limit: int) -> None:
    parts = split(text, limit)

    assert all(len(part) <= limit for part in parts)
    assert [letter for part in parts for letter in shown(part)] == shown(text)


@given(TEXTS, st.integers(24, 80))
def test_marks_are_balanced_in_every_part(text: str, limit: int) -> None:
    for part in split(text, limit):
        for line in part.split("\n"):
            assert all(line.count(mark) % 2 == 0 for mark in "*_~`")


@given(TEXTS, st.integers(24, 80))
def test_only_marks_are_added_and_only_whitespace_is_lost(text: str, limit: int) -> None:
    def bare(of: str) -> str:
        return re.sub(r"[\s*_~`>]", "", of)

    assert bare("".join(split(text, limit))) == bare(text)


@given(st.text(st.sampled_from("ab *_~`\n>😀"), max_size=300), st.integers(16, 40))
def test_marks_without_sense_make_no_part_too_long_and_lose_nothing(text: str, limit: int) -> None:
    parts = split(text, limit)

    assert all(0 < len(part) <= limit for part in parts)
    assert [char for char in "".join(parts) if char in "ab😀"] == [char for char in text if char in "ab😀"]


def test_a_long_answer_in_markdown_has_balanced_marks_in_every_part() -> None:
    paragraph = "**Bold words** and *more of it*, `code`, ***both of them*** and [a link](https://a.b/c_(d)). "
    markdown = "\n\n".join(f"# Title {n}\n{paragraph * 12}\n- {paragraph}\n> {paragraph * 3}" for n in range(12))

    parts = split(to_whatsapp(markdown))

    assert len(parts) > 4
    for part in parts:
        assert len(part) <= 4096
        for line in part.split("\n"):
            assert all(line.replace("https://a.b/c_(d)", "").count(mark) % 2 == 0 for mark in "*_~`")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("piece", ["*a ", "*a* ", "_*~`", "`a", "> *a", "*", "a"])
def test_any_amount_of_marks_takes_no_time(piece: str) -> None:
    text = piece * (250_000 // len(piece))

    assert all(len(part) <= 4096 for part in split(text))
