"""The machine, and what is set: settings, Python, our directories, the disk, memory."""

import asyncio
import contextlib
import os
import sqlite3
import sys
from pathlib import Path

from clawkakad.cli.checks import finding
from clawkakad.cli.checks.finding import Finding, Patient
from clawkakad.cli.common import counted
from clawkakad.config import names
from clawkakad.errors import ClawkakaError
from clawkakad.sandboxes.engine import open_engine
from clawkakad.sandboxes.hostmemory import host_memory
from clawkakad.sandboxes.profile import sealing_of
from clawkakad.sandboxes.room import GIB, Room, Space, room_at


async def settings(patient: Patient) -> Finding:
    if patient.settings is None:
        problems = "\n".join(_without_description(line) for line in patient.problems.splitlines())
        return Finding("fail", problems, "set these; the table is in the README")
    return Finding("ok", f"model: {patient.settings.model_kind.value}; access: {patient.settings.access.value}")


def _without_description(problem: str) -> str:
    """A setting that is missing fits in a line; what it is for is in the README."""
    return problem.removesuffix(f": {names().get(problem.partition(':')[0], '')}")


async def python(_: Patient) -> Finding:
    seen = f"Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}"
    return (
        Finding("ok", seen) if sqlite3.sqlite_version_info >= (3, 37) else Finding("fail", seen, "SQLite 3.37 or newer")
    )


async def state_directory(patient: Patient) -> Finding:
    return _private(patient.place.state_dir, "CLAWKAKA_STATE_DIR")


async def runtime_directory(patient: Patient) -> Finding:
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


async def disk(patient: Patient) -> Finding:
    """Of the registry, of the sockets and of the engine's data: whichever stands worst."""
    places = [patient.place.state_dir, patient.place.runtime_dir]
    if patient.engine_answers:
        with contextlib.suppress(ClawkakaError, TimeoutError):  # of the engine there is a check of its own
            async with asyncio.timeout(finding.DEADLINE_S), open_engine(patient.place.engine) as engine:
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


async def memory(patient: Patient) -> Finding:
    host = host_memory()
    limit = 1280
    if patient.settings is not None:
        sealing = sealing_of(patient.settings, "", 0, has_swap=host.has_swap)
        limit = sealing.memory_mb
    seen = f"{host.total_mb} MiB of memory, {host.swap_mb} MiB of swap"
    room = counted(max(0, host.total_mb - 300) // limit, "awake sandbox", "awake sandboxes")
    seen = f"{seen}: room for {room}"
    return Finding("ok", seen) if host.total_mb > limit + 300 else Finding("warn", seen, "a bigger server, or add swap")
