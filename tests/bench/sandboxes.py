"""The benchmark of sandboxes: which steps, in which order, with how many people.

Of the real OpenClaw in real containers one person at a time is measured, then a crowd; the five hundred stand-ins have
a daemon of their own. Where the host has too little swap, a swap file is made for that time.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clawkakad.simulator.people import Person
from tests.bench import residents
from tests.bench.house import House, house
from tests.bench.residents import Numbers
from tests.bench.standins import stand_ins
from tests.bench.swapfile import NoSwap, Say, swap

PARTS = ("people", "crowd", "spare", "many")
SWAP_EACH_MB = 900


@dataclass(frozen=True)
class Plan:
    """How much of everything."""

    parts: Sequence[str] = PARTS
    rounds: int = 3
    errands: int = 3
    idle_s: float = 20.0
    settle_s: float = 60.0  # after an answer OpenClaw has things to do for most of a minute
    dozing: int = 8
    many: int = 500
    many_rounds: int = 2
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def swap_mb(self) -> int:
        """For everybody who may be there at the same time."""
        people = max(self.rounds, residents.AWAKE_AT_ONCE + self.dozing if "crowd" in self.parts else 0)
        return SWAP_EACH_MB * (people + 1)


QUICK = Plan(rounds=1, errands=1, idle_s=3.0, settle_s=2.0, dozing=1, many=20, many_rounds=1)


@dataclass
class Results:
    """A list of rounds for each measure, each told as it comes, and what could not be measured, in words."""

    say: Say
    rounds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    missing: list[str] = field(default_factory=list)

    def add(self, numbers: Numbers) -> None:
        self.say("  ".join(f"{name} {value:.3g}" for name, value in numbers.items()))
        for name, value in numbers.items():
            self.rounds[name].append(value)


async def run(plan: Plan, directory: Path, say: Say) -> Results:
    """Everything in the plan. `directory`: where a swap file may be. Raises AssertionError where something fails."""
    results = Results(say)
    if not residents.RESTS:
        results.missing.append("dozing and sleeping are not built")
    if not residents.RESTS or set(plan.parts) <= {"many"}:
        await _all(plan, results, say, rests=False)
        return results
    try:
        async with swap(plan.swap_mb, directory, say):
            await _all(plan, results, say, rests=True)
    except NoSwap as error:
        results.missing.append(f"nothing dozes here: {error}")
        await _all(plan, results, say, rests=False)
    return results


async def _all(plan: Plan, results: Results, say: Say, *, rests: bool) -> None:
    if "many" in plan.parts:
        say(f"{plan.many} people of whom nobody writes")
        async with house(_without_spare(plan.settings)) as there:
            results.add(await stand_ins(there, plan.many, rounds=plan.many_rounds))
    if {"people", "crowd"} & set(plan.parts):
        async with house(_without_spare(plan.settings)) as there:
            await there.daemon.start()
            people = await _people(plan, there, results, say, rests=rests)
            if "crowd" in plan.parts and rests:
                say(f"A crowd: {residents.AWAKE_AT_ONCE} awake, {plan.dozing} dozing")
                results.add(await residents.crowd(there, people, dozing_count=plan.dozing, say=say))
    if "spare" in plan.parts:
        await _spare(plan, results, say, rests=rests)


async def _people(plan: Plan, there: House, results: Results, say: Say, *, rests: bool) -> list[Person]:
    people: list[Person] = []
    for number in range(plan.rounds if "people" in plan.parts else 0):
        say(f"Person {number + 1} of {plan.rounds}: cold, awake, idle, stopped{', dozing' if rests else ''}")
        person, numbers = await residents.newcomer(there)
        people.append(person)
        results.add(numbers)
        results.add(await residents.awake(there, person, errands=plan.errands))
        await asyncio.sleep(plan.settle_s)
        results.add(await residents.idle(there, person, seconds=plan.idle_s, state="awake"))
        results.add(await residents.stopped(there, person))
        if rests:
            await asyncio.sleep(plan.settle_s)
            results.add(await residents.dozing(there, person))
            results.add(await residents.idle(there, person, seconds=plan.idle_s / 3, state="doze"))
            results.add(await residents.woken(there, person))
            await residents.dozing(there, person)  # out of the way of the next
    return people


async def _spare(plan: Plan, results: Results, say: Say, *, rests: bool) -> None:
    if residents.SPARES is None or not rests:
        results.missing.append("a spare sandbox for newcomers is not built" if rests else "no spare without dozing")
        return
    say("A newcomer, while a spare sandbox dozes")
    async with house({residents.SPARES: "1", **plan.settings}) as there:
        await there.daemon.start()
        for _ in range(plan.rounds):
            results.add(await residents.spared(there))


def _without_spare(settings: Mapping[str, str]) -> dict[str, str]:
    """Newcomers start cold there, and nobody but them takes memory."""
    return {**({residents.SPARES: "0"} if residents.SPARES else {}), **settings}
