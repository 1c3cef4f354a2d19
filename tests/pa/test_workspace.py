"""What the agent is taught works: every call in its texts is run, and the texts stay small."""

import re
import shlex
from pathlib import Path

import pytest

from .fake_host import FakeHost
from .program import Program

WORKSPACE = Path(__file__).resolve().parents[2] / "sandbox" / "workspace"
SKILLS = sorted(WORKSPACE.glob("skills/*/SKILL.md"))
LARGEST = {"AGENTS.md": 6000, "SOUL.md": 3000, "USER.md": 1500, "MEMORY.md": 500}


@pytest.mark.parametrize(("name", "largest"), LARGEST.items())
def test_texts_that_cost_tokens_each_turn_stay_small(name: str, largest: int) -> None:
    assert len((WORKSPACE / name).read_bytes()) < largest


def test_every_call_in_the_agents_notes_works_in_their_order(pa: Program, host: FakeHost) -> None:
    text = (WORKSPACE / "AGENTS.md").read_text(encoding="utf-8")
    calls = [line for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert len(calls) > 20
    for number in range(7):  # the rows that the notes speak of
        pa.lines("expense", "add", f"{number + 1}")
        pa.lines("task", "add", f"task {number}")
    for call in calls:
        program, *words = shlex.split(call)
        assert program == "pa"
        outcome = pa.run(*words)
        assert (outcome.code, outcome.errors) == (0, []), call


@pytest.mark.parametrize("path", [WORKSPACE / "AGENTS.md", *SKILLS], ids=lambda path: path.parent.name)
def test_calls_in_the_running_text_work_too(pa: Program, host: FakeHost, path: Path) -> None:
    for call in re.findall(r"`(pa [^`]*)`", path.read_text(encoding="utf-8")):
        if call not in ("pa remind", "pa profile set"):  # named, not called
            pa.lines("task", "add", "something to undo")
            assert pa.run(*shlex.split(call)[1:]).code == 0, call


def test_each_skill_says_its_name_and_when_to_use_it() -> None:
    assert SKILLS
    for path in SKILLS:
        front = path.read_text(encoding="utf-8").split("---\n")[1]
        fields = dict(line.split(": ", 1) for line in front.splitlines())
        assert fields["name"] == path.parent.name
        assert "Use when" in fields["description"]
