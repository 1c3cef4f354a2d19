"""What can happen to a send on purpose: which trouble, decided; and the trouble itself, on the connection.

The rates choose by the message, not by the request: whether a message has a bad first send follows from the seed and
its key alone, and its further sends go well. So a run can be repeated, and every trouble ends.
"""

import asyncio
import random
from typing import Any

from aiohttp import web

from clawkakad.simulator.knobs import AFTER, BEFORE, Knobs, Trouble
from clawkakad.simulator.refusals import refusal

HANG_S = 3600.0  # longer than anybody waits
LATE_S = 1.0
HTML = "<html>upstream error</html>"
CUT = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"messages":'
NO_HTTP = b"\x00\xffthis is no HTTP\r\n\r\n"


class Dice:
    """Chance by key: the same seed, purpose and key fall the same way."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def falls(self, rate: float, purpose: str, key: str) -> bool:
        """Whether something of this rate happens to this key."""
        return rate > 0 and self.of(purpose, key).random() < rate

    def of(self, purpose: str, key: str) -> random.Random:
        """The dice of one key."""
        return random.Random(f"{self._seed} {purpose} {key}")  # noqa: S311 - no secret, only steady


class Troubles:
    """Which sends go wrong."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def next(self, knobs: Knobs, key: str | None) -> Trouble | None:
        """The trouble of this send. `key`: the message's own, by which a repetition is known."""
        if knobs.next_troubles:
            return knobs.next_troubles.pop(0)
        for knob, trouble in (("lose_requests", Trouble.RESET), ("lose_answers", Trouble.RESET_AFTER)):
            left = getattr(knobs, knob)
            if left:
                setattr(knobs, knob, left - 1)
                return trouble
        if key is None or key in self._seen:
            return None
        self._seen.add(key)
        dice = Dice(knobs.seed)
        if dice.falls(knobs.troubles_before, "before", key):
            return dice.of("which", key).choice(BEFORE)
        if dice.falls(knobs.troubles_after, "after", key):
            return dice.of("which", key).choice(AFTER)
        return None


async def happen(trouble: Trouble, request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
    """Do it to this request. `answer`: what it would have been told, where it was taken."""
    if trouble is Trouble.OVERLOADED:
        return web.json_response(refusal(131016, "by a knob of the simulator"), status=503)
    if trouble is Trouble.UNAVAILABLE:
        return web.Response(status=503, text=HTML, content_type="text/html")
    if trouble is Trouble.BAD_GATEWAY:
        return web.Response(status=502, text=HTML, content_type="text/html")
    if trouble is Trouble.LATE:
        await asyncio.sleep(LATE_S)
        return web.json_response(answer)
    if trouble is Trouble.NO_ID:
        return web.json_response({name: value for name, value in answer.items() if name != "messages"})
    if trouble is Trouble.NO_JSON:
        return web.Response(text=HTML, content_type="text/html")
    if trouble in (Trouble.HANG, Trouble.HANG_AFTER):
        await asyncio.sleep(HANG_S)  # until the client leaves, or the simulator stops
    return _break(request, {Trouble.CUT: CUT, Trouble.NO_HTTP: NO_HTTP}.get(trouble, b""))


def _break(request: web.Request, first: bytes) -> web.Response:
    """No answer: the connection is reset, or ends after some bytes."""
    if request.transport is not None:
        request.transport.write(first)
        if first:
            request.transport.close()
        else:
            request.transport.abort()
    return web.Response()
