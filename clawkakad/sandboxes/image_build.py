"""Builds the sandbox image with the docker command line. Decides nothing that `image.py` can decide.

The command line and not the engine's API: it is there wherever an engine is, and it can give a build the host's
network.
"""

import asyncio
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from clawkakad.errors import EngineUnavailable, ImageBuildFailed, UsageError
from clawkakad.sandboxes import image
from clawkakad.sandboxes.commands import ask, run
from clawkakad.sandboxes.image_base import Report, find_base

BUILD_WITHIN_S = 3600.0
SWEEP_WITHIN_S = 300.0
FREE_BYTES = 4_000_000_000  # a build leaves 2 GB behind at its peak

_INSPECT = '{{with .Config.Labels}}{{index . "' + image.SOURCE_LABEL + '"}}{{end}} {{.Size}}'
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Order:
    """What to build: `source`, the directory; `base`, an image to build on, or None to find one.

    `fresh`: from a new base and without the cache, so that security updates come in.
    """

    source: Path
    tag: str = image.DEFAULT_TAG
    base: str | None = None
    ca_bundle: Path | None = None
    fresh: bool = False

    @property
    def hash(self) -> str:
        """What the image will carry as its label."""
        return image.source_hash(self.source, {"BASE_IMAGE": self.base} if self.base else {})


@dataclass(frozen=True)
class Built:
    """The image. `size` in bytes."""

    tag: str
    size: int


async def existing(order: Order) -> Built | None:
    """The image, if it is here and made from just this source. Raises EngineUnavailable."""
    code, lines = await ask("image", "inspect", "--format", _INSPECT, order.tag)
    if code != 0:
        await _require_engine()
        return None
    label, _, size = lines[-1].partition(" ")
    return Built(order.tag, int(size)) if label == order.hash else None


async def build(order: Order, report: Report) -> Built:
    """Build and tag the image. Raises EngineUnavailable, UsageError (space, base), ImageBuildFailed."""
    root = await _require_engine()
    _require_space(root)
    base = order.base or await find_base(report, fresh=order.fresh)
    layers: set[str] = set()

    def hear(line: str) -> None:
        layer = image.parse_layer(line)
        if layer:
            layers.add(layer)
        step = image.parse_step(line)
        if step:
            report.step(step)
        else:
            report.line(line)

    bundle = order.ca_bundle.read_bytes() if order.ca_bundle else None
    context = await asyncio.to_thread(image.build_context, order.source, bundle)
    await run(_build_command(order, base), hear, within_s=BUILD_WITHIN_S, stdin=context, what="the build")
    await _sweep(layers)
    code, lines = await ask("image", "inspect", "--format", _INSPECT, order.tag)
    if code != 0:
        raise ImageBuildFailed("the build ended well, yet the image is not there", output=tuple(lines))
    return Built(order.tag, int(lines[-1].partition(" ")[2]))


def _build_command(order: Order, base: str) -> list[str]:
    command = ["docker", "build", "--network", "host", "--force-rm", "--tag", order.tag]
    command += ["--build-arg", f"BASE_IMAGE={base}", "--label", f"{image.SOURCE_LABEL}={order.hash}"]
    for name in _PROXIES:  # by name only: the value is taken from our environment and stays out of the image
        if name in os.environ:
            command += ["--build-arg", name]
    return [*command, *(["--no-cache"] if order.fresh else []), "-"]


async def _require_engine() -> Path:
    """Where the engine keeps its images. Raises EngineUnavailable with a line that says what to do."""
    code, lines = await ask("info", "--format", "{{.DockerRootDir}}")
    if code != 0 or not lines:
        why = lines[-1] if lines else "no answer"
        raise EngineUnavailable(f"the Docker engine does not answer: {why}")
    return Path(lines[-1])


def _require_space(root: Path) -> None:
    try:
        free = shutil.disk_usage(root).free
    except OSError:  # the engine is on another machine, or its directory is not ours to see
        return
    if free < FREE_BYTES:
        raise UsageError(
            f"the image needs {FREE_BYTES / 1e9:.0f} GB of free space at {root}; {free / 1e9:.1f} GB are free"
        )


async def _sweep(layers: set[str]) -> None:
    """Remove what earlier builds left behind; what this one used stays, as the cache of the next."""
    for label in (image.STAGE_LABEL, image.SOURCE_LABEL):
        code, lines = await ask("images", "--quiet", "--filter", "dangling=true", "--filter", f"label={label}")
        stale = [line for line in lines if line not in layers] if code == 0 else []
        if stale:
            await ask(
                "rmi", *stale, within_s=SWEEP_WITHIN_S
            )  # one that a container still uses is refused, and swept another time
