"""Five hundred people of whom nobody writes: what it costs to look after their sandboxes.

Their rows are in the registry and their containers on the real engine, made to the sealed profile and stopped, as those
of people who sleep are. The daemon finds them at its start, and compares them all every minute.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clawkakad.model import IdentifierKind, SandboxId, SandboxState, UserId
from clawkakad.registry import FILE, Registry, open_registry
from clawkakad.registry.transaction import Transaction
from clawkakad.registry.users import ensure_user, touch
from clawkakad.sandboxes import paths
from clawkakad.sandboxes.profile import Sealing, container_body, container_name, volume_body
from tests.bench.house import House
from tests.support import NOWHERE, eventually

AT_ONCE = 8
FOUND_S = 300.0
SAMPLE_S = 0.1
BUSY = 0.05  # of a core: more than it takes to do nothing
ROUND_S = 60.0
LONG_AGO = timedelta(days=7)
Numbers = dict[str, float]


@dataclass(frozen=True)
class Round:
    """A while in which the daemon was busy."""

    wall_s: float
    cpu_s: float


async def stand_ins(house: House, count: int, *, rounds: int) -> Numbers:
    """The daemon of `house` must not run yet; it does afterwards."""
    began = time.monotonic()
    await _make(house, count)
    made_s = time.monotonic() - began
    began = time.monotonic()
    await house.daemon.start()
    await eventually(lambda: _settled(house) == count, within_s=FOUND_S, every_s=0.2)
    found_s, found_cpu_s = time.monotonic() - began, house.cpu_s()
    samples = await _watch(house, (rounds + 0.5) * ROUND_S)
    busy = sorted(busy_whiles(samples, SAMPLE_S), key=lambda one: one.cpu_s)[-rounds:]
    wall_s = len(samples) * SAMPLE_S
    return {
        "many_count": count,
        "many_made_s": made_s,
        "many_found_s": found_s,
        "many_found_cpu_s": found_cpu_s,
        "many_round_s": max((one.wall_s for one in busy), default=0.0),
        "many_round_cpu_s": max((one.cpu_s for one in busy), default=0.0),
        "many_idle_percent": sum(samples) / wall_s * 100,
        "many_rss_mib": house.rss_mib(),
    }


def busy_whiles(samples: Sequence[float], every_s: float) -> list[Round]:
    """Where a sequence of CPU seconds, one for each `every_s`, shows work; a pause of a second ends it."""
    found: list[Round] = []
    start = last = None
    for number, cpu_s in enumerate([*samples, *([0.0] * int(1 / every_s + 2))]):
        if cpu_s >= BUSY * every_s:
            start, last = number if start is None else start, number
        elif start is not None and last is not None and (number - last) * every_s > 1.0:
            found.append(Round((last - start + 1) * every_s, sum(samples[start : last + 1])))
            start = None
    return found


def _settled(house: House) -> int:
    """How many have a keeper that has looked and let them be."""
    return int(house.daemon.rows("SELECT count(*) AS n FROM sandboxes WHERE state = 'asleep'")[0]["n"])


async def _watch(house: House, seconds: float) -> list[float]:
    """CPU seconds of the daemon, one for each sample."""
    samples, before = [], house.cpu_s()
    due = time.monotonic()
    while len(samples) * SAMPLE_S < seconds:
        due += SAMPLE_S
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        now = house.cpu_s()
        samples.append(now - before)
        before = now
    return samples


async def _make(house: House, count: int) -> None:
    async with open_registry(house.daemon.state_dir / FILE, lambda: datetime.now(UTC)) as registry:
        ids = [await _row(registry, number) for number in range(count)]
    paths.prepare_root(house.runtime_dir)
    turns = asyncio.Semaphore(AT_ONCE)

    async def make(sandbox_id: SandboxId) -> None:
        async with turns:
            await _container(house, sandbox_id)

    await asyncio.gather(*(make(sandbox_id) for sandbox_id in ids))


async def _row(registry: Registry, number: int) -> SandboxId:
    """Somebody who wrote last week."""
    wrote_at = datetime.now(UTC) - LONG_AGO

    def write(tx: Transaction) -> UserId:
        user_id = ensure_user(tx, [(IdentifierKind.WA_ID, f"1555{number:07d}")], NOWHERE, wrote_at)
        touch(tx, user_id, wrote_at)
        return user_id

    row = await registry.sandboxes.ensure(await registry.db.write(write))
    await registry.sandboxes.set_state(row.id, SandboxState.STOPPING, "")  # then it is seen when it was looked at
    return row.id


async def _container(house: House, sandbox_id: SandboxId) -> None:
    sealing = Sealing(instance=house.instance, image=house.image, gid=paths.socket_gid())
    where = paths.paths_of(house.runtime_dir, sandbox_id)
    paths.prepare(where, sealing.gid)
    paths.open_gateway_dir(where, sealing.gid)
    await house.engine.create_volume(volume_body(sealing, sandbox_id))
    await house.engine.create(container_name(sandbox_id), container_body(sealing, sandbox_id, where))
