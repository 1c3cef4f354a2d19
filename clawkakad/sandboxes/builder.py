"""Brings one sandbox's files, volume and container to where they should be. How they go is in `removal`.

Owns the order of those steps. Decides nothing about when: that is the keeper's. What carries our name but not our
labels is somebody else's: it is reported and never touched.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loguru import logger

from clawkakad.errors import ImageMissing, Rejected, Transient
from clawkakad.model import Profile, SandboxId, UserId
from clawkakad.registry import SandboxRow
from clawkakad.sandboxes import openclaw, paths, refusal
from clawkakad.sandboxes.engine import Container, Engine
from clawkakad.sandboxes.modelkeys import KeySource
from clawkakad.sandboxes.paths import SandboxPaths
from clawkakad.sandboxes.profile import (
    LABEL_CONFIG,
    Body,
    Sealing,
    config_hash,
    container_body,
    container_name,
    is_owned,
    memory_limits,
    volume_body,
    volume_name,
)

STOP_GRACE_S = 10
THAWED_GRACE_S = 30  # of one that was frozen: what it needs to end in good order comes from disk first
GONE_SOON = frozenset({"dead", "removing"})
HAS_PROCESSES = frozenset({"running", "paused", "restarting"})

NOBODY = Profile(name=None, time_zone="UTC", currency="USD", language="en", country=None)
"""Of a spare: whoever claims it, writes their own over it."""


class Foreign(Rejected):
    """The engine has something with a sandbox's name that is not ours."""


class ContainerLog(Protocol):
    """What is kept of a container in the registry, and which image a sandbox is to be made of."""

    async def set_container(
        self, sandbox_id: SandboxId, *, container_id: str | None, image_id: str | None, config_hash: str | None
    ) -> None: ...
    async def pinned(self, sandbox_id: SandboxId) -> str | None: ...
    async def unpin(self, sandbox_id: SandboxId) -> None: ...


class Profiles(Protocol):
    """Where a person's place in the world is known."""

    async def profile(self, user_id: UserId) -> Profile: ...


