"""Processes of containers that are gone are found, and nobody else's."""

import asyncio
import sys
from pathlib import Path

import pytest

from clawkakad.sandboxes.orphans import Process, orphans, serving
from tests.support import eventually

ALIVE, GONE = "a" * 64, "b" * 64


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with these in it."""
    lines = {
        "10": ["/usr/bin/containerd-shim-runc-v2", "-namespace", "moby", "-id", ALIVE, "-address", "/run/x.sock"],
        "11": ["/usr/bin/containerd-shim-runc-v2", "-namespace", "moby", "-id", GONE, "-address", "/run/x.sock"],
        "12": ["/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", GONE],
        "13": ["runsc-sandbox", "--root=/var/run/docker/runtime-runsc/moby", "boot", "--bundle=x", GONE],
        "14": ["grep", "moby", GONE],
        "15": [""],
    }
    for pid, words in lines.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_bytes("\0".join(words).encode())
    (tmp_path / "16").mkdir()
    (tmp_path / "meminfo").touch()
    return tmp_path


def test_only_those_whose_container_is_gone_are_told(proc: Path) -> None:
    found = sorted(orphans(serving(proc), {ALIVE}), key=lambda process: process.pid)

    assert found == [Process(11, "containerd-shim-runc-v2", GONE), Process(13, "runsc-sandbox", GONE)]


async def test_a_process_of_this_machine_is_found(tmp_path: Path) -> None:
    program = tmp_path / "containerd-shim-test"
    program.symlink_to(sys.executable)
    words = ["-c", "import time; time.sleep(60)", "-namespace", "moby", "-id", GONE]
    process = await asyncio.create_subprocess_exec(program, *words)
    try:
        await eventually(lambda: process.pid in [one.pid for one in orphans(serving(), {ALIVE})])
    finally:
        process.kill()
        await process.wait()
