"""What a sandbox may ask of a model. Pure: no I/O.

A sandbox has no network, and a model call must not become one: upstreams fetch addresses that they find in a request
(pictures, files, schemas), and run tools of their own (search, page fetching, code) if a request names them. So what
passes is known piece by piece: words, pictures that are in the request itself, and functions that the gateway runs.
A key that is not known is left out, as are fields that choose other models, providers or paid extras; a known key
with a value that is not known is refused. The pieces are put together anew, so nothing passes that was not looked at.

https://openrouter.ai/docs/guides/features/server-tools, https://docs.vllm.ai/en/stable/features/multimodal_inputs/
"""

from collections.abc import Callable, Mapping

from clawkakad.errors import Rejected

ROLES = ("system", "developer", "user", "assistant", "tool")
PICTURES = tuple(f"data:image/{kind};base64," for kind in ("png", "jpeg", "jpg", "webp", "gif", "heic", "heif"))
"""How the address of a picture begins. No SVG: it has addresses in it."""

TOOL_CHOICES = ("none", "auto", "required")
REFERENCES = frozenset({"$ref", "$dynamicRef", "$recursiveRef"})
ADDRESSES = REFERENCES | {"$id", "id"}
"""Keys of a JSON schema that hold addresses; some validators fetch these."""


def allowed(sent: object) -> dict[str, object]:
    """What of a chat completion request may go upstream. Raises Rejected, with a plain sentence."""
    if not isinstance(sent, dict) or not isinstance(sent.get("messages"), list):
        raise Rejected("The body is not a chat completion request.")
    return {name: FIELDS[name](value, name) for name, value in sent.items() if name in FIELDS and value is not None}


def _messages(value: object, name: str) -> object:
    return [_message(_object(message, "A message")) for message in _list(value, name)]


def _message(sent: Mapping[str, object]) -> object:
    if sent.get("role") not in ROLES:
        raise Rejected("A message has a role that is not known.")
    message = _words(sent, "role", "name", "tool_call_id", "refusal", "reasoning", "reasoning_content")
    if "content" in sent:
        message["content"] = _content(sent["content"])
    if sent.get("tool_calls") is not None:
        message["tool_calls"] = [_tool_call(_object(c, "A tool call")) for c in _list(sent["tool_calls"], "tool_calls")]
    if sent.get("reasoning_details") is not None:
        message["reasoning_details"] = [_detail(d) for d in _list(sent["reasoning_details"], "reasoning_details")]
    return message


def _content(value: object) -> object:
    if value is None or isinstance(value, str):
        return value
    return [_part(_object(part, "A part of a message")) for part in _list(value, "content")]


def _part(sent: Mapping[str, object]) -> object:
    match sent.get("type"):
        case "text":
            return _words(sent, "type", "text")
        case "refusal":
            return _words(sent, "type", "refusal")
        case "image_url":
            return {"type": "image_url", "image_url": _picture(_object(sent.get("image_url"), "image_url"))}
    raise Rejected("A message may have parts of the types text, refusal and image_url only.")


def _picture(sent: Mapping[str, object]) -> object:
    picture = _words(sent, "url", "detail")
    if not str(picture.get("url")).startswith(PICTURES):
        raise Rejected("A picture must be in the request, as a data: address; nothing is fetched.")
    return picture


def _tool_call(sent: Mapping[str, object]) -> object:
    _require_function(sent, "A tool call")
    call = _object(sent.get("function"), "The function of a tool call")
    return {**_words(sent, "id", "type"), "function": _words(call, "name", "arguments")}


def _detail(value: object) -> object:
    """What a model thought, sealed by its provider, which wants it back. Flat, so no list or object passes."""
    detail = _object(value, "A detail of reasoning")
    if not str(detail.get("type")).startswith("reasoning."):
        raise Rejected("A detail of reasoning has a type that is not known.")
    return {name: _scalar(inner, "A detail of reasoning") for name, inner in detail.items()}


