"""`clawkakad doctor`: is everything there that the daemon needs? Each check says what to do where it is not."""

import asyncio
import os
import shutil
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aiohttp
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clawkakad.cli.common import clock, counted, plain
from clawkakad.cli.listing import LATELY
from clawkakad.cli.where import environ_here, is_trial_here
from clawkakad.config import ModelKind, Place, Settings, load_place, load_settings, names
from clawkakad.errors import ClawkakaError, ConfigError
from clawkakad.registry import FILE, overview, pauses, read_registry
from clawkakad.registry.pauses import Scope
from clawkakad.sandboxes.engine import open_engine
from clawkakad.sandboxes.hostmemory import host_memory
from clawkakad.sandboxes.profile import sealing_of
from clawkakad.whatsapp.errors import rule_of

LOW_DISK, FULL_DISK = 0.15, 0.05  # share of the disk that is free
DEADLINE_S = 10.0
MARKS = {"ok": "[green]ok[/green]", "warn": "[yellow]look[/yellow]", "fail": "[red]no[/red]"}


@dataclass(frozen=True)
class Finding:
    """What one check found; `advice`: what to do about it."""

    verdict: Literal["ok", "warn", "fail"]
    seen: str
    advice: str = ""


@dataclass(frozen=True)
class Patient:
    """What is looked at. `settings` is None where they have problems, which then are the first finding."""

    place: Place
    settings: Settings | None
    problems: str
    is_trial: bool = False


Check = Callable[[Patient], Awaitable[Finding]]


def doctor(context: typer.Context) -> None:
    """Check this machine and this installation; exit code 1 where something must be done."""
    if context.invoked_subcommand is None and not asyncio.run(_examine()):
        raise typer.Exit(1)


async def _examine() -> bool:
    patient = _patient()
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # names of settings are never cut off
    healthy = True
    for name, check in CHECKS.items():
        finding = await _bounded(check, patient)
        healthy = healthy and finding.verdict != "fail"
        table.add_row(name, MARKS[finding.verdict], _lines(finding))
    Console().print(table)
    return healthy


def _lines(finding: Finding) -> Text:
    advice = [f"→ {finding.advice}"] if finding.advice else []
    return Text("\n").join(plain(line) for line in [*finding.seen.splitlines(), *advice])


def _patient() -> Patient:
    is_trial = is_trial_here(os.environ)
    environ = environ_here()
    try:
        settings = load_settings(environ)
    except ConfigError as error:
        return Patient(load_place(environ), None, str(error), is_trial)
    return Patient(load_place(environ), settings, "", is_trial)


async def _bounded(check: Check, patient: Patient) -> Finding:
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await check(patient)
    except TimeoutError:
        return Finding("fail", f"no answer within {DEADLINE_S:g} s", "try again; if it stays so, restart that part")
    except (ClawkakaError, OSError, aiohttp.ClientError, sqlite3.Error) as error:
        return Finding("fail", str(error) or type(error).__name__)


async def _settings(patient: Patient) -> Finding:
    if patient.settings is None:
        problems = "\n".join(_without_description(line) for line in patient.problems.splitlines())
        return Finding("fail", problems, "set these; the table is in the README")
    return Finding("ok", f"model: {patient.settings.model_kind.value}; access: {patient.settings.access.value}")


def _without_description(problem: str) -> str:
    """A setting that is missing fits in a line; what it is for is in the README."""
    return problem.removesuffix(f": {names().get(problem.partition(':')[0], '')}")


async def _python(_: Patient) -> Finding:
    seen = f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}"
    return (
        Finding("ok", seen) if sqlite3.sqlite_version_info >= (3, 37) else Finding("fail", seen, "SQLite 3.37 or newer")
    )


async def _state(patient: Patient) -> Finding:
    return _private(patient.place.state_dir, "CLAWKAKA_STATE_DIR")


