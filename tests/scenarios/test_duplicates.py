"""Meta delivers at least once and in any order: the same message again, and statuses early, late, twice, anyhow."""

import asyncio
import itertools
import json
from collections.abc import Sequence

import pytest

from clawkakad.model import Wamid
from clawkakad.simulator import payloads
from clawkakad.simulator.knobs import Trouble
from clawkakad.simulator.people import Author, Message, Person, State
from tests.scenarios.conftest import Stage, data, known, post
from tests.support import eventually

pytestmark = pytest.mark.timeout(120)

DAY_S = 86400
STATUSES = ("sent", "failed", "delivered", "read")  # each one outweighs those before it
AT_ONCE = 15  # messages to one person, well within Meta's burst of 45
ANY_ORDER = [order for n in range(1, 5) for order in itertools.permutations(STATUSES, n)]


@pytest.fixture
def settings() -> dict[str, str]:
    return known(CLAWKAKA_BURST_S="0", CLAWKAKA_MESSAGES_PER_HOUR="0", CLAWKAKA_SETTLE_S="60")


async def test_the_same_message_at_once_after_the_reply_and_after_13_days_is_answered_once(stage: Stage) -> None:
    daemon = stage.world.daemon
    await daemon.start()
    body = data("text_basic.json")

    assert await asyncio.gather(*(post(stage, body) for _ in range(5))) == [200] * 5
    await eventually(lambda: daemon.rows("SELECT 1 FROM inbox WHERE state = 'answered'"))
    assert await post(stage, body) == 200
    for seconds in (13 * DAY_S, 14 * DAY_S):
        await daemon.order(clock_s=seconds)
        assert await post(stage, body) == 200
        await daemon.replace()
        await daemon.order(clock_s=seconds)
        assert await post(stage, body) == 200

    # Something new comes after it in every queue: once that is answered, nothing old is on its way.
    await daemon.order(clock_s=0)
    assert await stage.world.ask(stage.person(), "hello") == "echo: hello"
    assert len(daemon.rows("SELECT 1 FROM inbox WHERE wamid = ?", wamid_of(body))) == 1
    assert len(daemon.rows("SELECT 1 FROM outbox")) == 2
    assert sum(gateway.count("chat.send") for gateway in stage.gateways.values()) == 2


async def test_statuses_in_every_order_and_twice_end_at_the_farthest(stage: Stage) -> None:
    stage.world.simulator.exchange.knobs = stage.world.simulator.exchange.knobs.turned({"statuses": "off"})
    await stage.world.daemon.start()
    orders: dict[Wamid, Sequence[str]] = {}
    for n in range(0, len(ANY_ORDER), AT_ONCE):
        person = stage.person(f"Person {n}")
        for order in ANY_ORDER[n : n + AT_ONCE]:
            await stage.world.ask(person, f"{order}")
            orders[last_to(stage, person).id] = order
    unsent = "SELECT 1 FROM outbox WHERE state <> 'sent'"
    await eventually(lambda: not stage.world.daemon.rows(unsent))

    for step in range(len(STATUSES)):
        due = [(wamid, order[step]) for wamid, order in orders.items() if step < len(order)]
        for wamid, status in [*due, *due[::2]]:
            assert await post(stage, report(stage, wamid, status)) == 200

    states = {row["wamid"]: row["state"] for row in stage.world.daemon.rows("SELECT wamid, state FROM outbox")}
    assert states == {wamid: max(order, key=STATUSES.index) for wamid, order in orders.items()}


@pytest.mark.parametrize("early", [("sent",), ("delivered", "sent"), ("read",), ("sent", "delivered", "read")])
async def test_statuses_before_the_answer_to_the_send_settle_it(stage: Stage, early: Sequence[str]) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    knobs = {"statuses": "off", "next_troubles": [Trouble.LATE]}
    stage.world.simulator.exchange.knobs = stage.world.simulator.exchange.knobs.turned(knobs)
    await stage.world.ask(robin, "one")
    wamid = last_to(stage, robin).id

    for status in early:
        assert await post(stage, report(stage, wamid, status)) == 200
    farthest = max(early, key=STATUSES.index)
    row = "SELECT state, wamid FROM outbox ORDER BY id DESC LIMIT 1"
    await eventually(lambda: stage.world.daemon.rows(row) == [{"state": farthest, "wamid": wamid}])

    # The answer comes now, and the next message after it.
    assert await stage.world.ask(robin, "two") == "echo: two"
    assert stage.world.daemon.rows("SELECT state FROM outbox WHERE wamid = ?", wamid) == [{"state": farthest}]
    assert stage.world.heard(robin) == ["echo: hello", "echo: one", "echo: two"]


async def test_a_status_that_comes_again_after_days_changes_nothing(stage: Stage) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    wamid = last_to(stage, robin).id
    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM outbox WHERE state = 'delivered'"))
    before = stage.world.daemon.rows("SELECT * FROM outbox")

    await stage.world.daemon.order(clock_s=6 * DAY_S)
    for status in ("sent", "delivered", "failed"):
        assert await post(stage, report(stage, wamid, status)) == 200

    assert stage.world.daemon.rows("SELECT * FROM outbox") == before


def last_to(stage: Stage, person: Person) -> Message:
    return [m for m in stage.world.simulator.exchange.people.of(person.wa_id) if m.author is Author.ASSISTANT][-1]


def report(stage: Stage, wamid: Wamid, status: str) -> bytes:
    """A status webhook, as Meta would send it."""
    exchange = stage.world.simulator.exchange
    message = exchange.people.messages[wamid]
    person = exchange.people.people[message.wa_id]
    code = 131026 if status == State.FAILED else None
    return payloads.wire(payloads.status(exchange.business, person, message, status, exchange.now(), error_code=code))


def wamid_of(body: bytes) -> str:
    return str(json.loads(body)["entry"][0]["changes"][0]["value"]["messages"][0]["id"])
