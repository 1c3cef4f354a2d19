"""`clawkakad doctor`: is everything there that the daemon needs? Each check says what to do where it is not."""

import asyncio
import contextlib
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import aiohttp
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from yarl import URL

from clawkakad.cli.common import ENGINE_ADVICE, clock, counted, plain
from clawkakad.cli.listing import LATELY, TRY_NOW
from clawkakad.cli.where import UNIT, environ_here, is_trial_here
from clawkakad.config import ModelKind, Place, Settings, load_place, load_settings, names
from clawkakad.errors import ClawkakaError, ConfigError, EngineUnavailable, GraphRejected, GraphUnavailable
from clawkakad.log import redact
from clawkakad.registry import FILE, overview, pauses, read_registry
from clawkakad.registry.pauses import Scope
from clawkakad.sandboxes.disk import NEARLY, Quota, in_words, share
from clawkakad.sandboxes.engine import open_engine
from clawkakad.sandboxes.hostmemory import host_memory
from clawkakad.sandboxes.orphans import orphans, serving
from clawkakad.sandboxes.profile import sealing_of
from clawkakad.sandboxes.room import GIB, Room, Space, room_at
from clawkakad.sandboxes.secrets import read_instance_id
from clawkakad.sandboxes.strays import unnamed
from clawkakad.sandboxes.upgradeplan import UNWELL
from clawkakad.whatsapp.errors import rule_of
from clawkakad.whatsapp.graph import GraphClient
from clawkakad.whatsapp.origin import Unreached

LOOK_AGAIN_S = 1.0  # a process may outlive its container for a moment
DEADLINE_S = 5.0  # of whoever is asked for something
LOCAL_S = 30.0  # of what is looked at here: a large registry is read whole
REFUSED = "look at WHATSAPP_SENDER_PHONE_NUMBER_ID and WHATSAPP_ACCESS_TOKEN"
MODEL_REFUSED = "look at MODEL_API_KEY, OPENROUTER_API_KEY and MODEL_BASE_URL"
SILENT = "try again; if it stays so, restart that part, or look at the way to it"
ONE_OF_ALL = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (every address to listen on, and the one to ask)
MARKS = {"ok": "[green]ok[/green]", "warn": "[yellow]look[/yellow]", "fail": "[red]no[/red]"}


@dataclass(frozen=True)
class Finding:
    """What one check found; `advice`: what to do about it."""

    verdict: Literal["ok", "warn", "fail"]
    seen: str
    advice: str = ""


@dataclass(frozen=True)
class Patient:
    """What is looked at. `settings` is None where they have problems, which then are the first finding.

    `engine_answers`: False where it was asked, and did not; then nothing else is asked of it.
    """

    place: Place
    settings: Settings | None
    problems: str
    is_trial: bool = False
    engine_answers: bool = True


UNASKED = Finding("warn", "not checked: the engine first")
Check = Callable[[Patient], Awaitable[Finding]]


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
        return UNASKED
    asked = _asked(name, patient)
    within_s = DEADLINE_S if asked else LOCAL_S
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
    return {"daemon": f"port {s.port}", "WhatsApp": s.api_base_url, "model": _model_url(s)}[name]


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
        return Finding("fail", f"{path} cannot be written by this user", "run doctor as root")
    mode = path.stat().st_mode & 0o777
    if mode & 0o007:
        return Finding("warn", f"{path} is open to everybody ({mode:o})", f"chmod o= {path}")
    return Finding("ok", f"{path} ({mode:o})")


async def _disk(patient: Patient) -> Finding:
    """Of the registry, of the sockets and of the engine's data: whichever stands worst."""
    places = [patient.place.state_dir, patient.place.runtime_dir]
    if patient.engine_answers:
        with contextlib.suppress(ClawkakaError, TimeoutError):  # of the engine there is a check of its own
            async with asyncio.timeout(DEADLINE_S), open_engine(patient.place.engine) as engine:
                places.append(Path(await engine.root_dir()))
    rooms = {path: room for path in places if (room := room_at(path)) is not None}
    if not rooms:
        rooms = {Path("/"): room_at(Path("/")) or Room(0, 0)}
    path, room = max(rooms.items(), key=lambda item: (item[1].space(), -item[1].share))
    seen = f"{room.free / GIB:.1f} GB free at {path} ({room.share:.0%})"
    if room.space() is Space.FULL:
        return Finding("fail", seen, "free some space now: messages cannot be stored on a full disk")
    low = "free some space: no new sandbox is made until there is more"
    return Finding("warn", seen, low) if room.space() is Space.LOW else Finding("ok", seen)


