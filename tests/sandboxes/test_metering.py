"""Counting what a model call cost from the bytes that pass by."""

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from clawkakad.sandboxes.metering import LINE_LIMIT, BodyMeter, Cost, StreamMeter, cost_in

USAGE = {"usage": {"prompt_tokens": 194, "completion_tokens": 2, "cost": 0.0021}}
STREAM = (
    b": OPENROUTER PROCESSING\n\n"
    b'data: {"choices":[{"delta":{"content":"hello \\"usage\\""}}]}\n\n'
    b'data: {"choices":[],"usage":null}\n\n'
    b"data: " + json.dumps(USAGE).encode() + b"\r\n\r\n"
    b"data: [DONE]\n\n"
)


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=8))
def test_a_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    meter = StreamMeter()
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(edges):
        meter.feed(STREAM[start:end])

    assert Cost(194, 2, 0.0021) == meter.end()


def test_a_stream_that_ends_without_a_newline_counts() -> None:
    meter = StreamMeter()
    meter.feed(b"data:" + json.dumps(USAGE).encode())

    assert Cost(194, 2, 0.0021) == meter.end()


def test_an_endless_line_is_passed_over_and_what_follows_is_read() -> None:
    meter = StreamMeter()
    for _ in range(5):
        meter.feed(b'data: "usage"' + b"x" * LINE_LIMIT)
    meter.feed(b"\ndata: " + json.dumps(USAGE).encode() + b"\n")

    assert 194 == meter.end().tokens_in


def test_a_plain_answer_is_read_whole() -> None:
    meter = BodyMeter()
    for byte in json.dumps({**USAGE, "choices": []}).encode():
        meter.feed(bytes([byte]))

    assert Cost(194, 2, 0.0021) == meter.end()


def test_an_upstream_that_says_nothing_costs_nothing() -> None:
    meter = BodyMeter()
    meter.feed(b"not json")

    assert Cost() == meter.end()
    assert Cost() == StreamMeter().end()


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_no_answer_makes_it_fail(value: object) -> None:
    cost_in(json.dumps({"usage": value}).encode())
    cost_in(json.dumps(value).encode())


@given(st.dictionaries(st.sampled_from(["prompt_tokens", "completion_tokens", "cost"]), st.floats() | st.integers()))
def test_no_number_makes_a_nonsense_cost(usage: dict[str, float]) -> None:
    cost = cost_in(json.dumps({"usage": usage}).encode())

    assert cost is None or (cost.tokens_in >= 0 and cost.tokens_out >= 0 and 0 <= cost.cost_usd < 1e12)
