"""Frames recorded from gateway 2026.9.6, trimmed to what matters (tests/data/frames)."""

import json
from dataclasses import dataclass
from typing import Any

from tests.support import DATA

FRAMES = DATA / "frames"
NAMES = sorted(path.stem for path in FRAMES.glob("*.jsonl"))


@dataclass(frozen=True)
class Recorded:
    """One line: `ours` was sent by the client."""

    ours: bool
    frame: dict[str, Any]

    @property
    def text(self) -> str:
        return json.dumps(self.frame)

    @property
    def compact(self) -> str:
        """As the gateway writes it."""
        return json.dumps(self.frame, separators=(",", ":"))

    @property
    def is_close(self) -> bool:
        return bool(self.frame["type"] == "__close__")


def recording(name: str) -> list[Recorded]:
    lines = (FRAMES / f"{name}.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [Recorded(record["dir"] == "out", record["frame"]) for record in records]


def received(name: str) -> list[Recorded]:
    """What the gateway sent, without the notes of closes."""
    return [record for record in recording(name) if not record.ours and not record.is_close]


def answers(name: str, method: str) -> list[dict[str, Any]]:
    """The response frames to one method, in order."""
    records = recording(name)
    asked = {record.frame["id"] for record in records if record.ours and record.frame["method"] == method}
    return [record.frame for record in records if record.frame.get("id") in asked and record.frame["type"] == "res"]


def payloads(name: str, method: str) -> list[dict[str, Any]]:
    return [frame["payload"] for frame in answers(name, method) if "payload" in frame]


def events(name: str, event: str) -> list[dict[str, Any]]:
    return [record.frame for record in received(name) if record.frame.get("event") == event]
