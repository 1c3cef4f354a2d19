"""How a sandbox goes: its model key, containers, volume and directories, and its row last.

While the row is there, the removal is not done, and all of it may be repeated. A key that cannot be deleted now holds
back the row, but not the person's data. What has a sandbox's name but not our labels is left alone.
"""

import asyncio
from pathlib import Path
from typing import Protocol

from loguru import logger

from clawkakad.errors import Rejected, Transient
from clawkakad.model import SandboxId
from clawkakad.registry import SandboxRow
from clawkakad.sandboxes.engine import Engine
from clawkakad.sandboxes.modelkeys import KeySource
from clawkakad.sandboxes.paths import discard, paths_of
from clawkakad.sandboxes.profile import LABEL_GAUGE, container_name, gauge_name, is_owned, volume_name

COPIER_LABEL = "clawkaka.copier"
"""Marks the short-lived containers that copy a sandbox's data; its value is the instance."""


class Rows(Protocol):
    """What a removal needs of the registry."""

    async def remove(self, sandbox_id: SandboxId) -> None: ...


async def remove_sandbox(
    row: SandboxRow, *, engine: Engine, instance: str, runtime_dir: Path, keys: KeySource, rows: Rows
) -> None:
    """Remove it for good; nothing may keep it any more. Idempotent. Raises Transient, Rejected: call again later."""
    trouble: Transient | Rejected | None = None
    try:
        await keys.forget(row.id, row.key_hash)
    except (Transient, Rejected) as error:
        trouble = error
    await _remove_containers(engine, instance, row.id)
    await remove_copier(engine, instance, copier_name(row.id))
    await remove_copier(engine, instance, keepsake_name(row.id))
    await remove_gauge(engine, instance, row.id)
    await _remove_volume(engine, instance, row.id)
    try:
        await asyncio.to_thread(discard, paths_of(runtime_dir, row.id))
    except OSError as error:
        raise Transient(f"the sandbox's directories cannot be removed: {error}") from error
    if trouble is not None:
        raise trouble
    await rows.remove(row.id)
    logger.info("sandbox removed", sandbox=row.id)


def copier_name(sandbox_id: SandboxId) -> str:
    """The name of the container that copies a sandbox's data."""
    return f"{container_name(sandbox_id)}-copier"


def keepsake_name(sandbox_id: SandboxId) -> str:
    """The name of the container that has a sandbox's data as it was before an upgrade."""
    return f"{container_name(sandbox_id)}-keepsake"


async def remove_copier(engine: Engine, instance: str, name: str) -> None:
    """Remove a copier, if there is one of that name. Raises Transient, and Rejected where it is not ours."""
    await _remove_helper(engine, name, COPIER_LABEL, instance)


async def remove_gauge(engine: Engine, instance: str, sandbox_id: SandboxId) -> None:
    """The same for the gauge."""
    await _remove_helper(engine, gauge_name(sandbox_id), LABEL_GAUGE, instance)


async def _remove_helper(engine: Engine, name: str, label: str, instance: str) -> None:
    found = await engine.inspect(name)
    if found is None:
        return
    if found.labels.get(label) != instance:
        raise Rejected(f"the container {found.name} is another installation's")
    await engine.remove(found.id)


async def _remove_containers(engine: Engine, instance: str, sandbox_id: SandboxId) -> None:
    """Its own, and whatever double was set aside, under any name: each of them holds the volume."""
    for container in await engine.ours(instance):
        if container.sandbox_id == sandbox_id:
            await engine.remove(container.id)
    found = await engine.inspect(container_name(sandbox_id))
    if found is not None and not is_owned(found.labels, instance, sandbox_id):
        logger.error("a container is not ours and left alone", sandbox=sandbox_id, container=found.name)


async def _remove_volume(engine: Engine, instance: str, sandbox_id: SandboxId) -> None:
    name = volume_name(sandbox_id)
    labels = await engine.volume_labels(name)
    if labels is not None and is_owned(labels, instance, sandbox_id):
        await engine.remove_volume(name)
    elif labels is not None:
        logger.error("a volume is not ours and left alone", sandbox=sandbox_id, volume=name)
