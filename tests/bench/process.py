"""What Linux says of a process, and on which core it runs. Linux only, like the daemon."""

import os
import resource
import time
from pathlib import Path

_CPU_CLOCK = 2  # CPUCLOCK_SCHED of the kernel


def cpu_s(pid: int) -> float:
    """Seconds of CPU that the process has used so far, all threads, user and system, to the nanosecond.

    Its CPU clock, numbered as clock_getcpuclockid(3) does: /proc/PID/stat counts in hundredths, and where the kernel
    accounts by its tick it misses what is shorter.
    """
    return time.clock_gettime(~pid << 3 | _CPU_CLOCK)


def rss_mib(pid: int) -> float:
    """What it holds in memory, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return int(kib) / 1024


def cores() -> tuple[int, int] | None:
    """A core for the program that is measured and one for its peers; None where there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[-1]) if len(usable) > 1 else None


def pin(pid: int, core: int) -> None:
    """Keep a process, and the threads that it will make, on one core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def allow_descriptors() -> None:
    """A thousand gateways and their connections need more than many a shell grants. Children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
