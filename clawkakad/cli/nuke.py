"""`clawkakad nuke`: take everything away, after one typed word."""

import asyncio
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from clawkakad.config import load_place
from clawkakad.errors import EngineUnavailable, UsageError
from clawkakad.registry import locked
from clawkakad.sandboxes.engine import open_engine
from clawkakad.sandboxes.secrets import read_instance_id

WORD = "nuke"


def nuke(
    state: Annotated[Path | None, typer.Option(help="The state directory; default: CLAWKAKA_STATE_DIR.")] = None,
    runtime: Annotated[Path | None, typer.Option(help="The runtime directory; default: CLAWKAKA_RUNTIME_DIR.")] = None,
    images: Annotated[bool, typer.Option("--images", help="Remove the sandbox image too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove all containers and volumes of this installation, its sockets and its state. There is no way back."""
    place = load_place()
    state_dir, runtime_dir = state or place.state_dir, runtime or place.runtime_dir
    if not state_dir.exists():
        Console(stderr=True).print(f"nothing to remove: {state_dir} does not exist")
        return
    if not yes:
        typer.echo(f"This removes every assistant's memory and all messages under {state_dir}, for good.", err=True)
        if typer.prompt(f"Type {WORD} to go on", err=True) != WORD:
            raise UsageError("nothing was removed")
    with locked(state_dir):
        asyncio.run(_remove(place.engine, state_dir, runtime_dir, place.image if images else None))


async def _remove(engine_address: str, state_dir: Path, runtime_dir: Path, image: str | None) -> None:
    say = Console(stderr=True).print
    instance = read_instance_id(state_dir)
    if instance is not None:
        try:
            async with open_engine(engine_address) as engine:
                removed = await engine.remove_instance(instance)
                say(f"removed {removed} containers and volumes")
                if image is not None:
                    await engine.remove_image(image)
                    say(f"removed the image {image}")
        except EngineUnavailable as error:
            raise UsageError(f"{error}; start the Docker engine first, or its containers would stay behind") from error
    for directory in (runtime_dir, state_dir):
        shutil.rmtree(directory, ignore_errors=True)
        say(f"removed {directory}")
