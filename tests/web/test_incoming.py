"""Bytes become requests: however they are cut, and never more of them than there is room for."""

import itertools
import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.web.answer import Answer
from clawkakad.web.incoming import AT_ONCE, FIELD_COST, HEAD_LIMIT, MOST_BEYOND, SMALL, Incoming, Phase, Room
from clawkakad.web.request import Request
from tests.web.support import post

LIMIT = 256 * 1024
GET = b"GET /healthz?a=b&c HTTP/1.1\r\nHost: test\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"3\r\nabc\r\n2;an=extension\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n"


def incoming(*, refuses: str = "", room: Room | None = None) -> Incoming:
    """With a site that refuses the path `refuses` by the head."""

    def refuse(request: Request) -> Answer | None:
        return Answer(404) if request.path == refuses else None

    return Incoming(refuse, Room() if room is None else room, LIMIT)


def cut(data: bytes, at: list[int]) -> Iterator[bytes]:
    places = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    return (data[start:end] for start, end in itertools.pairwise(places))


@given(at=st.lists(st.integers(min_value=0), max_size=20))
def test_however_it_is_cut_the_same_requests_come_out(at: list[int]) -> None:
    one = incoming(refuses="/secret")
    data = GET + post("/a", b"body") + post("/secret", b"nobody reads this") + CHUNKED + CHUNKS + GET

    requests = [request for piece in cut(data, at) for request in one.feed(piece)]

    assert [(r.method, r.path, r.query, r.body) for r in requests] == [
        ("GET", "/healthz", "a=b&c", b""),
        ("POST", "/a", "", b"body"),
        ("POST", "/secret", "", b""),
        ("POST", "/", "", b"abcde"),
        ("GET", "/healthz", "a=b&c", b""),
    ]
    assert [r.refusal for r in requests] == [None, None, Answer(404), None, None]
    assert (one.phase, one.ended, one.is_over) == (Phase.REST, 5, False)


@given(pieces=st.lists(st.binary(max_size=200) | st.sampled_from([GET, CHUNKED, CHUNKS, b"\r\n"]), max_size=10))
def test_noise_ends_in_one_refusal_and_nothing_after_it(pieces: list[bytes]) -> None:
    one = incoming()
    requests = [request for piece in pieces for request in one.feed(piece)]

    refused = [request for request in requests if request.refusal is not None]
    assert refused in ([], requests[-1:])
    assert one.is_over or not refused


@pytest.mark.parametrize("cuts", [[], range(0, 20_000, 1000)], ids=["at once", "bit by bit"])
@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * HEAD_LIMIT + b" HTTP/1.1\r\nHost: test\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD_LIMIT + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: aaaaaaaa\r\n" * (HEAD_LIMIT // 9) + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"X:\r\n" * (HEAD_LIMIT // FIELD_COST) + b"\r\n",
    ],
    ids=["target", "one field", "many fields", "many short fields"],
)
def test_a_head_has_a_limit(head: bytes, cuts: list[int]) -> None:
    one = incoming()
    (request,) = [request for piece in cut(head, list(cuts)) for request in one.feed(piece)]

    assert (request.refusal, request.keeps) == (Answer(400), False)


def test_a_head_without_end_is_given_up() -> None:
    one = incoming()
    assert one.feed(b"GET / HTTP/1.1\r\nX: ") == []

    requests = [request for _ in range(100) for request in one.feed(b"a" * 1024)]

    assert [(r.refusal, r.keeps) for r in requests] == [(Answer(400), False)]
    assert one.is_over


