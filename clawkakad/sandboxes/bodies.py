"""Reads the body of a request from a sandbox: its length is told before it is read, and its time is limited.

Bodies are not kept with the request, as aiohttp does it: a model call may last minutes, and its body is not needed.
"""

import asyncio

from aiohttp import web

from clawkakad.errors import Rejected


async def read_body(request: web.Request, *, limit: int, within_s: float) -> bytes:
    """At most `limit` bytes. Raises Rejected. How many are read at a time is the caller's to bound."""
    length = request.content_length
    if length is None:
        raise Rejected("The request must tell the length of its body, as Content-Length.")
    if length > limit:
        raise Rejected("The request is too large.")
    body = bytearray()
    try:
        async with asyncio.timeout(within_s):
            async for chunk in request.content.iter_any():
                body += chunk
    except TimeoutError as error:
        raise Rejected("The request came too slowly.") from error
    return bytes(body)


def structure(body: bytes) -> int:
    """How many brackets, braces and commas there are: what JSON costs to read, known without reading it."""
    return sum(body.count(mark) for mark in (b"[", b"{", b","))
