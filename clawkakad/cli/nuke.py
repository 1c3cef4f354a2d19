"""`clawkakad nuke`: take everything away but backups, after one typed word."""

import asyncio
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import aiohttp
import typer

from clawkakad.cli import remains
from clawkakad.cli.common import asked, clock, counted, say
from clawkakad.cli.keys import key_source
from clawkakad.cli.refusals import is_damage
from clawkakad.cli.trial import MARK, runtime_dir_of
from clawkakad.config import Place, load_place
from clawkakad.errors import EngineUnavailable, Rejected, UsageError
from clawkakad.model import SandboxId
from clawkakad.registry import FILE, locked, open_registry
from clawkakad.sandboxes import commands, image
from clawkakad.sandboxes.engine import Engine, open_engine
from clawkakad.sandboxes.modelkeys import KeySource, SharedKey
from clawkakad.sandboxes.paths import SandboxPaths, discard
from clawkakad.sandboxes.profile import container_name
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
    """Remove all containers, volumes and model keys of this installation, its sockets and its state, for good.

    Backups and the directories before-restore-… stay. The daemon must not run.
    """
    place = _place(load_place(), state, runtime)
    if not place.state_dir.exists():
        say(f"nothing to remove: {place.state_dir} does not exist")
        return
    remains.require_ours(place.state_dir)
    target = Target(place, images, keep_keys)
    if not yes:
        _ask(target)
    with locked(place.state_dir):
        asyncio.run(_remove(target))


def _ask(target: Target) -> None:
    place = target.place
    say("This removes, for good:")
    say("  - every assistant's sandbox with its memory (containers and volumes)")
    if not target.keep_keys:
        say("  - the model keys that were made for people at OpenRouter, if any")
    say(f"  - all people, messages and secrets in {place.state_dir}, and the sockets in {place.runtime_dir}")
    if target.images:
        say(f"  - the image {place.image} and its build stages, unless another installation uses it")
    say("Backups and the directories before-restore-… stay.")
    asked(lambda: bool(typer.prompt(f"Type {WORD} to go on", err=True) == WORD))


def _place(place: Place, state: Path | None, runtime: Path | None) -> Place:
    """What the options say, else the settings; a trial of `clawkakad try` knows where its own sockets are."""
    state_dir = state.absolute() if state else place.state_dir
    its_own = runtime_dir_of(state_dir) if (state_dir / MARK).exists() else place.runtime_dir
    return place.model_copy(update={"state_dir": state_dir, "runtime_dir": runtime.absolute() if runtime else its_own})


async def _remove(target: Target) -> None:
    try:
        async with open_engine(target.place.engine) as engine:
            await _remove_people(target, engine)
            await _remove_files(target.place, engine)
            if target.images:
                await _remove_image(target.place.image, engine)
    except EngineUnavailable as error:
        raise UsageError(f"{error}; start the Docker engine first, or its containers would stay behind") from error


async def _remove_people(target: Target, engine: Engine) -> None:
    """Sandboxes one by one, keys first; then whatever else carries our label."""
    instance = read_instance_id(target.place.state_dir)
    if instance is None:
        return
    try:
        rows = await _remove_sandboxes(target, engine, instance)
    except (UsageError, sqlite3.DatabaseError) as error:
        if not is_damage(error):
            raise
        _say_that_nobody_is_known(target, instance)
        parts = await engine.remove_instance(instance)
        say(f"removed {parts} containers and volumes")
    else:
        await engine.remove_instance(instance)
        say(f"removed {counted(rows, 'sandbox', 'sandboxes')}")


def _say_that_nobody_is_known(target: Target, instance: str) -> None:
    say("the registry is damaged: containers and volumes are found by their labels")
    if not target.keep_keys and (target.place.state_dir / remains.KEYS).is_dir():
        say(f"delete the keys named clawkaka-{instance}-… at OpenRouter by hand")


async def _remove_sandboxes(target: Target, engine: Engine, instance: str) -> int:
    """All that the registry names; how many there were."""
    place = target.place
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
    return len(rows)


async def _remove_files(place: Place, engine: Engine) -> None:
    """Sockets, then state. Raises UsageError where something of ours cannot be removed."""
    try:
        if any((place.state_dir / mark).exists() for mark in remains.MARKS):  # else these sockets are somebody else's
            for directory in remains.sandbox_directories(place.runtime_dir):
                # One that has a container still is of another installation.
                if await engine.inspect(container_name(SandboxId(directory.name))) is None:
                    discard(SandboxPaths(directory))
            say(remains.remove_from_runtime(place.runtime_dir))
        say(remains.remove_from_state(place.state_dir))
    except (OSError, RecursionError) as error:
        raise UsageError(f"not everything could be removed: {error}; remove the rest by hand") from error


async def _remove_image(name: str, engine: Engine) -> None:
    """The image, and what its build left for the next one. One that is in use is another installation's too."""
    if await engine.image_id(name) is None:
        return
    try:
        await engine.remove_image(name)
    except Rejected as error:
        in_use = "using" in str(error) or "in use" in str(error)
        say(f"kept the image {name}: {'another installation uses it' if in_use else error}")
        return
    say(f"removed the image {name}")
    with suppress(EngineUnavailable):  # no docker command here: the leavings stay in the cache
        await commands.ask("image", "prune", "--force", "--filter", f"label={image.STAGE_LABEL}")
