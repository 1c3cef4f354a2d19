"""`clawkakad users`: who writes, who is let in, who has a sandbox."""

import asyncio
from datetime import UTC, datetime

from rich.console import Console

from clawkakad.cli.common import age, clock
from clawkakad.cli.listing import show_rows
from clawkakad.cli.where import place_here
from clawkakad.log import mask, mask_name
from clawkakad.registry import FILE, Registry, UserRow, read_registry

HEADINGS = ("user", "name", "identifiers", "zone", "last message", "sandbox", "refused")


def users() -> None:
    """List everybody who ever wrote. Numbers are masked."""
    asyncio.run(_users())


async def _users() -> None:
    async with read_registry(place_here().state_dir / FILE, clock) as registry:
        rows = [await _row(registry, user) for user in await registry.users.all()]
    console = Console(highlight=False)
    if rows:
        show_rows(console, HEADINGS, rows, folds="identifiers")
    else:
        console.print("nobody has written yet")


async def _row(registry: Registry, user: UserRow) -> list[str]:
    sandbox = await registry.sandboxes.of_user(user.id)
    refused = await registry.inbox.count_refused(user.id)
    return [
        user.id,
        mask_name(user.profile.name or "-"),
        ", ".join(mask(value) for _, value in user.identifiers),
        user.profile.time_zone,
        age(user.last_inbound_at, datetime.now(UTC)),
        sandbox.state.value if sandbox else "-",
        str(refused) if refused else "-",
    ]
