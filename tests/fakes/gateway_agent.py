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
    """The rows of the session, which outlive the process; in a file if the fake is a program of its own."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.rows: list[Frame] = []
        if path is not None and path.exists():
            self.rows = json.loads(path.read_text())

    def add(self, row: Frame) -> None:
        self.rows.append(row)
        if self._path is not None:
            self._path.write_text(json.dumps(self.rows))

    def interrupted(self) -> str | None:
        """The text of the last message, if no run ever ended it."""
        asked = [index for index, row in enumerate(self.rows) if row["role"] == "user" and "provenance" not in row]
        if not asked or any(row["role"] == "assistant" for row in self.rows[asked[-1] :]):
            return None
        return str(self.rows[asked[-1]]["content"])
