"""What is done to a program, and what is measured meanwhile. Each returns plain numbers by name."""

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.bench.journal import Message, percentile
from tests.bench.programs import Program
from tests.support import eventually

Numbers = dict[str, float]

AGENT_S = 0.1
FLOOD_AGENT_S = 10.0
FLOOD_LATE_S = 30.0
TOO_LATE_S = 60.0


class WrongAnswers(Exception):
    """Messages that were not answered exactly once: speed means nothing then."""


@dataclass
class Watch:
    """CPU of the program over a while, and of this process with the peers in it."""

    program: Program
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peers: float = 0.0
    _began: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0))

    def begin(self) -> None:
        self._began = (self.program.cpu_s(), time.monotonic(), time.process_time())

    def end(self) -> None:
        cpu_s, wall_s, peers_s = self._began
        self.cpu_s = self.program.cpu_s() - cpu_s
        self.wall_s = time.monotonic() - wall_s
        self.peers = (time.process_time() - peers_s) / self.wall_s


@contextmanager
def watching(program: Program) -> Iterator[Watch]:
    watch = Watch(program)
    watch.begin()
    yield watch
    watch.end()


async def light(program: Program, *, per_s: float, seconds: float) -> Numbers:
    """People write now and then, at random moments that are the same for everybody who is measured."""
    program.delay_s[0] = AGENT_S
    chance = random.Random(7)
    gaps = [chance.expovariate(per_s) for _ in range(int(per_s * seconds))]
    with watching(program) as watch:
        messages = await _open_loop(program, gaps)
        await _all_answered(program, messages)
        await program.rest()
    acknowledged = [m.acknowledgement_s for m in messages if m.acknowledgement_s is not None]
    overheads = [m.overhead_s for m in messages if m.overhead_s is not None]
    ways_in = [m.way_in_s for m in messages if m.way_in_s is not None]
    ways_out = [m.way_out_s for m in messages if m.way_out_s is not None]
    return {
        "ack_p50_ms": percentile(acknowledged, 0.5) * 1000,
        "ack_p99_ms": percentile(acknowledged, 0.99) * 1000,
        "overhead_p50_ms": percentile(overheads, 0.5) * 1000,
        "overhead_p99_ms": percentile(overheads, 0.99) * 1000,
        "way_in_p50_ms": percentile(ways_in, 0.5) * 1000,
        "way_out_p50_ms": percentile(ways_out, 0.5) * 1000,
        "cpu_light_s": watch.cpu_s / len(messages) * 1000,
    }


async def saturated(program: Program, *, count: int, at_once: int) -> Numbers:
    """So many people write again as soon as they have their answer."""
    program.delay_s[0] = AGENT_S
    messages: list[Message] = []

    def again(answered: Message) -> None:
        if len(messages) < count:
            messages.append(program.write(answered.wa_id, time.monotonic()))

    program.journal.on_answer = again
    try:
        with watching(program) as watch:
            messages += [program.write(wa_id, time.monotonic()) for wa_id in program.people[:at_once]]
            await eventually(lambda: len(messages) >= count, within_s=TOO_LATE_S + count / 20, every_s=0.01)
            await _all_answered(program, messages)
            took_s = max(m.answered or 0.0 for m in messages) - messages[0].due
            await program.rest()
    finally:
        program.journal.on_answer = lambda _: None
    return {
        "saturated_per_s": len(messages) / took_s,
        "cpu_saturated_s": watch.cpu_s / len(messages) * 1000,
        "refused_saturated": program.refused,
        "core_saturated": watch.cpu_s / watch.wall_s,
        "peers_saturated": watch.peers,
    }


async def idle(program: Program, *, seconds: float) -> Numbers:
    """Nobody writes."""
    await program.rest()
    await asyncio.sleep(1.0)  # what the last messages left to do
    with watching(program) as watch:
        await asyncio.sleep(seconds)
    return {"idle_percent": watch.cpu_s / watch.wall_s * 100}


async def size(program: Program, people: int) -> Numbers:
    """So many are connected, and have written at least once."""
    await program.join(people)
    await program.rest()
    return {"rss_mib": program.rss_mib()}


async def flood(program: Program, *, per_s: float, seconds: float) -> Numbers:
    """At Meta's highest rate, whatever becomes of it. Afterwards the program is killed, and its file looked into."""
    program.delay_s[0] = FLOOD_AGENT_S
    count = int(per_s * seconds)
    with watching(program) as watch:
        messages = await _open_loop(program, [1 / per_s] * count, again=False)
    with suppress(AssertionError):  # then it has failed, and the numbers say how badly
        await eventually(lambda: all(m.acknowledged is not None for m in messages), within_s=FLOOD_LATE_S)
    given_up = time.monotonic()
    await program.kill()
    stored = program.stored()
    waits = [(m.acknowledged or given_up) - m.due for m in messages]
    return {
        "flood_per_s": count / watch.wall_s,
        "flood_cpu_percent": watch.cpu_s / watch.wall_s * 100,
        "flood_refused": sum(m.status != 200 for m in messages),
        "flood_lost": sum(m.status == 200 and m.wamid not in stored for m in messages),
        "flood_p50_ms": percentile(waits, 0.5) * 1000,
        "flood_p99_ms": percentile(waits, 0.99) * 1000,
        "flood_max_ms": max(waits) * 1000,
        "flood_turns": sum(m.heard is not None for m in messages),
        "peers_flood": watch.peers,
    }


# How messages come ----------------------------------------------------------------------------------------------------


async def _open_loop(program: Program, gaps: list[float], *, again: bool = True) -> list[Message]:
    """Messages at their times, whether the program keeps up or not; late ones keep the time they were due at."""
    messages = []
    due = time.monotonic() + 0.1
    for number, gap in enumerate(gaps):
        due += gap
        ahead_s = due - time.monotonic()
        if ahead_s > 0:
            await asyncio.sleep(ahead_s)
        elif number % 20 == 0:
            await asyncio.sleep(0)  # behind: the answers must be read all the same
        messages.append(program.write(program.people[number % len(program.people)], due, again=again))
    return messages


async def _all_answered(program: Program, messages: list[Message]) -> None:
    try:
        await eventually(lambda: all(m.answers for m in messages), within_s=TOO_LATE_S)
    except AssertionError as error:
        missing = [m for m in messages if not m.answers]
        raise WrongAnswers(_complaint(program, missing, "have no answer")) from error


def check(program: Program) -> None:
    """Every message so far was acknowledged and answered once. Raises WrongAnswers."""
    wrong = [m for m in program.journal.messages.values() if m.status != 200 or m.answers != 1]
    if wrong:
        raise WrongAnswers(_complaint(program, wrong, "were not answered exactly once"))


def _complaint(program: Program, wrong: list[Message], what: str) -> str:
    first = wrong[0]
    reached = "the agent's end" if first.finished else "the agent" if first.heard else "no agent"
    about = f"{first.wamid}: webhook answered with {first.status}, reached {reached}, {first.answers} answers"
    return f"{program.name}: {len(wrong)} messages {what}; {about}\n{program.why(first.wamid)}"
