"""`clawkakad doctor`: is everything there that the daemon needs? Each check says what to do where it is not."""

import asyncio
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import replace

import aiohttp
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from clawkakad.cli.checks import engine, finding, host, network, registry
from clawkakad.cli.checks.finding import ENGINE_FIRST, Check, Finding, Patient
from clawkakad.cli.checks.network import SILENT
from clawkakad.cli.common import ENGINE_ADVICE, plain
from clawkakad.cli.where import environ_here, is_trial_here
from clawkakad.config import Place, load_place, load_settings
from clawkakad.errors import ClawkakaError, ConfigError

LOCAL_S = 30.0  # of what is looked at here: a large registry is read whole
MARKS = {"ok": "[green]ok[/green]", "warn": "[yellow]look[/yellow]", "fail": "[red]no[/red]"}

CHECKS: dict[str, Check] = {
    "settings": host.settings,
    "python": host.python,
    "state directory": host.state_directory,
    "runtime directory": host.runtime_directory,
    "disk": host.disk,
    "sandboxes": registry.sandboxes,
    "sandbox disks": registry.sandbox_disks,
    "memory": host.memory,
    "engine": engine.engine,
    "sleep": engine.sleep,
    "sandbox image": engine.image,
    "orphan processes": engine.orphan_processes,
    "stray sandboxes": engine.stray_sandboxes,
    "registry": registry.registry,
    "daemon": network.daemon,
    "messages": registry.messages,
    "WhatsApp": network.whatsapp,
    "model": network.model,
}
ELSEWHERE = ("engine", "daemon", "WhatsApp", "model")
OF_THE_ENGINE = ("sleep", "sandbox image", "orphan processes", "stray sandboxes")
TOGETHER = (ELSEWHERE, ("disk", *OF_THE_ENGINE))


def doctor(context: typer.Context) -> None:
    """Check this machine and this installation; exit code 1 where something must be done."""
    if context.invoked_subcommand is None and not asyncio.run(_examine()):
        raise typer.Exit(1)


async def _examine() -> bool:
    findings = await _findings(_patient())
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # names of settings are never cut off
    for name in CHECKS:
        table.add_row(name, MARKS[findings[name].verdict], _lines(findings[name]))
    Console().print(table)
    return all(finding.verdict != "fail" for finding in findings.values())


async def _findings(patient: Patient) -> dict[str, Finding]:
    """Of all checks. Those that wait for others do so side by side; one that computes would make them late."""
    found: dict[str, Finding] = {}
    with Console(stderr=True).status("") as shown:  # on a terminal: one may wait for some seconds
        for names in (*TOGETHER, *([name] for name in CHECKS if not any(name in names for names in TOGETHER))):
            shown.update(f"{', '.join(names)} …")
            found |= zip(names, await asyncio.gather(*(_bounded(name, patient) for name in names)), strict=True)
            patient = replace(patient, engine_answers=found["engine"].verdict == "ok")
    return found


def _lines(finding: Finding) -> Text:
    advice = [f"→ {finding.advice}"] if finding.advice else []
    return Text("\n").join(plain(line) for line in [*finding.seen.splitlines(), *advice])


def _patient() -> Patient:
    is_trial = is_trial_here(os.environ)
    environ = environ_here()
    try:
        settings = load_settings(environ)
    except ConfigError as error:
        return Patient(_place(environ, str(error)), None, str(error), is_trial)
    return Patient(load_place(environ), settings, "", is_trial)


def _place(environ: Mapping[str, str], problems: str) -> Place:
    """What the rest is checked at: as if nothing were set that has a problem."""
    wrong = {problem.partition(":")[0] for problem in problems.splitlines()} | {"CREDENTIALS_DIRECTORY"}
    try:
        return load_place(environ)
    except ConfigError:
        return load_place({k: v for k, v in environ.items() if not {k, k.removesuffix("_FILE")} & wrong})


async def _bounded(name: str, patient: Patient) -> Finding:
    if not patient.engine_answers and name in OF_THE_ENGINE:
        return ENGINE_FIRST
    asked = _asked(name, patient)
    within_s = finding.DEADLINE_S if asked else LOCAL_S
    try:
        async with asyncio.timeout(within_s):
            return await CHECKS[name](patient)
    except TimeoutError:
        advice = ENGINE_ADVICE if name == "engine" else SILENT
        return Finding("fail", f"{asked or name} did not answer within {within_s:g} s", advice)
    except (ClawkakaError, OSError, aiohttp.ClientError, sqlite3.Error) as error:
        return Finding("fail", str(error) or type(error).__name__)


def _asked(name: str, patient: Patient) -> str:
    """The address that a check asks; nothing where it looks at what is here."""
    s = patient.settings
    if name in OF_THE_ENGINE or name == "engine":
        return patient.place.engine
    if s is None or name not in ELSEWHERE:
        return ""
    return {"daemon": f"port {s.port}", "WhatsApp": s.api_base_url, "model": network.model_url(s)}[name]
