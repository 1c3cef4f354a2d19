"""Heartbeats: a free look first, a turn only for news, and never outside the hours, the window or the cap."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, time, timedelta
from types import MappingProxyType

import pytest

from clawkakad.assistant import heartbeat
from clawkakad.assistant.heartbeat import Heartbeats
from clawkakad.errors import GatewayUnavailable, RegistryUnavailable
from clawkakad.gateway.turns import Answer
from clawkakad.model import IdentifierKind, SandboxId, SandboxState, UserId
from clawkakad.registry import Registry, forgetting, users
from tests.conftest import Clock
from tests.support import NOWHERE, eventually


class Body:
    """The pulse and the agent of everybody."""

    def __init__(self) -> None:
        self.findings = ""
        self.marked = 0
        self.looks = 0
        self.as_of: list[datetime] = []
        self.woken: list[str] = []
        self.says: str | Exception | None = "Your rent is overdue."
        self.awake = True
        self.roused = 0

    async def pulse(self, sandbox_id: SandboxId, *, mark: bool, at: datetime) -> str:
        self.looks += not mark
        self.marked += mark
        self.as_of.append(at)
        return self.findings

    async def ensure(self, user_id: UserId) -> SandboxId:
        self.roused += 1
        self.awake = True
        return SandboxId("s")

    async def ready(self, sandbox_id: SandboxId, *, timeout_s: float) -> None:
        assert self.awake

    def is_ready(self, sandbox_id: SandboxId) -> bool:
        return self.awake

    async def wake(self, sandbox_id: SandboxId, *, text: str, timeout_s: float) -> Answer | None:
        self.woken.append(text)
        if isinstance(self.says, Exception):
            raise self.says
        return None if self.says is None else Answer(f"run{len(self.woken)}", self.says)


@pytest.fixture
def body() -> Body:
    return Body()


@pytest.fixture
async def housed(registry: Registry, robin: UserId, clock: Clock) -> UserId:
    """Robin, with a sandbox and a message of a moment ago."""
    await registry.sandboxes.ensure(robin)
    await registry.db.write(lambda tx: users.touch(tx, robin, clock()))
    return robin


@contextlib.asynccontextmanager
async def beating(
    registry: Registry,
    body: Body,
    clock: Clock,
    per_day: int = 4,
    lock_of: Mapping[UserId, asyncio.Lock] = MappingProxyType({}),
) -> AsyncIterator[None]:
    locks = defaultdict(asyncio.Lock, lock_of)
    heartbeats = Heartbeats(
        registry,
        body,
        body,
        clock,
        lock=locks.__getitem__,
        interval=timedelta(minutes=30),
        active_hours=(time(8), time(22)),
        per_day=per_day,
        on_outbox=lambda: None,
        look_s=0.01,
    )
    task = asyncio.create_task(heartbeats.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def next_at(registry: Registry, user: UserId) -> str | None:
    """When the person's next heartbeat is due."""
    row = await registry.db.one("SELECT next_at FROM heartbeats WHERE user_id = :id", {"id": user})
    return None if row is None else str(row["next_at"])


async def planned(registry: Registry, user: UserId) -> bool:
    return await next_at(registry, user) is not None


async def outcome(registry: Registry) -> str:
    row = await registry.db.one("SELECT outcome FROM heartbeats")
    return "" if row is None else str(row["outcome"])


async def beat(registry: Registry, clock: Clock, user: UserId) -> None:
    """Let one heartbeat fall due, and wait until it is over."""
    await eventually(lambda: planned(registry, user))
    before = await next_at(registry, user)
    clock.advance(minutes=34)

    async def over() -> bool:
        return await next_at(registry, user) != before

    await eventually(over)


async def test_with_nothing_to_say_no_turn_is_asked_for(
    registry: Registry, body: Body, clock: Clock, housed: UserId
) -> None:
    async with beating(registry, body, clock):
        await beat(registry, clock, housed)

    assert (body.looks, body.woken, await outcome(registry)) == (1, [], "nothing to say")


async def test_news_become_one_message_and_are_marked_after_it_is_stored(
    registry: Registry, body: Body, clock: Clock, housed: UserId
) -> None:
    body.findings = 'overdue task 1: "Pay rent"'
    async with beating(registry, body, clock):
        await beat(registry, clock, housed)

    assert [row.text for row in await registry.outbox.all()] == ["Your rent is overdue."]
    assert 'overdue task 1: "Pay rent"' in body.woken[0]
    assert (body.marked, await outcome(registry)) == (1, "spoke")


