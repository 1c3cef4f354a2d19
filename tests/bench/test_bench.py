"""The benchmark itself: a little of everything, with no word about how fast it was."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from clawkakad.gateway.connection import Connection
from clawkakad.gateway.dialing import open_connection
from clawkakad.gateway.frames import ChatEvent, Event
from clawkakad.gateway.history import Answered, standing
from clawkakad.gateway.runs import Ending, Outcome
from tests.bench.__main__ import main
from tests.bench.gateway import Gateway
from tests.bench.journal import Journal, Message, percentile
from tests.bench.report import lines
from tests.support import eventually, short_directory


@pytest.mark.timeout(120)
def test_it_measures_both_programs_and_every_message_is_answered_once(tmp_path: Path) -> None:
    said = io.StringIO()
    code = main(["message", "--quick", "--out", str(tmp_path)], Console(file=said, width=110))
    assert code == 0, said.getvalue()  # 1 where a message was lost, or was answered twice
    (path,) = tmp_path.glob("message-*.json")
    kept = json.loads(path.read_text())
    found = {line["name"]: line for line in kept["measures"]}
    assert {"overhead_p50_ms", "cpu_light_s", "saturated_per_s", "rss_0_mib", "idle_4_percent"} <= found.keys()
    assert found["flood_lost"]["ours"] == found["flood_refused"]["ours"] == 0
    assert all(line["relay_rounds"] for line in kept["measures"] if not line["name"].startswith("flood"))
    assert "overhead of the way p50" in said.getvalue()
    assert str(path) in said.getvalue()


async def test_its_gateway_is_one_to_the_daemon() -> None:
    with short_directory() as directory:
        journal = Journal()
        message = journal.new("15550100123", 0.0)
        gateway = Gateway(directory / "g.sock", "token", journal, [0.01])
        await gateway.start()
        owner = frozenset({gateway.socket.stat().st_uid})
        connection = await open_connection(gateway.socket, "token", owner_uids=owner, timeout_s=5)
        try:
            await _answers(gateway, connection, message)
        finally:
            await connection.aclose()
            gateway.stop()


async def _answers(gateway: Gateway, connection: Connection, message: Message) -> None:
    heard: list[Event] = []
    connection.listen(heard.append)
    assert (await connection.chat("run", message.text)).status == "started"
    outcome = await connection.wait_run("run", 5)
    assert isinstance(outcome, Outcome)
    assert outcome.ending is Ending.FINAL
    assert "m1m" in outcome.text
    await eventually(lambda: any(isinstance(event, ChatEvent) and event.state == "final" for event in heard))
    assert (await connection.chat("run", message.text)).status == "ok"
    assert standing(await connection.history(100), ["run"]) == Answered("run", outcome.text)
    assert message.heard
    assert message.finished
    assert not connection.unknown_events


def test_a_reply_counts_for_every_message_in_it() -> None:
    journal = Journal()
    first, second = journal.new("1", 1.0), journal.new("1", 2.0)
    journal.hear(f"{first.text}\n{second.text}", 3.0)
    first.finished = second.finished = 5.0
    journal.answer("Done: m1m and m2m; m1m again, m9m never", 6.0)
    assert (first.answers, second.answers) == (1, 1)
    assert (first.overhead_s, second.overhead_s) == (3.0, 2.0)
    journal.answer("m2m", 7.0)
    assert (second.answers, second.answered) == (2, 6.0)


def test_percentiles_are_values_that_occurred() -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.99) == 4.0


def test_the_reach_is_judged_by_medians() -> None:
    (overhead, memory) = lines(
        {"rss_1000_mib": [90.0], "overhead_p50_ms": [8.0, 2.0, 3.0], "peers_flood": [0.1]},
        {"rss_1000_mib": [40.0], "overhead_p50_ms": [2.0, 9.0, 1.0]},
    )
    assert (overhead.ours, overhead.relay, overhead.ratio, overhead.met) == (3.0, 2.0, 1.5, True)
    assert (memory.label, memory.met) == ("RSS, people connected: 1000", False)