def _tools(value: object, name: str) -> object:
    return [_tool(_object(tool, "A tool")) for tool in _list(value, name)]


def _tool(sent: Mapping[str, object]) -> object:
    _require_function(sent, "A tool")
    function = _object(sent.get("function"), "The function of a tool")
    return {"type": "function", "function": {**_words(function, "name", "description"), **_schema_of(function)}}


def _tool_choice(value: object, name: str) -> object:
    if value in TOOL_CHOICES:
        return value
    sent = _object(value, name)
    _require_function(sent, name)
    return {"type": "function", "function": _words(_object(sent.get("function"), name), "name")}


def _response_format(value: object, name: str) -> object:
    sent = _object(value, name)
    match sent.get("type"):
        case "text" | "json_object":
            return _words(sent, "type")
        case "json_schema":
            schema = _object(sent.get("json_schema"), "json_schema")
            return {
                **_words(sent, "type"),
                "json_schema": {**_words(schema, "name", "description"), **_schema_of(schema)},
            }
    raise Rejected(f"{name} has a type that is not known.")


def _schema_of(sent: Mapping[str, object]) -> dict[str, object]:
    """The parameters of a function or the schema of an answer: anything that does not point outside of itself."""
    kept: dict[str, object] = {}
    for name in ("parameters", "schema"):
        if sent.get(name) is not None:
            kept[name] = _object(sent[name], name)
            _require_local(kept[name])
    if sent.get("strict") is not None:
        kept["strict"] = _flag(sent["strict"], "strict")
    return kept


def _require_local(schema: object) -> None:
    left = [schema]  # not by recursion: a sandbox chooses the depth
    while left:
        inner = left.pop()
        if isinstance(inner, list):
            left.extend(inner)
        elif isinstance(inner, dict):
            if not ADDRESSES.isdisjoint(inner) and any(_points_outside(key, text) for key, text in inner.items()):
                raise Rejected("A schema may refer to itself only; nothing is fetched.")
            left.extend(inner.values())


def _points_outside(key: str, value: object) -> bool:
    if key not in ADDRESSES or not isinstance(value, str):
        return False  # a property may happen to be called so
    return not value.startswith("#") if key in REFERENCES else ":" in value


def _require_function(sent: Mapping[str, object], what: str) -> None:
    if sent.get("type") != "function":
        raise Rejected(f"{what} must be of the type function; the model's provider runs none here.")


def _stop(value: object, name: str) -> object:
    if isinstance(value, str):
        return value
    return [_word(text, name) for text in _list(value, name)]


def _flag(value: object, name: str) -> object:
    if not isinstance(value, bool):
        raise Rejected(f"{name} must be true or false.")
    return value


def _number(value: object, name: str) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Rejected(f"{name} must be a number.")
    return value


def _word(value: object, name: str) -> object:
    if not isinstance(value, str):
        raise Rejected(f"{name} must be a text.")
    return value


def _scalar(value: object, name: str) -> object:
    if isinstance(value, list | dict):
        raise Rejected(f"{name} must be a text or a number.")
    return value


def _words(sent: Mapping[str, object], *names: str) -> dict[str, object]:
    """Of these keys those that are there, each with a text."""
    return {name: _word(sent[name], name) for name in names if sent.get(name) is not None}


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise Rejected(f"{what} must be an object.")
    return value


def _list(value: object, what: str) -> list[object]:
    if not isinstance(value, list):
        raise Rejected(f"{what} must be a list.")
    return value


FIELDS: Mapping[str, Callable[[object, str], object]] = {
    "messages": _messages,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "response_format": _response_format,
    "stop": _stop,
    "stream": _flag,
    "parallel_tool_calls": _flag,
    "reasoning_effort": _word,
    "max_tokens": _number,
    "max_completion_tokens": _number,
    "temperature": _number,
    "top_p": _number,
    "seed": _number,
    "presence_penalty": _number,
    "frequency_penalty": _number,
}
"""The fields that pass, each with what gives its value for upstream."""