async def _sandbox_disks(patient: Patient) -> Finding:
    if not (patient.place.state_dir / FILE).exists():
        return Finding("ok", "none yet")
    async with read_registry(patient.place.state_dir / FILE, clock) as registry:
        disks, rows = await registry.disks.all(), await registry.sandboxes.all()
    full = [f"{one}: {in_words(disk)}, stopped" for one, disk in disks.items() if disk.full_at is not None]
    nearly = [
        f"{one}: {in_words(disk)}"
        for one, disk in disks.items()
        if disk.full_at is None and share(disk, Quota(disk.quota)) >= NEARLY
    ]
    if full or nearly:
        advice = "clawkakad sandbox retry gives it time to clean up; or raise CLAWKAKA_SANDBOX_DISK_MB"
        return Finding("warn", "\n".join(full + nearly), advice)
    total = sum(disk.bytes for disk in disks.values())
    new = [f"{counted(len(rows) - len(disks), 'sandbox', 'sandboxes')} not measured yet"] * (len(rows) > len(disks))
    seen = [f"{counted(len(disks), 'sandbox', 'sandboxes')} measured, {total / GIB:.1f} GB in all"] * bool(disks)
    return Finding("ok", "; ".join(seen + new) or "none yet")


async def _sandboxes(patient: Patient) -> Finding:
    """Those that do not run as they should; of full disks there is a check of its own."""
    if not (patient.place.state_dir / FILE).exists():
        return Finding("ok", "none yet")
    async with read_registry(patient.place.state_dir / FILE, clock) as registry:
        disks, rows = await registry.disks.all(), await registry.sandboxes.all()
    full = {one for one, disk in disks.items() if disk.full_at is not None}
    unwell = [row for row in rows if row.state in UNWELL and row.id not in full and not row.remove_wanted]
    if not unwell:
        return Finding("ok", "none parked, none unhealthy")
    lines = [
        f"{row.id}{'' if row.user_id else ' (a spare)'}: {row.state.value}: {redact(row.reason)}" for row in unwell
    ]
    advice = "the daemon tries it again, and replaces it after an hour"
    if any(row.user_id for row in unwell):
        advice = "clawkakad sandbox retry USER (its id will do)"
    return Finding("warn", "\n".join(lines), advice)


async def _orphans(patient: Patient) -> Finding:
    """Processes of containers that are gone: looked at twice, since an end takes a moment."""
    if not patient.place.engine.startswith("unix://"):
        return Finding("ok", "not checked: the engine is elsewhere")
    async with open_engine(patient.place.engine) as engine:
        seen = orphans(await asyncio.to_thread(lambda: list(serving())), await engine.ids())
        if seen:
            await asyncio.sleep(LOOK_AGAIN_S)
            known = await engine.ids()
            seen = [one for one in orphans(await asyncio.to_thread(lambda: list(serving())), known) if one in seen]
    if not seen:
        return Finding("ok", "none")
    lines = [f"{one.program} (process {one.pid}) of container {one.container_id[:12]}, which is gone" for one in seen]
    return Finding("warn", "\n".join(lines), f"kill {' '.join(str(one.pid) for one in seen)}")


async def _strays(patient: Patient) -> Finding:
    """Sandboxes that no row names: a restore may leave some behind."""
    instance = read_instance_id(patient.place.state_dir)
    if instance is None or not (patient.place.state_dir / FILE).exists():
        return Finding("ok", "not checked: no registry yet")
    async with (
        read_registry(patient.place.state_dir / FILE, clock) as registry,
        open_engine(patient.place.engine) as engine,
    ):
        found = await unnamed(engine, instance, registry.sandboxes.all)
    lines = [f"{name}: a container that is nobody's in the registry" for name in found.containers]
    lines += [f"{name}: a volume that is nobody's in the registry" for name in found.volumes]
    if not lines:
        return Finding("ok", "none")
    commands = [f"docker rm -f {' '.join(found.containers)}"] if found.containers else []
    commands += [f"docker volume rm {' '.join(found.volumes)}"] if found.volumes else []
    return Finding("warn", "\n".join(lines), f"if nobody misses what is in them: {'; '.join(commands)}")


async def _memory(patient: Patient) -> Finding:
    host = host_memory()
    limit = 1280
    if patient.settings is not None:
        sealing = sealing_of(patient.settings, "", 0, has_swap=host.has_swap)
        limit = sealing.memory_mb
    seen = f"{host.total_mb} MiB of memory, {host.swap_mb} MiB of swap"
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
    if any(problem.startswith("DOCKER_HOST:") for problem in patient.problems.splitlines()):
        return Finding("warn", "not checked: settings first")
    try:
        async with open_engine(patient.place.engine) as engine:
            return Finding("ok", f"Docker Engine {await engine.version()}")
    except EngineUnavailable:
        return Finding("fail", f"no engine answers at {patient.place.engine}", ENGINE_ADVICE)


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
        return Finding("fail", "the registry is damaged", "stop the daemon, then clawkakad restore FILE, of a backup")
    return Finding("ok", f"sound; {counted(people, 'person', 'people')}")


