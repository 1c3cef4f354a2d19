"""The offline model's decision: a request's messages and tools in, a text or one command out. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from clawkakad.simulator.offline import meeting, scripts
from clawkakad.simulator.offline.intents import Intent, Kind, tidy_name, understand, understand_all
from clawkakad.simulator.offline.prompt import Message, Turn, read_turn
from clawkakad.simulator.offline.results import plain

SILENCE = "NO_REPLY"
NO_HANDS = "I'm the offline model, and without my tools I can only say hello."
EXEC = "exec"  # the name of OpenClaw's tool that runs a shell command

FINDING = re.compile(r'\A(?:-\s*)?(?P<what>[a-z][a-z ]*?)(?: (?P<id>\d+))?: "(?P<title>.*?)"(?:, (?P<rest>.*))?\Z')
MOST_LINES = 5  # lines of one message that are taken one by one; more is a letter, not a list


@dataclass(frozen=True)
class Say:
    """The turn ends with this text."""

    text: str


@dataclass(frozen=True)
class Run:
    """The turn goes on with this command."""

    command: str


def decide(messages: Sequence[Message], tools: Sequence[Message]) -> Say | Run:
    """What the model answers. `messages` and `tools` are those of a chat completion request."""
    turn = read_turn(messages)
    if turn.findings is not None:
        return Say(nudge(turn.findings))
    if not any(tool.get("function", {}).get("name") == EXEC for tool in tools):
        return Say(NO_HANDS)
    return replay(answer(turn), turn.results)


def replay(script: meeting.Script, results: Sequence[str]) -> Say | Run:
    """Where a script stands once it has had these results."""
    try:
        command = next(script)
        for result in results:
            command = script.send(result)
    except StopIteration as stop:
        return Say(str(stop.value))
    return Run(command)


def answer(turn: Turn) -> meeting.Script:
    """The script of a whole turn: one thing, or several on lines of their own; somebody new is asked who they are."""
    said: list[str] = []
    for intent in asked(turn):
        script = meeting.work(intent.source) if _tells_work(turn, intent) else scripts.script_of(intent)
        said += [(yield from script)]
    if turn.is_new and not said[-1].endswith((meeting.ASK_NAME, meeting.ASK_WORK)):
        said.append((yield from meeting.introduction()))
    return "\n".join(said)


def asked(turn: Turn) -> list[Intent]:
    """What the person asks for. Lines count one by one only if each of them is understood."""
    lines = [line for line in turn.text.splitlines() if line.strip()]
    each = understand_all(lines)
    if not 1 < len(lines) <= MOST_LINES or any(intent.kind is Kind.UNKNOWN for intent in each):
        each = [understand(turn.text) if len(lines) <= 2 else Intent(Kind.UNKNOWN, turn.text)]
    if each[0].kind is Kind.UNKNOWN and _was_asked(turn, meeting.ASK_NAME) and (name := tidy_name(turn.text)):
        return [Intent(Kind.NAME, turn.text, {"name": name})]
    # Who says hello and what they want hears of what they want.
    each = [intent for intent in each if intent.kind is not Kind.GREETING] or each[:1]
    return [replace(intent, values={"first": "yes"}) if _is_first_hello(turn, intent) else intent for intent in each]


def nudge(findings: Sequence[str]) -> str:
    """One short line about what needs attention, or silence."""
    found = [match for line in findings if (match := FINDING.match(line))]
    if not found:
        return SILENCE
    first, more = found[0], len(found) - 1
    rest = f" ({plain(first['rest'])})" if first["rest"] else ""
    others = f" And {more} more." if more else ""
    return f"{first['what'].capitalize()}: {first['title']}{rest}.{others} Done, or shall I move it?"


def _is_first_hello(turn: Turn, intent: Intent) -> bool:
    return intent.kind is Kind.GREETING and turn.is_new


def _tells_work(turn: Turn, intent: Intent) -> bool:
    return intent.kind is Kind.UNKNOWN and _was_asked(turn, meeting.ASK_WORK)


def _was_asked(turn: Turn, question: str) -> bool:
    return bool(turn.said) and turn.said[-1].endswith(question)
