"""WebSocket as a client of one server speaks it, without I/O: the opening handshake, and frames in both directions.

Texts, and what keeps and ends a connection; no extensions and no subprotocols, which we do not offer. The server is a
sandbox's, so nothing of what it sends is believed, and nothing is kept that is longer than a message may be.

https://www.rfc-editor.org/rfc/rfc6455
"""

import base64
import hashlib
import secrets
from collections.abc import Iterator
from typing import NamedTuple

MOST_HEAD = 4 * 1024
"""Bytes of the answer to our handshake; the gateway's has 130."""

MOST_CONTROL = 125
"""Bytes that a close, a ping or a pong may carry (section 5.5)."""

MORE, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
"""What a frame is (section 5.2). From CLOSE on it is about the connection."""

GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED, BAD_DATA, TOO_BIG = 1001, 1002, 1003, 1007, 1009
"""Why a connection is closed (section 7.4.1)."""

_FINAL, _RESERVED, _OPCODE = 0x80, 0x70, 0x0F  # of a frame's first byte
_MASKED, _LENGTH, _TWO_BYTES, _EIGHT_BYTES = 0x80, 0x7F, 126, 127  # of its second one
_WHOLE_TEXT, _HEAD = _FINAL | TEXT, 4  # its first byte; what comes before one of less than 64 KiB, at most
_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3


class Control(NamedTuple):
    """A frame about the connection itself."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int | None:
        """Why it is closed; None where the other side does not say."""
        return int.from_bytes(self.payload[:2], "big") if len(self.payload) > 1 else None


class Violation(Exception):
    """What came is no WebSocket, or none that we take. `code`: to close it with. The text holds nothing that came."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


class Opening:
    """The handshake. `request` is what to send; `read` takes what comes, until it is over.

    Of the answer only what proves that it is one to us is looked at (section 4.1): extensions that we did not offer
    would show in the first frame.
    """

    def __init__(self) -> None:
        key = base64.b64encode(secrets.token_bytes(16))
        self._expected = base64.b64encode(hashlib.sha1(key + _ACCEPT, usedforsecurity=False).digest())
        self._head = b""
        self.request = (
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n" % key
        )

    def read(self, data: bytes) -> bytes | None:
        """What came behind the answer's head; None: it is not over. Raises `Violation` where it is no yes."""
        self._head += data
        head, end, behind = self._head.partition(b"\r\n\r\n")
        if len(head) > MOST_HEAD:
            raise Violation(PROTOCOL_ERROR, "an answer to the handshake without end")
        if not end:
            return None
        status, *lines = head.split(b"\r\n")
        if not status.startswith(b"HTTP/1.1 101"):
            raise Violation(PROTOCOL_ERROR, "the handshake was refused")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        is_ours = fields.get(b"sec-websocket-accept") == self._expected
        if fields.get(b"upgrade", b"").lower() != b"websocket" or not is_ours:
            raise Violation(PROTOCOL_ERROR, "an answer to another handshake")
        return behind


class Reader:
    """Messages out of bytes, in whatever pieces these come. `most`: bytes of a message, 64 KiB at least."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._bytes: bytes | bytearray = b""
        self._at = 0  # so far they are read
        self._begun: bytearray | None = None  # a text of which more is to come

    def read(self, data: bytes) -> Iterator[str | Control | None]:
        """What is whole by now, one by one; None is a part of a text that is not. Raises `Violation`.

        Who stops in the middle goes on with `read(b"")`.
        """
        self._add(data)
        while True:
            # A short text in one frame is nearly all that ever comes, and is done with here, in half of the time.
            read, at, ends = self._bytes, self._at, len(self._bytes)
            if at == ends:
                return
            if ends >= at + _HEAD and read[at] == _WHOLE_TEXT and self._begun is None:
                size, begins = read[at + 1], at + 2
                if size == _TWO_BYTES:
                    length, begins = read[at + 2] << 8 | read[at + 3], at + _HEAD
                else:
                    length = size
                if size <= _TWO_BYTES and begins + length <= ends:
                    self._at = begins + length
                    yield _text(read[begins : self._at])
                    continue
            if (frame := self._frame()) is None:
                return
            yield self._message(*frame)

    def _add(self, data: bytes) -> None:
        if self._at == len(self._bytes):
            self._bytes = data
        else:
            kept = self._bytes if isinstance(self._bytes, bytearray) else bytearray(self._bytes)
            del kept[: self._at]
            kept += data
            self._bytes = kept
        self._at = 0

    def _frame(self) -> tuple[int, bool, bytes | bytearray] | None:
        """The next one: its opcode, whether it is the last of its message, and its payload. None: it is not whole."""
        read, at = self._bytes, self._at + 2
        if len(read) < at:
            return None
        first, length = read[at - 2], read[at - 1]
        if first & _RESERVED or length & _MASKED:
            raise Violation(PROTOCOL_ERROR, "a frame that no server may send")
        if length >= _TWO_BYTES:
            begins = at + (2 if length == _TWO_BYTES else 8)
            if len(read) < begins:
                return None
            at, length = begins, int.from_bytes(read[at:begins], "big")
        opcode, is_last = first & _OPCODE, bool(first & _FINAL)
        if opcode >= CLOSE and (length > MOST_CONTROL or not is_last):
            raise Violation(PROTOCOL_ERROR, "a long frame about the connection")
        if length + len(self._begun or b"") > self._most:
            raise Violation(TOO_BIG, "a message that is too big")
        if len(read) < at + length:
            return None
        self._at = at + length
        return opcode, is_last, read[at : self._at]

    def _message(self, opcode: int, is_last: bool, payload: bytes | bytearray) -> str | Control | None:
        if opcode == TEXT and self._begun is None:
            if is_last:
                return _text(payload)
            self._begun = bytearray(payload)
        elif opcode == MORE and self._begun is not None:
            self._begun += payload
            if is_last:
                whole, self._begun = self._begun, None
                return _text(whole)
        elif opcode == BINARY:
            raise Violation(UNSUPPORTED, "a binary message")
        elif opcode in (CLOSE, PING, PONG):
            return Control(opcode, bytes(payload))
        else:
            raise Violation(PROTOCOL_ERROR, "a frame out of order")
        return None


def frame(opcode: int, payload: bytes) -> bytes:
    """One whole message as a client sends it: masked (section 5.3)."""
    size = len(payload)
    if size < _TWO_BYTES:
        length = bytes([_MASKED | size])
    elif size < 1 << 16:
        length = bytes([_MASKED | _TWO_BYTES]) + size.to_bytes(2, "big")
    else:
        length = bytes([_MASKED | _EIGHT_BYTES]) + size.to_bytes(8, "big")
    mask = secrets.token_bytes(4)
    return bytes([_FINAL | opcode]) + length + mask + _masked(payload, mask)


def goodbye(code: int) -> bytes:
    """A close frame with a code."""
    return frame(CLOSE, code.to_bytes(2, "big"))


def _masked(payload: bytes, mask: bytes) -> bytes:
    """Each byte with that of the mask which is due, all at once: as two long numbers."""
    size = len(payload)
    over_all = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "little") ^ int.from_bytes(over_all, "little")).to_bytes(size, "little")


def _text(payload: bytes | bytearray) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise Violation(BAD_DATA, "a text that is not UTF-8") from None
