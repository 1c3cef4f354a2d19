"""What a check is given, and what it says."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from clawkakad.cli.where import UNIT
from clawkakad.config import Place, Settings


@dataclass(frozen=True)
class Finding:
    """What one check found; `advice`: what to do about it."""

    verdict: Literal["ok", "warn", "fail"]
    seen: str
    advice: str = ""


@dataclass(frozen=True)
class Patient:
    """What is looked at. `settings` is None where they have problems, which then are the first finding.

    `engine_answers`: False where it was asked, and did not; then nothing else is asked of it.
    """

    place: Place
    settings: Settings | None
    problems: str
    is_trial: bool = False
    engine_answers: bool = True


Check = Callable[[Patient], Awaitable[Finding]]
"""Raises what `doctor` turns into a finding: ClawkakaError, OSError, aiohttp.ClientError, sqlite3.Error."""

DEADLINE_S = 5.0  # of whoever is asked for something

ENGINE_FIRST = Finding("warn", "not checked: the engine first")
SETTINGS_FIRST = Finding("warn", "not checked: settings first")


def start_advice(patient: Patient) -> str:
    if patient.is_trial:
        return "scripts/try"
    return "systemctl start clawkakad" if UNIT.exists() else "clawkakad run"


def log_advice(patient: Patient) -> str:
    return "journalctl -u clawkakad -n 50" if UNIT.exists() and not patient.is_trial else "look at its log"
