"""`pa pulse`, the one command that the daemon runs inside a sandbox: it says what is news in the person's database.

Under `logged`, so that an agent cannot get hold of its pipe to the engine, as it could of that of a program that it may
look into. The time of a look goes in as PA_NOW, which the `pa` of every image so far understands, and not as an option,
which the older ones would refuse: a sandbox keeps its image until it is upgraded.
"""

from datetime import datetime

from clawkakad.model import SandboxId
from clawkakad.sandboxes.engine import Engine, Ran
from clawkakad.sandboxes.profile import container_name

LOGGED = ["/usr/local/lib/clawkaka/logged", "--no-errors"]
PULSE = ["timeout", "-k", "2", "20", "pa", "pulse"]
DEADLINE_S = 30.0
LIMIT = 16 * 1024  # bytes; eleven lines of emoji are nine thousand


async def pulse(engine: Engine, sandbox_id: SandboxId, *, mark: bool, at: datetime | None = None) -> Ran:
    """What needs attention and is news, as of `at` or now. `mark`: it has been said.

    Raises EngineUnavailable, Rejected.
    """
    command = [*LOGGED, *look(mark=mark, at=at)]
    return await engine.run(container_name(sandbox_id), command, deadline_s=DEADLINE_S, limit=LIMIT)


def look(*, mark: bool, at: datetime | None) -> list[str]:
    """The command of one look."""
    clock = [] if at is None else ["env", f"PA_NOW={at.isoformat()}"]
    return [*clock, *PULSE, "--mark" if mark else "--new"]