async def test_what_falls_due_while_the_turn_runs_is_not_marked(
    registry: Registry, body: Body, clock: Clock, housed: UserId
) -> None:
    """It has been told to nobody: the marking is as of the look, however long the turn takes."""
    body.findings = "overdue task 1"
    wake = body.wake

    async def slowly(sandbox_id: SandboxId, *, text: str, timeout_s: float) -> Answer | None:
        clock.advance(minutes=2)
        return await wake(sandbox_id, text=text, timeout_s=timeout_s)

    body.wake = slowly  # type: ignore[method-assign]
    async with beating(registry, body, clock):
        await beat(registry, clock, housed)

    assert (body.looks, body.marked) == (1, 1)
    assert body.as_of == [clock() - timedelta(minutes=2)] * 2


async def test_an_agent_may_stay_silent(registry: Registry, body: Body, clock: Clock, housed: UserId) -> None:
    body.findings, body.says = "overdue task 1", None
    async with beating(registry, body, clock):
        await beat(registry, clock, housed)

    assert await registry.outbox.all() == []
    assert (body.marked, await outcome(registry)) == (1, "silent")


async def test_nobody_is_disturbed_at_night(registry: Registry, body: Body, clock: Clock, housed: UserId) -> None:
    body.findings = "overdue task 1"
    clock.advance(hours=12)
    async with beating(registry, body, clock):
        await beat(registry, clock, housed)

    assert (body.looks, await outcome(registry)) == (0, "outside the active hours")


async def test_people_silent_for_a_day_cost_nothing(
    registry: Registry, body: Body, clock: Clock, housed: UserId
) -> None:
    body.findings = "overdue task 1"
    clock.advance(hours=24)
    async with beating(registry, body, clock):
        await beat(registry, clock, housed)

    assert (body.looks, await outcome(registry)) == (0, "outside the service window")


async def test_the_cap_of_a_day_holds(registry: Registry, body: Body, clock: Clock, housed: UserId) -> None:
    body.findings = "overdue task 1"
    async with beating(registry, body, clock, per_day=2):
        for _ in range(3):
            await beat(registry, clock, housed)

    assert len(await registry.outbox.all()) == 2
    assert await outcome(registry) == "enough for a day"


async def test_it_never_falls_into_a_turn(registry: Registry, body: Body, clock: Clock, housed: UserId) -> None:
    body.findings = "overdue task 1"
    lock = asyncio.Lock()
    async with lock, beating(registry, body, clock, lock_of={housed: lock}):
        await eventually(lambda: planned(registry, housed))
        clock.advance(minutes=34)
        await asyncio.sleep(0.1)

    assert body.looks == 0


async def test_a_failed_one_is_tried_again_and_a_sleeping_sandbox_waited_for(
    registry: Registry, body: Body, clock: Clock, housed: UserId
) -> None:
    body.findings, body.says, body.awake = "overdue task 1", GatewayUnavailable("gone"), False
    async with beating(registry, body, clock):
        await eventually(lambda: planned(registry, housed))
        clock.advance(minutes=34)
        await asyncio.sleep(0.1)
        assert body.looks == 0
        body.awake = True
        await eventually(lambda: len(body.woken) == 1)
        await asyncio.sleep(0.1)
        assert len(body.woken) == 1  # a broken model is not asked again at once
        body.says = "Your rent is overdue."
        clock.advance(minutes=6)
        await eventually(lambda: registry.outbox.all())

    assert len(await registry.outbox.all()) == 1


