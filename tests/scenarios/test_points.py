"""The daemon dies at every named point of a message's way, the first time it is reached, the second time, and so on:
the end is the same as if it had never died.
"""

import asyncio
import itertools
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from importlib import resources

import pytest

from clawkakad.registry.schema import statements
from clawkakad.registry.times import to_text
from clawkakad.simulator.people import Author, Person, State
from tests.scenarios.conftest import ON_THE_WAY, Stage, known
from tests.support import eventually

pytestmark = pytest.mark.timeout(180)

MOST = 60  # times that a point is reached for one message: more would be a loop


@pytest.fixture
def settings() -> dict[str, str]:
    return known(CLAWKAKA_SETTLE_S="0.5", CLAWKAKA_BURST_S="0")


@pytest.mark.parametrize("point", ON_THE_WAY)
async def test_death_on_the_way_of_a_newcomers_first_message_changes_nothing(stage: Stage, point: str) -> None:
    await stage.world.daemon.start()
    for times in itertools.count(1):
        assert times < MOST, "it is reached again and again"
        await stage.world.daemon.order(point=point, times=times)
        stage.world.say(stage.person(f"Person {times}"), "hello")
        if not await died(stage):
            break
        await stage.world.daemon.start()
        await the_end(stage)

    print(f"{point}: {times - 1} deaths")
    assert times > 1


@pytest.mark.parametrize("point", ON_THE_WAY)
async def test_death_at_a_start_with_work_to_do_changes_nothing(stage: Stage, point: str) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    for times in itertools.count(1):
        assert times < MOST, "it is reached again and again"
        await stage.world.daemon.kill()
        await stage.world.daemon.order(point=point, times=times)
        await stage.world.daemon.spawn()
        stage.world.say(robin, f"message {times}")
        if not await died(stage):
            break
        await stage.world.daemon.start()
        await the_end(stage)

    print(f"{point}: {times - 1} deaths")
    assert times > 1


@pytest.mark.parametrize("settings", [known(CLAWKAKA_SETTLE_S="0.5", CLAWKAKA_BURST_S="0.2")], ids=["a window"])
@pytest.mark.parametrize("point", ON_THE_WAY)
async def test_death_on_the_way_of_a_burst_loses_and_doubles_none_of_it(stage: Stage, point: str) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    said = ["hello"]
    for times in itertools.count(1):
        assert times < MOST, "it is reached again and again"
        await stage.world.daemon.order(point=point, times=times)
        for text in (f"hi {times}", "add milk", "and eggs"):
            said.append(text)
            stage.world.say(robin, text)
        if not await died(stage, lambda: told(stage, robin, said)):
            break
        await stage.world.daemon.start()
        await the_end(stage, lambda: told(stage, robin, said))

    print(f"{point}: {times - 1} deaths")
    assert times > 1
    assert stage.world.heard(robin)[-1] == f"echo: hi {times}\nadd milk\nand eggs"


@pytest.mark.parametrize("gateway", ["lives", "dies too"])
@pytest.mark.parametrize("agent_s", [0.0, 1.0], ids=["it is done", "it goes on"])
async def test_what_was_asked_for_and_dies_before_it_is_stored_is_run_once(
    stage: Stage, gateway: str, agent_s: float
) -> None:
    robin = stage.person()
    await stage.world.daemon.order(clock_s=-60)  # soon after its start it would look first what the agent knows
    await stage.world.daemon.start()
    await stage.world.daemon.order(clock_s=0)
    await stage.world.ask(robin, "hello")
    await the_end(stage)
    stage.agent_delay_s = agent_s
    await stage.world.daemon.order(point="work", times=1)
    asked = stage.gateway().count("chat.send")
    stage.world.say(robin, "add milk")
    assert await died(stage)
    assert stage.world.daemon.rows("SELECT text FROM inbox") == [{"text": "hello"}]
    await eventually(lambda: stage.gateway().count("chat.send") == asked + 1)
    if gateway == "dies too":
        await asyncio.sleep(0.1)
        await stage.gateway().restart()

    await stage.world.daemon.start()
    await the_end(stage)
    assert stage.gateway().count("chat.send") == (0 if gateway == "dies too" else asked + 1)


async def test_death_between_two_migrations_is_made_up_for(stage: Stage) -> None:
    scripts = sorted((resources.files("clawkakad.registry") / "migrations").iterdir(), key=lambda file: file.name)
    scripts = [script for script in scripts if script.name.endswith(".sql")]
    for done in range(1, len(scripts) + 1):
        await stage.world.daemon.order(point="migration", times=1)
        await stage.world.daemon.spawn()
        assert await stage.world.daemon.ended() == -9
        assert stage.world.daemon.rows("PRAGMA user_version") == [{"user_version": done}]

    await stage.world.daemon.start()
    assert await stage.world.ask(stage.person(), "hello") == "echo: hello"


