"""Where one sandbox stands: the only hand that sets its state, logs each move with its reason, and tells of a parking.

A move that `policy.MOVES` does not know is a mistake of ours: it is logged and not made. What cannot be stored is kept
in mind: the registry's state is what people read, the pool is what counts.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from loguru import logger

from clawkakad.errors import RegistryUnavailable
from clawkakad.log import redact
from clawkakad.model import SandboxId, SandboxState
from clawkakad.registry import SandboxRow
from clawkakad.registry.sandboxes import Standing
from clawkakad.sandboxes import policy

TAIL_LINES = 15
TAIL_LINE = 200  # characters
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class Rows(Protocol):
    """What is needed of the registry."""

    async def set_state(self, sandbox_id: SandboxId, state: SandboxState, reason: str) -> None: ...
    async def park(self, sandbox_id: SandboxId, reason: str, made_of: str) -> None: ...
    async def tell_parked(self, sandbox_id: SandboxId, text: str) -> bool: ...
    async def tell_waking(self, sandbox_id: SandboxId, text: str) -> bool: ...
    async def tell_held_back(self, sandbox_id: SandboxId, text: str) -> bool: ...
    async def standing(self, sandbox_id: SandboxId) -> Standing | None: ...
    async def retrying(self, sandbox_id: SandboxId) -> None: ...
    async def pin(self, sandbox_id: SandboxId) -> None: ...
    async def begin_rehearsal(self, sandbox_id: SandboxId) -> bool: ...
    async def rehearsed(self, sandbox_id: SandboxId) -> None: ...


@dataclass(frozen=True)
class Lines:
    """What the person of a sandbox is told: that it is parked, takes a moment to wake, has a full disk, or has to wait
    until there is room for a new one.
    """

    parked: str
    waking: str
    full: str
    held_back: str


class Ledger:
    """One per sandbox. `on_outbox`: called when a line to its person waits to be sent."""

    def __init__(self, row: SandboxRow, rows: Rows, *, lines: Lines, on_outbox: Callable[[], None]) -> None:
        self._id = row.id
        self._rows = rows
        self._lines = lines
        self._on_outbox = on_outbox
        self._stands = (row.state, row.reason)
        self._fresh = False  # the row may have been read before another keeper's last move
        self._stored = True
        self._troubled = False

    @property
    def state(self) -> SandboxState:
        """As it was set last."""
        return self._stands[0]

    async def standing(self) -> Standing | None:
        """What the registry says of the sandbox and its person; None if it was removed."""
        standing = await self._rows.standing(self._id)
        if standing is not None and not self._fresh:
            self._stands, self._fresh = (standing.row.state, standing.row.reason), True
        return standing

    async def move(self, state: SandboxState, reason: str) -> None:
        """Set the state, for this reason. Again the same: nothing happens."""
        if (state, reason) == self._stands and self._stored:
            return
        if self._may(state, reason):
            await self._store(lambda: self._rows.set_state(self._id, state, reason))

    async def park(self, reason: str, made_of: str | None, log: Sequence[str]) -> None:
        """Give it up until something changes; the operator is told once, with the end of the container's log."""
        if self.state is SandboxState.PARKED or not self._may(SandboxState.PARKED, reason):
            return
        logger.error("a sandbox is parked: clawkakad sandbox retry", reason=reason, log=cleaned(log))
        await self._store(lambda: self._rows.park(self._id, reason, made_of or ""))

    async def tell_parked(self, *, full: bool = False) -> None:
        """Its person has a message waiting: they are told, once for each parking."""
        if await self._rows.tell_parked(self._id, self._lines.full if full else self._lines.parked):
            self._on_outbox()

    async def hold_back(self, reason: str) -> None:
        """It is not made yet: nothing changes but the reason, and its person is told, once."""
        await self.move(self.state, reason)
        if await self._rows.tell_held_back(self._id, self._lines.held_back):
            self._on_outbox()

    async def tell_waking(self) -> None:
        """Its person has a message waiting, and it waits for room: they are told, once for each wait."""
        try:
            if await self._rows.tell_waking(self._id, self._lines.waking):
                self._on_outbox()
        except RegistryUnavailable as error:
            logger.warning("that it takes a moment was not told", error=str(error))

    async def retrying(self) -> None:
        """The operator's wish is carried out."""
        await self._rows.retrying(self._id)

    async def begin_rehearsal(self) -> bool:
        """Whether it may rehearse: it is nobody's, and its session holds nothing. From now on it does."""
        return await self._rows.begin_rehearsal(self._id)

    async def rehearsed(self) -> None:
        """Its session holds nothing again."""
        await self._rows.rehearsed(self._id)

    async def proven(self) -> None:
        """It is ready: what its container is made of stays its image, until an upgrade."""
        try:
            await self._rows.pin(self._id)
        except RegistryUnavailable as error:  # the next time that it is ready, then
            logger.warning("a sandbox's image was not stored", error=str(error))

    def _may(self, state: SandboxState, reason: str) -> bool:
        before = self.state
        if not policy.allowed(before, state):
            logger.error("a move that there is not", before=before.value, after=state.value, reason=reason)
            return False
        logger.log(self._loudness(state), "sandbox state", before=before.value, state=state.value, reason=reason)
        self._stands = (state, reason)
        return True

    async def _store(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except RegistryUnavailable as error:
            logger.warning("a sandbox's state was not stored", error=str(error))
            self._stored = False
        else:
            self._stored = True

    def _loudness(self, state: SandboxState) -> str:
        """The first failure of a cycle is worth a look, its repeats are not, and the end of it is news."""
        first = state is SandboxState.UNHEALTHY and not self._troubled
        level = "WARNING" if first else "DEBUG" if self._troubled and state is not SandboxState.READY else "INFO"
        self._troubled = state is SandboxState.UNHEALTHY or (self._troubled and state is not SandboxState.READY)
        return level


def cleaned(log: Sequence[str]) -> str:
    """The last lines of a container's log for ours: bounded, without control characters, numbers and keys masked."""
    return " | ".join(redact(_CONTROL.sub("", line))[:TAIL_LINE] for line in log[-TAIL_LINES:])
