"""`clawkakad nuke`: take everything away, after one typed word."""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import aiohttp
import typer
from rich.console import Console

from clawkakad.cli.common import clock
from clawkakad.cli.keys import key_source
from clawkakad.cli.trial import MARK, runtime_dir_of
from clawkakad.config import Place, load_place
from clawkakad.errors import EngineUnavailable, UsageError
from clawkakad.registry import FILE, locked, open_registry
from clawkakad.sandboxes.engine import Engine, open_engine
from clawkakad.sandboxes.modelkeys import KeySource, SharedKey
from clawkakad.sandboxes.removal import remove_sandbox
from clawkakad.sandboxes.secrets import read_instance_id

WORD = "nuke"


@dataclass(frozen=True)
class Target:
    """What goes: a place, and perhaps its image; not the model keys if `keep_keys`."""

    place: Place
    images: bool
    keep_keys: bool


def nuke(
    state: Annotated[Path | None, typer.Option(help="The state directory; default: CLAWKAKA_STATE_DIR.")] = None,
    runtime: Annotated[Path | None, typer.Option(help="The runtime directory; default: CLAWKAKA_RUNTIME_DIR.")] = None,
    images: Annotated[bool, typer.Option("--images", help="Remove the sandbox image too.")] = False,
    keep_keys: Annotated[bool, typer.Option("--keep-keys", help="Leave people's model keys at OpenRouter.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove all containers, volumes and model keys of this installation, its sockets and its state, for good."""
    place = _place(load_place(), state, runtime)
    if not place.state_dir.exists():
        Console(stderr=True).print(f"nothing to remove: {place.state_dir} does not exist")
        return
    if not yes:
        typer.echo(f"This removes every assistant's memory and all messages under {place.state_dir}.", err=True)
        if typer.prompt(f"There is no way back. Type {WORD} to go on", err=True) != WORD:
            raise UsageError("nothing was removed")
    with locked(place.state_dir):
        asyncio.run(_remove(Target(place, images, keep_keys)))


def _place(place: Place, state: Path | None, runtime: Path | None) -> Place:
    """What the options say, else the settings; a trial of `clawkakad try` knows where its own sockets are."""
    state_dir = state.absolute() if state else place.state_dir
    its_own = runtime_dir_of(state_dir) if (state_dir / MARK).exists() else place.runtime_dir
    return place.model_copy(update={"state_dir": state_dir, "runtime_dir": runtime or its_own})


async def _remove(target: Target) -> None:
    say = Console(stderr=True).print
    try:
        async with open_engine(target.place.engine) as engine:
            await _remove_people(target, engine)
            if target.images:
                await engine.remove_image(target.place.image)
                say(f"removed the image {target.place.image}")
    except EngineUnavailable as error:
        raise UsageError(f"{error}; start the Docker engine first, or its containers would stay behind") from error
    for directory in (target.place.runtime_dir, target.place.state_dir):
        _remove_directory(directory)
        say(f"removed {directory}")


async def _remove_people(target: Target, engine: Engine) -> None:
    """Sandboxes one by one, keys first; then whatever else carries our label."""
    place = target.place
    instance = read_instance_id(place.state_dir)
    if instance is None:
        return
    async with open_registry(place.state_dir / FILE, clock) as registry, aiohttp.ClientSession() as http:
        rows = await registry.sandboxes.all()
        none: KeySource = SharedKey(None)
        sources = [none if target.keep_keys else key_source(place, row, http, registry, instance) for row in rows]
        for row, keys in zip(rows, sources, strict=True):
            await remove_sandbox(
                row,
                engine=engine,
                instance=instance,
                runtime_dir=place.runtime_dir,
                keys=keys,
                rows=registry.sandboxes,
            )
    await engine.remove_instance(instance)
    Console(stderr=True).print(f"removed {len(rows)} sandboxes")


def _remove_directory(directory: Path) -> None:
    """Raises UsageError where something of it stays."""
    if not directory.exists():
        return
    try:
        shutil.rmtree(directory)
    except OSError as error:
        raise UsageError(f"{directory} could not be removed whole: {error}; remove the rest by hand") from error
