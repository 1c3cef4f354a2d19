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


# Meta's page of error codes, and what two other clients know besides, with what each asks for.
# A template that is paused or disabled (132015, 132016) concerns no other message, so that nothing has to stop.
REACTIONS = {
    Reaction.STOP: (
        *(0, 3, 10, 33, 190, *range(200, 300), 368),
        *(131005, 131031, 131037, 131042, 131045, 131048, 131064),
        *(code for code in range(133000, 133017) if code != 133004),
    ),
    Reaction.UNKNOWN: (1, 2, 131000, 131016, 133004),
    Reaction.RETRY: (4, LIMIT_WITHOUT_CODE, 80007, 130429, 131057, 2494100),
    Reaction.PAIR_LIMIT: (131056,),
    Reaction.TEMPLATE: (131047,),
    Reaction.NEVER: (
        *(100, 130403, 130472, 130497),
        *(131008, 131009, 131020, 131021, 131026, 131030, 131041, 131049, 131050, 131051, 131052, 131053),
        *(131055, 131062, 131063, 134100, 134101, 134102, 135000, 137000, *range(147001, 147006)),
        *(132000, 132001, 132005, 132007, 132008, 132012, 132015, 132016, 132018, 132068, 132069),
    ),
}
# How long nobody is sent to, or the one person, in seconds; and whether it is more than one message's trouble.
WAITS = {4: 60, 80007: 60, 130429: 2, 131057: 15, 2494100: 15, 131056: 1, 190: 300, 131042: 1800, 368: 3600}
FOR_A_PERSON = {130403, 130497, 131026, 131030, 131047, 131056, 137000}


@pytest.mark.parametrize("reaction", REACTIONS, ids=str)
def test_each_code_has_its_reaction(reaction: Reaction) -> None:
    assert {code: reaction_to(code) for code in REACTIONS[reaction]} == dict.fromkeys(REACTIONS[reaction], reaction)


def test_every_code_of_the_table_is_one_of_metas() -> None:
    assert set(TABLE) == {code for codes in REACTIONS.values() for code in codes}
    assert {code for code, rule in TABLE.items() if rule.width is Width.PERSON} == FOR_A_PERSON
    assert {code for code, rule in TABLE.items() if rule.width is Width.TEMPLATES} == {131064}
    assert {code: rule_of(code).wait_s for code in WAITS} == WAITS


@pytest.mark.parametrize("code", [424242, -1, None])
def test_what_the_table_does_not_know_is_a_refusal_for_good(code: int | None) -> None:
    assert reaction_to(code) is Reaction.NEVER


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
