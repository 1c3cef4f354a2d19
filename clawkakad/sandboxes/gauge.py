"""The gauge: a short-lived container that measures one sandbox's volume, where its agent cannot touch the measuring.

As sealed as a sandbox, but root, so that no file is hidden from it: it may read whatever it likes, and change nothing
(the volume is read-only for it). It looks at the sandbox's processes too, for files that were deleted and are still
open. It carries a label of its own, so that nobody takes it for a sandbox; one that a crash left is removed by the next
one, and with its sandbox. Why not the engine's own figures, or `du` inside: docs/code.md.
"""

import asyncio
import contextlib
import functools
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources

from clawkakad.errors import EngineUnavailable, Rejected
from clawkakad.model import SandboxId
from clawkakad.sandboxes.disk import Found
from clawkakad.sandboxes.engine import Container, Engine
from clawkakad.sandboxes.profile import (
    LABEL_GAUGE,
    OPEN_FILES,
    Body,
    Sealing,
    gauge_name,
    is_owned,
    ulimit,
    volume_name,
)
from clawkakad.sandboxes.removal import remove_gauge
from clawkakad.sandboxes.seccomp import seccomp_option

WALK_S = 60  # the program ends its walk after so long, and says so
WORK_S = 90.0  # all of it
LOOK_S = 0.05
MEMORY = 256 * 1024 * 1024
VOLUME = "/volume"


@dataclass(frozen=True)
class Gauge:
    """Makes gauges. One at a time for each sandbox is the caller's duty."""

    engine: Engine
    sealing: Sealing

    async def measure(self, sandbox_id: SandboxId, container: Container | None, *, inodes: int) -> Found | None:
        """How much is in its volume, counted up to so many inodes; None where there is no such volume of ours.

        Raises EngineUnavailable, Rejected: then nothing is known.
        """
        labels = await self.engine.volume_labels(volume_name(sandbox_id))
        if labels is None or not is_owned(labels, self.sealing.instance, sandbox_id):
            return None
        began_at = datetime.now(UTC)
        try:
            found = await self._look(sandbox_id, container, inodes)
        except Rejected:
            if container is None or not await self._has_ended(container, began_at):
                raise
        else:
            if not found.cut or container is None or not await self._has_ended(container, began_at):
                return found
        # The gauge ended with it. What it held open is gone with it too: the volume is all there is.
        return await self._look(sandbox_id, None, inodes)

    async def _look(self, sandbox_id: SandboxId, container: Container | None, inodes: int) -> Found:
        await remove_gauge(self.engine, self.sealing.instance, sandbox_id)
        name = gauge_name(sandbox_id)
        await self.engine.create(name, self._body(sandbox_id, container, inodes))
        try:
            return await self._work(name)
        finally:
            with contextlib.suppress(EngineUnavailable):  # the next one removes it
                await self.engine.remove(name)

    async def _has_ended(self, container: Container, since: datetime) -> bool:
        """Whether it ran, and ended since: who looks at its processes is killed with them."""
        now = await self.engine.inspect(container.id)
        is_same = now is not None and _is_alive(now) and (now.started_at is None or now.started_at < since)
        return _is_alive(container) and not is_same

    async def _work(self, name: str) -> Found:
        """Start it, wait for its end, and read its report. One that does not come to an end, or to a report, is cut."""
        await self.engine.start(name)
        deadline = asyncio.get_running_loop().time() + WORK_S
        while (found := await self.engine.inspect(name)) is not None and found.status in ("created", "running"):
            if asyncio.get_running_loop().time() > deadline:
                return Found(0, 0, "seconds")
            await asyncio.sleep(LOOK_S)
        if found is None:
            raise Rejected("the gauge was removed")
        lines = await self.engine.logs(name, tail=20) or []
        if found.exit_code != 0 or not lines:
            return Found(0, 0, f"exit code {found.exit_code}")
        report = json.loads(lines[-1])
        return Found(int(report["bytes"]), int(report["inodes"]), str(report["cut"]))

    def _body(self, sandbox_id: SandboxId, container: Container | None, inodes: int) -> Body:
        volume = {"Type": "volume", "Source": volume_name(sandbox_id), "Target": VOLUME, "ReadOnly": True}
        return {
            "Image": self.sealing.image if container is None else container.image_id,
            "Entrypoint": ["/usr/bin/python3", "-I", "-S", "-c", _program()],
            "Cmd": [VOLUME, str(inodes), str(WALK_S)],
            "WorkingDir": "/",
            "User": "0:0",
            "Labels": {LABEL_GAUGE: self.sealing.instance},
            "HostConfig": {
                "NetworkMode": "none",
                "ReadonlyRootfs": True,
                "CapDrop": ["ALL"],
                "CapAdd": ["DAC_READ_SEARCH", "SYS_PTRACE"],  # to read any directory, and who has which file open
                "SecurityOpt": ["no-new-privileges", seccomp_option()],
                "IpcMode": "private",
                **self._pid_namespace(container),
                "PidsLimit": 16,
                "Memory": MEMORY,
                "MemorySwap": MEMORY,
                "CpuShares": 128,  # people's turns go first
                # One open directory for each level of them; who goes deeper hides.
                "Ulimits": [ulimit("nofile", OPEN_FILES)],
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
                "Mounts": [{**volume, "VolumeOptions": {"NoCopy": True}}],
            },
        }

    def _pid_namespace(self, container: Container | None) -> dict[str, str]:
        """That of the sandbox, where it has processes, and these are the host's (gVisor keeps them to itself)."""
        if container is None or not _is_alive(container) or self.sealing.runtime is not None:
            return {}
        return {"PidMode": f"container:{container.id}"}


@functools.cache
def _program() -> str:
    return (resources.files("clawkakad.sandboxes") / "gauging.py").read_text(encoding="utf-8")


def _is_alive(container: Container) -> bool:
    """Whether it has processes."""
    return container.running or container.frozen
