"""The courier: brings webhooks to the daemon the way Meta does, signed, and again until they are answered with 200.

Decides nothing about what is in them. Meta goes on for seven days; here a courier gives up after some minutes.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import aiohttp
from loguru import logger

from clawkakad.simulator.payloads import wire
from clawkakad.whatsapp.signature import HEADER, sign

RETRY_DELAYS_S = (0.2, 0.4, 0.8, 1.5, 3.0, *([5.0] * 180))  # a quarter of an hour in all: a daemon may be restarted
ATTEMPT_S = 10.0
USER_AGENT = "facebookexternalua"


class Courier:
    """Delivers to one address. `url` may be set later than the courier is made: until then nothing is answered."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        url: str | None,
        app_secret: str,
        retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
    ) -> None:
        self.url = url
        self._session = session
        self._app_secret = app_secret
        self._retry_delays_s = retry_delays_s

    async def deliver(self, document: dict[str, Any]) -> bool:
        """True once it was answered with 200, False when it was given up. Cancelled, it may have arrived."""
        body = wire(document)
        answer = "no attempt"
        for number, delay_s in enumerate([*self._retry_delays_s, 0.0]):
            answer = await self._attempt(body)
            if answer == "200":
                return True
            if number == 0:
                logger.debug("webhook not taken, trying again", answer=answer)
            await asyncio.sleep(delay_s)
        logger.warning("webhook given up", answer=answer)
        return False

    async def _attempt(self, body: bytes) -> str:
        """The status of one attempt, or what stood in its way."""
        if self.url is None:
            return "no address yet"
        headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT, HEADER: sign(body, self._app_secret)}
        timeout = aiohttp.ClientTimeout(total=ATTEMPT_S)
        try:
            async with self._session.post(self.url, data=body, headers=headers, timeout=timeout) as response:
                return str(response.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__
