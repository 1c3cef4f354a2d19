"""`clawkakad doctor`: a check is ok only where what it stands for works; else it says what to do."""

import asyncio
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clawkakad.cli import doctor
from clawkakad.cli.checks.finding import ENGINE_FIRST, Finding, Patient
from clawkakad.cli.doctor import CHECKS
from clawkakad.config import load_place, load_settings
from clawkakad.model import SandboxState, UserId
from clawkakad.registry import FILE, DiskRow, Registry, open_registry, pauses, spares
from clawkakad.registry.pauses import Scope
from clawkakad.sandboxes.profile import MIB
from tests.conftest import Clock
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
    monkeypatch.setattr("clawkakad.cli.checks.finding.UNIT", tmp_path if is_installed else tmp_path / "none")

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
    monkeypatch.setattr("clawkakad.cli.checks.finding.DEADLINE_S", SCALE)
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
    assert found["sandbox image"] == ENGINE_FIRST
    assert "GB free at" in found["disk"].seen
    assert found.keys() == CHECKS.keys()


async def test_an_engine_that_falls_silent_halfway_is_waited_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: int
) -> None:
    async def answers(_: Patient) -> Finding:
        await asyncio.sleep(0)
        return Finding("ok", "it did a moment ago")

    monkeypatch.setattr("clawkakad.cli.checks.finding.DEADLINE_S", SCALE)
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


@pytest.fixture
async def parked(registry: Registry, robin: UserId) -> str:
    """The id of a sandbox that was given up."""
    row = await registry.sandboxes.ensure(robin)
    await registry.sandboxes.park(row.id, "it ended with exit code 1", "made of")
    return row.id


async def sandboxes(tmp_path: Path) -> Finding:
    return await CHECKS["sandboxes"](patient(CLAWKAKA_STATE_DIR=str(tmp_path)))


async def test_a_parked_sandbox_is_told_with_its_reason_and_what_to_do(tmp_path: Path, parked: str) -> None:
    found = await sandboxes(tmp_path)

    assert (found.verdict, found.seen) == ("warn", f"{parked}: parked: it ended with exit code 1")
    assert "clawkakad sandbox retry USER" in found.advice


async def test_an_unhealthy_spare_is_nobodys_to_try_again(tmp_path: Path, registry: Registry, clock: Clock) -> None:
    spare = await registry.db.write(lambda tx: spares.add(tx, most=1, now=clock()))
    assert spare is not None
    await registry.sandboxes.set_state(spare, SandboxState.UNHEALTHY, "the image is not here")

    found = await sandboxes(tmp_path)

    assert (found.verdict, found.seen) == ("warn", f"{spare} (a spare): unhealthy: the image is not here")
    assert "retry" not in found.advice


async def test_a_sandbox_that_is_stopped_for_its_disk_is_told_with_the_disks(
    tmp_path: Path, registry: Registry, clock: Clock, parked: str
) -> None:
    (row,) = await registry.sandboxes.all()
    await registry.disks.put(row.id, DiskRow(2 * MIB, 1, "", MIB, clock(), full_at=clock()))

    assert (await sandboxes(tmp_path)).verdict == "ok"
    assert parked in (await CHECKS["sandbox disks"](patient(CLAWKAKA_STATE_DIR=str(tmp_path)))).seen


async def test_where_there_is_no_registry_no_sandbox_is_unwell(tmp_path: Path) -> None:
    assert (await sandboxes(tmp_path)).seen == "none yet"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:3001/healthz"),
        ("0.0.0.0", "http://127.0.0.1:3001/healthz"),
        ("::", "http://[::1]:3001/healthz"),
        ("::1", "http://[::1]:3001/healthz"),
        ("10.0.0.7", "http://10.0.0.7:3001/healthz"),
    ],
)
async def test_the_daemon_is_asked_where_it_listens(monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
    asked: list[str] = []

    async def answers(url: object, headers: dict[str, str]) -> int:
        asked.append(str(url))
        return 200

    monkeypatch.setattr("clawkakad.cli.checks.network._get", answers)
    found = await CHECKS["daemon"](patient(CLAWKAKA_HOST=host))

    assert (asked, found.verdict) == ([url], "ok")


@pytest.mark.parametrize(("is_trial", "advice"), [(False, "journalctl -u clawkakad -n 50"), (True, "look at its log")])
async def test_a_daemon_that_is_not_well_is_told_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_trial: bool, advice: str
) -> None:
    async def answers(url: object, headers: dict[str, str]) -> int:
        return 503

    monkeypatch.setattr("clawkakad.cli.checks.finding.UNIT", tmp_path)
    monkeypatch.setattr("clawkakad.cli.checks.network._get", answers)
    found = await CHECKS["daemon"](patient(is_trial=is_trial))

    assert (found.seen, found.advice) == ("answers 503", advice)


@pytest.mark.parametrize(("status", "advice"), [(401, "MODEL_API_KEY"), (404, "MODEL_BASE_URL"), (503, "try again")])
async def test_a_model_that_refuses_is_told_with_what_to_look_at(
    monkeypatch: pytest.MonkeyPatch, status: int, advice: str
) -> None:
    async def answers(url: object, headers: dict[str, str]) -> int:
        return status

    monkeypatch.setattr("clawkakad.cli.checks.network._get", answers)
    found = await CHECKS["model"](patient(MODEL_BASE_URL="http://127.0.0.1:9/v1", MODEL="m"))

    assert found.seen == f"answers {status}"
    assert advice in found.advice