async def _runtime(patient: Patient) -> Finding:
    return _private(patient.place.runtime_dir, "CLAWKAKA_RUNTIME_DIR")


def _private(path: Path, setting: str) -> Finding:
    if not path.is_dir():
        return Finding("warn", f"{path} does not exist yet", f"the daemon makes it; or set {setting}")
    if not os.access(path, os.W_OK | os.X_OK):
        return Finding("fail", f"{path} cannot be written by this user", "run doctor as the daemon's user")
    mode = path.stat().st_mode & 0o777
    if mode & 0o007:
        return Finding("warn", f"{path} is open to everybody ({mode:o})", f"chmod o= {path}")
    return Finding("ok", f"{path} ({mode:o})")


async def _disk(patient: Patient) -> Finding:
    path = patient.place.state_dir if patient.place.state_dir.exists() else Path("/")
    usage = shutil.disk_usage(path)
    share = usage.free / usage.total
    seen = f"{usage.free / 1e9:.0f} GB free ({share:.0%})"
    if share < FULL_DISK:
        return Finding("fail", seen, "free some space now: messages cannot be stored on a full disk")
    return Finding("warn", seen, "free some space soon") if share < LOW_DISK else Finding("ok", seen)


async def _memory(patient: Patient) -> Finding:
    host = host_memory()
    limit = 1280
    if patient.settings is not None:
        sealing = sealing_of(patient.settings, "", 0, has_swap=host.has_swap)
        limit = sealing.memory_mb
    seen = f"{host.total_mb} MB of memory, {host.swap_mb} MB of swap"
    room = counted(max(0, host.total_mb - 300) // limit, "awake sandbox", "awake sandboxes")
    seen = f"{seen}: room for {room}"
    return Finding("ok", seen) if host.total_mb > limit + 300 else Finding("warn", seen, "a bigger server, or add swap")


async def _sleep(patient: Patient) -> Finding:
    """What becomes of the memory of a sandbox that nobody needs."""
    if patient.settings is None:
        return Finding("warn", "not checked: settings first")
    if not patient.settings.doze_after_minutes:
        return Finding("ok", "sandboxes do not doze: CLAWKAKA_DOZE_AFTER_MINUTES=0")
    async with open_engine(patient.place.engine) as engine:
        cgroups = await engine.cgroups()
    host, kind = host_memory(), f"cgroup v{cgroups.version}"
    if not host.has_swap:
        seen = f"{kind}, no swap: sandboxes that doze keep their memory"
        return Finding("warn", seen, "add a swap file, about 1 GB for each person: README, Sleep")
    if not cgroups.swap:
        seen = f"{kind}, and this kernel does not limit swap: sandboxes that doze keep their memory"
        return Finding("warn", seen, "boot it with swapaccount=1")
    steps = "great steps, a failed one costs nothing" if cgroups.version == "1" else "small steps, each checked"
    return Finding("ok", f"{kind}: the memory of sandboxes that doze goes to swap, in {steps}")


async def _engine(patient: Patient) -> Finding:
    async with open_engine(patient.place.engine) as engine:
        return Finding("ok", f"Docker Engine {await engine.version()}")


async def _image(patient: Patient) -> Finding:
    async with open_engine(patient.place.engine) as engine:
        image_id = await engine.image_id(patient.place.image)
    if image_id is None:
        return Finding("fail", f"{patient.place.image} is not here", "clawkakad image build")
    return Finding("ok", f"{patient.place.image} ({image_id.removeprefix('sha256:')[:12]})")


async def _registry(patient: Patient) -> Finding:
    if not (patient.place.state_dir / FILE).exists():
        return Finding("warn", "no registry yet", f"start the daemon once: {_start(patient)}")
    async with read_registry(patient.place.state_dir / FILE, clock) as registry:
        row = await registry.db.one("PRAGMA quick_check")
        people = len(await registry.users.all())
    if row is None or row[0] != "ok":
        return Finding("fail", "the registry is damaged", "stop the daemon and restore a backup")
    return Finding("ok", f"sound; {counted(people, 'person', 'people')}")


async def _daemon(patient: Patient) -> Finding:
    if patient.settings is None:
        return Finding("warn", "not checked: settings first")
    url = f"http://127.0.0.1:{patient.settings.port}/healthz"
    try:
        status = await _get(url, {})
    except (aiohttp.ClientError, OSError):
        return Finding("warn", f"nothing answers on port {patient.settings.port}", _start(patient))
    return Finding("ok", "running") if status == 200 else Finding("fail", f"answers {status}", "look at its log")


async def _messages(patient: Patient) -> Finding:
    if not (patient.place.state_dir / FILE).exists():
        return Finding("ok", "none yet")
    now = clock()
    async with read_registry(patient.place.state_dir / FILE, clock) as registry:
        paused = await registry.db.read(pauses.current)
        counts = await registry.db.read(lambda tx: overview.counts(tx, now - LATELY))
    for pause in paused:
        what = "sending is paused" if pause.scope is Scope.ALL else "sending of templates is paused"
        return Finding("fail", f"{what}: {pause.reason}", rule_of(pause.code).advice)
    return _in_trouble(counts)


def _in_trouble(counts: overview.Counts) -> Finding:
    """Messages that nobody but the operator can help, if any."""
    troubles = {
        "of unknown outcome": counts.ambiguous + counts.unknown,
        "failed in the last day": counts.failed,
        "parked": counts.parked,
    }
    seen = [f"{count} {what}" for what, count in troubles.items() if count]
    held = [f"{counts.window} held until their people write"] if counts.window else []
    if not seen:
        return Finding("ok", ", ".join(held) or "none held, none failed")
    commands = ["clawkakad outbox list"] * (troubles["parked"] != sum(troubles.values()))
    commands += ["clawkakad inbox list"] * bool(counts.parked)
    return Finding("warn", ", ".join(seen + held), "; ".join(commands))


def _start(patient: Patient) -> str:
    return "scripts/try" if patient.is_trial else "clawkakad run"


async def _whatsapp(patient: Patient) -> Finding:
    if patient.settings is None:
        return Finding("warn", "not checked: settings first")
    s = patient.settings
    headers = {"Authorization": f"Bearer {s.access_token.get_secret_value()}"}
    try:
        status = await _get(f"{s.api_base_url}/{s.api_version}/{s.phone_number_id}", headers)
    except (aiohttp.ClientError, OSError):
        if not patient.is_trial:
            raise
        return Finding("warn", "the simulated one does not run", _start(patient))
    if status == 401:
        return Finding("fail", "the access token is refused", "make a new system user token")
    return Finding("ok", "reached") if status < 500 else Finding("fail", f"answers {status}", "try again later")


async def _model(patient: Patient) -> Finding:
    if patient.settings is None:
        return Finding("warn", "not checked: settings first")
    s = patient.settings
    if s.model_kind is ModelKind.OFFLINE:
        return Finding(
            "warn", "the offline model: fixed rules, no intelligence", "set OPENROUTER_API_KEY, or MODEL_BASE_URL"
        )
    key = s.model_api_key if s.model_base_url else s.openrouter_api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    status = await _get(f"{s.model_base_url or s.openrouter_base_url}/models", headers)
    return Finding("ok", f"{s.model_kind.value}: reached") if status == 200 else Finding("fail", f"answers {status}")


async def _get(url: str, headers: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers, allow_redirects=False) as answer:
        return answer.status


CHECKS: dict[str, Check] = {
    "settings": _settings,
    "python": _python,
    "state directory": _state,
    "runtime directory": _runtime,
    "disk": _disk,
    "memory": _memory,
    "engine": _engine,
    "sleep": _sleep,
    "sandbox image": _image,
    "registry": _registry,
    "daemon": _daemon,
    "messages": _messages,
    "WhatsApp": _whatsapp,
    "model": _model,
}
