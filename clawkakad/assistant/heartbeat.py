"""The heartbeat: every half hour a free look at what needs attention, and a turn only if something does.

One whose sandbox dozes is woken for it every three hours at most, one who sleeps, or is parked, is left alone.
The daemon's loop, not the gateway's: that one cannot reach anybody. Caps and active hours are enforced here, whatever
the agent says. The next time is on disk, so a restart neither skips nor repeats.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Protocol

from loguru import logger

from clawkakad import moments
from clawkakad.assistant import pace, prompt, walltime
from clawkakad.assistant.answering import REGISTRY_PAUSE_S
from clawkakad.assistant.parts import parts_beside
from clawkakad.delivery.window import in_window
from clawkakad.errors import ClawkakaError, RegistryUnavailable
from clawkakad.gateway.turns import Answer
from clawkakad.model import SandboxId, SandboxState, UserId
from clawkakad.registry import Registry, UserRow
from clawkakad.registry.heartbeats import Due

LOOK_S = 10.0  # how often it is checked whose heartbeat is due
TURN_S = 180.0
READY_S = 60.0  # for one that dozes to wake
RESTING = (SandboxState.DOZING, SandboxState.ASLEEP)
RETRY = timedelta(minutes=5)  # after a heartbeat that failed


class Pulses(Protocol):
    """The free look."""

    async def ensure(self, user_id: UserId) -> SandboxId:
        """The person's sandbox, wanted awake from now on; returns at once."""

    async def pulse(self, sandbox_id: SandboxId, *, mark: bool, at: datetime) -> str:
        """What needs attention as of `at`; empty where nothing does. `mark`: remember it as said.

        Raises EngineUnavailable, Rejected.
        """


class Agent(Protocol):
    """The proactive turn."""

    def is_ready(self, sandbox_id: SandboxId) -> bool:
        """True where the gateway can be asked now."""

    async def ready(self, sandbox_id: SandboxId, *, timeout_s: float) -> None:
        """Wait until the gateway can be asked. Raises GatewayUnavailable after `timeout_s`."""

    async def wake(self, sandbox_id: SandboxId, *, text: str, timeout_s: float) -> Answer | None:
        """One proactive turn; None for silence."""