@pytest.mark.parametrize("more", [b"X: " + b"a" * 1000, b"a" * 1000], ids=["trailers", "one trailer"])
@pytest.mark.parametrize("refuses", ["", "/"])
def test_what_follows_a_body_without_end_is_given_up(refuses: str, more: bytes) -> None:
    one = incoming(refuses=refuses)
    requests = one.feed(CHUNKED + b"1\r\na\r\n0\r\nX: ")

    for _ in range(2 * HEAD_LIMIT // 1000):
        requests += one.feed(more)

    assert [request.refusal for request in requests] == [Answer(404 if refuses else 400)]
    assert one.is_over


def short_fields() -> bytes:
    """Each another."""
    return b"".join(b"%x:\r\n" % number for number in range(LIMIT // 8))


@pytest.mark.parametrize(
    ("pieces", "most"),
    [
        ([b"GET / HTTP/1.1\r\n" + short_fields()], 16 * HEAD_LIMIT),
        ([b"GET / HTTP/1.1\r\nX: " + b"a" * LIMIT], 4 * HEAD_LIMIT),
        ([b"GET /" + b"a" * LIMIT], 4 * HEAD_LIMIT),
        ([(b"GET / HTTP/1.1\r\n" + short_fields()[: HEAD_LIMIT // 8] + b"\r\n\r\n") * 128], 64 * HEAD_LIMIT),
        ([CHUNKED, b"0\r\nX: ", *[b"a" * 1000] * 200], 4 * HEAD_LIMIT),
        ([CHUNKED, *[b"2\r\nab\r\n" * 1000] * (LIMIT // 4000)], LIMIT),
        ([CHUNKED, b"%x\r\n" % (2 * LIMIT), b"x" * (LIMIT - 1), b"xx"], 4 * HEAD_LIMIT),
    ],
    ids=["short fields", "one field", "target", "requests", "trailer", "short chunks", "too much"],
)
def test_what_is_kept_is_not_much_more_than_the_limits(pieces: list[bytes], most: int) -> None:
    one = incoming()
    tracemalloc.start()
    try:
        requests = [request for piece in pieces for request in one.feed(piece)]
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < most, requests[:1]


def test_a_body_of_unknown_length_has_the_same_limit() -> None:
    one = incoming()
    assert one.feed(CHUNKED) == []

    requests = [request for _ in range(LIMIT // 4096 + 1) for request in one.feed(b"1000\r\n" + b"x" * 4096 + b"\r\n")]

    assert [request.refusal for request in requests] == [Answer(413)]
    assert (one.phase, one.is_refused, one.is_over) == (Phase.BODY, True, False)
    assert one.feed(b"0\r\n\r\n" + GET)[0].path == "/healthz"


def test_who_asks_too_much_at_once_is_answered_that_much() -> None:
    one = incoming()

    assert len(one.feed(GET * (AT_ONCE + 50))) == AT_ONCE
    assert one.is_over
    assert one.feed(GET) == []


BEYOND = 1000
LARGE = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % (SMALL + BEYOND)


@pytest.mark.parametrize(
    "end",
    [
        lambda one: one.feed(b"xx"),
        lambda one: one.feed(b"xx\x00 noise\r\n\r\n"),
        lambda one: (one.close(), one.close()),
    ],
    ids=["whole", "noise behind it", "gone"],
)
def test_of_large_bodies_no_more_is_kept_than_there_is_room_for(end: Callable[[Incoming], object]) -> None:
    room = Room(BEYOND)
    first, second = incoming(room=room), incoming(room=room)
    for one in (first, second):
        assert one.feed(LARGE) == one.feed(b"x" * SMALL) == []
    for _ in range(2):
        assert first.feed(b"x" * (BEYOND // 2 - 1)) == []
    assert room.free == 2

    assert [request.refusal for request in second.feed(b"xxx")] == [Answer(503)]
    assert second.is_refused
    end(first)

    assert room.free == BEYOND
    (request,) = second.feed(b"x" * (BEYOND - 3) + LARGE + b"x" * (SMALL + BEYOND))
    assert (request.refusal, len(request.body)) == (None, SMALL + BEYOND)
    assert room.free == BEYOND


def test_nobody_is_told_to_go_on_with_what_is_refused() -> None:
    one = incoming(room=Room(0))

    (request,) = one.feed(LARGE.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") + b"x" * (SMALL + 1))

    assert (request.refusal, one.invites) == (Answer(503), False)


def test_who_announces_a_large_body_keeps_nobody_out() -> None:
    room = Room(BEYOND)
    idle = [incoming(room=room) for _ in range(100)]
    assert all(one.feed(LARGE + b"x" * SMALL) == [] for one in idle)

    (request,) = incoming(room=room).feed(LARGE + b"x" * (SMALL + BEYOND))

    assert request.refusal is None


@pytest.mark.parametrize("more", [b"%x\r\n" % (2 * LIMIT) + b"x" * (LIMIT + 1), b"zz\r\n"], ids=["too much", "broken"])
def test_who_is_refused_has_no_room_any_more(more: bytes) -> None:
    room = Room()
    one = incoming(room=room)
    assert one.feed(CHUNKED + b"%x\r\n" % (2 * SMALL) + b"x" * (2 * SMALL) + b"\r\n") == []
    assert room.free == MOST_BEYOND - SMALL

    assert len(one.feed(more)) == 1

    assert room.free == MOST_BEYOND


@pytest.mark.parametrize(
    ("head", "is_old", "keeps"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", False, True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False, False),
        (b"GET / HTTP/1.0\r\n\r\n", True, False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True, True),
    ],
)
def test_it_knows_whether_the_client_goes_on(head: bytes, is_old: bool, keeps: bool) -> None:
    one = incoming()
    (request,) = one.feed(head)

    assert (request.is_old, request.keeps, one.is_over) == (is_old, keeps, not keeps)


@pytest.mark.parametrize("cuts", [[], range(1000)], ids=["at once", "bit by bit"])
def test_what_comes_behind_the_last_request_is_not_answered(cuts: list[int]) -> None:
    one = incoming()
    last = GET.replace(b"Host", b"Connection: close\r\nHost")

    assert [r.refusal for piece in cut(GET + last + GET, list(cuts)) for r in one.feed(piece)] == [None, None]


def test_a_length_may_begin_with_zeros() -> None:
    (request,) = incoming().feed(post("/", b"abc").replace(b"Length: 3", b"Length: " + b"0" * 5000 + b"3" + b" " * 30))

    assert (request.refusal, request.body) == (None, b"abc")


def test_another_language_is_not_spoken() -> None:
    one = incoming()
    upgrade = GET.replace(b"Host", b"Connection: Upgrade\r\nUpgrade: h2c\r\nHost")

    assert [request.path for request in one.feed(upgrade + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")] == ["/healthz"]
    assert one.is_over


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a%20b?x=1?2", "/a%20b", "x=1?2"),
        (b"http://test/healthz?q", "/healthz", "q"),
        (b"*", "*", ""),
        (b"/", "/", ""),
    ],
)
def test_a_target_is_a_path_and_a_query(target: bytes, path: str, query: str) -> None:
    (request,) = incoming().feed(b"GET " + target + b" HTTP/1.1\r\nHost: test\r\n\r\n")

    assert (request.path, request.query) == (path, query)


def test_of_a_field_that_comes_twice_the_first_counts() -> None:
    (request,) = incoming().feed(b"GET / HTTP/1.1\r\nX-A: 1\r\nx-a: 2\r\n\r\n")

    assert request.fields == {"x-a": "1"}


def test_a_fault_of_ours_is_an_error_and_no_bad_request() -> None:
    def fails(_: Request) -> Answer | None:
        raise ZeroDivisionError

    one = Incoming(fails, Room(), LIMIT)

    assert [request.refusal for request in one.feed(GET)] == [Answer(500)]
    assert one.is_over
