"""How a sandbox goes: its model key, container, volume and directories, and its row last.

While the row is there, the removal is not done, and all of it may be repeated. A key that cannot be deleted now holds
back the row, but not the person's data.
"""

from typing import Protocol

from loguru import logger

from clawkakad.errors import Rejected, Transient
from clawkakad.model import SandboxId
from clawkakad.registry import SandboxRow
from clawkakad.sandboxes.builder import Builder
from clawkakad.sandboxes.modelkeys import KeySource


class Rows(Protocol):
    """What a removal needs of the registry."""

    async def remove(self, sandbox_id: SandboxId) -> None: ...


async def remove_sandbox(row: SandboxRow, *, builder: Builder, keys: KeySource, rows: Rows) -> None:
    """Remove it for good; nothing may keep it any more. Idempotent. Raises Transient, Rejected: call again later."""
    trouble: Transient | Rejected | None = None
    try:
        await keys.forget(row.id, row.key_hash)
    except (Transient, Rejected) as error:
        trouble = error
    await builder.discard(row)
    if trouble is not None:
        raise trouble
    await rows.remove(row.id)
    logger.info("sandbox removed", sandbox=row.id)
