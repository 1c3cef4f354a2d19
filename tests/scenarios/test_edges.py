"""The edges of the real daemon: duplicates, strangers, bad settings, systemd, every kind of webhook."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
import sys
from pathlib import Path

import pytest

from clawkakad.assistant import words
from tests.scenarios.conftest import Stage, data, post
from tests.support import DATA, eventually

pytestmark = pytest.mark.timeout(120)

PAYLOADS = sorted(path.name for path in (DATA / "payloads").glob("*.json"))


async def test_every_recorded_webhook_is_taken_without_a_traceback(stage: Stage) -> None:
    await stage.world.daemon.start()

    for name in PAYLOADS:
        assert await post(stage, data(name)) == 200, name

    kinds = {row["kind"] for row in stage.world.daemon.rows("SELECT kind FROM inbox")}
    assert {"text", "image", "audio", "reaction", "hologram", "location", "unsupported"} <= kinds
    rows = stage.world.daemon.rows("SELECT DISTINCT kind FROM inbox WHERE state = 'received' OR attempt > 0")
    assert {row["kind"] for row in rows}.isdisjoint({"reaction", "hologram", "unsupported", "sticker", "revoke"})
    wamids = [row["wamid"] for row in stage.world.daemon.rows("SELECT wamid FROM inbox")]
    assert len(wamids) == len(set(wamids)) > 40
    assert "Traceback" not in stage.world.daemon.log.read_text()
    assert not [line for line in stage.world.daemon.logged() if line["message"] == "request failed"]


async def test_somebody_whose_phone_number_is_hidden_is_answered_and_stays_the_same_person(stage: Stage) -> None:
    await stage.world.daemon.start()
    exchange = stage.world.simulator.exchange
    exchange.knobs = exchange.knobs.turned({"numbers_hidden": True})
    robin = stage.person()

    assert await stage.world.ask(robin, "hello") == "echo: hello"
    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM outbox WHERE state = 'delivered'"))
    rows = stage.world.daemon.rows("SELECT kind, value FROM identifiers")
    assert rows == [{"kind": "bsuid", "value": robin.user_id}]

    exchange.knobs = exchange.knobs.turned({"numbers_hidden": False})
    assert await stage.world.ask(robin, "here is my number") == "echo: here is my number"
    assert len(stage.world.daemon.rows("SELECT DISTINCT user_id FROM identifiers")) == 1
    assert len(stage.world.daemon.rows("SELECT 1 FROM identifiers")) == 2


async def test_one_bad_item_does_not_spoil_its_neighbours(stage: Stage) -> None:
    await stage.world.daemon.start()

    assert await post(stage, data("batched_one_bad_message_among_good.json")) == 200

    assert len(stage.world.daemon.rows("SELECT 1 FROM inbox WHERE kind = 'text'")) >= 2


@pytest.mark.parametrize("header", ["sha256=" + "0" * 64, "sha1=abc", "nonsense"])
async def test_an_unsigned_webhook_is_401_and_leaves_nothing(stage: Stage, header: str) -> None:
    await stage.world.daemon.start()

    assert await post(stage, data("text_basic.json"), header) == 401

    assert stage.world.daemon.rows("SELECT 1 FROM inbox") == []


async def test_while_the_registry_cannot_commit_meta_is_told_to_come_again(stage: Stage) -> None:
    await stage.world.daemon.start()
    other = sqlite3.connect(stage.world.daemon.state_dir / "registry.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    assert await post(stage, data("text_basic.json")) == 503
    other.execute("ROLLBACK")
    other.close()

    assert await post(stage, data("text_basic.json")) == 200
    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM inbox WHERE state = 'answered'"))


@pytest.mark.parametrize(
    "settings",
    [{"CLAWKAKA_ACCESS": "listed", "CLAWKAKA_ALLOW": "+49 1512 3456789", "CLAWKAKA_STRANGERS": "silent"}],
)
async def test_a_stranger_gets_no_sandbox_and_no_reply(stage: Stage) -> None:
    stranger, guest = stage.world.person("Stranger", "+91 98765 43210"), stage.world.person("Guest", "+4915123456789")
    await stage.world.daemon.start()
    stage.world.say(stranger, "let me in")
    assert await stage.world.ask(guest, "hello") == "echo: hello"

    assert stage.world.heard(stranger) == []
    assert len(stage.engine.containers) == 1
    (row,) = stage.world.daemon.rows("SELECT state, text FROM inbox WHERE state = 'refused'")
    assert row["text"] is None


@pytest.mark.parametrize("settings", [{"CLAWKAKA_ACCESS": "listed", "CLAWKAKA_ALLOW": "+49 1512 3456789"}])
async def test_a_stranger_hears_one_line_and_no_more(stage: Stage) -> None:
    stranger = stage.world.person("Stranger", "+91 98765 43210")
    await stage.world.daemon.start()
    for text in ("let me in", "please"):
        stage.world.say(stranger, text)

    await eventually(lambda: stage.world.heard(stranger))
    await eventually(lambda: len(stage.world.daemon.rows("SELECT 1 FROM inbox WHERE state = 'refused'")) == 2)

    assert stage.world.heard(stranger) == [words.STRANGER]
    assert stage.engine.containers == {}


async def test_a_picture_is_answered_politely(stage: Stage) -> None:
    await stage.world.daemon.start()

    await post(stage, data("image_without_caption_or_url.json"))

    await eventually(lambda: stage.world.daemon.rows("SELECT 1 FROM outbox WHERE origin = 'notice'"))
    assert stage.engine.containers == {}


async def test_logs_hold_no_text_no_secret_and_no_number(stage: Stage) -> None:
    robin = stage.world.person("Robin", "+91 98765 43210")
    await stage.world.daemon.start()
    await stage.world.ask(robin, "my-private-canary 4111111111111111")
    stage.world.simulator.exchange.knobs = stage.world.simulator.exchange.knobs.turned({"next_errors": [190, 100]})
    stage.world.say(robin, "another-canary")
    await asyncio.sleep(1)
    await stage.world.daemon.stop()

    log = stage.world.daemon.log.read_text()
    secrets = stage.world.simulator.secrets
    token = json.loads(
        next(Path(stage.world.daemon.environ["CLAWKAKA_RUNTIME_DIR"]).glob("*/config/openclaw.json")).read_text()
    )["gateway"]["auth"]["token"]
    for canary in (
        "canary",
        robin.wa_id,
        secrets.app_secret,
        secrets.access_token,
        secrets.verification_token,
        token,
        (stage.world.daemon.state_dir / "secret").read_text().strip(),
    ):
        assert canary not in log
    assert "message stored" in log


async def test_systemd_hears_ready_watchdog_and_stopping(stage: Stage, short_path: Path) -> None:
    address = str(short_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.setblocking(False)
        heard: list[str] = []

        def hears(word: str) -> bool:
            while True:
                try:
                    heard.append(listener.recv(1000).decode())
                except BlockingIOError:
                    return word in heard

        await stage.world.daemon.start(NOTIFY_SOCKET=address, WATCHDOG_USEC="400000")
        await eventually(lambda: hears("READY=1"))
        await eventually(lambda: hears("WATCHDOG=1"))
        await stage.world.daemon.stop()
        assert hears("STOPPING=1")


async def test_a_second_daemon_on_the_same_state_is_refused_in_a_line(stage: Stage) -> None:
    await stage.world.daemon.start()

    code, output = await run_daemon(dict(stage.world.daemon.environ) | {"PORT": "1"})

    assert code == 2
    assert output.count("\n") == 1
    assert "another clawkakad runs on it" in output


async def test_a_port_that_is_taken_is_told_in_a_line(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", stage.world.daemon.port)):
        code, output = await run_daemon(dict(stage.world.daemon.environ))

    assert code == 2
    assert str(stage.world.daemon.port) in output
    assert "Traceback" not in output


async def test_bad_settings_are_all_told_and_nothing_is_made(tmp_path: Path) -> None:
    state = tmp_path / "state"

    code, output = await run_daemon({"CLAWKAKA_STATE_DIR": str(state), "PORT": "many", "CLAWKAKA_ALOW": "x"})

    assert code == 2
    for name in ("WHATSAPP_APP_SECRET", "WHATSAPP_ACCESS_TOKEN", "PORT", "CLAWKAKA_ALOW"):
        assert name in output
    assert "Traceback" not in output
    assert not state.exists()


async def test_two_signals_end_it_at_once(stage: Stage) -> None:
    robin = stage.person()
    await stage.world.daemon.start()
    await stage.world.ask(robin, "hello")
    stage.agent_delay_s = 60
    stage.world.say(robin, "one")
    await eventually(lambda: stage.gateway().count("chat.send") == 2)
    process = stage.world.daemon.process
    assert process is not None

    process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    process.send_signal(signal.SIGTERM)

    assert await stage.world.daemon.ended(within_s=3) != 0


async def run_daemon(environ: dict[str, str]) -> tuple[int, str]:
    """Run it to its end; exit code and everything that it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "clawkakad", "run"),
        env={"PATH": os.environ["PATH"], **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=Path(__file__).parent.parent.parent,
    )
    async with asyncio.timeout(20):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()
