"""The disk is full, the registry locked, the clock wrong: Meta is told to come again, and nothing is lost."""

import asyncio
import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from clawkakad.simulator import payloads
from clawkakad.simulator.people import Author, Message, Person, State, new_wamid
from tests.scenarios.conftest import Stage, known, post
from tests.support import eventually, short_directory

pytestmark = pytest.mark.timeout(180)

HOUR_S = 3600
LOCKED_S = 3.0


@pytest.fixture
def settings() -> dict[str, str]:
    return known(CLAWKAKA_BURST_S="0", CLAWKAKA_SETTLE_S="1", CLAWKAKA_MESSAGES_PER_HOUR="0")


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 16 MB (SQLite takes 4 MB for its log), which needs root to be mounted."""
    with short_directory() as place:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", str(place)], check=True)
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
async def cramped(small_disk: Path, stage: Stage) -> Stage:
    """The stage, its state on the small disk. Made after the disk, and so torn down before it."""
    daemon = stage.world.daemon
    daemon.environ = {**daemon.environ, "CLAWKAKA_STATE_DIR": str(small_disk / "state")}
    return stage


def fill(disk: Path, *, leave: int = 0) -> Path:
    """A file that takes all that is left, but for so many bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while shutil.disk_usage(disk).free > leave:
            file.write(bytes(4096))
    return ballast


def webhook(stage: Stage, person: Person, text: str) -> bytes:
    """What Meta would send, for a test that brings it itself."""
    exchange = stage.world.simulator.exchange
    message = Message(new_wamid(), person.wa_id, Author.PERSON, text, exchange.now(), State.SENT)
    return payloads.wire(payloads.text_message(exchange.business, person, message))


async def test_on_a_full_disk_meta_keeps_the_messages_until_there_is_room(cramped: Stage, small_disk: Path) -> None:
    stage = cramped
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    stage.agent_delay_s = 1.0
    stage.world.say(robin, "before")
    await eventually(lambda: stage.gateway().count("chat.send") == 2)
    stage.agent_delay_s = 0.0
    ballast = fill(small_disk)

    bodies = [webhook(stage, robin, f"m{n}") for n in range(30)]
    answers = [await post(stage, body) for body in bodies]  # there may be room left in what the registry has already
    assert set(answers) <= {200, 503}
    assert answers[-1] == 503
    ballast.unlink()
    refused = [body for body, answer in zip(bodies, answers, strict=True) if answer == 503]
    for body in refused:
        await eventually(lambda body=body: taken(stage, body), within_s=20)

    await heard_once(stage, robin, ["hello", "before", *(f"m{n}" for n in range(30))])
    assert stage.world.daemon.rows("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    assert not [line for line in stage.world.daemon.logged() if line["message"] == "request failed"]


async def test_on_a_disk_that_is_nearly_full_nothing_is_begun_any_more(cramped: Stage, small_disk: Path) -> None:
    stage = cramped
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    ballast = fill(small_disk, leave=500_000)  # a few messages would find room
    await eventually(lambda: is_said(stage, "the disk is full"))
    body = webhook(stage, robin, "later")

    assert await post(stage, body) == 503
    assert not stage.world.daemon.rows("SELECT 1 FROM inbox WHERE text = 'later'")
    ballast.unlink()
    await eventually(lambda: taken(stage, body), within_s=20)
    await heard_once(stage, robin, ["hello", "later"])


def is_said(stage: Stage, words: str) -> bool:
    return any(words in line["message"] for line in stage.world.daemon.logged())


async def taken(stage: Stage, body: bytes) -> bool:
    return await post(stage, body) == 200


async def test_a_registry_that_is_locked_for_three_seconds_only_delays(stage: Stage) -> None:
    robin, mika = stage.person(), stage.person("Mika")
    await stage.world.daemon.start()
    for person in (robin, mika):
        await stage.world.ask(person, "hello")
    stage.agent_delay_s = 0.5
    stage.world.say(robin, "before")
    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM inbox WHERE text = 'before'"))
    with closing(sqlite3.connect(stage.world.daemon.state_dir / "registry.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        stage.world.say(mika, "during")
        await asyncio.sleep(LOCKED_S)
        other.execute("ROLLBACK")

    await heard_once(stage, robin, ["hello", "before"])
    await heard_once(stage, mika, ["hello", "during"])
    assert "Traceback" not in stage.world.daemon.log.read_text()


@pytest.mark.parametrize("hours", [25, -25])
async def test_a_clock_that_jumps_and_comes_back_loses_and_doubles_nothing(stage: Stage, hours: int) -> None:
    robin, mika = stage.person(), stage.person("Mika")
    await stage.world.daemon.start()
    for person in (robin, mika):
        await stage.world.ask(person, "hello")
    await refused_at_first(stage, robin, "one")

    await stage.world.daemon.order(clock_s=hours * HOUR_S)
    await refused_at_first(stage, mika, "one")
    stage.world.say(robin, "two")
    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM inbox WHERE text = 'two'"))
    await stage.world.daemon.order(clock_s=0)
    for person in (robin, mika):
        stage.world.say(person, "three")

    await heard_once(stage, robin, ["hello", "one", "two", "three"])
    await heard_once(stage, mika, ["hello", "one", "three"])


@pytest.mark.parametrize("hours", [25, -25])
async def test_a_start_with_a_wrong_clock_loses_and_doubles_nothing(stage: Stage, hours: int) -> None:
    robin = stage.person()
    await stage.world.daemon.order(clock_s=hours * HOUR_S)
    await stage.world.daemon.start()
    stage.agent_delay_s = 1.0  # it is killed in the turn: of a send in flight nobody could tell how old it is
    stage.world.say(robin, "one")
    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM inbox WHERE state = 'running'"), within_s=20)

    await stage.world.daemon.replace()
    stage.world.say(robin, "two")

    await heard_once(stage, robin, ["one", "two"])


async def refused_at_first(stage: Stage, person: Person, text: str) -> None:
    """The agent has answered, and WhatsApp has said: later. Or nothing was sent, for a reason of the daemon's own."""
    knobs = stage.world.simulator.exchange.knobs
    stage.world.simulator.exchange.knobs = knobs.turned({"next_errors": [130429]})
    stage.world.say(person, text)
    waits = "SELECT 1 FROM outbox WHERE text LIKE ? AND state <> 'sending' AND (reason <> '' OR state = 'held')"
    await eventually(lambda: stage.world.daemon.rows(waits, f"%{text}"), within_s=20)
    stage.world.simulator.exchange.knobs = knobs.turned({"next_errors": []})


async def heard_once(stage: Stage, person: Person, texts: list[str]) -> None:
    """Every text is answered, once, in order."""

    def answers() -> list[str]:
        heard = "\n".join(stage.world.heard(person)).replace(":", " ").split()
        return [word for word in heard if word in texts]

    try:
        await eventually(lambda: len(answers()) >= len(texts), within_s=60, every_s=0.1)
    except AssertionError as error:
        rows = stage.world.daemon.rows("SELECT id, state, text, reason, not_before, changed_at FROM outbox")
        raise AssertionError(f"heard {stage.world.heard(person)}\n{rows}\n{stage.world.daemon.tail()}") from error
    assert answers() == texts
