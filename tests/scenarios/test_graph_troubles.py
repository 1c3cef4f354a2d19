"""The Graph API is down, slow, confused or refuses: every reply arrives, once, and nobody waits for somebody else."""

import asyncio
import time

import pytest

from clawkakad.simulator.knobs import AFTER, BEFORE, Trouble
from clawkakad.simulator.people import Author, Person
from tests.daemon import GRAPH_NAME
from tests.scenarios.conftest import Stage, known
from tests.scenarios.relay import relay
from tests.support import eventually

pytestmark = pytest.mark.timeout(180)

SETTLE_S = 1


@pytest.fixture
def settings() -> dict[str, str]:
    return known(CLAWKAKA_SETTLE_S=str(SETTLE_S), CLAWKAKA_BURST_S="0")


def turn(stage: Stage, **knobs: object) -> None:
    stage.world.simulator.exchange.knobs = stage.world.simulator.exchange.knobs.turned(knobs)


def copies(stage: Stage) -> dict[str, int]:
    """How many times each message of ours was taken, by its key."""
    found: dict[str, int] = {}
    for message in stage.world.simulator.exchange.people.messages.values():
        if message.author is Author.ASSISTANT:
            found[str(message.callback_data)] = found.get(str(message.callback_data), 0) + 1
    return found


async def met(stage: Stage, name: str = "Robin") -> Person:
    """Somebody whose sandbox runs."""
    person = stage.person(name)
    await stage.world.ask(person, "hello")
    return person


async def settled(stage: Stage, within_s: float = 30) -> None:
    """Everything in the outbox has arrived."""
    left = "SELECT id, state, attempt, reason FROM outbox WHERE state NOT IN ('delivered', 'read')"
    try:
        await eventually(lambda: not stage.world.daemon.rows(left), within_s=within_s, every_s=0.05)
    except AssertionError as error:
        raise AssertionError(f"{stage.world.daemon.rows(left)}\n{stage.world.daemon.tail()}") from error


async def test_what_fails_after_it_was_taken_is_held_or_given_up_or_stops_all_sending(stage: Stage) -> None:
    await stage.world.daemon.start()
    robin, mika, sam = await met(stage), await met(stage, "Mika"), await met(stage, "Sam")
    knobs = stage.world.simulator.exchange.knobs

    async def fails(person: Person, code: int, state: str) -> None:
        knobs.next_failures = [code]
        stage.world.say(person, f"fails with {code}")
        sql = "SELECT 1 FROM outbox WHERE text LIKE ? AND state = ? AND reason LIKE ?"
        found = (f"%{code}", state, f"error {code}%")
        await eventually(lambda: stage.world.daemon.rows(sql, *found), within_s=20)

    await fails(robin, 131047, "held")
    assert await stage.world.ask(robin, "here I am") == "echo: fails with 131047"  # what was held goes first
    assert (await stage.world.hears(robin, 4))[-1] == "echo: here I am"

    await fails(mika, 131026, "failed")
    assert stage.world.daemon.rows("SELECT unreachable_reason FROM users WHERE unreachable_at IS NOT NULL")
    assert await stage.world.ask(mika, "here I am") == "echo: here I am"
    assert not stage.world.daemon.rows("SELECT 1 FROM users WHERE unreachable_at IS NOT NULL")

    await fails(sam, 131042, "queued")
    assert stage.world.daemon.rows("SELECT code FROM pauses WHERE by_status") == [{"code": 131042}]
    stage.world.say(robin, "and now?")
    await asyncio.sleep(1)
    assert stage.world.heard(robin)[-1] == "echo: here I am"


async def test_ten_seconds_without_it_only_delay(stage: Stage) -> None:
    async with relay(stage.world.simulator.url) as graph:
        await stage.world.daemon.start(WHATSAPP_API_BASE_URL=graph.url)
        robin, mika = await met(stage), await met(stage, "Mika")
        await graph.down()
        for n in range(3):
            for person in (robin, mika):
                stage.world.say(person, f"message {n}")
            await asyncio.sleep(3.4)
        await graph.up()

        for person in (robin, mika):
            heard = await stage.world.hears(person, 4, within_s=60)
            assert heard == ["echo: hello", *(f"echo: message {n}" for n in range(3))]
        await settled(stage)
        assert set(copies(stage).values()) == {1}


