"""The upgrader: moves sandboxes to another image when an operator says so, one after the other, and back if need be.

It owns the sandboxes that it has in hand: nobody keeps them meanwhile, and messages wait in the inbox. Every step is in
the registry before its effect and may be repeated, so a daemon that died in the middle goes on where it was. A copy of
the data is there before the new image sees it, and until it has passed the gate; what a person writes to the new image
is never taken back, since nobody reaches it before.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from loguru import logger

from clawkakad import moments
from clawkakad.errors import ClawkakaError, GatewayRefused, ImageMissing, Rejected, Transient
from clawkakad.gateway.connection import Connection
from clawkakad.model import SandboxId, SandboxState, StepState, UpgradeState, UserId
from clawkakad.registry import Registry, SandboxRow
from clawkakad.registry.upgrades import IN_HAND, Step, Upgrade
from clawkakad.sandboxes.builder import Builder
from clawkakad.sandboxes.copying import CopyFailed
from clawkakad.sandboxes.engine import Container
from clawkakad.sandboxes.gate import Gate
from clawkakad.sandboxes.keepsake import Keepsakes
from clawkakad.sandboxes.ledger import TAIL_LINES, Ledger, cleaned
from clawkakad.sandboxes.paths import SandboxPaths
from clawkakad.sandboxes.policy import RESTING
from clawkakad.sandboxes.upgradeplan import ON_THE_WAY, UNWELL, Candidate, Patience, in_order, moved

AGAIN_S = 5.0  # at most, between two tries at an engine or a registry that does not answer
MOST_TRIES = 5  # of one move of a sandbox that the engine or the host refuses


class _RefusedForNow(Transient):
    """A no that is tried again."""


class Doors(Protocol):
    """What it needs of the host API."""

    async def open(self, sandbox_id: SandboxId, user_id: UserId, paths: SandboxPaths) -> None: ...


class Keepers(Protocol):
    """What it needs of whoever keeps the sandboxes."""

    async def let_go(self, sandbox_id: SandboxId) -> None: ...
    def take_back(self, row: SandboxRow, *, awake: bool) -> None: ...
    async def is_idle(self, sandbox_id: SandboxId, for_s: float) -> bool: ...
    def connection(self, sandbox_id: SandboxId) -> Connection | None: ...


class Upgrader:
    """One per daemon. `ledger_of`: the ledger of a sandbox that nobody keeps."""

    def __init__(
        self,
        *,
        registry: Registry,
        builder: Builder,
        gate: Gate,
        doors: Doors,
        keepers: Keepers,
        ledger_of: Callable[[SandboxRow], Ledger],
        patience: Patience,
    ) -> None:
        self._registry = registry
        self._rows = registry.upgrades
        self._builder = builder
        self._gate = gate
        self._doors = doors
        self._keepers = keepers
        self._ledger_of = ledger_of
        self._patience = patience
        self._keepsakes = Keepsakes(builder.engine, builder.sealing.instance)
        self._in_hand: set[SandboxId] = set()
        self._knows = False
        self._learning = asyncio.Lock()
        self._troubled = False
        self._refused: Counter[tuple[SandboxId, StepState]] = Counter()  # moves of those in hand

    def holds(self, sandbox_id: SandboxId) -> bool:
        """Whether nobody else may touch it now."""
        return sandbox_id in self._in_hand

    async def remember(self) -> None:
        """Whom a daemon before us had in hand: to be known before anybody's keeper starts. Idempotent."""
        async with self._learning:
            if not self._knows:
                self._in_hand |= await self._rows.in_hand()
                self._knows = True

    async def run(self) -> None:
        """Endless. Cancelling it leaves a sandbox in hand as it is: the next daemon goes on with it."""
        while True:
            pause_s = self._patience.look_every_s
            try:
                upgrade = await self._rows.open()
                if upgrade is not None:
                    pause_s = 0.0 if await self._move(upgrade) else 5 * pause_s  # everybody is busy
                self._troubled = False
            except Transient as error:
                logger.log("DEBUG" if self._troubled else "WARNING", "an upgrade has to wait", error=str(error))
                self._troubled, pause_s = True, min(AGAIN_S, 5 * self._patience.look_every_s)
            except Exception:  # a mistake of ours in an upgrade must not end the daemon
                logger.exception("an upgrade does not go on")
                pause_s = AGAIN_S
            await moments.sleep(pause_s)

    async def _move(self, upgrade: Upgrade) -> bool:
        """One move of an upgrade; False: there is nothing to do at the moment."""
        if upgrade.state is UpgradeState.WANTED or upgrade.image_id is None:
            await self._begin(upgrade)
            return True
        steps = await self._rows.steps(upgrade.id)
        step = next((step for step in steps if step.state in IN_HAND), None)
        if step is not None:
            await self._go_on(upgrade.image_id, step, first=all(other.state is not StepState.DONE for other in steps))
            return True
        waiting = [step for step in steps if step.state is StepState.WAITING]
        why_not = await self._unwell(steps)
        if why_not or not waiting:
            await self._finish(upgrade, steps, why_not)
            return True
        return await self._take_next(waiting)

    async def _begin(self, upgrade: Upgrade) -> None:
        """Whom it moves, and to which image, is settled here."""
        image_id = await self._builder.engine.image_id(self._builder.sealing.image)
        if image_id is None:
            why = f"the image {self._builder.sealing.image} is not here: clawkakad image build"
            await self._rows.finish(upgrade.id, UpgradeState.FAILED, why)
            return
        rows = moved(await self._registry.sandboxes.all(), image_id)
        chosen = [row for row in rows if upgrade.sandbox_id in (None, row.id)]
        await self._rows.begin(upgrade.id, image_id, [(row.id, row.pinned) for row in chosen if row.pinned])
        if chosen:
            logger.info("an upgrade begins", image=image_id[:19], sandboxes=len(chosen))

    async def _finish(self, upgrade: Upgrade, steps: list[Step], why_not: str) -> None:
        await self._sweep(steps)
        if why_not:
            logger.error("an upgrade stops", reason=why_not)
        elif steps:
            logger.info("an upgrade is done", sandboxes=sum(step.state is StepState.DONE for step in steps))
        await self._rows.finish(upgrade.id, UpgradeState.FAILED if why_not else UpgradeState.DONE, why_not)

    async def _sweep(self, steps: list[Step]) -> None:
        """Copies that a crash may have left behind. What could not be put back stays where it is."""
        for step in steps:
            if step.state in (StepState.DONE, StepState.SKIPPED):
                await self._drop(step.sandbox_id)

    async def _drop(self, sandbox_id: SandboxId) -> None:
        """The copy is not needed any more; one that the engine keeps is the next upgrade's to drop."""
        try:
            await self._keepsakes.drop(sandbox_id)
        except Rejected as error:
            logger.warning("a copy of a sandbox's data was not removed", sandbox=sandbox_id, error=str(error))

    async def _give_up(self, step: Step, reason: str) -> None:
        await self._sweep(await self._rows.steps(step.upgrade_id))
        await self._rows.give_up(step, reason)

    async def _unwell(self, steps: list[Step]) -> str:
        """Why nobody else should follow those who were moved: the first of them did not stay well."""
        moved_at = {step.sandbox_id: step.changed_at for step in steps if step.state is StepState.DONE}
        if moved_at:
            row = await self._registry.sandboxes.get(min(moved_at, key=lambda sandbox_id: moved_at[sandbox_id]))
            if row is not None and row.state in UNWELL:
                return f"{row.id} was upgraded and is {row.state.value} now: {row.reason}"
        return ""

    # Taking one in hand

    async def _take_next(self, waiting: list[Step]) -> bool:
        candidates = []
        for step in waiting:
            standing = await self._registry.sandboxes.standing(step.sandbox_id)
            if standing is None or standing.row.remove_wanted:
                await self._rows.skip(step, "removed")
            else:
                candidates.append(Candidate(step, standing.row, standing.wrote_at, standing.waiting))
        for candidate in in_order(candidates):
            if await self._is_free(candidate):
                awake = candidate.row.state not in RESTING
                await self._rows.take(candidate.step, awake=awake)
                return True
        return False

    async def _is_free(self, candidate: Candidate) -> bool:
        """Nobody is in the middle of anything. The gateway's word counts; from then on it begins nothing new."""
        state, sandbox_id = candidate.row.state, candidate.row.id
        if state in UNWELL:
            return True
        if state in ON_THE_WAY or candidate.is_waiting:
            return False
        if not await self._keepers.is_idle(sandbox_id, self._patience.idle_s):
            return False
        connection = self._keepers.connection(sandbox_id)
        return connection is None or await _suspended(connection)

    # One in hand

    async def _go_on(self, image_id: str, step: Step, *, first: bool) -> None:
        self._in_hand.add(step.sandbox_id)
        await self._keepers.let_go(step.sandbox_id)
        row = await self._registry.sandboxes.get(step.sandbox_id)
        if row is None or row.remove_wanted:
            await self._rows.skip(step, "removed")
            self._in_hand.discard(step.sandbox_id)
            return
        with logger.contextualize(sandbox=row.id):
            try:
                await self._go_on_with(row, image_id, step, first=first)
            except (Rejected, OSError) as error:
                await self._move_refused(step, str(error) or type(error).__name__)

    async def _go_on_with(self, row: SandboxRow, image_id: str, step: Step, *, first: bool) -> None:
        match step.state:
            case StepState.KEEPING:
                await self._keep(row, image_id, step)
            case StepState.TRYING:
                await self._try(row, image_id, step, first=first)
            case _:
                await self._return(row, step)

    async def _move_refused(self, step: Step, why: str) -> None:
        """A no is tried again a few times; then the sandbox must not stay in hand for it."""
        move = (step.sandbox_id, step.state)
        self._refused[move] += 1
        if self._refused[move] < MOST_TRIES:
            raise _RefusedForNow(why)
        del self._refused[move]
        if step.state is StepState.TRYING:
            logger.error("a new image cannot be tried: the sandbox gets its old one back", reason=why)
            await self._rows.turn_back(step, why)
            return
        left = "as the new image left it, with a copy of before" if step.state is StepState.RETURNING else "as it is"
        logger.error(f"an upgrade stops: a sandbox stays {left}", reason=why)
        await self._rows.give_up(step, f"{step.reason}; {why}" if step.reason else why)
        await self._let_go(step.sandbox_id, awake=step.awake)

    async def _keep(self, row: SandboxRow, image_id: str, step: Step) -> None:
        """Stopped, and its data copied. Whatever goes wrong here, nothing has changed but that."""
        if row.state in (SandboxState.READY, SandboxState.DOZING):
            await self._ledger_of(row).move(SandboxState.STOPPING, "upgraded: its data is copied")
        await self._builder.halt(row.id, tail=0)
        try:
            kept = await self._keepsakes.keep(row.id, await self._python(step))
        except Rejected as error:
            logger.error("an upgrade stops: the data of a sandbox cannot be kept", error=str(error))
            await self._drop(row.id)
            await self._give_up(step, f"its data cannot be kept: {error}")
            await self._let_go(row.id, awake=step.awake)
            return
        if kept is None:
            await self._registry.sandboxes.unpin(row.id)
            await self._rows.skip(step, "it has no data yet: it is made with the new image")
            await self._let_go(row.id, awake=False)
            return
        logger.info("the data of a sandbox is kept", files=kept.get("files"), bytes=kept.get("bytes"))
        await self._rows.try_new(step, image_id)

    async def _python(self, step: Step) -> str:
        """What the copier runs: the image of before, which the engine keeps for as long as the copy is there."""
        before = await self._builder.engine.image_id(step.before)
        return before or self._builder.sealing.image

    async def _try(self, row: SandboxRow, image_id: str, step: Step, *, first: bool) -> None:
        await self._builder.lay_out(row)
        if row.user_id is not None:
            await self._doors.open(row.id, row.user_id, self._builder.paths(row.id))
        await self._ledger_of(row).move(SandboxState.CREATING, "upgraded: started with the new image")
        try:
            await self._gate.passed(row, for_s=self._patience.canary_s if first else 0.0)
        except (Rejected, OSError) as error:
            await self._turn_back(row, step, str(error) or type(error).__name__)
            return
        except Transient:
            raise
        except Exception:  # a mistake of ours must not keep a sandbox in hand for ever
            logger.exception("a sandbox could not be tried with a new image")
            await self._turn_back(row, step, "a mistake in clawkakad: see the log")
            return
        if not step.awake:
            await self._builder.halt(row.id, tail=0)
        await self._rows.succeed(step, image_id)
        logger.info("a sandbox is upgraded", image=image_id[:19])
        await self._let_go(row.id, awake=step.awake)
        await self._drop(row.id)

    async def _turn_back(self, row: SandboxRow, step: Step, why: str) -> None:
        log = await self._builder.halt(row.id, tail=TAIL_LINES)
        logger.error("a new image does not do: the sandbox gets its old one back", reason=why, log=cleaned(log))
        await self._rows.turn_back(step, why)

    async def _return(self, row: SandboxRow, step: Step) -> None:
        """The old data, and then a container of the old image: where that is there, the data is as it was."""
        reason = step.reason
        await self._builder.halt(row.id, tail=0)
        found = await self._builder.find(row.id)
        try:
            if found is None or found.image_id != step.before:
                await self._put_back(row, found, step.before)
        except CopyFailed as error:
            logger.error("the data of before cannot be put back: it stays as the new image left it", error=str(error))
            reason = f"{reason}; its data could not be put back: {error}"
        else:
            await self._drop(row.id)  # before the step ends, since nobody looks for it afterwards
        await self._give_up(step, reason)
        await self._let_go(row.id, awake=step.awake)

    async def _put_back(self, row: SandboxRow, found: Container | None, image_id: str) -> None:
        """The container is made here and not at its next start: until that, who sleeps has nothing else of its image.

        Raises CopyFailed.
        """
        if found is not None:
            await self._builder.engine.remove(found.id)
        await self._registry.sandboxes.set_container(row.id, container_id=None, image_id=None, config_hash=None)
        await self._keepsakes.put_back(row.id)
        with contextlib.suppress(ImageMissing):  # then it gets the one that is there, when it is started
            await self._builder.make(row, image_id)

    async def _let_go(self, sandbox_id: SandboxId, *, awake: bool) -> None:
        """Somebody keeps it again. `awake`: it runs, or did when it was taken in hand."""
        self._in_hand.discard(sandbox_id)
        for state in StepState:
            self._refused.pop((sandbox_id, state), None)
        row = await self._registry.sandboxes.get(sandbox_id)
        if row is not None and not awake:  # else its keeper would take it for one that is on its way
            await self._ledger_of(row).move(SandboxState.ASLEEP, "it rested before the upgrade")
            row = await self._registry.sandboxes.get(sandbox_id)
        if row is not None:
            self._keepers.take_back(row, awake=awake)


async def _suspended(connection: Connection) -> bool:
    """Whether the gateway is at rest and begins nothing any more, for two minutes. One that cannot say is at rest."""
    try:
        doing = await connection.suspend()
    except GatewayRefused:
        return True
    except ClawkakaError as error:
        logger.debug("whether a gateway is at rest is not known", error=str(error))
        return False
    return not doing
