"""Processes that outlived their container: a shim or a sandbox that the engine knows nothing of any more.

A runtime that hangs when its container is removed may burn a CPU for ever, and nobody else tells. Only looks, and only
at processes of the engine's own containers; those of a Kubernetes on the same host are not its.
"""

import re
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("containerd-shim", "runsc", "kata", "qemu-system", "cloud-hypervisor", "firecracker")
NAMESPACE = "moby"  # of the engine's containers, at containerd
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True)
class Process:
    """One that serves a container."""

    pid: int
    program: str
    container_id: str


def orphans(processes: Iterable[Process], container_ids: Set[str]) -> list[Process]:
    """Those of no container that the engine knows. Pure."""
    return [process for process in processes if process.container_id not in container_ids]


def serving(proc: Path = Path("/proc")) -> Iterator[Process]:
    """The processes that serve containers, as far as this user may see them."""
    for directory in proc.iterdir():
        if not directory.name.isdigit():
            continue
        try:
            words = (directory / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it has ended
        process = _served(int(directory.name), words)
        if process is not None:
            yield process


def _served(pid: int, words: list[str]) -> Process | None:
    program = Path(words[0]).name
    line = " ".join(words)
    ids = _ID.findall(line)
    if not ids or not program.startswith(PROGRAMS) or not re.search(rf"\b{NAMESPACE}\b", line):
        return None
    return Process(pid, program, ids[-1])