class Heartbeats:
    """The loop over everybody who has a sandbox."""

    def __init__(
        self,
        registry: Registry,
        pulses: Pulses,
        agent: Agent,
        clock: Callable[[], datetime],
        *,
        lock: Callable[[UserId], asyncio.Lock],
        interval: timedelta,
        active_hours: tuple[time, time],
        per_day: int,
        on_outbox: Callable[[], None],
        look_s: float = LOOK_S,
    ) -> None:
        self._registry = registry
        self._pulses = pulses
        self._agent = agent
        self._clock = clock
        self._lock = lock
        self._interval = interval
        self._active_hours = active_hours
        self._per_day = per_day
        self._on_outbox = on_outbox
        self._look_s = look_s

    async def run(self) -> None:
        """Look for ever; one person at a time, so that heartbeats never crowd out answers."""
        while True:
            await moments.sleep(self._look_s)
            for due in await self._due():
                try:
                    await self._visit(due)
                except ClawkakaError as error:
                    # One person's trouble is not another's. Nothing was marked as said, so nothing is forgotten.
                    logger.warning("heartbeat not done", user=due.user_id, error=str(error))
                    await self._put_off(due.user_id)
                except Exception:  # a mistake of ours with one person must not end everybody's heartbeats
                    logger.exception("a heartbeat failed for a reason of our own", user=due.user_id)
                    await self._put_off(due.user_id)

    async def _due(self) -> list[Due]:
        try:
            return await self._registry.heartbeats.due(self._clock())
        except RegistryUnavailable as error:
            logger.warning("heartbeats cannot be looked up now", error=str(error))
            return []

    async def _visit(self, due: Due) -> None:
        """Somebody who is being answered, or about to be, is left alone."""
        if due.next_at is None:
            await self._plan(due.user_id, None, "planned")
            return
        is_ready = self._agent.is_ready(due.sandbox_id)
        if self._lock(due.user_id).locked() or not (is_ready or due.state in RESTING):
            return
        user = await self._registry.users.get(due.user_id)
        if user is not None and is_ready:
            await self._beat(user, due.sandbox_id, due.next_at)
        elif user is not None:
            await self._beat_at_rest(user, due, due.next_at)

    async def _beat_at_rest(self, user: UserRow, due: Due, due_at: datetime) -> None:
        """A look must not keep sandboxes awake: it is worth a waking only now and then, and to nobody silent."""
        wakes = pace.may_wake(due.state, self._clock(), due.last_at)
        reason = await self._why_not(user) if wakes else due.state.value
        if reason:
            await self._plan(user.id, None, reason)
            return
        await self._pulses.ensure(user.id)
        await self._agent.ready(due.sandbox_id, timeout_s=READY_S)
        await self._beat(user, due.sandbox_id, due_at)

    async def _beat(self, user: UserRow, sandbox_id: SandboxId, due_at: datetime) -> None:
        reason = await self._why_not(user)
        if reason:
            await self._plan(user.id, None, reason)
            return
        if self._lock(user.id).locked():
            return  # they wrote meanwhile: their turn may take for ever, and others wait for us
        async with self._lock(user.id):
            looked_at = self._clock()
            findings = await self._pulses.pulse(sandbox_id, mark=False, at=looked_at)
            if not findings:
                await self._plan(user.id, self._clock(), "nothing to say")
                return
            answer = await self._agent.wake(sandbox_id, text=prompt.of_heartbeat(findings), timeout_s=TURN_S)
            if answer is not None and answer.text.strip():
                # Named after its due time: a second try after a crash adds nothing.
                await self._say(user.id, answer.text, source=f"heartbeat:{user.id}:{due_at.timestamp():.0f}")
            # As of the look: what only fell due while the turn ran has been told to nobody, and is news next time.
            await self._pulses.pulse(sandbox_id, mark=True, at=looked_at)
            await self._plan(user.id, self._clock(), "spoke" if answer else "silent")

    async def _say(self, user_id: UserId, text: str, *, source: str) -> None:
        """Queue it. The agent believes that it has said it, so a registry that is locked now is waited for."""
        parts = await parts_beside(text)
        while True:
            try:
                await self._registry.outbox.add(user_id, parts, origin="heartbeat", source=source)
            except RegistryUnavailable as error:
                logger.warning("what a heartbeat says cannot be stored now; it waits", user=user_id, error=str(error))
                await asyncio.sleep(REGISTRY_PAUSE_S)
            else:
                self._on_outbox()
                return

    async def _why_not(self, user: UserRow) -> str:
        """Why this person is left alone now; empty where they are not."""
        now = self._clock()
        if not pace.is_active(now, walltime.zone_named(user.profile.time_zone), self._active_hours):
            return "outside the active hours"
        if not in_window(now, user.last_inbound_at):
            return "outside the service window"
        day = now - timedelta(days=1)
        if await self._registry.outbox.count_since(user.id, "heartbeat", day) >= self._per_day:
            return "enough for a day"
        return ""

    async def _put_off(self, user_id: UserId) -> None:
        """Try again soon, but not at once: a broken model must not be asked every few seconds."""
        next_at = self._clock() + min(self._interval, RETRY)
        try:
            await self._registry.heartbeats.plan(user_id, next_at, last_at=None, outcome="failed")
        except RegistryUnavailable as error:
            logger.warning("heartbeat not planned", user=user_id, error=str(error))
        except Exception:  # the same: the person may have been removed meanwhile, say
            logger.exception("a heartbeat cannot be planned", user=user_id)

    async def _plan(self, user_id: UserId, last_at: datetime | None, outcome: str) -> None:
        next_at = pace.next_time(self._clock(), self._interval)
        await self._registry.heartbeats.plan(user_id, next_at, last_at=last_at, outcome=outcome)
        logger.debug("heartbeat", user=user_id, outcome=outcome)
