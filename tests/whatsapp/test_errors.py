"""The table of Meta's error codes, and what an answer means."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.errors import GraphRejected, GraphUnavailable, SendUnknown
from clawkakad.whatsapp.answers import decipher
from clawkakad.whatsapp.errors import LIMIT_WITHOUT_CODE, TABLE, Reaction, Width, reaction_to, rule_of


def answer(code: object, **more: object) -> bytes:
    return json.dumps({"error": {"message": "(#1) words", "type": "OAuthException", "code": code, **more}}).encode()


@pytest.mark.parametrize(
    ("code", "reaction"),
    [
        (0, Reaction.STOP),
        (190, Reaction.STOP),
        (200, Reaction.STOP),
        (299, Reaction.STOP),
        (2, Reaction.UNKNOWN),
        (131000, Reaction.UNKNOWN),
        (133004, Reaction.UNKNOWN),
        (4, Reaction.RETRY),
        (130429, Reaction.RETRY),
        (2494100, Reaction.RETRY),
        (131056, Reaction.PAIR_LIMIT),
        (131047, Reaction.TEMPLATE),
        (131026, Reaction.NEVER),
        (131030, Reaction.NEVER),
        (133016, Reaction.STOP),
        (368, Reaction.STOP),
        (424242, Reaction.NEVER),
        (None, Reaction.NEVER),
    ],
)
def test_each_code_has_its_reaction(code: int | None, reaction: Reaction) -> None:
    assert reaction_to(code) is reaction


@pytest.mark.parametrize("code", sorted(TABLE))
def test_each_reaction_says_how_long_how_wide_and_what_to_do(code: int) -> None:
    rule = rule_of(code)

    if rule.reaction is Reaction.STOP:
        assert rule.width in (Width.ALL, Width.TEMPLATES)
        assert rule.wait_s >= 60
        assert rule.advice
    elif rule.reaction is Reaction.RETRY:
        assert rule.width is Width.ALL
        assert rule.wait_s > 0
    elif rule.reaction in (Reaction.PAIR_LIMIT, Reaction.TEMPLATE):
        assert rule.width is Width.PERSON
    assert len(rule.advice) <= 150
    assert "\n" not in rule.advice


def test_the_limit_of_the_app_is_waited_for_longer_than_throughput_and_spam_longest() -> None:
    assert rule_of(130429).wait_s < rule_of(4).wait_s <= rule_of(80007).wait_s
    assert rule_of(190).wait_s < rule_of(131042).wait_s < rule_of(368).wait_s < rule_of(131048).wait_s


KINDS = {
    Reaction.RETRY: GraphUnavailable,
    Reaction.PAIR_LIMIT: GraphUnavailable,
    Reaction.UNKNOWN: SendUnknown,
    Reaction.NEVER: GraphRejected,
    Reaction.TEMPLATE: GraphRejected,
    Reaction.STOP: GraphRejected,
}


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
def test_the_code_decides_whatever_the_status(status: int) -> None:
    for code, rule in TABLE.items():
        assert type(decipher(status, {}, answer(code))) is KINDS[rule.reaction], code


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, answer(424242), GraphRejected),
        (500, answer(424242), SendUnknown),
        (400, answer(424242, is_transient=True), SendUnknown),
        (429, answer(424242, is_transient=True), GraphUnavailable),
        (403, answer(424242), GraphRejected),
        (400, b"", GraphRejected),
        (404, b"<html>not here</html>", GraphRejected),
        (301, b"", GraphRejected),
        (408, b"", SendUnknown),
        (429, b"slow down", GraphUnavailable),
        (500, b"", SendUnknown),
        (502, b"<html>bad gateway</html>", SendUnknown),
        (503, answer("1"), SendUnknown),
        (400, answer(True), GraphRejected),
        (400, b'{"error":"words"}', GraphRejected),
        (400, b"[" * 100_000, GraphRejected),
    ],
)
def test_without_a_known_code_the_status_decides(status: int, body: bytes, kind: type[Exception]) -> None:
    assert type(decipher(status, {}, body)) is kind


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("17", 17), ("0", 0), ("1.5", 1.5), ("1e9", 3600), ("-1", None), ("nan", None), ("soon", None), ("", None)],
)
def test_retry_after_is_honoured_within_reason(header: str, seconds: float | None) -> None:
    error = decipher(429, {"retry-after": header}, b"")

    assert isinstance(error, GraphUnavailable)
    assert error.retry_after_s == seconds


def test_a_refusal_keeps_metas_words() -> None:
    error = decipher(400, {}, answer(131026, error_data={"details": "not on\nWhatsApp"}))

    assert isinstance(error, GraphRejected)
    assert (error.code, error.details) == (131026, "not on WhatsApp")
    assert str(error) == "error 131026 (HTTP 400): (#1) words"


def test_a_limit_that_the_table_does_not_know_is_one_all_the_same() -> None:
    error = decipher(429, {"retry-after": "17"}, answer(613))

    assert isinstance(error, GraphUnavailable)
    assert (error.code, error.retry_after_s) == (LIMIT_WITHOUT_CODE, 17)
    assert str(error) == "error 613 (HTTP 429): (#1) words"


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, answer(102), 190),
        (401, answer(200), 200),
        (403, answer(104), 104),
        (400, answer(100, type="GraphMethodException", error_subcode=33), 33),
        (400, answer(100, error_subcode=2494010), 100),
        (400, answer(131009, error_subcode=33), 131009),
    ],
)
def test_a_token_and_a_number_that_are_no_good_are_known_by_more_than_one_code(
    status: int, body: bytes, code: int
) -> None:
    error = decipher(status, {}, body)

    assert isinstance(error, GraphRejected)
    assert error.code == code


def test_a_number_that_is_not_there_may_be_one_that_we_have_lost() -> None:
    assert rule_of(33).reaction is Reaction.STOP
    assert "system user" in rule_of(33).advice


@given(st.integers(300, 599), st.binary(max_size=100))
def test_no_answer_makes_it_raise(status: int, body: bytes) -> None:
    assert isinstance(decipher(status, {}, body), GraphRejected | GraphUnavailable | SendUnknown)
