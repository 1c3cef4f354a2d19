"""A sandbox's data as it was before an upgrade: kept in a container beside it, put back from there, or let go.

The copy lies in a layer of that container, where neither the new image nor the agent can reach it, and goes with it.
While it is there the engine keeps the old image too, of which the container is made. Nobody else may write the data
meanwhile: the sandbox is stopped.
"""

from dataclasses import dataclass
from importlib import resources
from typing import Any

from clawkakad.errors import Rejected
from clawkakad.model import SandboxId
from clawkakad.sandboxes.copying import EXCHANGE, CopyFailed, copier_body, worked
from clawkakad.sandboxes.engine import Engine
from clawkakad.sandboxes.profile import is_owned, volume_name
from clawkakad.sandboxes.removal import keepsake_name, remove_copier

WORK_S = 1800.0


@dataclass(frozen=True)
class Keepsakes:
    """Makes them. Each call may be repeated. Raises EngineUnavailable, Rejected."""

    engine: Engine
    instance: str

    async def keep(self, sandbox_id: SandboxId, image_id: str) -> dict[str, Any] | None:
        """Copy its data; the report. None: it has none yet. `image_id`: what the copier runs, which has Python."""
        labels = await self.engine.volume_labels(volume_name(sandbox_id))
        if labels is None:
            return None
        if not is_owned(labels, self.instance, sandbox_id):
            raise Rejected("its volume is another installation's")
        await self.drop(sandbox_id)
        program = (resources.files("clawkakad.sandboxes") / "keepsake_inside.py").read_text(encoding="utf-8")
        body = copier_body(self.instance, image_id, volume_name(sandbox_id), [program, "/data", EXCHANGE])
        await self.engine.create(keepsake_name(sandbox_id), body)
        return await worked(self.engine, keepsake_name(sandbox_id), within_s=WORK_S)

    async def put_back(self, sandbox_id: SandboxId) -> None:
        """Its data becomes what was kept: the container's second start does that. Raises CopyFailed: it never will."""
        if await self.engine.inspect(keepsake_name(sandbox_id)) is None:
            raise CopyFailed("the copy of its data is gone")
        await worked(self.engine, keepsake_name(sandbox_id), within_s=WORK_S)

    async def drop(self, sandbox_id: SandboxId) -> None:
        """It is not needed any more. No error if there is none."""
        await remove_copier(self.engine, self.instance, keepsake_name(sandbox_id))