async def test_a_name_that_is_not_resolved_for_a_while_only_delays(stage: Stage) -> None:
    port = stage.world.simulator.url.rpartition(":")[2]
    await stage.world.daemon.order(dns=False)
    await stage.world.daemon.start(WHATSAPP_API_BASE_URL=f"http://{GRAPH_NAME}:{port}")
    robin = stage.person()
    stage.world.say(robin, "one")
    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM outbox WHERE reason <> ''"), within_s=20)

    await stage.world.daemon.order(dns=True)

    assert await stage.world.hears(robin, 1, within_s=60) == ["echo: one"]
    await settled(stage)


async def test_retry_after_is_kept_to(stage: Stage) -> None:
    await stage.world.daemon.start()
    robin, mika = await met(stage), await met(stage, "Mika")
    turn(stage, next_errors=[130429], retry_after_s=4)
    began = time.monotonic()
    stage.world.say(robin, "one")

    await stage.world.hears(robin, 2)
    waited_s = time.monotonic() - began
    assert 4 <= waited_s < 15
    assert await stage.world.ask(mika, "two") == "echo: two"
    await settled(stage)
    assert set(copies(stage).values()) == {1}


@pytest.mark.parametrize("trouble", [*BEFORE, *AFTER, Trouble.LATE])
async def test_a_send_that_goes_wrong_is_made_good_once(stage: Stage, trouble: Trouble) -> None:
    await stage.world.daemon.start()
    robin = await met(stage)
    turn(stage, next_troubles=[trouble])
    stage.world.say(robin, "one")

    assert await stage.world.hears(robin, 2) == ["echo: hello", "echo: one"]
    await settled(stage)
    assert await stage.world.ask(robin, "two") == "echo: two"
    await settled(stage)
    assert set(copies(stage).values()) == {1}


async def test_where_no_status_ever_comes_it_is_sent_once_more_and_listed(stage: Stage) -> None:
    await stage.world.daemon.start()
    people = [await met(stage, f"Person {n}") for n in range(len(AFTER))]
    turn(stage, statuses="off")
    for person, trouble in zip(people, AFTER, strict=True):
        turn(stage, next_troubles=[trouble])
        stage.world.say(person, "one")
        await eventually(lambda: not stage.world.simulator.exchange.knobs.next_troubles)

    for person in people:
        assert await stage.world.hears(person, 3) == ["echo: hello", "echo: one", "echo: one"]
    unsettled = "SELECT * FROM outbox WHERE text = 'echo: one' AND (state <> 'sent' OR unknowns <> 1)"
    await eventually(lambda: not stage.world.daemon.rows(unsettled))


async def test_requests_that_hang_hold_up_nobody_else_and_end(stage: Stage) -> None:
    await stage.world.daemon.start()
    robin, mika, sam = await met(stage), await met(stage, "Mika"), await met(stage, "Sam")
    turn(stage, next_troubles=[Trouble.HANG])
    stage.world.say(robin, "one")
    await eventually(lambda: not stage.world.simulator.exchange.knobs.next_troubles)
    turn(stage, next_troubles=[Trouble.HANG_AFTER])
    stage.world.say(mika, "one")
    assert await stage.world.hears(mika, 2) == ["echo: hello", "echo: one"]

    assert await stage.world.ask(sam, "one", within_s=5) == "echo: one"
    assert (await stage.world.hears(robin, 2, within_s=60))[1] == "echo: one"
    assert (await stage.world.ask(mika, "two", within_s=60)) == "echo: two"
    await settled(stage)
    assert set(copies(stage).values()) == {1}


async def test_an_expired_token_stops_sending_and_loses_nothing(stage: Stage) -> None:
    await stage.world.daemon.start()
    robin = await met(stage)
    turn(stage, token_expired=True)
    stage.world.say(robin, "one")
    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM pauses WHERE code = 190"), within_s=20)
    stage.world.say(robin, "two")
    await eventually(lambda: len(stage.world.daemon.rows("SELECT 1 FROM outbox WHERE state = 'queued'")) == 2)
    assert [line for line in stage.world.daemon.logged() if line["level"] == "ERROR"]

    await stage.world.daemon.stop()
    turn(stage, token_expired=False)
    await stage.world.daemon.start()

    assert await stage.world.hears(robin, 3, within_s=90) == ["echo: hello", "echo: one", "echo: two"]
    await settled(stage)
    await eventually(lambda: not stage.world.daemon.rows("SELECT 1 FROM pauses"))
