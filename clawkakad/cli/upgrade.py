"""`clawkakad sandbox upgrade`: asks the running daemon for it, and shows how far it is. Nothing is done here.

On a terminal a table that changes; elsewhere a line for each change. Leaving it leaves the daemon to go on.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Protocol

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from clawkakad.assistant.who import find_user, label
from clawkakad.cli.common import clock, counted, daemon_runs, harmless, plain, say
from clawkakad.cli.where import place_here
from clawkakad.config import Place
from clawkakad.errors import UsageError
from clawkakad.model import SandboxId, StepState, UpgradeState, UserId
from clawkakad.registry import FILE, Registry, edit_registry, read_registry
from clawkakad.registry.upgrades import IN_HAND, Step, Upgrade

LOOK_EVERY_S = 0.5
SHOWN = 15  # sandboxes in the table
SHORT = len("sha256:") + 12
ENDED = frozenset({UpgradeState.DONE, UpgradeState.FAILED})
WORDS = {
    StepState.WAITING: "waits until it is idle and has its turn",
    StepState.KEEPING: "its data is copied",
    StepState.TRYING: "is started with the new image",
    StepState.RETURNING: "did not come up: it gets its data and its image back",
    StepState.DONE: "upgraded",
    StepState.FAILED: "as it was before",
    StepState.SKIPPED: "left out",
}

Names = Mapping[SandboxId, str]


class Display(Protocol):
    """Shows how far it is."""

    shown: AbstractContextManager[object]

    def show(self, steps: Sequence[Step], names: Names) -> None:
        """As it stands now."""


def upgrade(
    user: Annotated[
        str | None, typer.Argument(help="Whose: a user id, a sandbox id, a phone number, or a name.")
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Every sandbox.")] = False,
) -> None:
    """Move sandboxes to the image that was built last: one first, the idle ones next, back where one does not bear it.

    Exit code 0 where all are upgraded or there is nothing to do, 1 where it stopped. Leave it with Ctrl-C: the daemon
    goes on.
    """
    if (user is None) is not everybody:
        raise UsageError("say whose sandbox, or --all")
    place = place_here()
    try:
        code = asyncio.run(_upgrade(place, user))
    except KeyboardInterrupt:
        say("the daemon goes on with it: the same command shows how far it is")
        raise typer.Exit(130) from None
    if code:
        raise typer.Exit(code)


async def _upgrade(place: Place, user: str | None) -> int:
    async with read_registry(place.state_dir / FILE, clock) as registry:
        only = None if user is None else await _sandbox_of(registry, user)
    _require_daemon(place)
    display: Display = _Table() if Console(stderr=True).is_terminal else _Lines()
    async with edit_registry(place.state_dir / FILE, clock) as registry:
        asked, is_new = await registry.upgrades.ask(only)
        if not is_new:
            say("an upgrade is going on already: this is how far it is")
        with display.shown:
            ended, steps = await _follow(registry, asked, display)
        return _sum_up(ended, steps, await _names(registry))


async def _sandbox_of(registry: Registry, user: str) -> SandboxId:
    person = await find_user(registry, user)
    row = await registry.sandboxes.of_user(person.id)
    if row is None:
        raise UsageError(f"{label(person)} has no sandbox")
    return row.id


def _require_daemon(place: Place) -> None:
    if not daemon_runs(place.state_dir):
        raise UsageError("no daemon runs here, and it is what upgrades sandboxes: start it first")


async def _follow(registry: Registry, asked: Upgrade, display: Display) -> tuple[Upgrade, list[Step]]:
    """Until it has ended; how, and each sandbox in it."""
    while True:
        now, steps = await registry.upgrades.get(asked.id) or asked, await registry.upgrades.steps(asked.id)
        display.show(steps, await _names(registry))
        if now.state in ENDED:
            return now, steps
        await asyncio.sleep(LOOK_EVERY_S)


async def _names(registry: Registry) -> Names:
    people: dict[UserId | None, str] = {person.id: label(person) for person in await registry.users.all()}
    return {row.id: people.get(row.user_id, "-") for row in await registry.sandboxes.all()}


def _sum_up(ended: Upgrade, steps: Sequence[Step], names: Names) -> int:
    """The last lines, and the exit code."""
    count = Counter(step.state for step in steps)
    for step in steps:
        if step.state in (StepState.FAILED, StepState.SKIPPED) and step.reason != "not reached":
            say(f"{_who(step, names)}: {WORDS[step.state]}: {step.reason}")
    done = f"{counted(count[StepState.DONE], 'sandbox', 'sandboxes')} upgraded"
    if ended.state is UpgradeState.DONE:
        image = (ended.image_id or "")[:SHORT]
        say(f"{done} to {image}" if steps else f"nothing to do: made of {image} already, or not made yet")
        return 0
    left = [f"{count[StepState.SKIPPED]} not touched"] if count[StepState.SKIPPED] else []
    back = [f"{count[StepState.FAILED]} as before"] if count[StepState.FAILED] else []
    say(f"the upgrade stopped: {ended.reason}")
    if steps:
        say(f"{', '.join([done, *back, *left])}; the daemon's log has more. This image is not tried again by itself.")
    return 1


def _who(step: Step, names: Names) -> str:
    return f"{step.sandbox_id} ({harmless(names.get(step.sandbox_id, '-'))})"


class _Lines:
    """For logs and pipes: a line for each change."""

    def __init__(self) -> None:
        self.shown: AbstractContextManager[object] = nullcontext()
        self._told: dict[SandboxId, StepState] = {}

    def show(self, steps: Sequence[Step], names: Names) -> None:
        for step in steps:
            if self._told.get(step.sandbox_id, StepState.WAITING) is not step.state:
                say(f"{_who(step, names)}: {WORDS[step.state]}")
            self._told[step.sandbox_id] = step.state


class _Table:
    """For terminals: a bar, and whoever is being worked on before the others."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("upgrading"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._task = self._bar.add_task("upgrade", total=None)
        self._live = Live(self._bar, console=Console(stderr=True), transient=True)
        self.shown: AbstractContextManager[object] = self._live

    def show(self, steps: Sequence[Step], names: Names) -> None:
        left = sum(step.state is StepState.WAITING or step.state in IN_HAND for step in steps)
        self._bar.update(self._task, total=len(steps) or None, completed=len(steps) - left)
        table = Table(box=None, pad_edge=False, show_header=False)
        for step in sorted(steps, key=lambda step: (step.state not in IN_HAND, step.state is StepState.WAITING))[
            :SHOWN
        ]:
            table.add_row(step.sandbox_id, plain(names.get(step.sandbox_id, "-")), WORDS[step.state])
        if len(steps) > SHOWN:
            table.add_row(f"and {len(steps) - SHOWN} more", "", "")
        self._live.update(Group(self._bar, table))
