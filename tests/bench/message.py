"""The benchmark of the message path: which phases, in which order, on which programs.

The two programs run side by side on one core and are measured in turns, so that a minute in which the machine is busy
with something else hits both. What is measured of a fresh process (memory, idleness, the flood) has a part of its own.
"""

import os
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import phases
from tests.bench.phases import Numbers
from tests.bench.process import cores, pin
from tests.bench.programs import Ours, Program, Relay

PARTS = ("speed", "size", "flood")


@dataclass(frozen=True)
class Plan:
    """How much of everything. `sizes`: numbers of people at which memory is read, ascending."""

    parts: Sequence[str] = PARTS
    rounds: int = 3
    people: int = 300
    light_per_s: float = 20.0
    light_s: float = 10.0
    saturated_count: int = 3000
    saturated_at_once: int = 150
    sizes: Sequence[int] = (0, 100, 1000)
    idle_s: float = 20.0
    flood_people: int = 1000
    flood_per_s: float = 1000.0
    flood_s: float = 30.0
    settings: Mapping[str, str] = field(default_factory=dict)


QUICK = Plan(
    rounds=1,
    people=8,
    light_s=1.0,
    saturated_count=60,
    saturated_at_once=8,
    sizes=(0, 4),
    idle_s=0.3,
    flood_people=8,
    flood_per_s=100.0,
    flood_s=1.0,
)


@dataclass
class Results:
    """The numbers of both programs, a list of rounds for each measure."""

    ours: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    relay: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, program: Program, numbers: Numbers) -> None:
        into = self.ours if isinstance(program, Ours) else self.relay
        for name, value in numbers.items():
            into[name].append(value)


async def run(plan: Plan) -> Results:
    """Everything in the plan. Raises WrongAnswers, and AssertionError where a program does not come up."""
    results = Results()
    before, both = os.sched_getaffinity(0), cores()
    if both is not None:
        pin(os.getpid(), both[1])
    core = both[0] if both is not None else None
    try:
        if "speed" in plan.parts:
            await _speed(plan, core, results)
        if "size" in plan.parts:
            await _size(plan, core, results)
        if "flood" in plan.parts:
            await _flood(plan, core, results)
    finally:
        os.sched_setaffinity(0, before)
    return results


async def _speed(plan: Plan, core: int | None, results: Results) -> None:
    async with _both(plan, core) as programs:
        for program in programs:
            await program.join(plan.people)
            await phases.saturated(program, count=2 * plan.saturated_at_once, at_once=plan.saturated_at_once)  # warm
        for _ in range(plan.rounds):
            for program in programs:
                results.add(program, await phases.light(program, per_s=plan.light_per_s, seconds=plan.light_s))
            for program in programs:
                # Others than last time: nobody gets more in a minute than WhatsApp lets one person have.
                program.people = program.people[plan.saturated_at_once :] + program.people[: plan.saturated_at_once]
                count, at_once = plan.saturated_count, plan.saturated_at_once
                results.add(program, await phases.saturated(program, count=count, at_once=at_once))
        for program in programs:
            phases.check(program)


async def _size(plan: Plan, core: int | None, results: Results) -> None:
    async with _both(plan, core) as programs:
        for people in plan.sizes:
            for program in programs:
                numbers = await phases.size(program, people)
                if people:
                    numbers |= await phases.idle(program, seconds=plan.idle_s)
                results.add(program, {_at(name, people): value for name, value in numbers.items()})
        for program in programs:
            phases.check(program)


def _at(name: str, people: int) -> str:
    """`rss_mib` at 100 people is `rss_100_mib`."""
    return name.replace("_", f"_{people}_", 1)


async def _flood(plan: Plan, core: int | None, results: Results) -> None:
    """Of the daemon alone: the relay has no queue, so that each message would be a turn at once."""
    async with _both(plan, core) as (_, ours):
        await ours.join(plan.flood_people)
        await ours.rest()
        results.add(ours, await phases.flood(ours, per_s=plan.flood_per_s, seconds=plan.flood_s))


@asynccontextmanager
async def _both(plan: Plan, core: int | None) -> AsyncIterator[list[Program]]:
    """The relay and the daemon, fresh, with nobody connected."""
    async with AsyncExitStack() as stack:
        # Short names: there are sockets below.
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ck-", dir="/tmp")))
        for name in ("relay", "ours"):
            (directory / name).mkdir()
        relay, ours = Relay(directory / "relay", core), Ours(directory / "ours", core, plan.settings)
        yield [await stack.enter_async_context(relay.running()), await stack.enter_async_context(ours.running())]
