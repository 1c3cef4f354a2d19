"""Finds what the sandbox image is built on: Debian from a registry, from this machine, or made here.

Where no registry is in reach, mmdebstrap makes a base from the mirrors that this host itself uses.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from clawkakad.errors import ImageBuildFailed, UsageError
from clawkakad.sandboxes import image
from clawkakad.sandboxes.commands import ask, run
from clawkakad.sandboxes.image import Step

ETC = Path("/etc")
PULL_WITHIN_S = 20.0  # without a registry in reach this fails at once, or hangs; with one the base is 30 MB
BASE_WITHIN_S = 900.0  # mmdebstrap fetches about 50 MB and takes a minute


class Report(Protocol):
    """Who is told how it goes."""

    def step(self, step: Step) -> None:
        """A step has begun."""

    def line(self, line: str) -> None:
        """The step has said something."""


async def find_base(report: Report, *, fresh: bool) -> str:
    """The name of a base on this machine; `fresh`: pulled or made again. Raises UsageError, ImageBuildFailed."""
    if not fresh:
        for name in (image.PULLED_BASE, image.MADE_BASE):
            if await _is_here(name):
                return name
    report.step(Step(0, 0, f"Looking for {image.PULLED_BASE}"))
    try:
        await run(
            ["docker", "pull", "--quiet", image.PULLED_BASE], report.line, within_s=PULL_WITHIN_S, what="the pull"
        )
    except ImageBuildFailed:
        await _make_base(report)
        return image.MADE_BASE
    return image.PULLED_BASE


async def _make_base(report: Report) -> None:
    sources = image.debian_sources(*_read_apt())
    if not sources:
        raise UsageError(
            f"{image.PULLED_BASE} cannot be pulled, and apt on this host has no Debian mirror to make one from"
        )
    if shutil.which("mmdebstrap") is None:
        await _install_mmdebstrap(report)
    report.step(Step(0, 0, "Making a Debian base with mmdebstrap (a minute or two)"))
    with tempfile.TemporaryDirectory(prefix="clawkaka-", dir="/var/tmp") as directory:
        tar = f"{directory}/base.tar"
        unneeded = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
        command = ["mmdebstrap", "--variant=minbase", "--include=ca-certificates,usr-is-merged", *unneeded]
        text = "".join(f"{line}\n" for line in sources).encode()
        await run([*command, image.SUITE, tar, "-"], report.line, within_s=BASE_WITHIN_S, stdin=text, what="mmdebstrap")
        await run(["docker", "import", tar, image.MADE_BASE], report.line, within_s=BASE_WITHIN_S, what="the import")


async def _install_mmdebstrap(report: Report) -> None:
    if os.geteuid() != 0:
        raise UsageError(
            f"{image.PULLED_BASE} cannot be pulled; to make one: sudo apt-get install mmdebstrap, then again"
        )
    report.step(Step(0, 0, "Installing mmdebstrap"))
    for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "mmdebstrap"]):
        await run(command, report.line, within_s=BASE_WITHIN_S, what="apt-get")


def _read_apt() -> tuple[str, Mapping[str, str]]:
    files = [ETC / "apt/sources.list", *(ETC / "apt/sources.list.d").glob("*.list")]
    files += (ETC / "apt/sources.list.d").glob("*.sources")
    texts = {str(path): path.read_text(errors="replace") for path in files if path.is_file()}
    release = ETC / "os-release"
    return (release.read_text() if release.is_file() else ""), texts


async def _is_here(name: str) -> bool:
    code, _ = await ask("image", "inspect", "--format", "{{.Id}}", name)
    return code == 0
