"""`clawkakad image`: builds the sandbox image, and shows how it goes.

On a terminal a bar with the current step; elsewhere a line for each step. Nothing here decides what is built.
"""

import asyncio
import ssl
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from clawkakad.cli.common import harmless
from clawkakad.errors import ClawkakaError, ImageBuildFailed, UsageError
from clawkakad.sandboxes import image, image_build
from clawkakad.sandboxes.image import Step

app = typer.Typer(help="Build the sandbox image.", no_args_is_help=True)

HOST_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
"""What the build trusts where nothing else is asked for: the same as the host."""


def certificates(text: str) -> Path:
    """The path of a file of CA certificates. Raises UsageError for any other: the build would find out at its end."""
    path = Path(text)
    store = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        store.load_verify_locations(path)
        why = "" if store.cert_store_stats()["x509"] else "it holds no certificate"
    except ssl.SSLError:
        why = "it holds no certificate, or a broken one"
    except OSError as error:
        why = error.strerror or type(error).__name__
    if why:
        raise UsageError(f"{path} is of no use as --ca-bundle (or SSL_CERT_FILE, NODE_EXTRA_CA_CERTS): {why}")
    return path


@app.callback()
def _image() -> None:
    """Build the sandbox image."""


@app.command()
def build(
    force: Annotated[
        bool, typer.Option("--force", help="Build even if nothing changed, from a fresh base: brings updates in.")
    ] = False,
    tag: Annotated[str, typer.Option(envvar="CLAWKAKA_IMAGE", help="The image's name.")] = image.DEFAULT_TAG,
    source: Annotated[
        Path | None, typer.Option(help="The directory with the Dockerfile.", exists=True, file_okay=False)
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="An image to build on, instead of debian:bookworm-slim or one made here.")
    ] = None,
    ca_bundle: Annotated[
        Path | None,
        typer.Option(
            envvar=["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"],
            parser=certificates,
            metavar="<file>",
            help="CA certificates that the build trusts, not the image. Default: what this host trusts.",
        ),
    ] = None,
) -> None:
    """Build the sandbox image, unless it is up to date."""
    order = image_build.Order(
        source=(source or image.source_directory()).resolve(),
        tag=tag,
        base=base,
        ca_bundle=ca_bundle or (HOST_BUNDLE if HOST_BUNDLE.is_file() else None),
        fresh=force,
    )
    try:
        asyncio.run(_build(order))
    except ImageBuildFailed as error:
        for line in error.output:
            typer.echo(f"  {harmless(line)}", err=True)
        _fail(error)
    except ClawkakaError as error:
        _fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _fail(error: ClawkakaError) -> None:
    typer.echo(f"clawkakad: {error}", err=True)
    raise typer.Exit(1) from error


async def _build(order: image_build.Order) -> None:
    if not order.fresh:
        found = await image_build.existing(order)
        if found is not None:
            typer.echo(f"{found.tag} is up to date ({_megabytes(found.size)})")
            return
    started = time.monotonic()
    display = _Bar() if sys.stderr.isatty() else _Lines()
    with display.shown:
        built = await image_build.build(order, display)
    typer.echo(f"{built.tag} is built ({_megabytes(built.size)}, {time.monotonic() - started:.0f} s)")
    typer.echo("sandboxes that were ready with another one keep it until: clawkakad sandbox upgrade --all", err=True)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"


class _Lines:
    """For logs and pipes: a line for each step, when it begins."""

    shown: AbstractContextManager[object] = nullcontext()

    def step(self, step: Step) -> None:
        count = f"step {step.number}/{step.total}: " if step.total else ""
        typer.echo(f"image: {count}{step.text}", err=True)

    def line(self, line: str) -> None:
        """Shown only when the build fails, as its last lines."""


class _Bar:
    """For terminals: a spinner, the step in words, a bar, the time."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID = self._progress.add_task("Preparing the build", total=None, count="")
        self.shown: AbstractContextManager[object] = self._progress

    def step(self, step: Step) -> None:
        count = f"{step.number}/{step.total}" if step.total else ""
        self._progress.update(
            self._task, description=step.text, total=step.total or None, completed=max(0, step.number - 1), count=count
        )

    def line(self, line: str) -> None:
        """Too fast to read; the bar says which step it is."""
