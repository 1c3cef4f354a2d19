"""`clawkakad users`: who writes, who is let in, who has a sandbox."""

import asyncio
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from clawkakad.cli.common import age, clock, plain
from clawkakad.cli.where import place_here
from clawkakad.log import mask
from clawkakad.registry import FILE, Registry, UserRow, read_registry


def users() -> None:
    """List everybody who ever wrote. Numbers are masked."""
    asyncio.run(_users())


async def _users() -> None:
    async with read_registry(place_here().state_dir / FILE, clock) as registry:
        everybody = await registry.users.all()
        table = Table("user", "name", "identifiers", "zone", "last message", "sandbox", "refused", box=None)
        for user in everybody:
            table.add_row(*await _row(registry, user))
    console = Console()
    console.print(table if everybody else "nobody has written yet")


async def _row(registry: Registry, user: UserRow) -> list[Text]:
    sandbox = await registry.sandboxes.of_user(user.id)
    refused = await registry.inbox.count_refused(user.id)
    cells = [
        user.id,
        user.profile.name or "-",
        ", ".join(mask(value) for _, value in user.identifiers),
        user.profile.time_zone,
        age(user.last_inbound_at, datetime.now(UTC)),
        sandbox.state.value if sandbox else "-",
        str(refused) if refused else "-",
    ]
    return [plain(cell) for cell in cells]
