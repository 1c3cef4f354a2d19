"""Long texts in parts: where they are cut, and what must never be."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.whatsapp.graphemes import boundary_at_or_before, is_boundary
from clawkakad.whatsapp.splitting import split

FAMILY, FLAG, THUMB, RAINBOW = "👨‍👩‍👧‍👦", "🇩🇪", "👍🏽", "🏳️‍🌈"
SCOTLAND = "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
CLUSTERS = [
    FAMILY,
    FLAG,
    THUMB,
    RAINBOW,
    SCOTLAND,
    "e\u0301",
    "क्षि",
    "กำ",
    "각",
    "1️⃣",
    "❤️",
    "\u0600\u0661",
    "\u1100\uac00",
]


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_a_short_text_stays_whole() -> None:
    assert split("hello\n\nworld") == ["hello\n\nworld"]


@pytest.mark.parametrize("blank", ["", " ", "\n\n"])
def test_a_blank_text_is_no_part_at_all(blank: str) -> None:
    assert split(blank) == []


def test_exactly_the_limit_is_one_part_and_one_more_is_two() -> None:
    assert [len(part) for part in split("x" * 4096)] == [4096]
    assert [len(part) for part in split("x" * 4097)] == [4096, 1]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("First one here.\n\nSecond. Third\nline.", ["First one here.", "Second. Third\nline."]),
        ("One line is here\nand another. Then more", ["One line is here", "and another. Then more"]),
        ("A sentence ends. Another one goes on", ["A sentence ends.", "Another one goes on"]),
        ("just some words without an end at all", ["just some words without", "an end at all"]),
        ("x" * 30, ["x" * 24, "x" * 6]),
        (
            "这是第一个句子在这里。这是第二个句子它比较长一些。",
            ["这是第一个句子在这里。", "这是第二个句子它比较长一些。"],
        ),
        ("a short list of:\n  - one\n  - two\n  - three", ["a short list of:\n  - one", "  - two\n  - three"]),
    ],
)
def test_cuts_are_made_at_the_best_fair_place(text: str, parts: list[str]) -> None:
    assert split(text, 24) == parts


def test_a_code_block_stays_whole_if_it_can() -> None:
    text = "Some words before it.\n```\na = 1\nb = 2\n```\nand after"

    assert split(text, 32) == ["Some words before it.", "```\na = 1\nb = 2\n```\nand after"]


def test_a_code_block_too_long_is_closed_and_opened_again() -> None:
    text = "```\n" + "\n".join(f"    line {n}" for n in range(6)) + "\n```\nafter"

    parts = split(text, 40)

    assert parts == [
        "```\n    line 0\n    line 1\n    line 2\n```",
        "```\n    line 3\n    line 4\n    line 5\n```",
        "after",
    ]


def test_a_line_of_code_too_long_is_cut_inside() -> None:
    assert split("```\n" + "x" * 20 + "\n```", 16) == [
        "```\n" + "x" * 8 + "\n```",
        "```\n" + "x" * 8 + "\n```",
        "```\nxxxx\n```",
    ]


def test_no_part_is_an_empty_code_block() -> None:
    for length in range(1, 60):
        for part in split("```\n" + "x" * length + "\n```", 16):
            assert "x" in part, length


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_cluster_is_never_cut(cluster: str) -> None:
    for lead in range(40):
        parts = split("x" * lead + cluster * 12, 30)
        rejoined = [part.replace(cluster, "").replace("x", "") for part in parts]
        assert rejoined == [""] * len(parts), lead


def test_a_cluster_that_no_part_can_hold_is_cut_after_all() -> None:
    parts = split("a" + "\u0301" * 100, 16)

    assert "".join(parts) == "a" + "\u0301" * 100
    assert max(map(len, parts)) == 16


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_no_boundary_is_inside_a_cluster_and_one_is_on_each_side(cluster: str) -> None:
    text = f"x{cluster}x"

    assert [at for at in range(1, len(text)) if is_boundary(text, at)] == [1, len(text) - 1]
    assert boundary_at_or_before(text, len(text) - 2) == 1


def test_flags_side_by_side_are_told_apart() -> None:
    assert [at for at in range(1, 6) if is_boundary(FLAG * 3, at)] == [2, 4]


def test_a_line_end_is_one_piece_and_marks_do_not_cling_to_it() -> None:
    assert not is_boundary("a\r\nb", 2)
    assert is_boundary("a\n\u0301", 2)


@pytest.mark.parametrize("limit", [-1, 0, 15])
def test_a_limit_without_room_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="room"):
        split("text", limit)


PIECES = st.sampled_from(["a", "b", "word", ".", "!", "。", " ", "\n", "\n\n", "\t", "\u3000", *CLUSTERS])
FENCED = st.lists(st.sampled_from(["```", "```\n", "\n```", "\n", " ", "code", "x", ".", "`", FAMILY]), max_size=80)


@given(st.lists(PIECES, max_size=150).map("".join), st.integers(16, 80))
def test_nothing_but_whitespace_is_lost_and_no_part_is_too_long(text: str, limit: int) -> None:
    parts = split(text, limit)

    assert all(0 < len(part) <= limit for part in parts)
    assert all(part.strip() for part in parts)
    assert squeezed("".join(parts)) == squeezed(text)


@given(FENCED.map("".join), st.integers(16, 60))
def test_code_loses_nothing_either(text: str, limit: int) -> None:
    parts = split(text, limit)

    assert all(len(part) <= limit for part in parts)
    assert re.sub(r"[\s`]", "", "".join(parts)) == re.sub(r"[\s`]", "", text)


@given(st.text(max_size=400), st.integers(16, 60))
def test_any_text_at_all(text: str, limit: int) -> None:
    parts = split(text, limit)

    assert all(len(part) <= limit for part in parts)
    if "```" not in text:
        assert squeezed("".join(parts)) == squeezed(text)


@given(st.lists(st.text(st.sampled_from("ab "), min_size=1, max_size=40).filter(str.strip), min_size=1, max_size=20))
def test_every_part_of_a_code_block_is_a_code_block(lines: list[str]) -> None:
    for part in split("```\n" + "\n".join(lines) + "\n```", 24):
        assert part.startswith("```\n")
        assert part.endswith("\n```")
