"""WebSocket without a socket: whatever comes, in whatever pieces, is messages or a reason to end."""

import base64
import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.gateway.websocket import (
    BAD_DATA,
    BINARY,
    CLOSE,
    MORE,
    MOST_HEAD,
    PING,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
    UNSUPPORTED,
    Control,
    Opening,
    Reader,
    Violation,
    frame,
    goodbye,
)

MOST = 100_000
FINAL = 0x80
HELLO = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n"


def of_server(opcode: int, payload: bytes, *, first: int = FINAL, wide: int = 0) -> bytes:
    """A frame as a server sends it. `wide`: bytes of the length, if not as few as can be."""
    size = len(payload)
    wide = wide or (0 if size < 126 else 2 if size < 1 << 16 else 8)
    length = bytes([{0: size, 2: 126, 8: 127}[wide]]) + (size.to_bytes(wide, "big") if wide else b"")
    return bytes([first | opcode]) + length + payload


def said(reader: Reader, data: bytes) -> list[str | Control]:
    """The messages in some bytes."""
    return [message for message in reader.read(data) if message is not None]


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in itertools.pairwise(places)]


# Reading --------------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
MESSAGES = st.lists(st.one_of(TEXTS, st.binary(max_size=125)), max_size=8)


@given(messages=MESSAGES, parts=st.lists(st.integers(0, 10**6), max_size=6), cuts=st.lists(st.integers(0, 10**6)))
def test_messages_come_out_as_they_went_in_whatever_the_pieces(
    messages: list[str | bytes], parts: list[int], cuts: list[int]
) -> None:
    """Texts in fragments, pings between the fragments, and all of it cut anywhere."""
    sent, wanted = b"", list[str | Control]()
    for message in messages:
        if isinstance(message, bytes):
            sent += of_server(PING, message)
            wanted.append(Control(PING, message))
            continue
        fragments = in_pieces(message.encode(), parts) or [b""]
        for number, fragment in enumerate(fragments):
            is_last = number == len(fragments) - 1
            sent += of_server(MORE if number else TEXT, fragment, first=FINAL if is_last else 0)
            if not is_last:
                sent += of_server(PONG, b"between")
                wanted.append(Control(PONG, b"between"))
        wanted.append(message)
    reader = Reader(MOST)

    assert [message for piece in in_pieces(sent, cuts) for message in said(reader, piece)] == wanted


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, MOST])
def test_texts_of_every_length(size: int) -> None:
    reader, text = Reader(MOST), "x" * size

    assert said(reader, of_server(TEXT, text.encode()) * 2) == [text, text]


def test_a_length_may_take_more_bytes_than_it_needs() -> None:
    """The gateway's library writes it as short as can be, but nothing depends on it."""
    assert said(Reader(MOST), of_server(TEXT, b"hi", wide=2) + of_server(TEXT, b"hi", wide=8)) == ["hi", "hi"]


def test_who_stops_in_the_middle_loses_nothing() -> None:
    reader = Reader(MOST)
    first = next(reader.read(of_server(TEXT, b"1") + of_server(TEXT, b"2") + of_server(TEXT, b"3")[:2]))

    assert [first, *said(reader, b""), *said(reader, b"3")] == ["1", "2", "3"]


def test_a_close_says_why_or_does_not() -> None:
    codes = [control.code for control in said(Reader(MOST), goodbye_of_server(1013) + goodbye_of_server(None))]

    assert codes == [1013, None]


def goodbye_of_server(code: int | None) -> bytes:
    return of_server(CLOSE, b"" if code is None else code.to_bytes(2, "big") + b"weil")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(TEXT, b"hi"), PROTOCOL_ERROR, id="masked"),
        pytest.param(of_server(TEXT, b"hi", first=FINAL | 0x40), PROTOCOL_ERROR, id="compressed"),
        pytest.param(of_server(TEXT, b"hi", first=FINAL | 0x10), PROTOCOL_ERROR, id="reserved"),
        pytest.param(of_server(3, b"hi"), PROTOCOL_ERROR, id="an unknown kind"),
        pytest.param(of_server(11, b"hi"), PROTOCOL_ERROR, id="an unknown kind about the connection"),
        pytest.param(of_server(MORE, b"hi"), PROTOCOL_ERROR, id="more of nothing"),
        pytest.param(of_server(TEXT, b"hi", first=0) + of_server(TEXT, b"ho"), PROTOCOL_ERROR, id="two at once"),
        pytest.param(of_server(PING, b"x" * 126), PROTOCOL_ERROR, id="a long ping"),
        pytest.param(of_server(PING, b"x", first=0), PROTOCOL_ERROR, id="a ping in parts"),
        pytest.param(of_server(BINARY, b"x"), UNSUPPORTED, id="binary"),
        pytest.param(of_server(TEXT, b"\xff"), BAD_DATA, id="not UTF-8"),
        pytest.param(of_server(TEXT, "🙂".encode()[:3]), BAD_DATA, id="cut UTF-8"),
        pytest.param(of_server(TEXT, b"\xed\xa0\x80"), BAD_DATA, id="half an emoji"),
        pytest.param(b"\x81\x7f" + (MOST + 1).to_bytes(8, "big"), TOO_BIG, id="too long, before it comes"),
        pytest.param(b"\x81\x7f" + b"\xff" * 8, TOO_BIG, id="longer than can be"),
    ],
)
def test_what_is_no_message_is_a_reason_to_end(data: bytes, code: int) -> None:
    with pytest.raises(Violation) as caught:
        said(Reader(MOST), data)

    assert caught.value.code == code


