"""Reads request bodies without letting strangers fill the memory.

A body is capped at what Meta may send. Few webhooks are larger than some kilobytes, so only a limited number of large
bodies is held at a time; who comes then is asked to come again.
"""

from aiohttp import web

SMALL = 64 * 1024  # bytes; any number of these, as many as there are connections


class Bodies:
    """Reads at most `limit` bytes a request, and at most `large_at_once` bodies beyond SMALL at the same time."""

    def __init__(self, *, limit: int, large_at_once: int = 16) -> None:
        self._limit = limit
        self._free = large_at_once

    async def read(self, request: web.BaseRequest) -> bytes:
        """The raw body. Raises HTTPRequestEntityTooLarge (413), HTTPServiceUnavailable (503) when there is no room.

        The request's `client_max_size` must be the limit: it holds for bodies that do not tell their length.
        """
        length = request.content_length
        if length is not None and length > self._limit:
            raise web.HTTPRequestEntityTooLarge(max_size=self._limit, actual_size=length)
        if length is not None and length <= SMALL:
            return request.content.read_nowait() if request.content.is_eof() else await _rest(request)
        if self._free <= 0:
            raise web.HTTPServiceUnavailable
        self._free -= 1
        try:
            return await _rest(request)
        finally:
            self._free += 1


async def _rest(request: web.BaseRequest) -> bytes:
    """A body that is not all there. A client may wait to be told to send it (RFC 9110, section 10.1.1)."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return await request.read()
