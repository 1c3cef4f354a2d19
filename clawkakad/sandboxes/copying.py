"""Containers that work on a sandbox's volume, as sealed as the sandbox itself: what they may do, and their work.

They run a program of ours with the image's Python, write into a layer of their own, and end. Their label is one of
their own, so that nobody takes them for a sandbox.
"""

import asyncio
import json
from typing import Any

from clawkakad.errors import Rejected
from clawkakad.sandboxes.engine import Engine
from clawkakad.sandboxes.paths import SANDBOX_UID
from clawkakad.sandboxes.profile import Body
from clawkakad.sandboxes.removal import COPIER_LABEL
from clawkakad.sandboxes.seccomp import seccomp_option

EXCHANGE = "/tmp"  # noqa: S108 (inside the container)
LOOK_S = 0.1
MEMORY = 512 * 1024 * 1024


class CopyFailed(Rejected):
    """The program ended badly, or is gone with all that it copied: the same call will end so again."""


def copier_body(instance: str, image: str, volume: str, line: list[str]) -> Body:
    """The body of the create call. `line`: a Python program, and its arguments."""
    program, *words = line
    return {
        "Image": image,
        "Entrypoint": ["/usr/bin/python3", "-c", program],
        "Cmd": words,
        "WorkingDir": "/",
        "User": f"{SANDBOX_UID}:{SANDBOX_UID}",
        "Labels": {COPIER_LABEL: instance},
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges", seccomp_option()],
            "IpcMode": "private",
            "PidsLimit": 16,
            "Memory": MEMORY,
            "MemorySwap": MEMORY,
            "CpuShares": 128,  # people's turns go first
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
            "Mounts": [{"Type": "volume", "Source": volume, "Target": "/data", "ReadOnly": False}],
        },
    }


async def worked(engine: Engine, name: str, *, within_s: float) -> dict[str, Any]:
    """Start a copier, wait for its end, and read its report, the last line.

    Raises CopyFailed, Rejected where it takes too long, EngineUnavailable.
    """
    await engine.start(name)
    deadline = asyncio.get_running_loop().time() + within_s
    while (found := await engine.inspect(name)) is not None and found.status in ("created", "running"):
        if asyncio.get_running_loop().time() > deadline:
            raise Rejected(f"the data cannot be copied: not done after {within_s:g} s")
        await asyncio.sleep(LOOK_S)
    lines = await engine.logs(name, tail=20)
    if found is None or lines is None:
        raise CopyFailed("the data cannot be copied: it was removed")
    last = lines[-1] if lines else "it said nothing"  # on a full disk there is no log
    if found.exit_code != 0:
        raise CopyFailed(f"the data cannot be copied: {last}")
    try:
        return dict(json.loads(last))
    except ValueError as error:
        raise CopyFailed("the data cannot be copied: the report on it cannot be read") from error
