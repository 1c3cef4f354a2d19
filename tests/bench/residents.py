"""What is measured of people with real sandboxes, state by state. Each step returns plain numbers by name.

A state that this daemon does not know is left out of the numbers, and told as such by the report.
"""

import asyncio

from clawkakad.config import names
from clawkakad.simulator.people import Person
from tests.bench.house import House
from tests.bench.swapfile import Say
from tests.support import eventually

Numbers = dict[str, float]

RESTS = "CLAWKAKA_DOZE_AFTER_MINUTES" in names()
"""Whether sandboxes doze and sleep."""

SPARES = next((name for name in names() if "SPARE" in name), None)
"""The setting that keeps a sandbox ready for a newcomer; None: there is none."""

BUDGET_MIB = 4096
AWAKE_AT_ONCE = 3
OTHERS_MIB = 512  # the system and the engine; the daemon is measured
SPARE_S = 300.0  # until there is a spare again: a start, and being put to rest


async def newcomer(house: House) -> tuple[Person, Numbers]:
    """Their first message: a container is made, the gateway starts for the first time, the agent answers."""
    person = house.newcomer()
    reply_s = await house.reply_s(person)
    return person, {"cold_reply_s": reply_s, "cold_cpu_s": (await house.cgroup(person)).usage().cpu_s}


async def awake(house: House, person: Person, *, errands: int) -> Numbers:
    """They go on writing."""
    replies = [await house.reply_s(person) for _ in range(errands)]
    usage = (await house.cgroup(person)).usage()
    return {"awake_reply_s": min(replies), "awake_ram_mib": usage.ram_mib, "awake_swap_mib": usage.swap_mib}


async def idle(house: House, person: Person, *, seconds: float, state: str) -> Numbers:
    """Nobody writes: what their sandbox takes of a core."""
    cgroup = await house.cgroup(person)
    before = cgroup.usage().cpu_s
    await asyncio.sleep(seconds)
    return {f"{state}_idle_percent": (cgroup.usage().cpu_s - before) / seconds * 100}


async def stopped(house: House, person: Person) -> Numbers:
    """Their container is stopped; they write."""
    if RESTS:
        await house.rests(person, "sleep", "asleep")
    else:
        await house.engine.stop((await house.facts(person))["Id"], grace_s=30)
    reply_s = await house.reply_s(person)
    boot_s, cpu_s = await house.boot_s(person), (await house.cgroup(person)).usage().cpu_s
    return {"stopped_reply_s": reply_s, "boot_s": boot_s, "boot_reply_cpu_s": cpu_s}


async def dozing(house: House, person: Person) -> Numbers:
    """Their sandbox is frozen and its memory moved to swap."""
    took_s = await house.rests(person, "doze", "dozing")
    usage = (await house.cgroup(person)).usage()
    return {
        "doze_s": took_s,
        "doze_ram_mib": usage.ram_mib,
        "doze_charged_mib": usage.charged_mib,
        "doze_swap_mib": usage.swap_mib,
    }


async def woken(house: House, person: Person) -> Numbers:
    """They write while it dozes."""
    reply_s = await house.reply_s(person)
    usage = (await house.cgroup(person)).usage()
    return {"doze_reply_s": reply_s, "woken_ram_mib": usage.ram_mib}


async def spared(house: House) -> Numbers:
    """A newcomer's first message, while a spare sandbox dozes."""
    await eventually(lambda: _spare_dozes(house), within_s=SPARE_S, every_s=0.2)
    return {"spare_reply_s": await house.reply_s(house.newcomer())}


def _spare_dozes(house: House) -> bool:
    return bool(house.daemon.rows("SELECT 1 FROM sandboxes WHERE user_id IS NULL AND state = 'dozing'"))


async def crowd(house: House, people: list[Person], *, dozing_count: int, say: Say) -> Numbers:
    """Three are awake and the rest dozes, all at the same time: what it takes, and how many fit into 4 GiB so."""
    count = AWAKE_AT_ONCE + dozing_count
    while len(people) < count:
        people.append((await newcomer(house))[0])
        say(f"{len(people)} of {count} have come")
        await _lie_down(house, people[AWAKE_AT_ONCE:-1], say)  # not the last one: its agent is at work still
    wakeful, rest = people[:AWAKE_AT_ONCE], people[AWAKE_AT_ONCE:count]
    await _lie_down(house, rest, say)
    for person in wakeful:
        await house.reply_s(person)
    up = [(await house.cgroup(person)).usage() for person in wakeful]
    down = [(await house.cgroup(person)).usage() for person in rest]
    daemon_mib = house.rss_mib()
    sleepers = fitting(
        awake_mib=[usage.charged_mib for usage in up],
        dozing_mib=[usage.charged_mib for usage in down],
        others_mib=OTHERS_MIB + daemon_mib,
    )
    swap_each = sum(usage.swap_mib for usage in down) / len(down)
    return {
        "crowd_dozing": len(down),
        "crowd_awake_mib": sum(usage.charged_mib for usage in up),
        "crowd_dozing_mib": sum(usage.charged_mib for usage in down),
        "crowd_swap_mib": sum(usage.swap_mib for usage in (*up, *down)),
        "daemon_rss_mib": daemon_mib,
        "fit_people": AWAKE_AT_ONCE + sleepers,
        "fit_swap_mib": sum(usage.swap_mib for usage in up) + sleepers * swap_each,
    }


async def _lie_down(house: House, people: list[Person], say: Say) -> None:
    for person in people:
        if house.row(person)["state"] != "dozing":
            await dozing(house, person)
            say(house.row(person)["reason"])


def fitting(
    *, awake_mib: list[float], dozing_mib: list[float], others_mib: float, budget_mib: float = BUDGET_MIB
) -> int:
    """How many may doze beside those who are awake, if all doze as these do."""
    each_mib = sum(dozing_mib) / len(dozing_mib)
    return max(0, int((budget_mib - others_mib - sum(awake_mib)) / each_mib))
