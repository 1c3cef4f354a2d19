"""What the kernel counts of a container: CPU, memory, swap. Of both kinds of cgroups; reading costs no engine call."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MIB = 1024 * 1024


@dataclass(frozen=True)
class Usage:
    """At one moment. `ram_mib`: its own memory; `charged_mib`: all that counts against its limit, such as its files in
    the cache; `cpu_s`: since its container started.
    """

    ram_mib: float
    charged_mib: float
    swap_mib: float
    cpu_s: float


class Cgroup:
    """Of a container that runs, found by its first process."""

    def __init__(self, pid: int, *, root: Path = ROOT, proc: Path = Path("/proc")) -> None:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
        places = {
            name: where for _, names, where in (line.split(":", 2) for line in lines) for name in names.split(",")
        }
        self._unified = "memory" not in places
        if self._unified:
            self._memory = self._cpu = root / places[""].lstrip("/")
        else:
            self._memory = root / "memory" / places["memory"].lstrip("/")
            self._cpu = root / "cpuacct" / places["cpuacct"].lstrip("/")

    def usage(self) -> Usage:
        """Raises OSError where the container has ended."""
        stat = _fields(self._memory / "memory.stat")
        if self._unified:
            swap, cpu_s = self._number("memory.swap.current"), _fields(self._cpu / "cpu.stat")["usage_usec"] / 1e6
            return Usage(stat["anon"] / MIB, self._number("memory.current") / MIB, swap / MIB, cpu_s)
        swap, cpu_s = stat.get("total_swap", 0), int((self._cpu / "cpuacct.usage").read_text()) / 1e9
        return Usage(stat["total_rss"] / MIB, self._number("memory.usage_in_bytes") / MIB, swap / MIB, cpu_s)

    def _number(self, name: str) -> int:
        file = self._memory / name
        return int(file.read_text()) if file.exists() else 0  # a kernel without swap has no word for it


def _fields(file: Path) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in file.read_text().splitlines())}
