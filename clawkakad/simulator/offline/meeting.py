"""The first conversation: a name, what they do, and then out of the way. Scripts as in `scripts`. No I/O."""

import re
import shlex
from collections.abc import Generator

from clawkakad.simulator.offline.intents import Intent
from clawkakad.simulator.offline.results import Result, command, did_not_work

Script = Generator[str, str, str]

ASK_NAME = "What should I call you?"
ASK_WORK = "What do you do, so that I know what matters to you?"
WHO_I_AM = "I'm your assistant: I remember things so that you don't have to."
CAN_DO = (
    "Tell me things like _Uber to office 280_, _had 2 dosas for breakfast_, _add task pay rent by friday_ or "
    "_remind me at 18:30 to call mom_, and ask _how much this week?_"
)


def greeting(intent: Intent) -> Script:
    """A stranger is asked for a name; somebody new is told who writes; the rest get a short hello."""
    profile = yield command("profile")
    name = name_in(profile)
    if not name:
        return f"Hi! {WHO_I_AM} {ASK_NAME}"
    if intent["first"]:
        return f"Hi {name}! {WHO_I_AM} {guess_in(profile)}{ASK_WORK}"
    return f"Hi {name}. What's up?"


def introduction() -> Script:
    """Behind the first answer to somebody new: who writes here, and one question."""
    profile = yield command("profile")
    asked = f"{guess_in(profile)}{ASK_WORK}" if name_in(profile) else ASK_NAME
    return f"I'm your new assistant, by the way. {asked}"


def guess_in(profile: str) -> str:
    """What the number says about the person, for them to correct."""
    place = re.search(r"\bzone (?P<zone>[\w/+-]+), currency (?P<currency>[A-Z]{3})\b", profile)
    return f"I have you on {place['zone']} time, counting in {place['currency']}; tell me if not. " if place else ""


def name_in(profile: str) -> str:
    """The name in the output of `pa profile`, or nothing."""
    found = re.search(r"\bname (?P<name>[^,\n]+)", profile)
    return found["name"].strip() if found and found["name"].strip() != "unknown" else ""


def name(intent: Intent) -> Script:
    """Their name is kept, and what is guessed of them said once."""
    result = Result((yield command("profile", "set", name=intent["name"])))
    if result.ok is None:
        return did_not_work("keep your name", result)
    return f"Good to meet you, {intent['name']}. {guess_in(result.ok)}{ASK_WORK}"


def work(source: str) -> Script:
    """What the person does goes into the notes about them, and then the first conversation is over."""
    note = shlex.quote(f"- What they do: {' '.join(source.split())[:300]}")
    result = Result(
        (yield f"sed -i '/^Status: not met yet/d' USER.md; printf '%s\\n' {note} >> USER.md && echo ok noted")
    )
    heard = "Noted." if result.ok is not None else "Good to know."
    return f"{heard} That's all I need: from here on just write to me as things happen. {CAN_DO}"
