"""Runs `pa` as the agent does: words in, lines out, a process of its own each time."""

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


class Runner:
    """Runs the program again and again without importing it each time (see `forker`)."""

    def __init__(self, sandbox: Path) -> None:
        self.sandbox = sandbox
        script = str(Path(__file__).with_name("forker.py"))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-W", "error", script, str(sandbox)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def run(self, words: list[str], environment: dict[str, str]) -> Outcome:
        """One run, to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"words": words, "environment": environment}), file=self._process.stdin, flush=True)
        done = json.loads(self._process.stdout.readline())
        return Outcome(done["out"].splitlines(), done["err"].splitlines(), done["code"])

    def close(self) -> None:
        """Ends it."""
        self._process.communicate(timeout=10)


class Program:
    """One person's `pa`."""

    def __init__(self, runner: Runner, directory: Path) -> None:
        self.runner = runner
        self.sandbox = runner.sandbox
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
        return self.runner.run([os.fsdecode(word) for word in words], self.environment)

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
