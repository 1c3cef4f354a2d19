"""What `clawkakad try` shows while one waits: a line on standard error about what is going on, and for how long."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.status import Status

from clawkakad.errors import ClawkakaError
from clawkakad.model import SandboxState
from clawkakad.registry import FILE, read_registry
from clawkakad.simulator.people import Person

SHOW_S = 0.3

T = TypeVar("T")

STAGES = {
    SandboxState.ABSENT: "making a sandbox for your assistant",
    SandboxState.CREATING: "making a sandbox for your assistant",
    SandboxState.STARTING: "starting your assistant in its sandbox (15 to 30 seconds the first time)",
    SandboxState.READY: "your assistant is at it",
    SandboxState.UNHEALTHY: "your assistant's sandbox has trouble; starting it again",
    SandboxState.STOPPING: "your assistant's sandbox is made again",
    SandboxState.ASLEEP: "your assistant's sandbox is asleep",
    SandboxState.PARKED: "your assistant's sandbox does not start: see clawkakad sandbox list",
}
UNKNOWN = "waiting for your assistant"


class Progress:
    """A line that changes; where standard error is no terminal, a line for each stage."""

    def __init__(self, console: Console, text: str) -> None:
        self._console = console
        self._began = time.monotonic()
        self._text = ""
        self._status = Status("", console=console) if console.is_terminal else None
        self.say(text)

    def say(self, text: str) -> None:
        """What is going on now."""
        if self._status is None:
            if text != self._text:
                self._console.print(f"{text}…")
        else:
            self._status.update(f"{text}… [dim]{time.monotonic() - self._began:.0f} s[/dim]")
        self._text = text

    @contextmanager
    def shown(self) -> Iterator["Progress"]:
        """The line is there as long as the block lasts."""
        if self._status is None:
            yield self
        else:
            with self._status:
                yield self

    async def during(self, work: Awaitable[T], stage: Callable[[], Awaitable[str]] | None = None) -> T:
        """Count the seconds, and show the stage if there are several, while the work is done."""
        counting = asyncio.create_task(self._count(stage), name="progress")
        try:
            return await work
        finally:
            counting.cancel()
            await asyncio.gather(counting, return_exceptions=True)

    async def _count(self, stage: Callable[[], Awaitable[str]] | None) -> None:
        while True:
            self.say(self._text if stage is None else await stage())
            await asyncio.sleep(SHOW_S)


async def stage_of(state_dir: Path, person: Person) -> str:
    """What is going on for a person, from a look into the registry."""
    with suppress(ClawkakaError):
        async with read_registry(state_dir / FILE, lambda: datetime.now(UTC)) as registry:
            wanted = {person.wa_id, person.user_id}
            for user in await registry.users.all():
                if wanted & {value for _, value in user.identifiers}:
                    sandbox = await registry.sandboxes.of_user(user.id)
                    return STAGES[sandbox.state] if sandbox else STAGES[SandboxState.ABSENT]
    return UNKNOWN
