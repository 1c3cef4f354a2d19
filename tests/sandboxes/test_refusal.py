"""What a gateway's last words say of its exit code 78. The lines are those of OpenClaw 2026.9.6 and of the image."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.sandboxes.refusal import is_refusal

START = (
    "2026-11-28T17:24:41.398+00:00 [gateway] loading configuration…",
    "2026-11-28T17:24:41.778+00:00 [gateway] resolving authentication…",
)
INVALID = "2026-11-28T17:24:45.744+00:00 Gateway failed to start: Invalid config at /etc/clawkaka/openclaw.json:"
REFUSALS = [
    (INVALID, '<root>: Unrecognized key: "nonsense"', 'Run "openclaw doctor --fix" to repair, then retry.'),
    (INVALID, "openclaw.json:34 — gateway.port: Invalid input: expected number, received string"),
    ("2026-11-28T17:25:29.107+00:00 Gateway auth is set to password, but no password is configured.",),
    ("2026-11-28T17:25:50.823+00:00 Refusing to bind gateway to lan without auth.",),
    ("Gateway refused startup because 1 OpenClaw database schema(s) are newer than this build. state database ...",),
    ("pa.sqlite has schema 9, and this image knows 1: a newer image is needed",),
]
PASSING = [
    (
        "Failing check media-persistence (step-refused): Agent database maintenance deferred: agent database "
        "maintenance lease core:agent-database-maintenance/global was lost",
    ),
    ("state lease heartbeat did not become ready (phase=startup, trigger=timeout, status=starting)",),
    (INVALID, "<root>: read failed: Error: database is locked"),
    ('OpenClaw config is invalid; run "openclaw doctor --fix" before startup.',),
    ("2026-11-28T17:24:27.250+00:00 Gateway start blocked: existing config is missing gateway.mode.",),
    ("somebody wrote that pa.sqlite has schema 9, and this image knows 1",),
    (INVALID,),  # cut off there: who knows
    (),
]


@pytest.mark.parametrize("words", REFUSALS)
def test_what_names_its_reason_is_refused_for_good(words: tuple[str, ...]) -> None:
    assert is_refusal(78, [*START, *words])


@pytest.mark.parametrize("words", PASSING)
def test_what_may_pass_is_no_refusal(words: tuple[str, ...]) -> None:
    assert not is_refusal(78, [*START, *words])


@given(st.integers(0, 255).filter(lambda code: code != 78), st.sampled_from(REFUSALS))
def test_another_exit_code_is_no_refusal_whatever_is_said(code: int, words: tuple[str, ...]) -> None:
    assert not is_refusal(code, words)


@given(st.lists(st.text(), max_size=40))
def test_any_log_can_be_read(log: list[str]) -> None:
    assert is_refusal(78, [*log, *REFUSALS[0]])
    is_refusal(78, log)