async def test_what_an_older_daemon_left_is_finished_by_a_newer_one(stage: Stage) -> None:
    first = (resources.files("clawkakad.registry") / "migrations" / "0001_first.sql").read_text()
    stage.world.daemon.state_dir.mkdir(mode=0o700)
    robin = stage.person()
    message = stage.world.say(robin, "hello")  # the window is open; nobody takes it yet
    with closing(sqlite3.connect(stage.world.daemon.state_dir / "registry.sqlite")) as old:
        for statement in statements(first):
            old.execute(statement)
        old.execute("PRAGMA user_version = 1")
        now = to_text(datetime.now(UTC))
        old.execute("INSERT INTO users VALUES ('u1', 'Robin', 'UTC', 'USD', 'en', NULL, ?, ?)", (now, now))
        old.execute("INSERT INTO identifiers VALUES ('wa_id', ?, 'u1', ?)", (robin.wa_id, now))
        old.execute(
            "INSERT INTO inbox (run_key, wamid, user_id, kind, text, raw, forwarded, sent_at, received_at, state,"
            " changed_at) VALUES ('k1', ?, 'u1', 'text', 'hello', '{}', 0, ?, ?, 'received', ?)",
            (message.id, now, now, now),
        )
        old.commit()

    await stage.world.daemon.start()

    assert "hello" in (await stage.world.hears(robin, 1))[0]
    await the_end(stage)


async def died(stage: Stage, is_over: Callable[[], bool] | None = None) -> bool:
    """Wait until it dies, or comes to the end before."""
    is_over = is_over or partial(ended, stage)
    daemon = stage.world.daemon
    assert daemon.process is not None
    process = daemon.process
    try:
        await eventually(lambda: process.returncode is not None or is_over(), within_s=20, every_s=0.02)
    except AssertionError as error:
        raise AssertionError(f"{state(stage)}\n{daemon.tail()}") from error
    if process.returncode is None:
        return False
    assert await daemon.ended() == -9, daemon.tail()
    return True


async def the_end(stage: Stage, is_over: Callable[[], bool] | None = None) -> None:
    """As if it had never died: each message is answered, once, and each answer delivered, once."""
    try:
        await eventually(is_over or partial(ended, stage), within_s=30, every_s=0.02)
    except AssertionError as error:
        raise AssertionError(f"{state(stage)}\n{stage.world.daemon.tail()}") from error


def ended(stage: Stage) -> bool:
    messages = stage.world.simulator.exchange.people.messages.values()
    said = [m for m in messages if m.author is Author.PERSON]
    heard = [m for m in messages if m.author is Author.ASSISTANT]
    assert len(heard) <= len(said), f"answered twice: {state(stage)}"
    if any(m.state is State.SENT for m in said) or len(heard) < len(said):
        return False
    answers = sorted((m.wa_id, f"echo: {m.text}") for m in said)  # a second run would begin with a line that says so
    assert sorted((m.wa_id, m.text) for m in heard) == answers, state(stage)
    inbox, outbox = (stage.world.daemon.rows(f"SELECT state FROM {table}") for table in ("inbox", "outbox"))
    return [row["state"] for row in inbox] == ["answered"] * len(said) and [row["state"] for row in outbox] == [
        "delivered"
    ] * len(said)


def told(stage: Stage, person: Person, said: Sequence[str]) -> bool:
    """The agent was told everything once, in order, in however many turns, and each answer was delivered once.

    A message that its webhook brought before a death is no part of the burst that comes after it.
    """
    heard = [text.removeprefix("echo: ") for text in stage.world.heard(person)]
    words = "\n".join(heard).splitlines()
    assert words == list(said[: len(words)]), state(stage)
    undone = stage.world.daemon.rows("SELECT 1 FROM inbox WHERE state <> 'answered'") + stage.world.daemon.rows(
        "SELECT 1 FROM outbox WHERE state <> 'delivered'"
    )
    return len(words) == len(said) and not undone


def state(stage: Stage) -> str:
    """What there is to see when it did not end well."""
    rows = stage.world.daemon.rows
    inbox = rows("SELECT id, state, attempt, text, reason FROM inbox WHERE state <> 'answered'")
    outbox = rows("SELECT id, state, attempt, source, text, reason FROM outbox WHERE state <> 'delivered'")
    chats = {
        p.name: [(m.author.value, m.text, m.state.value) for m in stage.world.simulator.exchange.people.of(p.wa_id)]
        for p in stage.world.simulator.exchange.people.people.values()
    }
    return f"inbox {inbox}\noutbox {outbox}\n{chats}"
