"""`clawkakad doctor`: a check is ok only where what it stands for works; else it says what to do."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from clawkakad.cli.doctor import CHECKS, Finding, Patient
from clawkakad.config import load_place, load_settings
from clawkakad.registry import FILE, open_registry, pauses
from clawkakad.registry.pauses import Scope
from tests.fakes.graph import Reply, fake_graph
from tests.support import free_port

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


async def test_a_pause_is_told_without_numbers_and_keys(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    async with open_registry(tmp_path / FILE, lambda: now) as registry:
        reason = "error 190: 4915123456789 has no Bearer abcdef"
        await registry.db.write(lambda tx: pauses.pause(tx, Scope.ALL, 190, reason, now=now, until=now))

    found = await CHECKS["messages"](patient(CLAWKAKA_STATE_DIR=str(tmp_path)))

    assert found.seen == "sending is paused: error 190: 49…89 has no [secret]"