def test_fragments_together_may_not_be_longer_than_a_message() -> None:
    reader = Reader(MOST)
    assert said(reader, of_server(TEXT, b"x" * MOST, first=0)) == []

    with pytest.raises(Violation) as caught:
        said(reader, of_server(MORE, b"x", first=0))

    assert caught.value.code == TOO_BIG


def outcome(pieces: list[bytes]) -> list[str | Control | int]:
    """The messages, and the code of what ends them, if anything does."""
    reader, found = Reader(MOST), list[str | Control | int]()
    try:
        for piece in pieces:
            found.extend(message for message in reader.read(piece) if message is not None)
    except Violation as problem:
        found.append(problem.code)
    return found


@given(st.lists(st.one_of(st.binary(max_size=300), st.binary(max_size=200).map(lambda text: of_server(TEXT, text)))))
def test_any_bytes_mean_the_same_at_once_and_one_by_one(parts: list[bytes]) -> None:
    data = b"".join(parts)

    assert outcome([data]) == outcome([bytes([byte]) for byte in data])


# Writing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 125, 126, 65_535, 65_536, 70_001])
def test_what_we_say_is_masked_and_whole(size: int) -> None:
    payload = bytes(number % 251 for number in range(size))
    sent = frame(TEXT, payload)

    begins = 2 + (0 if size < 126 else 2 if size < 1 << 16 else 8)
    assert sent[0] == FINAL | TEXT
    assert sent[1] & 0x80
    assert (sent[1] & 0x7F if begins == 2 else int.from_bytes(sent[2:begins], "big")) == size
    mask, masked = sent[begins : begins + 4], sent[begins + 4 :]
    assert bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked)) == payload


def test_no_two_masks_are_the_same() -> None:
    assert len({frame(TEXT, b"\0\0\0\0") for _ in range(100)}) > 90


def test_a_goodbye_carries_its_code() -> None:
    sent = goodbye(1001)

    assert sent[0] == FINAL | CLOSE
    assert int.from_bytes(sent[6:], "big") ^ int.from_bytes(sent[2:4], "big") == 1001


# The handshake --------------------------------------------------------------------------------------------------------


def accept_of(opening: Opening) -> bytes:
    """What a server answers to it (RFC 6455, section 1.3)."""
    key = opening.request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    assert len(base64.b64decode(key)) == 16
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


@given(st.lists(st.integers(0, 10**6)))
def test_a_yes_in_any_pieces_and_what_is_behind_it(cuts: list[int]) -> None:
    opening = Opening()
    answer = HELLO % accept_of(opening) + b"\r\n" + b"behind"
    pieces, behind = in_pieces(answer, cuts), None
    while behind is None:
        behind = opening.read(pieces.pop(0))

    assert behind + b"".join(pieces) == b"behind"


def test_the_example_of_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_bytes", lambda _: base64.b64decode("dGhlIHNhbXBsZSBub25jZQ=="))

    assert Opening().read(HELLO % b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" + b"\r\n") == b""


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="a no"),
        pytest.param(b"HTTP/1.1 200 OK\r\nSec-WebSocket-Accept: %b\r\nUpgrade: websocket\r\n\r\n", id="another yes"),
        pytest.param(HELLO.replace(b"101", b"100") + b"\r\n", id="nearly a yes"),
        pytest.param(HELLO.replace(b"101", b"200") + b"\r\n", id="another yes with everything"),
        pytest.param(HELLO.replace(b"WebSocket\r", b"h2c\r") + b"\r\n", id="something else"),
        pytest.param(HELLO.replace(b"%b", b"c29tZXRoaW5nIGVsc2U=") + b"\r\n", id="another one's"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\n\r\n", id="an empty one"),
        pytest.param(b"\x00\xff\r\n\r\n", id="no HTTP"),
        pytest.param(b"x" * (MOST_HEAD + 1), id="no end"),
    ],
)
def test_anything_else_is_no_yes(answer: bytes) -> None:
    opening = Opening()

    with pytest.raises(Violation) as caught:
        opening.read(answer.replace(b"%b", accept_of(opening)))

    assert caught.value.code == PROTOCOL_ERROR
