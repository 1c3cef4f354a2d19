"""What a person sees while the gateway of their sandbox dies, hangs, talks nonsense or repeats itself: one answer."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from clawkakad.assistant import words
from clawkakad.simulator.people import Author, Person, State
from tests.fakes.gateway import FakeGateway
from tests.fakes.gateway_agent import Reply
from tests.scenarios.conftest import Stage, known
from tests.support import eventually

pytestmark = pytest.mark.timeout(180)

CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4000, 4999)
GARBAGE = ("", "no json", "[]", "{}", '{"type": "event"}', '{"type": "res", "id": 7}', '"' * 1000, "[" * 10_000)
TURN_TIMEOUT_S = 10  # the least there is


@pytest.fixture
def settings() -> dict[str, str]:
    return known(CLAWKAKA_BURST_S="0", CLAWKAKA_TURN_TIMEOUT_S=str(TURN_TIMEOUT_S), CLAWKAKA_SETTLE_S="5")


async def met(stage: Stage, name: str = "Robin") -> Person:
    """Somebody whose sandbox runs."""
    person = stage.person(name)
    await stage.world.ask(person, "hello")
    return person


async def in_a_turn(stage: Stage, person: Person, gateway: FakeGateway, *, delay_s: float = 0.3) -> None:
    """The agent has begun to think about it."""
    before = gateway.count("chat.send")
    stage.agent_delay_s = delay_s
    stage.world.say(person, "one")
    await eventually(lambda: gateway.count("chat.send") > before, within_s=20)


@pytest.mark.parametrize(
    ("cases", "trouble"), [(CODES, FakeGateway.close), (GARBAGE, FakeGateway.garbage)], ids=["closed", "garbage"]
)
async def test_whatever_a_gateway_does_to_its_connection_in_a_turn_costs_nothing(
    stage: Stage, cases: Sequence[Any], trouble: Callable[[FakeGateway, Any], Awaitable[None]]
) -> None:
    await stage.world.daemon.start()
    met_with: dict[str, tuple[Person, FakeGateway]] = {}
    for n in range(len(cases)):
        before = set(stage.gateways)
        person = await met(stage, f"Person {n}")
        met_with[person.name] = person, stage.gateways[(set(stage.gateways) - before).pop()]
    for case, (person, gateway) in zip(cases, met_with.values(), strict=True):
        await in_a_turn(stage, person, gateway)
        await trouble(gateway, case)

    for person, gateway in met_with.values():
        assert await stage.world.hears(person, 2) == ["echo: hello", "echo: one"]
        assert await stage.world.ask(person, "two") == "echo: two"
        assert gateway.count("chat.send") == 3


async def test_a_gateway_that_dies_in_a_turn_and_goes_on_with_it_answers_once(stage: Stage) -> None:
    await stage.world.daemon.start()
    robin = await met(stage)
    await in_a_turn(stage, robin, stage.gateway(), delay_s=1)
    stage.agent_delay_s = 0

    await stage.gateway().restart()

    assert "one" in (await stage.world.hears(robin, 2, within_s=60))[1]
    assert await stage.world.ask(robin, "two") == "echo: two"
    assert len(stage.world.heard(robin)) == 3


async def test_events_that_come_twice_are_heard_once(stage: Stage) -> None:
    await stage.world.daemon.start()
    robin = await met(stage)
    stage.gateway().duplicate = True

    assert await stage.world.ask(robin, "one") == "echo: one"
    assert await stage.world.ask(robin, "two") == "echo: two"
    assert len(stage.world.heard(robin)) == 3


async def test_a_turn_that_is_cut_short_twice_is_parked_and_its_person_told_once(stage: Stage) -> None:
    await stage.world.daemon.start(CLAWKAKA_TURN_TIMEOUT_S="60")
    robin = await met(stage)
    stage.gateway().begin_after_s = stage.begin_after_s = 60.0
    stage.world.say(robin, "one")
    runs: list[str] = []
    while len(runs) < 2:  # each is on the gateway's disk, and dies with it before it begins
        run_id, gateway = await eventually(lambda: in_vain(stage, runs), within_s=30)
        runs.append(run_id)
        stage.begin_after_s = 0.0 if len(runs) == 2 else 60.0
        await gateway.restart()
        gateway.begin_after_s = stage.begin_after_s

    assert await stage.world.hears(robin, 2, within_s=30) == ["echo: hello", words.INTERRUPTED]
    assert runs[1] == f"{runs[0]}.2"
    (row,) = stage.world.daemon.rows("SELECT text, reason FROM inbox WHERE state = 'parked'")
    assert row["text"] == "one"
    assert "cut short twice" in row["reason"]
    assert [
        line for line in stage.world.daemon.logged() if (line["level"], line["message"]) == ("ERROR", "turn failed")
    ]
    assert await stage.world.ask(robin, "two") == "echo: two"
    assert stage.world.heard(robin) == ["echo: hello", words.INTERRUPTED, "echo: two"]


def in_vain(stage: Stage, known: Sequence[str]) -> tuple[str, FakeGateway] | None:
    """A run that was written down and has not begun, and its gateway."""
    for gateway in stage.gateways.values():
        for run in gateway.runs.values():
            if run.written and run.status == "running" and run.run_id not in known:
                return run.run_id, gateway
    return None


async def test_who_waits_sees_that_somebody_writes_and_is_told_once_that_it_takes_long(stage: Stage) -> None:
    await stage.world.daemon.start(CLAWKAKA_STILL_ON_IT_S="1")
    robin, mika = await met(stage), await met(stage, "Mika")
    stage.agent_delay_s = 2.5
    stage.world.say(robin, "one")
    exchange = stage.world.simulator.exchange
    await eventually(lambda: exchange.typing() == [robin.wa_id])
    assert all(m.state is State.READ for m in exchange.people.of(robin.wa_id) if m.author is Author.PERSON)
    stage.agent_delay_s = 0
    assert await stage.world.ask(mika, "two") == "echo: two"

    assert await stage.world.hears(robin, 3) == ["echo: hello", words.STILL_ON_IT, "echo: one"]
    assert exchange.typing() == []


async def test_an_agent_that_hangs_is_stopped_and_its_person_told_while_others_are_answered(stage: Stage) -> None:
    await stage.world.daemon.start()
    robin = await met(stage)
    gateway = stage.gateway()
    gateway.agent = lambda text: Reply(hangs=True)
    stage.world.say(robin, "one")
    await eventually(lambda: gateway.count("chat.send") == 2)
    mika = stage.person("Mika")

    assert await stage.world.ask(mika, "hello") == "echo: hello"
    assert (await stage.world.hears(robin, 2, within_s=TURN_TIMEOUT_S + 10))[1] == words.TOO_LONG
    gateway.agent = stage.agent
    assert await stage.world.ask(robin, "two") == "echo: two"
    assert gateway.count("chat.abort") == 1


async def test_an_answer_that_comes_too_late_is_still_delivered_once(stage: Stage) -> None:
    await stage.world.daemon.start()
    robin = await met(stage)
    gateway = stage.gateway()
    gateway.unanswered.add("chat.abort")
    gateway.refuse["chat.abort"] = {"code": "UNAVAILABLE", "message": "not now"}  # it goes on all the same
    await in_a_turn(stage, robin, gateway, delay_s=TURN_TIMEOUT_S + 7)
    stage.agent_delay_s = 0

    heard = await stage.world.hears(robin, 3, within_s=TURN_TIMEOUT_S + 20)

    assert heard[1:] == [words.TOO_LONG, "echo: one"]
    assert await stage.world.ask(robin, "two") == "echo: two"
    assert len(stage.world.heard(robin)) == 4


async def test_an_answer_that_says_nothing_is_no_message_and_ends_the_turn(stage: Stage) -> None:
    await stage.world.daemon.start()
    robin = await met(stage)
    stage.gateway().agent = lambda text: Reply("" if text == "one" else f"echo: {text}")
    stage.world.say(robin, "one")
    await eventually(lambda: len(stage.world.daemon.rows("SELECT 1 FROM inbox WHERE state = 'answered'")) == 2)

    assert await stage.world.ask(robin, "two") == "echo: two"
    assert stage.world.heard(robin) == ["echo: hello", "echo: two"]


async def test_an_answer_of_a_megabyte_becomes_a_few_messages_and_holds_up_nobody(stage: Stage) -> None:
    await stage.world.daemon.start()
    robin = await met(stage)
    gateway = stage.gateway()
    words_of_it = " ".join(f"word{n}" for n in range(120_000))
    assert len(words_of_it) > 2**20
    gateway.agent = lambda text: Reply(words_of_it if text == "one" else f"echo: {text}")
    stage.world.say(robin, "one")
    mika = stage.person("Mika")

    assert await stage.world.ask(mika, "hello") == "echo: hello"
    heard = (await stage.world.hears(robin, 11))[1:]
    assert heard[-1] == words.CUT_SHORT
    assert all(len(text) <= 4096 for text in heard)
    assert words_of_it.startswith(" ".join(heard[:-1]))
    assert await stage.world.ask(robin, "two") == "echo: two"


async def test_an_answer_whose_request_was_never_acknowledged_arrives_late_but_once(stage: Stage) -> None:
    await stage.world.daemon.start()
    robin = await met(stage)
    stage.gateway().unanswered.add("chat.send")  # it is carried out, but nobody says so
    stage.world.say(robin, "one")

    heard = await stage.world.hears(robin, 2, within_s=TURN_TIMEOUT_S + 10)
    if heard[1] == words.TOO_LONG:
        heard = await stage.world.hears(robin, 3, within_s=10)
    stage.gateway().unanswered.clear()
    assert heard[-1] == "echo: one"
    assert await stage.world.ask(robin, "two", within_s=30) == "echo: two"
    assert stage.world.heard(robin).count("echo: one") == 1
