"""Express: the commit that queues a message also begins its send, and nothing is overtaken, lost or doubled by it."""

import asyncio
import functools
from pathlib import Path

import pytest

from clawkakad.delivery import circuit
from clawkakad.delivery.circuit import FIRST_WIDTH
from clawkakad.errors import RegistryUnavailable
from clawkakad.model import OutboxState, UserId
from clawkakad.registry import outbox
from clawkakad.registry.transaction import Transaction
from tests.delivery.test_delivery import HELD, LATE_REMINDER, QUEUED, SENT, Post, post
from tests.support import eventually, held_by_another

__all__ = ["post"]
SENDING = OutboxState.SENDING


async def say(post: Post, user: UserId, *parts: str, source: str = "s", fails: bool = False) -> bool:
    """Queue a message as a conversation does; whether it went at once."""
    assert post.delivery is not None
    express = post.delivery.express(user)

    def store(tx: Transaction) -> None:
        add = functools.partial(outbox.add, user_id=user) if express is None else express.add
        add(tx, parts=parts, origin="reply", source=source, now=post.clock())
        if fails:
            raise RegistryUnavailable("full")

    stored = False
    try:
        await post.registry.db.write(store)
        stored = True
    finally:
        went = express.go(stored=stored) if express is not None else False
        if not went:
            post.delivery.wake()
    return went


async def started(post: Post) -> None:
    """The delivery has looked at what the last process left, and rests."""
    await post.quiet()


async def test_it_goes_with_the_commit_that_queues_it(post: Post, robin: UserId) -> None:
    post.graph.open.clear()

    async with post.running(sends_per_s=10_000):
        await started(post)
        assert await say(post, robin, "hi")
        assert await post.states() == [SENDING]
        post.graph.open.set()
        await post.until(SENT)

    assert post.graph.texts == ["hi"]


async def test_its_parts_follow_in_order(post: Post, robin: UserId) -> None:
    async with post.running(sends_per_s=10_000):
        await started(post)
        await say(post, robin, "one", "two", "three")
        await post.until(SENT, SENT, SENT)

    assert post.graph.texts == ["one", "two", "three"]


async def test_it_overtakes_nothing(post: Post, robin: UserId) -> None:
    post.graph.open.clear()

    async with post.running(sends_per_s=10_000):
        await started(post)
        await post.add(robin, "first", source="a")
        await asyncio.gather(*(say(post, robin, f"then {n}", source=f"b{n}") for n in range(5)))
        post.graph.open.set()
        await post.until(*[SENT] * 6)

    assert post.graph.texts == ["first", *(f"then {n}" for n in range(5))]


async def test_many_at_the_same_moment_each_go_once(post: Post, robin: UserId) -> None:
    async with post.running(sends_per_s=10_000):
        await started(post)
        await asyncio.gather(*(say(post, robin, f"{n}", source=f"s{n}") for n in range(20)))
        await post.until(*[SENT] * 20)

    assert sorted(post.graph.texts, key=int) == post.graph.texts == [str(n) for n in range(20)]


async def test_what_was_not_stored_is_not_sent_and_blocks_nothing(post: Post, robin: UserId) -> None:
    async with post.running(sends_per_s=10_000):
        await started(post)
        with pytest.raises(RegistryUnavailable):
            await say(post, robin, "lost", fails=True)
        assert await say(post, robin, "hi", source="t")
        await post.until(SENT)

    assert post.graph.texts == ["hi"]


async def test_outside_of_the_service_window_it_is_held_as_ever(post: Post, robin: UserId) -> None:
    post.clock.advance(hours=25)

    async with post.running(sends_per_s=10_000):
        await started(post)
        assert not await say(post, robin, "hi")
        await post.until(HELD)

    assert post.graph.texts == []


async def test_before_the_last_process_s_sends_are_known_there_is_none(post: Post, robin: UserId) -> None:
    async with post.running(sends_per_s=10_000):
        assert post.delivery is not None
        assert post.delivery.express(robin) is None


async def test_sends_that_are_answered_leave_it_room_while_their_fates_are_stored(
    post: Post, robin: UserId, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(circuit, "MOST_WIDTH", FIRST_WIDTH)
    people = [await post.person(number) for number in range(FIRST_WIDTH)]
    for number, person in enumerate(people):
        await post.add(person, "hi", source=str(number))
    post.graph.open.clear()

    async with post.running(sends_per_s=10_000):
        delivery = post.delivery
        assert delivery is not None
        await eventually(lambda: len(post.graph.texts) == FIRST_WIDTH)
        assert delivery.express(robin) is None
        with held_by_another(tmp_path / "registry.sqlite"):
            post.graph.open.set()
            express = await eventually(lambda: delivery.express(robin))
        assert express.go(stored=False) is False
        await post.until(*[SENT] * FIRST_WIDTH)


async def test_the_pair_limit_holds_for_it(post: Post, robin: UserId) -> None:
    async with post.running(sends_per_s=10_000):
        await started(post)
        for n in range(45):
            await say(post, robin, f"{n}", source=f"s{n}")
        await post.until(*[SENT] * 45)
        assert not await say(post, robin, "45", source="s45")
        await post.until(*[SENT] * 45, QUEUED)


async def test_a_reminder_that_it_takes_along_says_what_time_it_was_for(post: Post, robin: UserId) -> None:
    async with post.running(sends_per_s=10_000):
        await started(post)
        await post.reminds(robin)
        post.clock.advance(hours=3)
        assert await say(post, robin, "hi")
        await post.until(SENT, SENT)

    assert post.graph.texts == [LATE_REMINDER, "hi"]


async def test_told_before_it_is_not_told_again(post: Post, robin: UserId) -> None:
    async with post.running(sends_per_s=10_000):
        await started(post)
        assert await say(post, robin, "hi")
        await post.until(SENT)
        assert not await say(post, robin, "hi", "again")
        await post.quiet()

    assert post.graph.texts == ["hi"]


async def test_while_sending_is_paused_it_waits_its_turn(post: Post, robin: UserId) -> None:
    await post.registry.db.execute(
        "INSERT INTO pauses (scope, code, reason, since, until) VALUES ('all', 190, 'token', :now, :until)",
        {"now": "2026-11-22T10:00:00.000Z", "until": "2026-11-23T10:00:00.000Z"},
    )

    async with post.running(sends_per_s=10_000):
        await started(post)
        assert not await say(post, robin, "hi")
        await post.until(SENT)  # a new process tries one message alone
