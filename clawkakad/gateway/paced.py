"""aiohttp's side of a connection to a sandbox, which takes no more of the daemon's time than the sandbox may have.

What comes in is parsed before anybody asks for it: fragments without end, of no bytes each, are parsed for ever and
never become a message that could be put on the account. So it is done here, where bytes come in: while the sandbox has
to rest nothing is read, and it cannot send. aiohttp has no public way to do this; its version is pinned, and a test
watches these calls.
"""

import asyncio
import functools
import time

import aiohttp
from aiohttp.client_proto import ResponseHandler

from clawkakad.allowance import Allowance


class PacedConnector(aiohttp.UnixConnector):
    """Connects to the socket at `path`. `allowance`: what parsing may take of the daemon's time."""

    def __init__(self, path: str, allowance: Allowance) -> None:
        super().__init__(path)
        loop = asyncio.get_running_loop()
        self._factory = functools.partial(PacedProtocol, allowance, loop)  # type: ignore[assignment]


class PacedProtocol(ResponseHandler):
    """Reads, and rests. What else makes aiohttp stop and go on with reading counts as well."""

    def __init__(self, allowance: Allowance, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._allowance = allowance
        self._rests = False

    def data_received(self, data: bytes) -> None:
        began = time.monotonic()
        super().data_received(data)
        rest_s = self._allowance.spend_change(time.monotonic() - began)
        if rest_s:
            self._rest(rest_s)

    def _rest(self, seconds: float) -> None:
        self._pause_transport_reading()
        if not self._rests:
            self._rests = True
            self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._rests = False
        if not self._reading_paused and not self._buffer_paused:
            self._resume_transport_reading()

    def _resume_transport_reading(self) -> None:
        if not self._rests:
            super()._resume_transport_reading()
