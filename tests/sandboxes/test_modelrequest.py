"""What of a model call leaves a sandbox: words, pictures in place, functions; nothing that makes the upstream fetch."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.errors import Rejected
from clawkakad.sandboxes.modelrequest import FIELDS, allowed
from tests.simulator.requests import TOOLS, request

HI = {"role": "user", "content": "hi"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
SCHEMA = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "all": {"$ref": "#/$defs/all"}},
    "required": ["id"],
}


def tool(**parameters: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": "exec", "parameters": parameters}}


def test_what_the_gateway_sends_passes_whole() -> None:
    sent = {
        "messages": request("hi", "ok expense 1"),
        "stream": True,
        "tools": TOOLS,
        "tool_choice": "auto",
        "max_completion_tokens": 8192,
    }

    assert sent == allowed({**sent, "model": "assistant", "stream_options": {"include_usage": True}})


@pytest.mark.parametrize(
    "sent",
    [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "this?"}, PICTURE]}]},
        {"messages": [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}]},
        {"messages": [{"role": "assistant", "content": "4", "reasoning_content": "2 and 2"}]},
        {"messages": [{"role": "assistant", "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}]},
        {"messages": [HI], "tools": [tool(**SCHEMA)]},
        {"messages": [HI], "tools": [], "tool_choice": {"type": "function", "function": {"name": "exec"}}},
        {"messages": [HI], "response_format": {"type": "json_object"}},
        {"messages": [HI], "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
        {"messages": [HI], "stop": ["a", "b"], "temperature": 0.5, "seed": 1, "reasoning_effort": "low"},
    ],
)
def test_what_stays_with_the_model_passes_whole(sent: dict[str, object]) -> None:
    assert sent == allowed(sent)


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "openrouter:web_fetch"}],
        [{"type": "openrouter:web_search"}],
        [{"type": "web_search_20250305", "name": "web_search"}],
        [{"type": "mcp", "server_url": "https://evil.example"}],
        [tool(), {"type": "openrouter:web_fetch"}],
        [{"type": ["function"]}],
        [{"type": "function"}],
        [{"googleSearch": {}}],
        ["openrouter:web_fetch"],
        {"type": "openrouter:web_fetch"},
    ],
)
def test_tools_that_others_run_are_refused(tools: object) -> None:
    with pytest.raises(Rejected):
        allowed({"messages": [HI], "tools": tools})


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data/"}},
        {"type": "image_url", "image_url": {"url": "https://evil.example/?q=secret"}},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "image_url", "image_url": {"url": " data:image/png;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,AAAA"}},
        {"type": "image_url", "image_url": {"url": {"url": "http://lan"}}},
        {"type": "image_url", "image_url": {}},
        {"type": "image_url", "image_url": "http://lan/"},
        {"type": "file", "file": {"file_data": "https://evil.example/?q=secret"}},
        {"type": "input_audio", "input_audio": {"data": "http://lan"}},
        {"type": "video_url", "video_url": {"url": "http://lan"}},
        {"type": ["text"], "text": "x"},
        {"type": "text", "text": {"image_url": "http://lan"}},
        {"image_url": "http://lan"},
        "http://lan",
    ],
)
@pytest.mark.parametrize("role", ["user", "tool", "assistant", "system"])
def test_parts_that_would_be_fetched_are_refused(part: object, role: str) -> None:
    with pytest.raises(Rejected):
        allowed({"messages": [HI, {"role": role, "content": [part]}]})


@pytest.mark.parametrize(
    "message",
    [
        "hi",
        {"content": "hi"},
        {"role": "function", "content": "x"},
        {"role": ["user"], "content": "x"},
        {"role": "user", "content": {"type": "image_url", "image_url": "http://lan"}},
        {"role": "assistant", "tool_calls": [{"type": "openrouter:web_fetch", "function": {}}]},
        {"role": "assistant", "tool_calls": [{"type": "function", "function": {"arguments": {"url": "http://lan"}}}]},
        {"role": "assistant", "tool_calls": {}},
        {"role": "assistant", "reasoning_content": [{"url": "http://lan"}]},
        {"role": "assistant", "reasoning_details": [{"type": "image_url", "url": "http://lan"}]},
        {"role": "assistant", "reasoning_details": [{"type": "reasoning.text", "text": {"url": "http://lan"}}]},
    ],
)
def test_messages_that_are_none_are_refused(message: object) -> None:
    with pytest.raises(Rejected):
        allowed({"messages": [message]})


@pytest.mark.parametrize(
    "inner",
    [
        {"$ref": "http://lan/schema.json"},
        {"$ref": "other.json"},
        {"$dynamicRef": "http://lan/#x"},
        {"$id": "http://lan/", "$ref": "#/x"},
        {"id": "http://lan/", "$ref": "#/x"},
    ],
)
def test_schemas_that_would_be_fetched_are_refused(inner: dict[str, object]) -> None:
    schema: dict[str, object] = {"properties": {"a": {"anyOf": [{"type": "string"}, inner]}}}
    answer: dict[str, object] = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    fields: list[dict[str, object]] = [{"tools": [tool(**schema)]}, {"response_format": answer}]
    for field in fields:
        with pytest.raises(Rejected, match="itself only"):
            allowed({"messages": [HI], **field})


@pytest.mark.parametrize(
    "field",
    [
        {"tool_choice": {"type": "openrouter:web_fetch"}},
        {"tool_choice": "openrouter:web_fetch"},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": [{"type": "web_search"}]}}},
        {"response_format": {"type": "structural_tag", "format": {}}},
        {"response_format": "text"},
        {"stop": [{"a": 1}]},
        {"stream": 1},
        {"seed": {"a": 1}},
        {"max_tokens": True},
        {"reasoning_effort": {"effort": "low"}},
    ],
)
def test_fields_of_another_kind_are_refused(field: dict[str, object]) -> None:
    with pytest.raises(Rejected):
        allowed({"messages": [HI], **field})


def test_keys_that_are_not_known_are_left_out_at_every_depth() -> None:
    more: dict[str, Any] = {"plugins": [{"id": "web"}], "cache_control": {"type": "ephemeral"}}
    call = {"id": "c", "type": "function", "function": {"name": "exec", "arguments": "{}", **more}, **more}
    sent: dict[str, Any] = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi", **more}], **more},
            {"role": "assistant", "content": None, "tool_calls": [call], "audio": {"id": "x"}},
        ],
        "tools": [{**tool(), **more}],
        "tool_choice": {"type": "function", "function": {"name": "exec", **more}, **more},
        **more,
    }

    assert "plugins" not in str(allowed(sent))
    assert "cache_control" not in str(allowed(sent))
    assert "audio" not in str(allowed(sent))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["function", "text", "image_url", "user", "http://lan"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "role", "content", "function", "image_url", "url", "x"]), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([*FIELDS, "x"]), JSON), st.lists(JSON, max_size=3))
def test_no_request_makes_it_fail_and_what_passed_passes_again(fields: dict[str, Any], messages: list[Any]) -> None:
    try:
        passed = allowed({**fields, "messages": messages})
    except Rejected:
        return
    assert passed == allowed(passed)