async def test_what_it_says_is_kept_until_the_registry_can_take_it(
    registry: Registry, body: Body, clock: Clock, housed: UserId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent would not say it a second time."""
    monkeypatch.setattr(heartbeat, "REGISTRY_PAUSE_S", 0.01)
    add, tries = registry.outbox.add, 0

    async def locked_at_first(user_id: UserId, parts: Sequence[str], *, origin: str, source: str) -> bool:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise RegistryUnavailable("locked")
        return await add(user_id, parts, origin=origin, source=source)

    monkeypatch.setattr(registry.outbox, "add", locked_at_first)
    body.findings = "overdue task 1"
    async with beating(registry, body, clock):
        await beat(registry, clock, housed)

    assert [row.text for row in await registry.outbox.all()] == ["Your rent is overdue."]
    assert (len(body.woken), body.marked, await outcome(registry)) == (1, 1, "spoke")


async def test_a_person_who_is_removed_in_a_heartbeat_ends_nobody_elses(
    registry: Registry, body: Body, clock: Clock, housed: UserId
) -> None:
    number = (IdentifierKind.WA_ID, "15550100177")
    other = await registry.db.write(lambda tx: users.ensure_user(tx, [number], NOWHERE, clock()))
    body.findings = "overdue task 1"
    wake = body.wake

    async def removed_meanwhile(sandbox_id: SandboxId, *, text: str, timeout_s: float) -> Answer | None:
        if not body.woken:
            await registry.db.execute("DELETE FROM sandboxes WHERE user_id = :user", {"user": housed})
            assert await registry.db.write(lambda tx: forgetting.purge(tx, housed))
        return await wake(sandbox_id, text=text, timeout_s=timeout_s)

    body.wake = removed_meanwhile  # type: ignore[method-assign]
    async with beating(registry, body, clock):
        await eventually(lambda: planned(registry, housed))
        clock.advance(minutes=34)
        await eventually(lambda: body.woken)
        await registry.sandboxes.ensure(other)
        await registry.db.write(lambda tx: users.touch(tx, other, clock()))
        await beat(registry, clock, other)

    assert [row.user_id for row in await registry.outbox.all()] == [other]


async def test_who_writes_while_they_are_woken_for_a_look_holds_up_nobody_elses(
    registry: Registry, body: Body, clock: Clock, housed: UserId
) -> None:
    """Their turn may take as long as it likes, and longer where their sandbox does not come up again."""
    number = (IdentifierKind.WA_ID, "15550100177")
    other = await registry.db.write(lambda tx: users.ensure_user(tx, [number], NOWHERE, clock()))
    lock = asyncio.Lock()

    async def and_its_person_writes(sandbox_id: SandboxId, *, timeout_s: float) -> None:
        await lock.acquire()

    body.ready = and_its_person_writes  # type: ignore[method-assign]
    async with beating(registry, body, clock, lock_of={housed: lock}):
        await _put_to_rest(registry, body, housed, SandboxState.DOZING)
        await eventually(lambda: planned(registry, housed))
        clock.advance(minutes=34)
        await eventually(lock.locked)
        await registry.sandboxes.ensure(other)
        await registry.db.write(lambda tx: users.touch(tx, other, clock()))
        await beat(registry, clock, other)

    assert body.looks == 1


async def _put_to_rest(registry: Registry, body: Body, user: UserId, state: SandboxState) -> None:
    row = await registry.sandboxes.ensure(user)
    await registry.sandboxes.set_state(row.id, state, "nobody needed it")
    body.awake = False


async def test_one_who_dozes_is_woken_for_a_look_every_three_hours_at_most(
    registry: Registry, body: Body, clock: Clock, housed: UserId
) -> None:
    outcomes, roused = [], []
    async with beating(registry, body, clock):
        for _ in range(7):
            await _put_to_rest(registry, body, housed, SandboxState.DOZING)
            await beat(registry, clock, housed)
            outcomes.append(await outcome(registry))
            roused.append(body.roused)

    assert outcomes == ["nothing to say", *["dozing"] * 5, "nothing to say"]
    assert (roused, body.looks) == ([1, 1, 1, 1, 1, 1, 2], 2)


@pytest.mark.parametrize(
    ("state", "hours", "why"),
    [
        (SandboxState.ASLEEP, 0, "asleep"),
        (SandboxState.DOZING, 24, "outside the service window"),
        (SandboxState.DOZING, 12, "outside the active hours"),
    ],
)
async def test_who_sleeps_or_is_silent_or_asleep_themselves_is_not_woken(
    registry: Registry, body: Body, clock: Clock, housed: UserId, state: SandboxState, hours: int, why: str
) -> None:
    body.findings = "overdue task 1"
    clock.advance(hours=hours)
    await _put_to_rest(registry, body, housed, state)
    async with beating(registry, body, clock):
        await beat(registry, clock, housed)

    assert (body.roused, body.looks, await outcome(registry)) == (0, 0, why)
