"""`clawkakad doctor`: a check is ok only where what it stands for works; else it says what to do."""

import asyncio
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clawkakad.cli import doctor
from clawkakad.cli.doctor import CHECKS, Finding, Patient
from clawkakad.config import load_place, load_settings
from clawkakad.registry import FILE, open_registry, pauses
from clawkakad.registry.pauses import Scope
from tests.fakes.graph import Reply, fake_graph
from tests.support import SCALE, free_port

GOOD = {
    "WHATSAPP_APP_SECRET": "app-one",
    "WHATSAPP_ACCESS_TOKEN": "token-one",
    "WHATSAPP_VERIFICATION_TOKEN": "verify-one",
    "WHATSAPP_SENDER_PHONE_NUMBER_ID": "100000000000001",
    "CLAWKAKA_ALLOW": "+49 151 23456789",
}
NUMBER, TOKEN, SCOPES = "WHATSAPP_SENDER_PHONE_NUMBER_ID", "make a new system user token", "the scopes"


def patient(*, is_trial: bool = False, **environ: str) -> Patient:
    together = {**GOOD, **environ}
    return Patient(load_place(together), load_settings(together), "", is_trial)


async def whatsapp(*script: Reply) -> Finding:
    """What is found where Meta gives these answers."""
    async with fake_graph() as graph:
        graph.script = list(script)
        return await CHECKS["WhatsApp"](patient(WHATSAPP_API_BASE_URL=graph.base_url))


async def test_whatsapp_is_ok_where_it_shows_the_number() -> None:
    assert (await whatsapp()).verdict == "ok"


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (Reply.error(100, error_subcode=33), NUMBER),  # no such number, or not this token's
        (Reply.error(33), NUMBER),
        (Reply.error(190, status=401), TOKEN),
        (Reply.error(190), TOKEN),
        (Reply.error(10, status=403), SCOPES),
        (Reply.error(200, status=403), SCOPES),
        (Reply(status=404, body=b"not found"), NUMBER),
        (Reply(status=302, body=b"", headers={"Location": "https://example.org"}), NUMBER),
    ],
)
async def test_whatsapp_that_refuses_is_not_ok_and_what_to_do_is_said(answer: Reply, advice: str) -> None:
    found = await whatsapp(answer)

    assert found.verdict == "fail"
    assert advice in found.advice


@pytest.mark.parametrize("answer", [Reply(status=503, body=b""), Reply(status=429, body=b"")])
async def test_whatsapp_that_is_away_is_for_later(answer: Reply) -> None:
    assert (await whatsapp(answer)).advice == "try again later"


async def test_a_simulated_whatsapp_that_does_not_run_is_no_trouble() -> None:
    found = await CHECKS["WhatsApp"](patient(is_trial=True, WHATSAPP_API_BASE_URL="http://127.0.0.1:9"))

    assert (found.verdict, found.seen) == ("warn", "the simulated one does not run")


@pytest.mark.parametrize(
    ("is_installed", "is_trial", "advice"),
    [(True, False, "systemctl start clawkakad"), (False, False, "clawkakad run"), (True, True, "scripts/try")],
)
async def test_a_daemon_that_does_not_run_is_started_as_it_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_installed: bool, is_trial: bool, advice: str
) -> None:
    monkeypatch.setattr("clawkakad.cli.doctor.UNIT", tmp_path if is_installed else tmp_path / "none")

    found = await CHECKS["daemon"](patient(is_trial=is_trial, PORT=str(free_port())))

    assert (found.verdict, found.advice) == ("warn", advice)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections, and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_who_is_silent_is_named_and_all_of_them_are_waited_for_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: int
) -> None:
    monkeypatch.setattr(doctor, "DEADLINE_S", SCALE)
    url = f"http://127.0.0.1:{silent}"
    places = {"CLAWKAKA_STATE_DIR": str(tmp_path), "PORT": str(silent), "DOCKER_HOST": url}
    addresses = {"WHATSAPP_API_BASE_URL": url, "MODEL_BASE_URL": f"{url}/v1", "MODEL": "m"}

    began = time.monotonic()
    found = await doctor._findings(patient(**places, **addresses))

    assert time.monotonic() - began < 3 * SCALE
    wanted = {"engine": url, "daemon": f"port {silent}", "WhatsApp": url, "model": f"{url}/v1/models"}
    said = {name: f"{asked} did not answer within {SCALE:g} s" for name, asked in wanted.items()}
    assert {name: found[name].seen for name in wanted} == said
    assert {found[name].verdict for name in wanted} == {"fail"}
    assert all(found[name].advice for name in wanted)
    assert found["sandbox image"] == doctor.UNASKED
    assert "GB free at" in found["disk"].seen
    assert found.keys() == CHECKS.keys()


async def test_an_engine_that_falls_silent_halfway_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: int
) -> None:
    async def answers(_: Patient) -> Finding:
        await asyncio.sleep(0)
        return Finding("ok", "it did a moment ago")

    monkeypatch.setattr(doctor, "DEADLINE_S", SCALE)
    monkeypatch.setitem(CHECKS, "engine", answers)
    url, nobody = f"http://127.0.0.1:{silent}", free_port()
    places = {"CLAWKAKA_STATE_DIR": str(tmp_path), "PORT": str(nobody), "DOCKER_HOST": url}

    began = time.monotonic()
    found = await doctor._findings(patient(**places, WHATSAPP_API_BASE_URL=f"http://127.0.0.1:{nobody}"))

    assert time.monotonic() - began < 3 * SCALE
    assert found["sandbox image"].seen == f"{url} did not answer within {SCALE:g} s"
    assert "GB free at" in found["disk"].seen


async def test_a_pause_is_told_without_numbers_and_keys(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    async with open_registry(tmp_path / FILE, lambda: now) as registry:
        reason = "error 190: 4915123456789 has no Bearer abcdef"
        await registry.db.write(lambda tx: pauses.pause(tx, Scope.ALL, 190, reason, now=now, until=now))

    found = await CHECKS["messages"](patient(CLAWKAKA_STATE_DIR=str(tmp_path)))

    assert found.seen == "sending is paused: error 190: 49…89 has no [secret]"
