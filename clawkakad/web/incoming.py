"""The bytes of one HTTP connection become requests. No I/O and no clock; llhttp, the parser of Node, reads them.

What can be refused by its head is, and its body is read for nothing. What a client can make us keep is limited: a head,
a body, what is kept of large bodies on all connections together, how many requests come at once.
"""

from collections.abc import Callable
from enum import Enum

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserInvalidURLError,
    HttpParserUpgrade,
    HttpRequestParser,
    parse_url,
)
from loguru import logger

from clawkakad.web.answer import Answer
from clawkakad.web.request import Request

HEAD_LIMIT = 16 * 1024
"""Bytes of a request before its body, and of what is neither: behind it, around its chunks, between two requests."""

FIELD_COST = 32
"""Bytes that a field counts for beyond its own, as in HTTP/2 (RFC 9113, section 6.5.2): many short ones cost more."""

SMALL = 64 * 1024
"""Bytes of a body; so much may be kept of each, on as many connections as there are."""

MOST_BEYOND = 32 * 1024 * 1024
"""Bytes of bodies beyond that, on all connections together: of Meta's largest webhooks, ten at a time."""

AT_ONCE = 16
"""Requests that one client may send without waiting for an answer. Nobody but our tests sends two."""


class Phase(Enum):
    """What the client has still to send of the request that it has begun."""

    REST = "nothing: it has begun none"
    HEAD = "its head"
    BODY = "its body"


class Room:
    """For what is beyond SMALL, in bytes. Only what has come takes some: who announces a large body holds nothing."""

    def __init__(self, size: int = MOST_BEYOND) -> None:
        self.free = size

    def take(self, size: int) -> bool:
        """Whether there is so much; it is taken then."""
        if size > self.free:
            return False
        self.free -= size
        return True

    def give(self, size: int) -> None:
        """So much is not needed any more."""
        self.free += size


class Incoming:
    """One connection's. `refuse` is asked of each head: the answer, where nothing of the body is needed for it.

    The methods `on_...` are for the parser.
    """

    def __init__(self, refuse: Callable[[Request], Answer | None], room: Room, body_limit: int) -> None:
        self._refuse = refuse
        self._room = room
        self._taken = 0  # of the room
        self._body_limit = body_limit
        self._parser = HttpRequestParser(self)
        self._whole: list[Request] = []
        self._begin()
        self.phase = Phase.HEAD  # whoever connects owes us one
        self.ended = 0
        """How many requests have come to their end."""
        self.is_over = False
        """Nothing more is heard on this connection."""
        self.invites = False
        """The client waits to be told to send the body (RFC 9110, section 10.1.1)."""

    @property
    def is_refused(self) -> bool:
        """Whether the body that is still to come is of no use."""
        return self._request is not None and self._request.refusal is not None

    def feed(self, data: bytes) -> list[Request]:
        """The requests that can be answered now, in the order of their answers."""
        for start in range(0, len(data), HEAD_LIMIT):  # in pieces, so that not much more than a limit is ever kept
            if not self.is_over:
                self._parse(data[start : start + HEAD_LIMIT])
        whole, self._whole = self._whole, []
        return whole

    def close(self) -> None:
        """The connection is gone."""
        self.is_over = True
        self._leave()

    def _begin(self) -> None:
        self._request: Request | None = None
        self._heard = 0  # bytes since then or since some of the body, but for those in the same piece
        self._target = b""
        self._fields: dict[str, str] = {}
        self._head_size = 0
        self._body = bytearray()  # parts would cost more than what is in them, where they are small
        self.invites = False

    def _parse(self, data: bytes) -> None:
        self._heard += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self.is_over = True  # the request was taken as it is; what follows would be in another language
        except HttpParserCallbackError:
            logger.exception("request failed")
            self._give_up(500)
        except HttpParserError as error:
            logger.debug("bad request", error=type(error).__name__)
            self._give_up(400)
        if self._heard > HEAD_LIMIT:
            self._give_up(400)

    def _give_up(self, status: int) -> None:
        """The rest of this connection cannot be understood, or is not worth it. Behind a last request nobody asks."""
        was_over, self.is_over = self.is_over, True
        if not was_over and not self.is_refused:
            self._turn_down(Request("", "", "", {}), Answer(status))

    # What the parser finds ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._begin()
        self.phase = Phase.HEAD

    def on_url(self, part: bytes) -> None:
        """Of the target, as much as has come."""
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or one behind the body, which nobody needs."""
        if self.phase is Phase.HEAD:
            self._head_size += len(name) + len(value) + FIELD_COST
        if self.phase is Phase.HEAD and self._head_size <= HEAD_LIMIT:
            self._fields.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """The head."""
        self.phase = Phase.BODY
        request = self._request = self._understood()
        if len(self._target) + self._head_size > HEAD_LIMIT:
            request.keeps = False
            self._turn_down(request, Answer(400))
        elif (refusal := self._refuse(request)) is not None:
            self._turn_down(request, refusal)
        else:
            self._expect_body(request)

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        self._heard = 0
        request = self._request
        if request is None or self.is_refused:
            return
        size = len(self._body) + len(part)
        if size > self._body_limit:
            self._turn_down(request, Answer(413))
        elif not self._make_room(size - SMALL):
            self._turn_down(request, Answer(503))
        else:
            self._body += part

    def on_message_complete(self) -> None:
        """The whole of it."""
        request = self._request
        assert request is not None
        self.phase = Phase.REST
        self.ended += 1
        self._leave()
        self.is_over = self.is_over or not request.keeps
        if request.refusal is None:
            request.body = bytes(self._body)
            self._add(request)
        self._begin()

    # ----------------------------------------------------------------------------------------------------------

    def _understood(self) -> Request:
        parser = self._parser
        path, query = _address(self._target)
        is_old, keeps = parser.get_http_version() == "1.0", parser.should_keep_alive()
        return Request(parser.get_method().decode("ascii"), path, query, self._fields, is_old, keeps)

    def _expect_body(self, request: Request) -> None:
        length = int(request.fields.get("content-length", "0").strip()[-20:])  # longer ones begin with zeros: 64 bits
        if length > self._body_limit:
            self._turn_down(request, Answer(413))
        elif request.fields.get("expect", "").lower() == "100-continue" and not request.is_old:
            self.invites = length > 0 or "transfer-encoding" in request.fields

    def _turn_down(self, request: Request, answer: Answer) -> None:
        request.refusal = answer
        self.invites = False
        request.keeps = request.keeps and not self.is_over
        self._body.clear()
        self._leave()
        self._add(request)

    def _add(self, request: Request) -> None:
        if len(self._whole) < AT_ONCE:
            self._whole.append(request)
        else:
            self.is_over = True

    def _make_room(self, beyond: int) -> bool:
        """For so many bytes in all."""
        more = max(0, beyond - self._taken)
        if not self._room.take(more):
            return False
        self._taken += more
        return True

    def _leave(self) -> None:
        self._room.give(self._taken)
        self._taken = 0


def _address(target: bytes) -> tuple[str, str]:
    """Path and query of what is asked for; a proxy may name the whole URL (RFC 9112, section 3.2.2)."""
    if not target.startswith(b"/"):
        try:
            url = parse_url(target)
        except HttpParserInvalidURLError:
            return "", ""
        return (url.path or b"").decode("latin-1"), (url.query or b"").decode("latin-1")
    path, _, query = target.decode("latin-1").partition("?")
    return path, query
