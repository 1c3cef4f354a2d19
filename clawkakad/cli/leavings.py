"""`clawkakad restore --clean`: what restores moved aside goes, and what one that failed left; the daemon may run."""

import asyncio
import shutil
from collections.abc import Mapping

import typer

from clawkakad.assistant.who import find_user, label, owners
from clawkakad.backups import restoring
from clawkakad.cli.common import asked, clock, counted, harmless, say
from clawkakad.config import Place
from clawkakad.errors import Rejected
from clawkakad.model import SandboxId
from clawkakad.registry import FILE, read_registry
from clawkakad.sandboxes.engine import open_engine
from clawkakad.sandboxes.secrets import instance_id

MIB = 1024 * 1024


def remove(place: Place, user: str | None, yes: bool) -> None:
    """From a person's sandbox; for None from everybody's, and from the state directory. The caller holds LOCK."""
    sandboxes, whom = asyncio.run(_meant(place, user))
    if not yes:
        asked(lambda: typer.confirm(f"Remove what restores moved aside of {whom}, for good?", err=True))
    is_whole = asyncio.run(_removed(place, sandboxes))
    for path in sorted(place.state_dir.glob(f"{restoring.ASIDE}*")) if user is None else []:
        shutil.rmtree(path)
        say(f"removed {path}")
    if not is_whole:
        raise typer.Exit(1)


async def _meant(place: Place, user: str | None) -> tuple[dict[SandboxId, str], str]:
    """The sandboxes, and whose each is; all of these people in words."""
    async with read_registry(place.state_dir / FILE, clock) as registry:
        whose = await owners(registry)
        if user is None:
            return whose, "everybody"
        person = await find_user(registry, user)
        sandbox = await registry.sandboxes.of_user(person.id)
    return {} if sandbox is None else {sandbox.id: whose[sandbox.id]}, harmless(label(person))


async def _removed(place: Place, sandboxes: Mapping[SandboxId, str]) -> bool:
    """Whether it could be done in all of them."""
    failed, freed = False, 0
    async with open_engine(place.engine) as engine:
        host = restoring.Host(place.state_dir, engine, instance_id(place.state_dir), place.image)
        for sandbox_id, whose in sandboxes.items():
            try:
                freed += await restoring.clean(host, sandbox_id)
            except Rejected as error:  # the others' goes all the same
                say(f"{harmless(whose)}: {error}")
                failed = True
    say(f"removed {freed / MIB:.1f} MiB from {counted(len(sandboxes), 'sandbox', 'sandboxes')}")
    return not failed