@dataclass(frozen=True)
class Builder:
    """One for all sandboxes. `sealing_now`: a host may get swap, or lose it; `token_of`: a sandbox's gateway token."""

    engine: Engine
    sealing_now: Callable[[], Sealing]
    runtime_dir: Path
    token_of: Callable[[SandboxId], str]
    limits: openclaw.ModelLimits
    keys: KeySource
    containers: ContainerLog
    profiles: Profiles

    @property
    def sealing(self) -> Sealing:
        """What containers are to be made of now."""
        return self.sealing_now()

    def paths(self, sandbox_id: SandboxId) -> SandboxPaths:
        """Where a sandbox's files are."""
        return paths.paths_of(self.runtime_dir, sandbox_id)

    async def lay_out(self, row: SandboxRow) -> None:
        """Directories and the profile file: what must be there before the host API opens. Idempotent."""
        paths.prepare_root(self.runtime_dir)
        paths.prepare(self.paths(row.id), self.sealing.gid)
        self.write_profile(row.id, await self._profile(row))

    def seal(self, sandbox_id: SandboxId) -> None:
        """What it needs to write on the host is written. Raises SandboxTampered, OSError."""
        paths.close_gateway_dir(self.paths(sandbox_id), self.sealing.gid)

    def seal_if_bound(self, sandbox_id: SandboxId) -> None:
        """The entrypoint waits for this with whatever an agent can have changed. Raises SandboxTampered, OSError."""
        if paths.is_bound(self.paths(sandbox_id)):
            self.seal(sandbox_id)

    def write_profile(self, sandbox_id: SandboxId, profile: Profile) -> None:
        """Tell `pa` who its person is. Raises OSError."""
        text = openclaw.to_json(openclaw.profile_document(profile))
        paths.write_file(self.paths(sandbox_id).profile_file, text, mode=0o640, gid=self.sealing.gid)

    async def _profile(self, row: SandboxRow) -> Profile:
        return NOBODY if row.user_id is None else await self.profiles.profile(row.user_id)

    async def find(self, sandbox_id: SandboxId) -> Container | None:
        """The sandbox's container, or None. Raises Foreign, EngineUnavailable."""
        found = await self.engine.inspect(container_name(sandbox_id))
        if found is not None and not is_owned(found.labels, self.sealing.instance, sandbox_id):
            raise Foreign(f"the container {found.name} is not ours: rename or remove it")
        return found

    async def image_of(self, sandbox_id: SandboxId) -> str | None:
        """The image that its container is to be made of: what it is pinned to, else what the tag names.

        None where the tag names nothing, and where the pinned one is gone while there is still a container of it.
        """
        pinned = await self.containers.pinned(sandbox_id)
        if pinned is None:
            return await self.engine.image_id(self.sealing.image)
        if await self.engine.image_id(pinned) is not None:
            return pinned
        found = await self.find(sandbox_id)
        made_of_it = found is not None and found.image_id == pinned
        return None if made_of_it else await self.engine.image_id(self.sealing.image)

    async def made_of(self, sandbox_id: SandboxId) -> str | None:
        """What its container is to be made of, as a word that changes with it; None while the image is missing."""
        image_id = await self.image_of(sandbox_id)
        body = container_body(self.sealing, sandbox_id, self.paths(sandbox_id))
        return None if image_id is None else f"{config_hash(body)} {image_id}"

    async def is_stale(self, row: SandboxRow) -> bool:
        """Whether its container is of another image than the tag names now, or of another profile."""
        image_id = await self.engine.image_id(self.sealing.image)
        if row.image_id is None or image_id is None:
            return False
        body = container_body(self.sealing, row.id, self.paths(row.id))
        return (row.image_id, row.config_hash) != (image_id, config_hash(body))

    async def halt(self, sandbox_id: SandboxId, *, tail: int, thaws: bool = True) -> list[str]:
        """Stop its container, if it runs; the last lines of its log. Raises Foreign, EngineUnavailable.

        `thaws`: a frozen one may go on to end properly; else it is killed where it stands.
        """
        found = await self.find(sandbox_id)
        if found is None:
            return []
        if found.frozen and not thaws:
            await self.engine.kill(found.id)
        else:
            await self._stop(found)
        return await self.engine.logs(found.id, tail=tail) or []

    async def is_refused(self, found: Container | None) -> bool:
        """Whether it ended, and to start it again as it is cannot help. Raises EngineUnavailable."""
        if found is None or found.status in HAS_PROCESSES or found.exit_code != refusal.EXIT_CODE:
            return False
        log = await self.engine.logs(found.id, tail=refusal.LOG_LINES, since=found.started_at)
        return refusal.is_refusal(found.exit_code, log or [])

    async def thaw(self, found: Container) -> None:
        """Let it go on: first its limits, if they were lowered, then its processes. Idempotent.

        Raises Rejected, EngineUnavailable.
        """
        await self._restore_limits(found)
        if found.frozen:
            await self.engine.unpause(found.id)

    async def start(self, row: SandboxRow, *, remake: bool = False) -> Container:
        """Start its container afresh: stopped if it runs, made again if it drifted or so wanted, made if there is none.

        Cancelled or failed half way, it may be called again. Raises ImageMissing, Foreign, Rejected, EngineUnavailable.
        """
        found = await self.find(row.id)
        if found is not None:
            await self._stop(found)
        body = container_body(self.sealing, row.id, self.paths(row.id))
        image_id = await self.image_of(row.id)
        if found is not None and (_drifted(found, body, image_id) or (remake and image_id is not None)):
            logger.info("a container is made again", sandbox=row.id, was=found.config_hash, image=found.image_id[:19])
            await self.engine.remove(found.id)
            found = None
        await self._write_config(row)
        if found is None:
            container_id = await self._create(row, {**body, "Image": await self._image_for(row.id)})
        else:
            await self._restore_limits(found)  # it may have ended while it dozed
            container_id = found.id
        await self.engine.start(container_id)
        return await self._record(row)

    async def make(self, row: SandboxRow, image_id: str) -> None:
        """Make its container of this image, to be started later: the engine keeps the image for it.

        Raises ImageMissing, Foreign, Rejected (there is one already), EngineUnavailable.
        """
        await self.lay_out(row)
        body = container_body(self.sealing, row.id, self.paths(row.id))
        await self._create(row, {**body, "Image": image_id})

    async def _stop(self, found: Container) -> None:
        """A frozen one would not hear of it."""
        if found.frozen:
            await self.thaw(found)
        if found.status in HAS_PROCESSES:
            await self.engine.stop(found.id, grace_s=THAWED_GRACE_S if found.frozen else STOP_GRACE_S)

    async def _restore_limits(self, found: Container) -> None:
        memory, memory_and_swap = memory_limits(self.sealing)
        if 0 < found.memory < memory:
            await self.engine.limit_memory(found.id, memory, memory_and_swap)

    async def _image_for(self, sandbox_id: SandboxId) -> str:
        """What its container is made of now. Raises ImageMissing."""
        image_id = await self.image_of(sandbox_id)
        if image_id is None:
            raise ImageMissing(f"the image {self.sealing.image} is not here: clawkakad image build")
        pinned = await self.containers.pinned(sandbox_id)
        if pinned not in (None, image_id):
            logger.warning("a sandbox's image is gone: it gets the one that is there", sandbox=sandbox_id, was=pinned)
            await self.containers.unpin(sandbox_id)
        return image_id

    async def _create(self, row: SandboxRow, body: Body) -> str:
        await self._ensure_volume(row.id)
        if row.user_id is not None:  # a spare needs none
            await self._ensure_key(row.id)
        return await self.engine.create(container_name(row.id), body)

    async def _ensure_key(self, sandbox_id: SandboxId) -> None:
        try:
            await self.keys.key(sandbox_id)
        except (Transient, Rejected) as error:  # it is made at the first model call, then
            logger.warning("no model key yet", sandbox=sandbox_id, error=str(error))

    async def _ensure_volume(self, sandbox_id: SandboxId) -> None:
        labels = await self.engine.volume_labels(volume_name(sandbox_id))
        if labels is None:
            await self.engine.create_volume(volume_body(self.sealing, sandbox_id))
        elif not is_owned(labels, self.sealing.instance, sandbox_id):
            raise Foreign(f"the volume {volume_name(sandbox_id)} is not ours: remove it, or restore its labels")

    async def _write_config(self, row: SandboxRow) -> None:
        """Only while no process of the sandbox lives: its own corner is made anew too."""
        where = self.paths(row.id)
        await asyncio.to_thread(paths.clear_gateway_dir, where)  # how much there is was up to the sandbox
        paths.prepare(where, self.sealing.gid)
        paths.open_gateway_dir(where, self.sealing.gid)
        profile = await self._profile(row)
        config = openclaw.gateway_config(token=self.token_of(row.id), profile=profile, limits=self.limits)
        paths.write_file(where.config_file, openclaw.to_json(config), mode=0o640, gid=self.sealing.gid)

    async def _record(self, row: SandboxRow) -> Container:
        container = await self.find(row.id)
        if container is None:
            raise Rejected("the container is gone as soon as it was started")
        await self.containers.set_container(
            row.id, container_id=container.id, image_id=container.image_id, config_hash=container.config_hash
        )
        return container


def _drifted(found: Container, body: Body, image_id: str | None) -> bool:
    """Made from another profile or image than is wanted now. An image that is gone is no reason to let go of it."""
    labels = body["Labels"]
    assert isinstance(labels, dict)
    if found.config_hash != labels[LABEL_CONFIG] or found.status in GONE_SOON:
        return True
    return image_id is not None and found.image_id != image_id
