"""What goes upstream for a model call, and what its errors mean."""

import json

import pytest

from clawkakad.sandboxes.modelcalls import (
    STRUCTURE_LIMIT,
    AllowanceUsedUp,
    UpstreamBusy,
    UpstreamRefused,
    decipher,
    upstream_body,
)

CALL = {"model": "assistant", "messages": [{"role": "user", "content": "hi"}], "tools": [], "stream": True}


def test_the_real_model_is_put_in() -> None:
    assert "vendor/real" == json.loads(upstream_body(json.dumps(CALL).encode(), "vendor/real"))["model"]


@pytest.mark.parametrize("field", ["models", "route", "provider", "plugins", "web_search_options", "user", "store"])
def test_a_sandbox_cannot_steer_the_upstream(field: str) -> None:
    assert field not in json.loads(upstream_body(json.dumps({**CALL, field: ["dear"]}).encode(), "m"))


def test_the_cost_of_a_stream_is_always_asked_for() -> None:
    without = {**CALL, "stream_options": {"include_usage": False}}
    plain = {**without, "stream": False}

    assert {"include_usage": True} == json.loads(upstream_body(json.dumps(without).encode(), "m"))["stream_options"]
    assert "stream_options" not in json.loads(upstream_body(json.dumps(plain).encode(), "m"))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"messages": "no"}',
        b'{"messages": [], "seed": 1e999}',
        b"[" * 100_000,
        b'{"messages":[],"tools":[{"type":"function","function":{"parameters":{"a":%s%s}}}]}'
        % (b"[" * 985, b"]" * 985),
    ],
)
def test_what_is_no_call_is_refused(raw: bytes) -> None:
    with pytest.raises(UpstreamRefused) as refused:
        upstream_body(raw, "m")

    assert 400 == refused.value.status


def test_what_reaches_out_of_the_sandbox_is_refused_with_400() -> None:
    with pytest.raises(UpstreamRefused) as refused:
        upstream_body(json.dumps({**CALL, "tools": [{"type": "openrouter:web_fetch"}]}).encode(), "m")

    assert 400 == refused.value.status


@pytest.mark.parametrize("piece", [b"[]", b"{}", b"0"])
def test_a_body_that_would_grow_a_hundredfold_in_memory_is_refused_unread(piece: bytes) -> None:
    raw = b'{"messages":[],"stop":[' + b",".join([piece] * STRUCTURE_LIMIT) + b"]}"

    with pytest.raises(UpstreamRefused, match="too many parts"):
        upstream_body(raw, "m")


@pytest.mark.parametrize(
    ("status", "seen"), [(400, 400), (404, 404), (422, 422), (413, 400), (401, 401), (403, 401), (402, 400)]
)
def test_what_is_final_ends_the_turn_at_once(status: int, seen: int) -> None:
    error = decipher(status, {}, json.dumps({"error": {"message": "the words"}}))

    assert isinstance(error, UpstreamRefused)
    assert seen == error.status


def test_the_upstreams_words_pass_where_the_gateway_may_act_on_them() -> None:
    assert "too long" in str(decipher(400, {}, '{"error": {"message": "the context is too long"}}'))
    assert "refused" in str(decipher(400, {}, "<html>"))


def test_a_refused_key_is_for_the_operator_and_its_words_stay_outside() -> None:
    error = decipher(401, {}, '{"error": {"message": "key sk-123 is not valid"}}')

    assert isinstance(error, UpstreamRefused)
    assert error.grave
    assert "sk-123" not in str(error)


@pytest.mark.parametrize(
    "words",
    [
        "Key limit exceeded (monthly limit). Manage it using https://openrouter.ai/settings/keys",
        "Key limit exceeded",
        "Your organization has reached its spending limit.",
        "You exceeded your current quota",
        "Insufficient credits",
        "Your budget for this month is used up",
    ],
)
@pytest.mark.parametrize("status", [402, 403])
def test_a_limit_that_is_reached_is_no_refused_key(status: int, words: str) -> None:
    error = decipher(status, {}, json.dumps({"error": {"code": status, "message": words}}))

    assert isinstance(error, AllowanceUsedUp)
    assert (error.status, error.grave) == (400, False)


@pytest.mark.parametrize(
    "words", ["No auth credentials found", "This key may not use that model", "Your country is not supported", ""]
)
def test_any_other_403_is_a_refused_key(words: str) -> None:
    error = decipher(403, {}, json.dumps({"error": {"message": words}}))

    assert isinstance(error, UpstreamRefused)
    assert (error.status, error.grave) == (401, True)
    assert "its key is refused" in str(error)


def test_a_message_that_the_provider_does_not_like_is_no_refused_key() -> None:
    words = "Your chosen model requires moderation and your input was flagged"
    error = decipher(403, {}, json.dumps({"error": {"message": words}}))

    assert isinstance(error, UpstreamRefused)
    assert (error.status, error.grave) == (400, False)
    assert "moderation" in str(error)


@pytest.mark.parametrize("status", [300, 408, 409, 429, 500, 502, 503, 529])
def test_what_may_pass_is_tried_again(status: int) -> None:
    error = decipher(status, {"Retry-After": "7"}, "")

    assert isinstance(error, UpstreamBusy)
    assert 7 == error.retry_after_s
    retry_at_a_date = decipher(status, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, "")
    assert isinstance(retry_at_a_date, UpstreamBusy)
    assert retry_at_a_date.retry_after_s is None
