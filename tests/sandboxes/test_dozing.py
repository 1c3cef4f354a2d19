"""Freezing a container and moving its memory to swap: step by step, and back to plain frozen where that does not go."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clawkakad.errors import Rejected
from clawkakad.sandboxes.dozing import TRIES, Freezer
from clawkakad.sandboxes.engine import Container, Engine, open_engine
from clawkakad.sandboxes.hostmemory import HostMemory, host_memory, parsed
from clawkakad.sandboxes.shrinking import MIB
from tests.fakes.engine import FakeContainer, FakeEngine, fake_engine

LIMITS = (512 * MIB, 2048 * MIB)


@dataclass
class Bench:
    """One container that runs, and what freezes it."""

    fake: FakeEngine
    engine: Engine
    container: FakeContainer
    swap_free_mb: int = 4000

    async def found(self, name: str = "c") -> Container:
        found = await self.engine.inspect(name)
        assert found is not None
        return found

    async def freeze(self, limits: tuple[int, int] = LIMITS) -> str:
        return await self.freezer.freeze(await self.found(), limits)

    @property
    def freezer(self) -> Freezer:
        return Freezer(self.engine, lambda: HostMemory(8000, 4000, 4000, self.swap_free_mb), again_s=0.001)

    @property
    def limit(self) -> int:
        host = self.container.inspected()["HostConfig"]
        assert host["MemorySwap"] == LIMITS[1]
        return int(host["Memory"])


@pytest.fixture
async def bench(short_path: Path) -> AsyncIterator[Bench]:
    async with fake_engine(short_path) as fake, open_engine(fake.address) as engine:
        host = {"Memory": LIMITS[0], "MemorySwap": LIMITS[1], "Mounts": []}
        container = FakeContainer("c" * 64, "c", {"Labels": {}, "HostConfig": host}, "sha256:1", status="running")
        fake.containers["c"] = container
        yield Bench(fake, engine, container)


@pytest.mark.parametrize(("cgroups", "steps"), [("1", 2), ("2", 12)])
async def test_its_memory_goes_to_swap_in_steps(bench: Bench, cgroups: str, steps: int) -> None:
    bench.fake.cgroups = cgroups
    how = await bench.freeze()

    assert (bench.container.status, bench.limit, bench.container.used) == ("paused", 80 * MIB, 80 * MIB)
    assert how == "frozen, 80 MiB of memory left to it"
    assert bench.fake.count("/update") == steps
    assert bench.fake.count("/stats") == steps + 1


async def test_again_it_changes_nothing(bench: Bench) -> None:
    await bench.freeze()
    before = bench.container.inspected()
    await bench.freeze()

    assert bench.container.inspected() == before


async def test_what_does_not_go_leaves_it_frozen_with_its_own_limit(bench: Bench) -> None:
    """With cgroup v1 the step fails, again and again; one before it went well."""
    bench.fake.stuck_at = 150 * MIB
    how = await bench.freeze()

    assert (bench.container.status, bench.limit) == ("paused", LIMITS[0])
    assert how == "frozen, and keeps its memory: the kernel cannot take it away"
    assert bench.fake.count("/update") == 1 + TRIES + 1


async def test_what_the_kernel_refuses_while_swap_is_slow_is_tried_again(bench: Bench) -> None:
    bench.fake.refuses = 2
    how = await bench.freeze()

    assert (bench.limit, how) == (80 * MIB, "frozen, 80 MiB of memory left to it")


async def test_with_v2_a_refused_step_is_the_last(bench: Bench) -> None:
    bench.fake.cgroups, bench.fake.refuses = "2", 1
    await bench.freeze()

    assert (bench.container.status, bench.limit) == ("paused", LIMITS[0])


async def test_who_is_needed_meanwhile_keeps_what_memory_it_has(bench: Bench) -> None:
    freezer = Freezer(bench.engine, lambda: HostMemory(8000, 4000, 4000, 4000))
    how = await freezer.freeze(await bench.found(), LIMITS, stop=lambda: bench.fake.count("/update") == 1)

    assert (bench.limit, how) == (LIMITS[0], "frozen, and keeps its memory: it is needed again")


async def test_a_step_that_changes_nothing_ends_it(bench: Bench) -> None:
    bench.fake.sticks = True
    how = await bench.freeze()

    assert (bench.container.status, bench.limit) == ("paused", LIMITS[0])
    assert how == "frozen, and keeps its memory: its memory does not go"


async def test_one_that_is_killed_by_a_step_is_not_taken_for_frozen(bench: Bench) -> None:
    bench.fake.cgroups, bench.fake.stuck_at = "2", 300 * MIB
    with pytest.raises(Rejected, match="did not survive"):
        await bench.freeze()

    assert bench.container.status == "exited"


async def test_where_only_its_first_process_survives_a_step_it_is_ended(bench: Bench) -> None:
    """With cgroup v2, tini as the first process: the engine went on saying "paused", and OOMKilled false."""
    bench.fake.cgroups, bench.fake.stuck_at, bench.fake.first_survives = "2", 300 * MIB, True
    with pytest.raises(Rejected, match="killed for want of memory"):
        await bench.freeze()

    assert bench.container.status == "exited"


async def test_what_it_was_short_of_before_it_was_frozen_is_no_matter(bench: Bench) -> None:
    bench.fake.cgroups, bench.container.failures = "2", 12
    how = await bench.freeze()

    assert (bench.container.status, how) == ("paused", "frozen, 80 MiB of memory left to it")


async def test_with_v2_two_at_once_do_not_count_on_the_same_swap(bench: Bench) -> None:
    bench.fake.cgroups, bench.fake.slow_s = "2", 0.01
    bench.swap_free_mb = 250  # for one step at a time
    bench.fake.containers["d"] = FakeContainer("d" * 64, "d", bench.container.body, "sha256:1", status="running")
    freezer, one, other = bench.freezer, await bench.found("c"), await bench.found("d")
    hows = await asyncio.gather(freezer.freeze(one, LIMITS), freezer.freeze(other, LIMITS))

    assert sorted(hows) == [
        "frozen, 80 MiB of memory left to it",
        "frozen, and keeps its memory: there is too little free swap",
    ]
    again = [await freezer.freeze(await bench.found(name), LIMITS) for name in "cd"]
    assert set(again) == {min(hows)}, "one after the other there is room"


@pytest.mark.parametrize("cgroups", ["1", "2"])
async def test_without_free_swap_it_is_frozen_only(bench: Bench, cgroups: str) -> None:
    bench.fake.cgroups, bench.swap_free_mb = cgroups, 60
    how = await bench.freeze()

    assert (bench.container.status, bench.limit) == ("paused", LIMITS[0])
    assert how == "frozen, and keeps its memory: there is too little free swap"


async def test_where_the_kernel_does_not_count_swap_it_is_frozen_only(bench: Bench) -> None:
    bench.fake.swap_limit = False
    await bench.freeze()

    assert (bench.container.status, bench.limit) == ("paused", LIMITS[0])


async def test_one_without_swap_is_frozen_only(bench: Bench) -> None:
    how = await bench.freeze((1280 * MIB, 1280 * MIB))

    assert bench.container.status == "paused"
    assert bench.fake.count("/update") == 0
    assert how == "frozen, and keeps its memory: it has no swap"


async def test_an_engine_that_goes_away_in_the_middle_leaves_it_frozen(bench: Bench) -> None:
    bench.fake.fail = ("/update", 503)

    assert await bench.freeze() == "frozen"
    assert bench.container.status == "paused"


async def test_one_that_cannot_be_frozen_is_said(bench: Bench) -> None:
    bench.fake.fail = ("/pause", 500)
    with pytest.raises(Rejected):
        await bench.freeze()


# The host


def test_the_hosts_memory_is_read_in_mib() -> None:
    told = parsed("MemTotal: 4194304 kB\nMemAvailable: 1048576 kB\nSwapTotal: 2097152 kB\nSwapFree: 5120 kB\nHuge: 0\n")

    assert told == HostMemory(4096, 1024, 2048, 5)
    assert told.has_swap


def test_a_little_swap_is_none() -> None:
    assert not HostMemory(4096, 1024, 1023, 1023).has_swap


def test_this_host_has_memory() -> None:
    assert host_memory().total_mb > host_memory().available_mb > 0
