"""Strays: containers of ours that should not be there. They are stopped and kept, never deleted, and told of once.

Of a sandbox's two containers the one that the registry pins is kept, under its name; one that belongs to no sandbox
(restored from a backup?) is nobody's.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from loguru import logger

from clawkakad.model import SandboxId
from clawkakad.registry import SandboxRow
from clawkakad.sandboxes.engine import Container, Engine
from clawkakad.sandboxes.profile import container_name, volume_name

GRACE_S = 10


@dataclass(frozen=True)
class Unnamed:
    """Names of containers and volumes that carry this installation's label, and that no row names."""

    containers: Sequence[str]
    volumes: Sequence[str]


async def unnamed(engine: Engine, instance: str, rows: Callable[[], Awaitable[Sequence[SandboxRow]]]) -> Unnamed:
    """What is nobody's. The engine is asked first: a row is older than its own. Raises what the engine does."""
    containers, volumes = await engine.ours(instance), await engine.volumes_of(instance)
    ids = {row.id for row in await rows()}
    known = {volume_name(one) for one in ids}
    return Unnamed(
        sorted(container.name for container in containers if container.sandbox_id not in ids),
        sorted(volume for volume in volumes if volume not in known),
    )


class Strays:
    """One per daemon. `nudge`: a sandbox's container has another name now. Its calls raise what the engine does."""

    def __init__(self, engine: Engine, nudge: Callable[[SandboxId], None]) -> None:
        self._engine = engine
        self._nudge = nudge
        self._told: set[str] = set()

    async def settle(self, row: SandboxRow, odd: Container, containers: Sequence[Container]) -> None:
        """`odd` is a sandbox's, and does not bear its name."""
        name = container_name(row.id)
        named = next((container for container in containers if container.name == name), None)
        if odd.id != row.container_id:
            await self._set_aside(odd, "a sandbox has two containers: this one is stopped and kept")
            return
        logger.warning("a sandbox's container gets its name back", sandbox=row.id, was=odd.name)
        if named is not None:
            await self._engine.rename(named.id, f"{name}-double-{named.id[:8]}")
        await self._engine.rename(odd.id, name)
        self._nudge(row.id)
        if named is not None:  # last: at its end the keeper looks by name, and must not find and start this one
            await self._set_aside(named, "a sandbox has two containers: this one is stopped and kept")

    async def report(self, container: Container) -> None:
        """Ours by its labels, and nobody's by the registry."""
        await self._set_aside(container, "a container belongs to no sandbox: it is stopped and kept")

    async def _set_aside(self, container: Container, why: str) -> None:
        if container.id not in self._told:
            logger.error(why, container=container.name)
            self._told.add(container.id)
        if container.running or container.frozen:
            await self._engine.stop(container.id, grace_s=GRACE_S)
