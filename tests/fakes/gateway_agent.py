"""What the fake gateway's agent does, and what it keeps: on "disk" (rows), and in the memory of one process (runs)."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.gateway_frames import Frame


@dataclass(frozen=True)
class Reply:
    """What the agent makes of a message. `text` None: a final without a message. `error`: it fails with this text."""

    text: str | None = None
    error: str | None = None
    kind: str = "unclassified"
    after_s: float = 0.0
    hangs: bool = False


Agent = Callable[[str], Reply]


def echo(text: str) -> Reply:
    return Reply(f"echo: {text}")


def silence(_: str) -> Reply:
    return Reply()


@dataclass
class Run:
    """One run in the memory of one gateway process. `status`: running, ok, error or aborted."""

    run_id: str
    asked: str
    heartbeat: bool = False
    status: str = "running"
    reply: str = ""
    steered: list[str] = field(default_factory=list)
    written: bool = False
    seq: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None


class Disk:
    """The session's rows and accepted messages, which outlive the process; in a file if the fake is a program."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.rows: list[Frame] = []
        self.status = "done"  # running from the start of a run to its end, also across the death of its process
        self.pending: dict[str, str] = {}  # run id: queued, cancelled, or interrupted by the death of its process
        if path is not None and path.exists():
            kept = json.loads(path.read_text())
            self.rows, self.pending, self.status = kept["rows"], kept["pending"], kept["status"]

    def accept(self, run_id: str) -> None:
        self.pending[run_id] = "queued"
        self._save()

    def add(self, row: Frame) -> None:
        self.rows.append(row)
        self.pending.pop(row.get("idempotencyKey", "").removesuffix(":user"), None)
        self._save()

    def reset(self, row: Frame) -> None:
        """What was said is forgotten."""
        self.rows, self.status = [row], "done"
        self._save()

    def note(self, status: str) -> None:
        self.status = status
        self._save()

    def mount(self) -> None:
        """A new process finds what the last one left."""
        left = self.pending.items()
        self.pending = {run_id: "interrupted" if state == "queued" else state for run_id, state in left}

    def interrupted(self) -> str | None:
        """The text of the last message, if a run began it and none ended it."""
        asked = [index for index, row in enumerate(self.rows) if row["role"] == "user" and "provenance" not in row]
        if self.status == "done" or not asked:
            return None
        since = self.rows[asked[-1] :]
        ended = any(row["role"] in ("assistant", "custom") for row in since)
        return None if ended else str(since[0]["content"])

    def _save(self) -> None:
        if self._path is not None:
            self._path.write_text(json.dumps({"rows": self.rows, "pending": self.pending, "status": self.status}))
