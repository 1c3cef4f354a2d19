"""The disk, watched: how much each sandbox's volume takes, and how much room the host has left.

Owns what is known of both. The host's room is looked at every second, which costs next to nothing; a volume every ten
minutes, one at a time, and only of sandboxes that run, since a sleeper cannot grow. A look costs a container, so that
all of them together take a tenth of the time at most, where there is no hurry. Where the host's room shrinks quickly,
those that write a lot are frozen at once and looked at first, and then all others. It stops nobody itself: it says who
must stop, and the keeper does it. What cannot be stored is kept in mind; a daemon that starts finds what was stored,
and looks again.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from loguru import logger

from clawkakad import moments
from clawkakad.errors import EngineUnavailable, RegistryUnavailable, Rejected
from clawkakad.model import SandboxId
from clawkakad.registry.disks import DiskRow, Disks
from clawkakad.sandboxes.disk import NEARLY, Found, Quota, forgiven, in_words, judge, share, why_stopped
from clawkakad.sandboxes.engine import Container, Engine
from clawkakad.sandboxes.gauge import Gauge
from clawkakad.sandboxes.profile import container_name
from clawkakad.sandboxes.room import GIB, Room, Space, fell_fast, room_at
from clawkakad.sandboxes.writers import Writers

MOST_INODES = 1_000_000  # that are counted where there is no quota


@dataclass(frozen=True)
class Rhythm:
    """All in seconds."""

    room_s: float = 1.0  # between two looks at the host's room
    round_s: float = 30.0  # between two rounds, each of those whose turn it is
    first_s: float = 120.0  # from when one is first seen to run to the first look
    look_s: float = 600.0  # between two looks at one volume
    anxious_s: float = 60.0  # of one that is nearly full or has a grace, and of all while the host's disk is low
    hurry_s: float = 10.0  # at least, between two rounds of all
    thaw_s: float = 2.0  # at least, between the end of a freeze and the next one
    rest: float = 9.0  # after a look, so many times as long as it took
    apart_s: float = 1.0  # at least, between the ends of two looks where there is no hurry


class DiskWatch:
    """One per daemon. `places`: directories whose file systems matter, the registry's first."""

    def __init__(
        self,
        engine: Engine,
        gauge: Gauge,
        disks: Disks,
        quota: Quota,
        places: Sequence[Path],
        clock: Callable[[], datetime],
        *,
        rhythm: Rhythm = Rhythm(),
    ) -> None:
        self._engine = engine
        self._gauge = gauge
        self._disks = disks
        self._quota = quota
        self._places = list(places)
        self._state_dir = places[0]
        self._clock = clock
        self._rhythm = rhythm
        self._rows: dict[SandboxId, DiskRow] = {}
        self._seen_at: dict[SandboxId, float] = {}  # of those that were not looked at yet
        self._looked_at: dict[SandboxId, float] = {}
        self._spaces: dict[Path, Space] = {}
        self._rooms: dict[Path, Room] = {}  # the most room there was since the last round of all
        self._hurry = asyncio.Event()
        self._looking = asyncio.Lock()
        self._leaving: set[SandboxId] = set()
        self._writers = Writers(engine, rest_s=rhythm.thaw_s)
        self._engine_dir_known = False

    # What others ask

    @property
    def is_low(self) -> bool:
        """There is no room for a new sandbox."""
        return any(space >= Space.LOW for space in self._spaces.values())

    @property
    def is_full(self) -> bool:
        """Somewhere there is next to nothing left."""
        return any(space is Space.FULL for space in self._spaces.values())

    def is_held(self, sandbox_id: SandboxId) -> bool:
        """Whether it is frozen until it is measured: it cannot answer, and must not be let go on by anybody else."""
        return sandbox_id in self._writers.frozen

    @property
    def registry_is_full(self) -> bool:
        """There is next to nothing left where messages are stored."""
        return self._spaces.get(self._state_dir) is Space.FULL

    def why_stopped(self, sandbox_id: SandboxId) -> str:
        """Why a sandbox must not run; empty where it may."""
        return why_stopped(self._rows.get(sandbox_id), self._quota)

    def was_stopped(self, sandbox_id: SandboxId) -> bool:
        """Whether it was stopped for its disk, and has not been forgiven since."""
        row = self._rows.get(sandbox_id)
        return row is not None and row.full_at is not None

    async def forgive(self, sandbox_id: SandboxId) -> None:
        """It is started again, and has a while to clean up. Nothing to do where it was not stopped for its disk."""
        row = self._rows.get(sandbox_id)
        if row is not None and row.full_at is not None:
            await self._keep(sandbox_id, forgiven(self._clock(), row, self._quota))

    async def leave(self, sandbox_id: SandboxId) -> None:
        """Its volume is not looked at any more, which would hold on to it: ids are never used again."""
        self._leaving.add(sandbox_id)
        async with self._looking:  # the look that there may be
            self._rows.pop(sandbox_id, None)
            self._looked_at.pop(sandbox_id, None)
            self._seen_at.pop(sandbox_id, None)

    # The loops

    async def load(self) -> None:
        """What the registry knows, and how the host stands. Raises RegistryUnavailable."""
        with contextlib.suppress(EngineUnavailable, Rejected):
            await self._know_engine_dir()
        await self._look_at_room(lambda _: None)
        self._rows = await self._disks.all() | self._rows

    async def run(self, nudge: Callable[[SandboxId | None], None]) -> None:
        """Endless. `nudge` is told whose keeper has something to look at, or that all have."""
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._watch_room(nudge), name="room")
                loops.create_task(self._watch_volumes(nudge), name="volumes")
        finally:
            await self._thaw_all()

    async def _watch_room(self, nudge: Callable[[SandboxId | None], None]) -> None:
        while True:
            await moments.sleep(self._rhythm.room_s)
            try:
                await self._look_at_room(nudge)
                await self._know_engine_dir()
                if self._hurry.is_set():
                    await self._writers.freeze_writers(await self._containers())
            except (EngineUnavailable, Rejected) as error:
                logger.debug("nobody is frozen", error=str(error))
            except Exception:  # a mistake of ours in one look must not end the daemon
                logger.exception("the host's room was not looked at")

    async def _look_at_room(self, nudge: Callable[[SandboxId | None], None]) -> None:
        rooms = await asyncio.to_thread(lambda: {place: room_at(place) for place in self._places})
        was_low, was_full = self.is_low, self.is_full
        for place, room in rooms.items():
            if room is not None:
                self._take(place, room)
        if self.is_low != was_low:
            nudge(None)
        if self.is_full and not was_full:
            self._hurry.set()

    def _take(self, place: Path, room: Room) -> None:
        """Note how a place stands; the first change of a kind is news."""
        before = self._spaces.get(place, Space.ENOUGH)
        space = self._spaces[place] = room.space(before)
        free = f"{room.free / GIB:.1f} GB, {room.share:.0%}"
        if space > before:
            logger.error(_MEANS[space], place=str(place), free=free)
        elif space < before:
            logger.info("there is more room again", place=str(place), free=free)
        most = self._rooms.get(place)
        if most is None or room.free > most.free:
            self._rooms[place] = room
        elif fell_fast(most, room):
            self._hurry.set()

    async def _watch_volumes(self, nudge: Callable[[SandboxId | None], None]) -> None:
        while True:
            await self._pause(self._rhythm.round_s)  # first of all too: a start has other things to do
            hurried = self._hurry.is_set()
            self._hurry.clear()
            if hurried:
                self._rooms.clear()
            try:
                await self._round(nudge, hurried=hurried)
            except (EngineUnavailable, Rejected) as error:
                logger.debug("the volumes were not looked at", error=str(error))
                await self._thaw_all()
            except Exception:  # a mistake of ours in one round must not end the daemon
                logger.exception("the volumes were not looked at")
                await self._thaw_all()
            if hurried:
                with contextlib.suppress(TimeoutError):  # who is frozen should not be for long
                    await asyncio.wait_for(self._writers.has_some.wait(), self._rhythm.hurry_s)

    async def _know_engine_dir(self) -> None:
        """Where the engine keeps volumes; it may be away when we start."""
        if not self._engine_dir_known:
            self._places.append(Path(await self._engine.root_dir()))
            self._engine_dir_known = True

    # Looks

    async def _round(self, nudge: Callable[[SandboxId | None], None], *, hurried: bool) -> None:
        """Look at those whose turn it is, or at all; those first that were not looked at for longest."""
        containers = await self._containers()
        stopped = [sandbox_id for sandbox_id, row in self._rows.items() if row.full_at is not None]
        running = [one for one, container in containers.items() if container.running]
        frozen = self._writers.frozen
        ids = [*frozen, *running, *stopped]
        now = time.monotonic()
        due = [one for one in dict.fromkeys(ids) if hurried or one in frozen or now >= self._due_at(one)]
        for sandbox_id in sorted(due, key=lambda one: (one not in frozen, self._looked_at.get(one, 0.0))):
            waits = self._writers.has_some.is_set() and sandbox_id not in self._writers.frozen
            if self._hurry.is_set() and (waits or not hurried):
                return  # to the next round, of all, and of those first who are frozen
            began = time.monotonic()
            try:
                await self._look(sandbox_id, containers.get(sandbox_id), nudge)
            finally:
                await self._thaw(sandbox_id)
            took = time.monotonic() - began
            await (asyncio.sleep(took) if hurried else self._pause(max(took * self._rhythm.rest, self._rhythm.apart_s)))

    def _due_at(self, sandbox_id: SandboxId) -> float:
        """When it is to be looked at again, in monotonic seconds."""
        row = self._rows.get(sandbox_id)
        anxious = self.is_low or (row is not None and (row.grace_until is not None or _is_nearly_full(row)))
        wait_s = self._rhythm.anxious_s if anxious else self._rhythm.look_s
        if sandbox_id in self._looked_at:
            return self._looked_at[sandbox_id] + wait_s
        return self._seen_at.setdefault(sandbox_id, time.monotonic()) + min(wait_s, self._rhythm.first_s)

    async def _look(
        self, sandbox_id: SandboxId, container: Container | None, nudge: Callable[[SandboxId | None], None]
    ) -> None:
        """Measure one volume, and say what follows. Raises EngineUnavailable."""
        self._looked_at[sandbox_id] = time.monotonic()
        self._seen_at.pop(sandbox_id, None)
        most = self._quota.inodes + 1 if self._quota.bytes else MOST_INODES
        async with self._looking:
            if sandbox_id in self._leaving:
                return
            try:
                found = await self._gauge.measure(sandbox_id, container, inodes=most)
            except Rejected as error:  # it has ended meanwhile, say
                logger.debug("a volume was not measured", sandbox=sandbox_id, error=str(error))
                return
            if found is not None:
                await self._judge(sandbox_id, found, nudge)

    async def _judge(self, sandbox_id: SandboxId, found: Found, nudge: Callable[[SandboxId | None], None]) -> None:
        before = self._rows.get(sandbox_id)
        judged = judge(self._clock(), found, before, self._quota, host_full=self.is_full)
        if judged.warn:
            logger.warning("a sandbox's disk is nearly full", sandbox=sandbox_id, used=in_words(judged.disk))
        await self._keep(sandbox_id, judged.disk)
        if judged.disk.full_at is not None:
            nudge(sandbox_id)

    async def _thaw_all(self) -> None:
        for sandbox_id in self._writers.frozen:
            await self._thaw(sandbox_id)

    async def _thaw(self, sandbox_id: SandboxId) -> None:
        await self._writers.release(sandbox_id, thaw=not self.why_stopped(sandbox_id))

    async def _containers(self) -> dict[SandboxId, Container]:
        """Every sandbox's container."""
        return {
            container.sandbox_id: container
            for container in await self._engine.ours(self._gauge.sealing.instance)
            if container.sandbox_id is not None and container.name == container_name(container.sandbox_id)
        }

    async def _keep(self, sandbox_id: SandboxId, row: DiskRow) -> None:
        self._rows[sandbox_id] = row
        try:
            await self._disks.put(sandbox_id, row)
        except RegistryUnavailable as error:
            logger.warning("how full a disk is was not stored", sandbox=sandbox_id, error=str(error))

    async def _pause(self, seconds: float) -> None:
        """Wait, at most until there is a hurry."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()


def _is_nearly_full(row: DiskRow) -> bool:
    return share(row, Quota(row.quota)) >= NEARLY


_MEANS = {
    Space.LOW: "the disk is low: no new sandbox is made until there is more room; free some space",
    Space.FULL: "the disk is full: sandboxes over their quota are stopped, and where it is the registry's, webhooks are"
    " left with Meta; free some space now",
}