async def _daemon(patient: Patient) -> Finding:
    if patient.settings is None:
        return Finding("warn", "not checked: settings first")
    try:
        status = await _get(_health_url(patient.settings), {})
    except (aiohttp.ClientError, OSError):
        return Finding("warn", f"nothing answers on port {patient.settings.port}", _start(patient))
    if status != 200:
        return Finding("fail", f"answers {status}", _log(patient))
    return Finding("ok", "running")


def _log(patient: Patient) -> str:
    return "journalctl -u clawkakad -n 50" if UNIT.exists() and not patient.is_trial else "look at its log"


def _health_url(s: Settings) -> URL:
    return URL.build(scheme="http", host=ONE_OF_ALL.get(s.host, s.host), port=s.port, path="/healthz")


async def _messages(patient: Patient) -> Finding:
    if not (patient.place.state_dir / FILE).exists():
        return Finding("ok", "none yet")
    now = clock()
    async with read_registry(patient.place.state_dir / FILE, clock) as registry:
        paused = await registry.db.read(pauses.current)
        counts = await registry.db.read(lambda tx: overview.counts(tx, now - LATELY))
    for pause in paused:
        what = "sending is paused" if pause.scope is Scope.ALL else "sending of templates is paused"
        advice = "; then it ".join(filter(None, (rule_of(pause.code).advice, "goes on by itself")))
        return Finding("fail", f"{what}: {redact(pause.reason)}", f"{advice}, {TRY_NOW}")
    return _in_trouble(counts)


def _in_trouble(counts: overview.Counts) -> Finding:
    """Messages that nobody but the operator can help, if any."""
    troubles = {
        "of unknown outcome": counts.ambiguous + counts.unknown,
        "failed in the last day": counts.failed,
        "parked in the last day": counts.parked,
    }
    seen = [f"{count} {what}" for what, count in troubles.items() if count]
    held = [f"{counts.window} held until their people write"] if counts.window else []
    if not seen:
        return Finding("ok", ", ".join(held) or "none held, none failed")
    commands = ["clawkakad outbox list"] * (counts.parked != sum(troubles.values()))
    commands += ["clawkakad inbox list"] * bool(counts.parked)
    return Finding("warn", ", ".join(seen + held), "; ".join(commands))


def _start(patient: Patient) -> str:
    if patient.is_trial:
        return "scripts/try"
    return "systemctl start clawkakad" if UNIT.exists() else "clawkakad run"


async def _whatsapp(patient: Patient) -> Finding:
    if patient.settings is None:
        return Finding("warn", "not checked: settings first")
    try:
        async with contextlib.aclosing(GraphClient.of(patient.settings)) as graph:
            await graph.probe()
    except GraphRejected as error:
        return Finding("fail", redact(str(error)), rule_of(error.code).advice or REFUSED)
    except GraphUnavailable as error:
        if patient.is_trial and isinstance(error.__cause__, Unreached):
            return Finding("warn", "the simulated one does not run", _start(patient))
        return Finding("fail", redact(str(error)), "try again later")
    return Finding("ok", "reached, and takes the token and the number's id")


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
    status = await _get(_model_url(s), headers)
    if status != 200:
        return Finding("fail", f"answers {status}", MODEL_REFUSED if status < 500 else SILENT)
    return Finding("ok", f"{s.model_kind.value}: reached")


def _model_url(s: Settings) -> str:
    return f"{s.model_base_url or s.openrouter_base_url}/models"


async def _get(url: str | URL, headers: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers, allow_redirects=False) as answer:
        return answer.status


CHECKS: dict[str, Check] = {
    "settings": _settings,
    "python": _python,
    "state directory": _state,
    "runtime directory": _runtime,
    "disk": _disk,
    "sandboxes": _sandboxes,
    "sandbox disks": _sandbox_disks,
    "memory": _memory,
    "engine": _engine,
    "sleep": _sleep,
    "sandbox image": _image,
    "orphan processes": _orphans,
    "stray sandboxes": _strays,
    "registry": _registry,
    "daemon": _daemon,
    "messages": _messages,
    "WhatsApp": _whatsapp,
    "model": _model,
}
ELSEWHERE = ("engine", "daemon", "WhatsApp", "model")
OF_THE_ENGINE = ("sleep", "sandbox image", "orphan processes", "stray sandboxes")
TOGETHER = (ELSEWHERE, ("disk", *OF_THE_ENGINE))
