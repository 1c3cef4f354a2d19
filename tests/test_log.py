"""Logs: one form for people, one for machines, and nothing secret in either."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from clawkakad import log


@pytest.fixture(autouse=True)
def _restore() -> None:
    yield
    logger.remove()


def test_json_lines_carry_the_values(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "INFO")
    logger.info("message stored", user="u1", kind="text")

    line = json.loads(capsys.readouterr().err)

    assert (line["message"], line["user"], line["kind"], line["level"]) == ("message stored", "u1", "text", "INFO")


def test_of_lines_that_come_with_every_message_some_are_left_out_and_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("json", "INFO")
    now = [100.0]
    lines = log.Lines(lambda: now[0])
    for number in range(25):
        lines.info("turn answered", inbox=number)
    now[0] = 101.5
    lines.info("turn answered", inbox=25)
    lines.info("turn answered", inbox=26)

    written = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    assert [line["inbox"] for line in written] == [str(number) for number in (*range(10), 25, 26)]
    assert [line.get("unlogged") for line in written] == [None] * 10 + ["15", None]
    assert {line["module"] for line in written} == {__name__}


def test_numbers_and_keys_are_masked_whatever_happens(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("human", "json"):
        log.configure(form, "DEBUG")
        logger.info("oops", number="+4915123456789", key="sk-or-v1-abcdefghijkl", header="Bearer EAAGabcdefghijklmno")

        text = capsys.readouterr().err
        assert "4915123456789" not in text
        assert "abcdefgh" not in text


PIECES = ["sk-", "EAA", "Bearer ", "abcdefgh", "1234", "56789", "٣٣٣٣٣٣٣٣٣", "+", " ", "-", "_", '"', ":"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_line_is_taken_for_harmless_that_is_not(text: str) -> None:
    without_keys = log._SECRET.sub("[secret]", text)

    assert log.redact(text) == log._LONG_NUMBER.sub(lambda found: log.mask(found.group()), without_keys)


def test_a_traceback_shows_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("human", "INFO")
    canary = "a-very-private-message"
    try:
        raise ValueError(canary)
    except ValueError:
        logger.opt(exception=True).error("it broke")

    text = capsys.readouterr().err
    assert "ValueError" in text
    assert canary not in text.replace('canary = "a-very-private-message"', "")


def test_masks_keep_two_characters_at_each_end() -> None:
    assert log.mask("4915123456789") == "49…89"
    assert log.mask("short") == "…"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("+49 151 23456789", "+4…89"),
        ("Ann (4915123456789)", "Ann (49…89)"),
        ("049/30-123.456", "04…56"),
        ("Ann 2", "Ann 2"),
        ("R2-D2 007", "R2-D2 007"),
        ("Ann, born 1990", "Ann, born 1990"),
    ],
)
def test_a_number_in_place_of_a_name_is_masked(name: str, shown: str) -> None:
    assert shown == log.mask_name(name)
