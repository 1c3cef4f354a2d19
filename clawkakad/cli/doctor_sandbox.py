"""`clawkakad doctor sandbox`: is every container sealed as its profile wants it? Each row that is not is told.

Only looks, whether a daemon runs or not. What differs is made right by making the container again: its data is in a
volume, and stays.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from clawkakad.assistant.who import find_user, label
from clawkakad.cli import doctor
from clawkakad.cli.common import clock, counted, harmless, plain
from clawkakad.cli.where import environ_here
from clawkakad.config import Settings, load_settings
from clawkakad.errors import ImageMissing, UsageError
from clawkakad.model import SandboxId, UserId
from clawkakad.registry import FILE, Registry, read_registry
from clawkakad.sandboxes.audit import Facts, Given, audit, rows
from clawkakad.sandboxes.auditwords import Finding
from clawkakad.sandboxes.engine import Engine, open_engine
from clawkakad.sandboxes.hostmemory import host_memory
from clawkakad.sandboxes.paths import SandboxPaths, paths_of, socket_gid
from clawkakad.sandboxes.profile import container_body, container_name, sealing_of
from clawkakad.sandboxes.secrets import read_instance_id

NO_ROW = "nobody in the registry"

app = typer.Typer(name="doctor")
app.callback(invoke_without_command=True)(doctor.doctor)


@dataclass(frozen=True)
class Audited:
    """One sandbox that was looked at. `compared`: how many rows, or None where there is no container."""

    id: SandboxId
    whose: str
    compared: int | None
    findings: Sequence[Finding]


@app.command()
def sandbox(
    user: Annotated[
        str | None, typer.Argument(help="A user id, a sandbox id, a phone number, or a name; default: everybody.")
    ] = None,
) -> None:
    """Check that every container is sealed as it should be; exit code 1 where one is not."""
    audited = asyncio.run(_audit_all(load_settings(environ_here()), user))
    console = Console()
    if not audited:
        console.print("there are no sandboxes yet")
        return
    console.print(_overview(audited))
    different = [one for one in audited if one.findings]
    for one in different:
        console.print()
        console.print(plain(f"{one.id} ({one.whose})"))
        console.print(_differences(one.findings))
        console.print(plain(f"→ docker rm -f {container_name(one.id)}: it is made again when needed, its data stays"))
    if different:
        raise typer.Exit(1)


def _overview(audited: Sequence[Audited]) -> Table:
    table = Table("sandbox", "whose", "sealed", box=None, pad_edge=False)
    for one in audited:
        table.add_row(*(plain(cell) for cell in (one.id, one.whose, _verdict(one))))
    return table


def _verdict(one: Audited) -> str:
    if one.compared is None:
        return "no container"
    if one.findings:
        return f"no: {counted(len(one.findings), 'row differs', 'rows differ')}"
    return f"yes, {one.compared} rows"


def _differences(findings: Sequence[Finding]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("row", "wanted", "found"):
        table.add_column(heading, overflow="fold")  # nothing is cut off, however narrow
    for finding in findings:
        table.add_row(*(plain(cell) for cell in (finding.row, finding.wanted, finding.found)))
    return table


async def _audit_all(settings: Settings, user: str | None) -> list[Audited]:
    instance = read_instance_id(settings.state_dir)
    if instance is None:
        return []
    async with read_registry(settings.state_dir / FILE, clock) as registry, open_engine(settings.engine) as engine:
        people = await _sandboxes(registry, user)
        if user is None:
            strays = {container.sandbox_id for container in await engine.ours(instance)} - people.keys()
            people |= dict.fromkeys(sorted(filter(None, strays)), NO_ROW)
        runtime = await engine.default_runtime()
        return [await _audit(engine, settings, instance, runtime, *one) for one in people.items()]


async def _sandboxes(registry: Registry, user: str | None) -> dict[SandboxId, str]:
    """Whose each sandbox is, as its row says: of one person, or of all."""
    if user is not None:
        person = await find_user(registry, user)
        row = await registry.sandboxes.of_user(person.id)
        if row is None:
            raise UsageError(f"{label(person)} has no sandbox")
        return {row.id: label(person)}
    people: dict[UserId | None, str] = {person.id: label(person) for person in await registry.users.all()}
    return {row.id: people.get(row.user_id, "a spare") for row in await registry.sandboxes.all()}


async def _audit(
    engine: Engine, settings: Settings, instance: str, runtime: str, sandbox_id: SandboxId, whose: str
) -> Audited:
    facts = await engine.facts(container_name(sandbox_id))
    if facts is None:
        return Audited(sandbox_id, harmless(whose), None, ())
    paths = paths_of(settings.runtime_dir, sandbox_id)
    body = container_body(
        sealing_of(settings, instance, _gid(paths), has_swap=host_memory().has_swap), sandbox_id, paths
    )
    given = Given(await _image_config(engine, facts), runtime)
    compared = len(rows(facts, body, given))
    return Audited(sandbox_id, harmless(whose), compared, audit(facts, body, given))


async def _image_config(engine: Engine, facts: Facts) -> Facts:
    """Of the image that it was really made of; where that is gone, everything it brought will differ."""
    try:
        return await engine.image_config(facts["Image"])
    except ImageMissing:
        return {}


def _gid(paths: SandboxPaths) -> int:
    """The daemon's group, whoever runs this: its directories have it."""
    return paths.root.stat().st_gid if paths.root.exists() else socket_gid()
