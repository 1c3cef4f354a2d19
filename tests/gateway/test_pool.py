"""The pool: who waits gets what is published, and a dead connection is none."""

import asyncio

import pytest

from clawkakad.errors import GatewayUnavailable, SandboxGone
from clawkakad.gateway.connection import Connection
from clawkakad.gateway.frames import Event, OtherEvent
from clawkakad.gateway.pool import Pool
from clawkakad.model import SandboxId
from tests.fakes.gateway import FakeGateway
from tests.gateway.conftest import SANDBOX, dial
from tests.support import SCALE, eventually

OTHER = SandboxId("sother")


async def test_everybody_who_waits_gets_the_connection(connection: Connection) -> None:
    pool = Pool()
    waiting = [asyncio.create_task(pool.ready(SANDBOX, timeout_s=5 * SCALE)) for _ in range(3)]
    await asyncio.sleep(0)

    pool.publish(SANDBOX, connection)

    assert await asyncio.gather(*waiting) == [connection] * 3
    assert await pool.ready(SANDBOX, timeout_s=0.1) is connection


async def test_waiting_ends_at_the_deadline(connection: Connection) -> None:
    pool = Pool()
    pool.publish(OTHER, connection)

    with pytest.raises(GatewayUnavailable):
        await pool.ready(SANDBOX, timeout_s=0.05)


async def test_a_withdrawn_connection_is_none(connection: Connection) -> None:
    pool = Pool()
    pool.publish(SANDBOX, connection)
    pool.withdraw(SANDBOX)
    pool.withdraw(SANDBOX)

    assert pool.get(SANDBOX) is None


async def test_a_closed_connection_is_none_before_anybody_withdrew_it(
    gateway: FakeGateway, connection: Connection
) -> None:
    pool = Pool()
    pool.publish(SANDBOX, connection)
    await gateway.drop()
    await connection.wait_closed()

    assert pool.get(SANDBOX) is None
    waiting = asyncio.create_task(pool.ready(SANDBOX, timeout_s=5 * SCALE))
    await asyncio.sleep(0)
    second = await dial(gateway)
    pool.publish(SANDBOX, second)
    assert await waiting is second
    await second.aclose()


async def test_a_connection_that_is_given_up_is_none_though_the_gateway_holds_the_close_up(
    gateway: FakeGateway, connection: Connection
) -> None:
    pool = Pool()
    pool.publish(SANDBOX, connection)
    await gateway.jam()

    await eventually(lambda: pool.get(SANDBOX) is None)

    with pytest.raises(GatewayUnavailable):
        await pool.ready(SANDBOX, timeout_s=0.05)


async def test_who_waits_for_a_sandbox_that_is_removed_learns_it_at_once(connection: Connection) -> None:
    pool = Pool()
    waiting = [asyncio.create_task(pool.ready(SANDBOX, timeout_s=30 * SCALE)) for _ in range(3)]
    elsewhere = asyncio.create_task(pool.ready(OTHER, timeout_s=5 * SCALE))
    await asyncio.sleep(0)

    pool.retire(SANDBOX)
    pool.retire(SANDBOX)

    async with asyncio.timeout(5 * SCALE):
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [SandboxGone] * 3
    with pytest.raises(SandboxGone):
        await pool.ready(SANDBOX, timeout_s=30 * SCALE)
    pool.publish(OTHER, connection)
    assert await elsewhere is connection


async def test_a_removed_sandbox_has_no_connection_though_one_is_open_or_opened(
    gateway: FakeGateway, connection: Connection
) -> None:
    pool, heard, retired = Pool(), list[SandboxId](), list[SandboxId]()
    pool.listen(lambda sandbox_id, event: heard.append(sandbox_id))
    pool.listen_retired(retired.append)
    pool.publish(SANDBOX, connection)

    pool.retire(SANDBOX)
    later = await dial(gateway)
    pool.publish(SANDBOX, later)

    assert pool.get(SANDBOX) is None
    with pytest.raises(SandboxGone):
        await pool.ready(SANDBOX, timeout_s=30 * SCALE)
    assert retired == [SANDBOX]
    await gateway.emit("news", {})
    await asyncio.gather(connection.health(5 * SCALE), later.health(5 * SCALE))
    assert heard == []
    await later.aclose()


async def test_cancelling_a_wait_leaves_the_others_waiting(connection: Connection) -> None:
    pool = Pool()
    impatient, patient = [asyncio.create_task(pool.ready(SANDBOX, timeout_s=5 * SCALE)) for _ in range(2)]
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.wait({impatient})

    pool.publish(SANDBOX, connection)

    assert await patient is connection


async def test_events_of_every_published_connection_are_heard(gateway: FakeGateway) -> None:
    pool, heard = Pool(), list[tuple[SandboxId, Event]]()
    pool.listen(lambda sandbox_id, event: heard.append((sandbox_id, event)))
    first, second = await dial(gateway), await dial(gateway)
    pool.publish(SANDBOX, first)
    pool.publish(OTHER, second)

    await gateway.emit("news", {})

    wanted = {(SANDBOX, OtherEvent(name="news")), (OTHER, OtherEvent(name="news"))}
    await eventually(lambda: {(sandbox_id, event) for sandbox_id, event in heard} == wanted)
    await first.aclose()
    await second.aclose()


async def test_who_begins_to_wait_is_told_of_and_who_finds_a_connection_is_not(connection: Connection) -> None:
    pool, wanted = Pool(), list[SandboxId]()
    pool.listen_wanted(wanted.append)
    waiting = asyncio.create_task(pool.ready(SANDBOX, timeout_s=5 * SCALE))
    await asyncio.sleep(0)
    assert pool.in_use(SANDBOX)
    pool.publish(SANDBOX, connection)
    await waiting
    await pool.ready(SANDBOX, timeout_s=1)

    assert wanted == [SANDBOX]
    assert not pool.in_use(SANDBOX)


async def test_a_sandbox_is_in_use_as_long_as_anybody_uses_it() -> None:
    pool = Pool()
    with pool.using(SANDBOX):
        with pool.using(SANDBOX):
            pass
        assert (pool.in_use(SANDBOX), pool.in_use(OTHER)) == (True, False)

    assert not pool.in_use(SANDBOX)


async def test_a_connection_that_was_withdrawn_for_a_moment_tells_its_events_once(
    gateway: FakeGateway, connection: Connection
) -> None:
    pool, heard = Pool(), list[Event]()
    pool.listen(lambda _, event: heard.append(event))
    pool.publish(SANDBOX, connection)
    pool.withdraw(SANDBOX)
    assert pool.is_empty()
    pool.restore(SANDBOX, connection)
    await gateway.emit("news", {})
    await eventually(lambda: heard)

    assert (len(heard), pool.get(SANDBOX), pool.is_empty()) == (1, connection, False)
