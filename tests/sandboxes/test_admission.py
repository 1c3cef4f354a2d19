"""Who may wake: a few at once, with memory for it, in the order in which they came."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from clawkakad.sandboxes.admission import Admission, Crowded
from clawkakad.sandboxes.hostmemory import HostMemory
from clawkakad.sandboxes.rest import Rules
from tests.support import eventually

RULES = Rules(reserve_mb=500, awake_mb=400)


class Hall:
    """An admission, and those who want a place."""

    def __init__(self) -> None:
        self.host = HostMemory(8000, 8000, 0, 0)
        self.nobody_awake = False
        self.rules = RULES
        self.entered: list[str] = []
        self.told: list[str] = []
        self._leave: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.admission = self.opened()

    def opened(self, *, long_s: float = 60.0) -> Admission:
        self.admission = Admission(
            lambda: self.host,
            self.rules,
            nobody_awake=lambda: self.nobody_awake,
            wakes_at_once=3,
            starts_at_once=1,
            long_s=long_s,
        )
        return self.admission

    async def comes(self, name: str, *, cold: bool = False, waited_for: bool = True) -> None:
        self._leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._visit(name, cold, waited_for))
        await asyncio.sleep(0.01)

    async def leaves(self, name: str) -> None:
        self._leave[name].set()
        await self.tasks.pop(name)

    async def _visit(self, name: str, cold: bool, waited_for: bool) -> None:
        async def tell() -> None:
            self.told.append(name)

        async with self.admission.place(cold=cold, is_waited_for=lambda: waited_for, on_long=tell):
            self.entered.append(name)
            await self._leave[name].wait()


@pytest.fixture
async def hall() -> AsyncIterator[Hall]:
    opened = Hall()
    yield opened
    for task in opened.tasks.values():
        task.cancel()
    await asyncio.gather(*opened.tasks.values(), return_exceptions=True)


async def test_no_more_at_once_than_there_are_places_and_then_in_order(hall: Hall) -> None:
    for name in "abcde":
        await hall.comes(name)
    assert hall.entered == ["a", "b", "c"]

    await hall.leaves("b")
    assert hall.entered == ["a", "b", "c", "d"]


async def test_a_cold_start_that_waits_for_another_holds_up_nobody_who_only_goes_on(hall: Hall) -> None:
    await hall.comes("a", cold=True)
    await hall.comes("b", cold=True)
    await hall.comes("c")
    assert hall.entered == ["a", "c"]

    await hall.leaves("a")
    assert hall.entered == ["a", "c", "b"]


async def test_memory_is_given_out_once_and_nobody_is_overtaken_for_want_of_it(hall: Hall) -> None:
    hall.host = replace(hall.host, available_mb=500 + 400 + 399)
    await hall.comes("a")
    await hall.comes("b", cold=True)
    await hall.comes("c")
    assert (hall.entered, hall.admission.wanted_mb) == (["a"], 800)

    hall.host = replace(hall.host, available_mb=500 + 800)
    await eventually(lambda: hall.entered == ["a", "b"])


async def test_where_nobody_is_awake_one_is_let_in_however_little_there_is(hall: Hall) -> None:
    hall.host, hall.nobody_awake = replace(hall.host, available_mb=0), True
    await hall.comes("a")
    await hall.comes("b")

    assert hall.entered == ["a"]


async def test_who_is_waited_for_comes_before_who_only_wrote_lately(hall: Hall) -> None:
    for name in "abc":
        await hall.comes(name)
    await hall.comes("lately", waited_for=False)
    await hall.comes("now")
    await hall.leaves("a")
    assert hall.entered[-1] == "now"

    await hall.leaves("b")
    assert hall.entered[-1] == "lately"


async def test_nobody_waits_for_memory_for_whom_nobody_waits(hall: Hall) -> None:
    hall.host = replace(hall.host, available_mb=600)
    await hall.comes("a", waited_for=False)

    with pytest.raises(Crowded):
        await hall.tasks.pop("a")
    assert hall.admission.wanted_mb == 0


async def test_who_waits_long_is_told_once(hall: Hall) -> None:
    hall.opened(long_s=0.1)
    hall.host = replace(hall.host, available_mb=600)
    await hall.comes("a")
    await eventually(lambda: hall.told)
    await asyncio.sleep(0.6)

    assert (hall.told, hall.entered) == (["a"], [])


async def test_who_gives_up_waiting_leaves_no_trace(hall: Hall) -> None:
    hall.host = replace(hall.host, available_mb=600)
    await hall.comes("a")
    hall.tasks["a"].cancel()
    await asyncio.gather(hall.tasks.pop("a"), return_exceptions=True)
    hall.host = replace(hall.host, available_mb=900)
    await hall.comes("b")

    assert hall.entered == ["b"]


async def test_where_nobody_ever_rests_memory_is_not_asked_for(hall: Hall) -> None:
    hall.rules = Rules(doze_after_s=0, sleep_after_s=0)
    hall.opened()
    hall.host = replace(hall.host, available_mb=0)
    await hall.comes("a")

    assert hall.entered == ["a"]
