"""Missed answers: a turn was given up, and its answer came while nobody listened. It belongs to its person still.

Finals that are heard come to `LateAnswers` by themselves. Those of a moment without a connection, ours being restarted
say, are only in the gateway's history: there turns that were given up are looked for, ever more seldom.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from loguru import logger

from clawkakad import moments
from clawkakad.assistant.late import LateAnswers
from clawkakad.errors import ClawkakaError, RegistryUnavailable
from clawkakad.gateway.turns import Answer
from clawkakad.model import SandboxId, SandboxState, UserId
from clawkakad.registry import Registry
from clawkakad.registry.inbox import InboxRow

LOOK_S = 15.0  # how often it is checked whose time has come
FIRST = timedelta(minutes=1)  # after a turn was given up; then twice as long each time
LAST = timedelta(hours=6)  # an answer older than that is not news any more
RESTING = (SandboxState.DOZING, SandboxState.ASLEEP)
MOST_LOOKED_FOR = 500  # of all people together; the oldest is let go


class Agent(Protocol):
    """The gateway's memory."""

    def is_ready(self, sandbox_id: SandboxId) -> bool:
        """True where the gateway can be asked now."""

    async def missed(self, sandbox_id: SandboxId, keys: Sequence[str]) -> list[Answer]:
        """The answers to these keys that nobody got. Raises GatewayUnavailable, GatewayRefused."""


class Sandboxes(Protocol):
    """Where a person's sandbox comes from."""

    async def ensure(self, user_id: UserId) -> SandboxId:
        """The person's sandbox, wanted awake from now on; returns at once."""


@dataclass
class _Sought:
    """A turn that was given up."""

    user_id: UserId
    given_up_at: datetime
    next_at: datetime
    pause: timedelta = FIRST


class MissedAnswers:
    """Looks for the answers of turns that were given up."""

    def __init__(
        self,
        registry: Registry,
        sandboxes: Sandboxes,
        agent: Agent,
        late: LateAnswers,
        clock: Callable[[], datetime],
        *,
        look_s: float = LOOK_S,
    ) -> None:
        self._registry = registry
        self._sandboxes = sandboxes
        self._agent = agent
        self._late = late
        self._clock = clock
        self._look_s = look_s
        self._sought: dict[str, _Sought] = {}

    def note(self, lead: InboxRow) -> None:
        """This turn was given up just now. Never waits."""
        now = self._clock()
        self._seek(lead.run_key, _Sought(lead.user_id, now, now + FIRST))

    async def run(self) -> None:
        """Look for what the last process gave up, then for what this one does, until cancelled."""
        recalled = False
        while True:
            recalled = recalled or await self._recall()
            await self._look()
            await moments.sleep(self._look_s)

    async def _recall(self) -> bool:
        now = self._clock()
        try:
            leads = await self._registry.inbox.given_up(now - LAST)
        except RegistryUnavailable as error:
            logger.warning("turns that were given up cannot be looked up now", error=str(error))
            return False
        for lead, given_up_at in leads:
            self._seek(lead.run_key, _Sought(lead.user_id, given_up_at, now))
        return True

    def _seek(self, key: str, sought: _Sought) -> None:
        self._sought[key] = sought
        while len(self._sought) > MOST_LOOKED_FOR:
            del self._sought[next(iter(self._sought))]

    async def _look(self) -> None:
        """Ask once for everybody whose time has come and whose gateway can be asked; one that rests is woken."""
        now = self._clock()
        self._sought = {key: sought for key, sought in self._sought.items() if now - sought.given_up_at < LAST}
        due = {key: sought for key, sought in self._sought.items() if sought.next_at <= now}
        for user_id in {sought.user_id for sought in due.values()}:
            keys = [key for key, sought in due.items() if sought.user_id == user_id]
            try:
                sandbox = await self._registry.sandboxes.of_user(user_id)
                if sandbox is not None and self._agent.is_ready(sandbox.id):
                    _put_off([due[key] for key in keys], now)
                    await self._ask(sandbox.id, keys)
                elif sandbox is not None and sandbox.state in RESTING:
                    await self._sandboxes.ensure(user_id)
            except ClawkakaError as error:
                logger.debug("missed answers cannot be looked for now", user=user_id, error=str(error))
            except Exception:  # a mistake of ours with one person must not end the search for everybody
                logger.exception("missed answers of somebody cannot be looked for", user=user_id)

    async def _ask(self, sandbox_id: SandboxId, keys: Sequence[str]) -> None:
        for answer in await self._agent.missed(sandbox_id, keys):
            await self._hand_on(sandbox_id, answer)

    async def _hand_on(self, sandbox_id: SandboxId, answer: Answer) -> None:
        """The gateway's memory gives each answer once: a full disk is waited for."""
        while True:
            try:
                return await self._late.take(sandbox_id, answer)
            except RegistryUnavailable as error:
                logger.warning("a missed answer cannot be stored now; it waits", error=str(error))
                await asyncio.sleep(self._look_s)


def _put_off(turns: Iterable[_Sought], now: datetime) -> None:
    for sought in turns:
        sought.next_at = now + sought.pause
        sought.pause *= 2
