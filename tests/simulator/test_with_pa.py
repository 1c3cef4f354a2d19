"""The offline model and the real `pa` program: a conversation of the two, with the agent in between left out."""

import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawkakad.simulator.rules import Say, decide
from tests.pa.fake_host import FakeHost
from tests.pa.program import Program, Runner
from tests.simulator.requests import TOOLS, Message, assistant, internal, person, results, system

SANDBOX = Path(__file__).resolve().parents[2] / "sandbox"
MOST_STEPS = 5


class Agent:
    """Does what an agent does: runs what the model calls, and asks again."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._history: list[Message] = [system()]

    def ask(self, text: str) -> str:
        turn = [person(text)]
        for _ in range(MOST_STEPS):
            decision = decide([*self._history, *turn, internal()], TOOLS)
            if isinstance(decision, Say):
                self._history += [*turn, assistant(decision.text)]
                return decision.text
            name, *words = shlex.split(decision.command)
            assert name == "pa"
            outcome = self._program.run(*words)
            turn += results("\n".join([*outcome.lines, *outcome.errors]))
        raise AssertionError(f"no end: {turn}")


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    starter = Runner(SANDBOX)
    yield starter
    starter.close()


@pytest.fixture
def agent(runner: Runner) -> Iterator[Agent]:
    with tempfile.TemporaryDirectory(prefix="ck-pa-") as directory:
        program = Program(runner, Path(directory))
        with FakeHost(program.profile_path) as host:
            program.host_url = host.url
            yield Agent(program)


STORY = [
    ("Uber to office 280", "280 INR, Transport: Uber to office. Logged."),
    ("spent $12.50 on a book", "12.50 USD, Shopping: Book. Logged."),
    ("how much today?", "Expenses today: 280 INR (Transport 280); 12.50 USD (Shopping 12.50)"),
    ("undo", "Undone: Book."),
    ("had 2 dosas for breakfast", "2 dosas for breakfast, about 350 kcal. Logged."),
    ("got salary 50000", "50000 INR in: Salary. Noted, and nice."),
    ("add task pay rent by friday", "On your list: Pay rent, due Fri 27 Nov."),
    ("what are my tasks", "Open:\n- Pay rent, due Fri 27 Nov"),
    ("find uber", '- 280 INR, Transport, "Uber to office", Mon 23 Nov'),
    ("done pay rent", "Done: Pay rent. One less."),
    ("what are my tasks", "Nothing open. Enjoy it."),
    ("remind me at 18:30 to call mom's friend", "Reminder set: call mom's friend, Mon 23 Nov 18:30."),
    ("my reminders", "Coming up:\n- Mon 23 Nov 18:30: call mom's friend (no. 3)"),
    ("cancel reminder 3", "Reminder 3 is off."),
    ("my reminders", "No reminders waiting."),
    ("my goal is 2000 kcal", "Goal: 2000 kcal a day."),
    ("call me Ash", "Good to meet you, Ash."),
    ("hi", "Hi Ash. What's up?"),
    ("uber 100\n₹120 chai", "100 INR, Transport: Uber. Logged.\n120 INR, Food: Chai. Logged."),
    ("how much this week?", "Expenses this week: 500 INR (Transport 380, Food 120)"),
]


def test_a_day_with_the_offline_model(agent: Agent) -> None:
    for text, expected in STORY:
        assert agent.ask(text).startswith(expected), text


def test_what_pa_refuses_is_not_claimed(agent: Agent) -> None:
    answer = agent.ask("cancel reminder 99")

    assert answer.startswith("I could not cancel that reminder")
    assert "pa " not in answer
