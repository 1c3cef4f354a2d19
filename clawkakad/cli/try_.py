"""`clawkakad try`: the whole path on this machine, with a simulated WhatsApp in place of Meta."""

import asyncio
import os
import shlex
import signal
import sys
import webbrowser
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from clawkakad.cli import conversation
from clawkakad.cli.child import free_port, running_child
from clawkakad.cli.common import ENGINE_ADVICE, clock, complain, say
from clawkakad.cli.progress import Progress
from clawkakad.cli.trial import DAEMON_PORT, DIRECTORY, PAGE_PORT, Trial, daemon_environ, opened_trial
from clawkakad.cli.welcome import Welcome
from clawkakad.config import load_settings
from clawkakad.errors import ClawkakaError, EngineUnavailable, UsageError
from clawkakad.registry import FILE, read_registry
from clawkakad.sandboxes.engine import open_engine
from clawkakad.simulator.knobs import Knobs
from clawkakad.simulator.people import Person
from clawkakad.simulator.server import Simulator, running_simulator

DEFAULT_PERSON, DEFAULT_NUMBER = "Asha", "+91 98765 43210"
FRESH = "Forget everything of earlier runs first, but for backups and what a restore moved aside (before-restore-…)."
STOPPING = "stopping the daemon (Ctrl-C again: at once)"


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    messages: list[str]
    state: Path
    port: int | None
    person: str
    browser: bool


def try_(
    messages: Annotated[
        list[str] | None,
        typer.Argument(
            help="Messages to send one after another; without any: a chat. After --, one may begin with a dash."
        ),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help=FRESH)] = False,
    state: Annotated[Path, typer.Option(help="Where everything is kept between runs.")] = DIRECTORY,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help=f"The chat page's port; default: {PAGE_PORT}, or a free one.")
    ] = None,
    person: Annotated[str, typer.Option(help="Who writes.")] = DEFAULT_PERSON,
    browser: Annotated[bool, typer.Option(help="Open the chat page in a browser, where there is one.")] = True,
) -> None:
    """Try it here and now: a simulated WhatsApp, the real daemon, a real sandbox. Nothing leaves this machine.

    (But for the model, if you set OPENROUTER_API_KEY, or MODEL_BASE_URL and MODEL: else the offline model answers.)
    """
    if any(not message.strip() for message in messages or []):
        raise UsageError("an empty message cannot be sent")
    options = Options(messages or [], state, port, person, browser)
    with opened_trial(state, fresh=fresh) as trial:
        code = asyncio.run(_run(trial, options))
        asyncio.run(_say_what_stays(trial))
    sys.exit(code)


async def _run(trial: Trial, options: Options) -> int:
    """The whole thing; the exit code. The first Ctrl-C stops in good order, a second one at once."""
    work = asyncio.ensure_future(_work(trial, options))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        return 130
    except conversation.NoReply as error:
        complain(error)
        return 1
    return 0


async def _work(trial: Trial, options: Options) -> None:
    async with _simulator(trial, options.port) as simulator:
        person = _person(simulator, options.person)
        port = free_port(DAEMON_PORT)
        environ = daemon_environ(trial, port=port, simulator_url=simulator.url, environ=os.environ)
        await _require_engine(load_settings(environ).engine)  # else one would wait for a sandbox in vain
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        async with AsyncExitStack() as stack:
            with Progress(console, "starting the daemon").shown() as starting:
                running = running_child(environ, trial.log, port=port, stopping=lambda: shown.say(STOPPING))
                shown = starting
                child = await starting.during(stack.enter_async_context(running))
            simulator.exchange.courier.url = child.webhook_url
            try:
                await _as_long_as(_talk(trial, options, simulator, person, console), child.process, trial.log)
            finally:
                with Progress(console, STOPPING).shown() as shown:
                    await shown.during(stack.aclose())


async def _require_engine(address: str) -> None:
    try:
        async with open_engine(address) as engine:
            await engine.version()
    except EngineUnavailable as error:
        raise UsageError(f"no Docker engine answers at {address}: {ENGINE_ADVICE}") from error


async def _talk(trial: Trial, options: Options, simulator: Simulator, person: Person, console: Console) -> None:
    if options.messages:
        await conversation.send_all(simulator.exchange, person, options.messages, trial.directory, trial.log)
        return
    has_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    welcome = Welcome(simulator.url, person, trial.log, os.environ)
    for line in welcome.lines("Or write here; /quit or Ctrl-D" if has_terminal else "Ctrl-C"):
        console.print(line)
    if not has_terminal:
        console.print("No terminal, so no chat here: write on that page, or give messages as arguments.")
    if options.browser and welcome.has_screen:
        webbrowser.open(welcome.link)
    if has_terminal:
        await conversation.chat(simulator.exchange, person)
    else:
        await asyncio.Event().wait()


async def _say_what_stays(trial: Trial) -> None:
    """Sandboxes outlive the daemon, so that the next start is quick."""
    with suppress(ClawkakaError):
        async with read_registry(trial.directory / FILE, clock) as registry:
            if not any(row.container_id for row in await registry.sandboxes.all()):  # a row alone takes no memory
                return
        where = "" if trial.directory == DIRECTORY.absolute() else f" --state {shlex.quote(str(trial.directory))}"
        say(f"The sandbox stays awake (about 0.9 GB of memory); scripts/nuke{where} takes it away.")


async def _as_long_as(work: Coroutine[Any, Any, None], process: asyncio.subprocess.Process, log: Path) -> None:
    """Do the work; raises ClawkakaError if the daemon ends meanwhile."""
    working = asyncio.ensure_future(work)
    ending = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait([working, ending], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClawkakaError(f"the daemon has ended; see {log}")
        await working
    finally:
        working.cancel()
        ending.cancel()
        await asyncio.gather(working, ending, return_exceptions=True)


@asynccontextmanager
async def _simulator(trial: Trial, port: int | None) -> AsyncIterator[Simulator]:
    """On the port that was asked for; on the usual one, or any, if none was."""
    chosen = port if port is not None else free_port(PAGE_PORT)
    knobs = Knobs(read_by_itself=True)
    async with running_simulator(trial.secrets, port=chosen, directory=trial.directory, knobs=knobs) as simulator:
        yield simulator


def _person(simulator: Simulator, name: str) -> Person:
    """The person of that name, of this run or an earlier one."""
    number = DEFAULT_NUMBER if name == DEFAULT_PERSON else None
    return simulator.exchange.people.named(name) or simulator.exchange.add_person(name, number)
