"""Presence: read and typing at once, refreshed, always stopped, and never in anybody's way."""

import asyncio
import contextlib

import pytest

from clawkakad.assistant.presence import AT_ONCE, MOST_SHOWN, Presence
from clawkakad.errors import GraphUnavailable
from clawkakad.model import Wamid
from tests.support import eventually

WAMID = Wamid("wamid.1")


class Marks:
    """Counts what it is asked; fails if told to."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.asked: list[tuple[Wamid, bool]] = []

    async def mark_read(self, wamid: Wamid, *, typing: bool) -> None:
        self.asked.append((wamid, typing))
        if self.fails:
            raise GraphUnavailable("down")


@pytest.mark.parametrize("fails", [False, True])
async def test_it_is_shown_refreshed_and_stopped(fails: bool) -> None:
    marks = Marks(fails=fails)

    with Presence(marks, refresh_s=0.01).typing(WAMID):
        await eventually(lambda: len(marks.asked) >= 3)
    shown = len(marks.asked)
    await asyncio.sleep(0.05)

    assert set(marks.asked) == {(WAMID, True)}
    assert len(marks.asked) == shown


async def test_it_stops_also_when_the_turn_breaks() -> None:
    marks = Marks()

    with pytest.raises(ZeroDivisionError), Presence(marks, refresh_s=0.01).typing(WAMID):
        await eventually(lambda: marks.asked)
        raise ZeroDivisionError
    shown = len(marks.asked)
    await asyncio.sleep(0.05)

    assert len(marks.asked) == shown


async def test_a_newer_message_is_marked_at_once() -> None:
    marks = Marks()

    with Presence(marks, refresh_s=60).typing(WAMID) as typing:
        await eventually(lambda: marks.asked)
        typing.show(WAMID)
        typing.show(Wamid("wamid.2"))
        await eventually(lambda: len(marks.asked) == 2)

    assert marks.asked == [(WAMID, True), (Wamid("wamid.2"), True)]


async def test_asking_the_agent_comes_before_it() -> None:
    marks = Marks()

    with Presence(marks, refresh_s=60).typing(WAMID) as typing:
        for _ in range(5):
            await asyncio.sleep(0)  # storage, say
        typing.show(Wamid("wamid.2"))
        assert marks.asked == []  # what is asked without waiting, is asked now

        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert marks.asked == [(Wamid("wamid.2"), True)]
    assert len(marks.asked) == 1


async def test_a_turn_that_is_not_begun_for_long_keeps_nobody_from_seeing_it() -> None:
    marks = Marks()

    with Presence(marks, refresh_s=60).typing(WAMID):
        await eventually(lambda: marks.asked, within_s=1)

    assert marks.asked == [(WAMID, True)]


async def test_it_is_not_shown_for_hours() -> None:
    marks = Marks()

    with Presence(marks, refresh_s=0.0001).typing(WAMID):
        await eventually(lambda: len(marks.asked) == MOST_SHOWN)
        await asyncio.sleep(0.05)

    assert len(marks.asked) == MOST_SHOWN


async def test_a_crowd_is_served_a_few_at_a_time() -> None:
    class Slow(Marks):
        at_once = most = 0

        async def mark_read(self, wamid: Wamid, *, typing: bool) -> None:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            await asyncio.sleep(0.002)
            self.at_once -= 1
            await super().mark_read(wamid, typing=typing)

    marks = Slow()
    presence = Presence(marks, refresh_s=60)

    with contextlib.ExitStack() as crowd:
        for number in range(100):
            crowd.enter_context(presence.typing(Wamid(f"wamid.{number}")))
        await eventually(lambda: len(marks.asked) == 100)

    assert marks.most == AT_ONCE


async def test_what_is_being_asked_for_is_not_cut_off_and_what_waits_is_not_asked_for() -> None:
    class Slow(Marks):
        async def mark_read(self, wamid: Wamid, *, typing: bool) -> None:
            await asyncio.sleep(0.02)
            await super().mark_read(wamid, typing=typing)

    marks = Slow()
    presence = Presence(marks, refresh_s=60)

    with contextlib.ExitStack() as crowd:
        for number in range(AT_ONCE + 3):
            crowd.enter_context(presence.typing(Wamid(f"wamid.{number}"))).show(Wamid(f"wamid.{number}"))
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)

    assert [wamid for wamid, _ in marks.asked] == [f"wamid.{number}" for number in range(AT_ONCE)]


async def test_a_newer_message_is_marked_though_one_is_being_asked_for() -> None:
    class Slow(Marks):
        async def mark_read(self, wamid: Wamid, *, typing: bool) -> None:
            await asyncio.sleep(0.01)
            await super().mark_read(wamid, typing=typing)

    marks = Slow()

    with Presence(marks, refresh_s=60).typing(WAMID) as typing:
        typing.show(WAMID)
        await asyncio.sleep(0.005)
        typing.show(Wamid("wamid.2"))
        typing.show(Wamid("wamid.3"))
        await eventually(lambda: len(marks.asked) == 2)

    assert [wamid for wamid, _ in marks.asked] == [WAMID, "wamid.3"]
