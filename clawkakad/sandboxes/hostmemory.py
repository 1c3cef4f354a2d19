"""What memory the host has left, as the kernel tells it. Reading is one small file; nothing is remembered."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
ENOUGH_SWAP_MB = 1024  # less of it is no place to put sandboxes


@dataclass(frozen=True)
class HostMemory:
    """In MiB. `available_mb`: what can be had without swapping."""

    total_mb: int
    available_mb: int
    swap_mb: int
    swap_free_mb: int

    @property
    def has_swap(self) -> bool:
        """Whether sandboxes may count on swap."""
        return self.swap_mb >= ENOUGH_SWAP_MB


MemoryOf = Callable[[], HostMemory]


def host_memory() -> HostMemory:
    """As it is now. Raises OSError."""
    return parsed(MEMINFO.read_text(encoding="ascii"))


def parsed(text: str) -> HostMemory:
    """Of /proc/meminfo, which writes kB and means KiB."""
    words = [line.split() for line in text.splitlines()]
    mb = {name.rstrip(":"): int(value) // 1024 for name, value, *_ in words}
    return HostMemory(mb["MemTotal"], mb["MemAvailable"], mb["SwapTotal"], mb["SwapFree"])
