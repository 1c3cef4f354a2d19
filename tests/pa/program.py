"""Runs `pa` as the agent does: a process of its own, words in, lines out."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MONDAY_MORNING = "2026-11-23T03:00:00+00:00"  # 08:30 in India


@dataclass
class Outcome:
    """What one run printed, and how it ended."""

    lines: list[str]
    errors: list[str]
    code: int


class Program:
    """One person's `pa`."""

    def __init__(self, sandbox: Path, directory: Path) -> None:
        self.sandbox = sandbox
        self.database_path = directory / "pa" / "pa.sqlite"
        self.profile_path = directory / "profile.json"
        self.host_url = "http://127.0.0.1:9"  # the discard port: nobody there
        self.now = MONDAY_MORNING
        self.live_in("Asia/Kolkata", "INR")

    def live_in(self, zone: str | None, currency: str | None) -> None:
        """The person's profile, as the daemon writes it."""
        profile = {"name": None, "time_zone": zone, "currency": currency, "language": "en", "country": None}
        self.profile_path.write_text(json.dumps(profile), encoding="utf-8")

    def command(self, *words: str | bytes) -> list[str | bytes]:
        """What is executed: sealed off from the environment as the launcher does, and from installed packages too."""
        return [sys.executable, "-I", "-S", "-W", "error", str(self.sandbox / "pa"), *words]

    @property
    def environment(self) -> dict[str, str]:
        places = {"PA_DB": str(self.database_path), "PA_PROFILE": str(self.profile_path), "PA_HOST": self.host_url}
        return {"PATH": os.environ["PATH"], "PA_NOW": self.now, **places}

    def run(self, *words: str | bytes) -> Outcome:
        """Runs it to its end."""
        done = subprocess.run(self.command(*words), env=self.environment, capture_output=True, timeout=30, check=False)
        out, err = done.stdout.decode("utf-8"), done.stderr.decode("utf-8")
        return Outcome(out.splitlines(), err.splitlines(), done.returncode)

    def lines(self, *words: str | bytes) -> list[str]:
        """The lines of a run that must go well."""
        outcome = self.run(*words)
        assert (outcome.code, outcome.errors) == (0, []), outcome
        return outcome.lines

    def line(self, *words: str | bytes) -> str:
        """The only line of a run that must go well."""
        lines = self.lines(*words)
        assert len(lines) == 1, lines
        return lines[0]

    def refusal(self, *words: str | bytes) -> str:
        """The one line of a run that must be refused."""
        outcome = self.run(*words)
        assert outcome.code == 2, outcome
        assert outcome.lines == [], outcome
        assert len(outcome.errors) == 1, outcome
        assert outcome.errors[0].startswith("error: "), outcome
        return outcome.errors[0]

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What is in the database, read past the program."""
        with closing(sqlite3.connect(self.database_path)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query, values)]

    def write(self, statement: str) -> None:
        """A change past the program."""
        with closing(sqlite3.connect(self.database_path)) as db, db:
            db.execute(statement)

    def row(self, query: str, *values: object) -> dict[str, Any]:
        """The only row."""
        rows = self.rows(query, *values)
        assert len(rows) == 1, rows
        return rows[0]
