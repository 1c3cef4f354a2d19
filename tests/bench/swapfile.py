"""A swap file for the time of a measurement: made where the host has too little free swap, and taken away again.

Only root can make one, and only some file systems can hold one: where it cannot be, that is said in words, and what
needs it is not measured.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

MB = 1024 * 1024
SPARE_MB = 4096  # of the disk, for everybody else
SHORT_S = 120.0

Say = Callable[[str], None]


class NoSwap(Exception):
    """There is none, and none can be made; why, in words."""


@asynccontextmanager
async def swap(wanted_mb: int, directory: Path, say: Say) -> AsyncIterator[None]:
    """So much free swap. `directory`: where the file would be. Raises NoSwap."""
    if free_swap_mb() >= wanted_mb:
        yield
        return
    if os.geteuid() != 0:
        raise NoSwap(f"{wanted_mb} MB of free swap are needed, and only root can make a swap file")
    directory.mkdir(parents=True, exist_ok=True)
    free_mb = shutil.disk_usage(directory).free // MB
    if free_mb < wanted_mb + SPARE_MB:
        raise NoSwap(f"a swap file of {wanted_mb} MB needs {wanted_mb + SPARE_MB} MB of disk; {free_mb} MB are free")
    descriptor, name = tempfile.mkstemp(prefix="swap-", dir=directory)
    os.close(descriptor)
    try:
        say(f"Making a swap file of {wanted_mb} MB for the measurement: {name}")
        await _command("fallocate", "-l", f"{wanted_mb}M", name)
        await _command("mkswap", name)
        await _command("swapon", name)
        try:
            yield
        finally:
            say("Taking the swap file away again")
            await asyncio.shield(_command("swapoff", name))  # else its disk stays in use until the next boot
    finally:
        os.unlink(name)


def free_swap_mb(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Of all swap of this host."""
    words = [line.split() for line in meminfo.read_text().splitlines()]
    return next((int(value) // 1024 for name, value, *_ in words if name == "SwapFree:"), 0)


async def _command(*words: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us: the file must be let go of before it is removed
    )
    async with asyncio.timeout(SHORT_S):
        _, complaint = await process.communicate()
    if process.returncode != 0:
        raise NoSwap(f"{words[0]} failed: {complaint.decode(errors='replace').strip()}")
