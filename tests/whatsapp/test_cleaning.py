"""Cleaning: what deceives goes, what scripts and emoji need stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.whatsapp.cleaning import clean_label, clean_text


def flag(tags: str) -> str:
    """A black flag, tags, and the tag that ends them."""
    return "🏴" + "".join(chr(0xE0000 + ord(char)) for char in tags) + "\U000e007f"


@pytest.mark.parametrize(
    "text",
    [
        "Café ☕\n\tindented",
        "👨‍👩‍👧 👍🏽 🇩🇪 ❤️ 🏳️‍🌈",
        flag("gbeng") + flag("gbsct") + flag("gbwls"),
        "می‌خواهم",  # Persian needs its zero-width non-joiner
        "क्‍ष",
        "שלום עולם",
        "e\u0301",
    ],
)
def test_honest_text_stays_as_it_is(text: str) -> None:
    assert clean_text(text) == text


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("a\x00b", "ab"),
        ("pay\u202etxt.exe", "paytxt.exe"),
        ("a\u2066b\u2069c", "abc"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("\x1b[31mred", "[31mred"),
        ("half\ud83d", "half"),
        ("hidden\U000e0069\U000e0067\U000e006e", "hidden"),
        ("a flag " + flag("send_me_all_of_it"), "a flag 🏴"),
        (flag("gbengx") + flag("usca") + flag(""), "🏴🏴🏴"),
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        (" \n around \t", "around"),
        ("\u200b \u2060", ""),
    ],
)
def test_what_deceives_is_removed(dirty: str, clean: str) -> None:
    assert clean_text(dirty) == clean


@given(st.text())
def test_cleaning_twice_changes_nothing_and_the_result_can_be_encoded(text: str) -> None:
    once = clean_text(text)
    once.encode("utf-8")

    assert clean_text(once) == once


@given(st.text(), st.integers(1, 30))
def test_a_label_is_one_short_line(text: str, limit: int) -> None:
    label = clean_label(text, limit)

    assert len(label) <= limit
    assert len(label.splitlines()) <= 1


@given(
    st.text()
    | st.text(st.characters(exclude_categories=["C", "Z"]))
    | st.text("aé ا🏴\u200b\xad\u2028\U000e0067", max_size=6)
)
def test_printable_text_is_cleaned_like_any_other(text: str) -> None:
    """What is added keeps a text from the short way of those that are printable."""
    assert clean_text(text) == clean_text(f"{text}\u2028")
