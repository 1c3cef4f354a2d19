"""What became of each message of a run: one record from the webhook that is due to the reply at Meta. No I/O.

A message carries its number in its text, the agent repeats it, and the reply is recognised by it: whatever the program
between adds to the words, or how many messages it puts into one turn. All times are seconds of `time.monotonic()`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import ceil

_MARK = re.compile(r"m(\d{1,9})m")


@dataclass(slots=True)
class Message:
    """One message of a person. `due` is when its webhook should leave, which counts even if it left later."""

    number: int
    wa_id: str
    due: float
    acknowledged: float | None = None
    status: int = 0  # of the webhook's answer; 0 while there is none
    heard: float | None = None  # when the agent got it
    finished: float | None = None  # when the agent's last word was written
    answered: float | None = None  # when the reply was read at Meta
    answers: int = 0

    @property
    def wamid(self) -> str:
        return f"wamid.BENCH{self.number:09d}"

    @property
    def text(self) -> str:
        return f"Please add m{self.number}m to my list: two litres of oat milk, and remind me on Friday at 9."

    @property
    def acknowledgement_s(self) -> float | None:
        return None if self.acknowledged is None else self.acknowledged - self.due

    @property
    def way_in_s(self) -> float | None:
        """From the webhook to the agent."""
        return None if self.heard is None else self.heard - self.due

    @property
    def way_out_s(self) -> float | None:
        """From the agent's last word to Meta."""
        return None if self.answered is None or self.finished is None else self.answered - self.finished

    @property
    def overhead_s(self) -> float | None:
        """The whole way without the agent's own time."""
        way_in_s, way_out_s = self.way_in_s, self.way_out_s
        return None if way_in_s is None or way_out_s is None else way_in_s + way_out_s


@dataclass
class Journal:
    """All messages to one program. `on_answer` is called with each message when its first reply has come."""

    messages: dict[int, Message] = field(default_factory=dict)
    on_answer: Callable[[Message], None] = lambda _: None
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def new(self, wa_id: str, due: float) -> Message:
        """A message that nobody has sent yet."""
        message = Message(next(self._numbers), wa_id, due)
        self.messages[message.number] = message
        return message

    def hear(self, text: str, now: float) -> list[Message]:
        """The agent got these words: the messages in them."""
        found = self._in(text)
        for message in found:
            message.heard = message.heard or now
        return found

    def answer(self, text: str, now: float) -> None:
        """A reply has come to Meta."""
        for message in self._in(text):
            message.answers += 1
            if message.answered is None:
                message.answered = now
                self.on_answer(message)

    def _in(self, text: str) -> list[Message]:
        numbers = dict.fromkeys(int(digits) for digits in _MARK.findall(text))
        return [self.messages[number] for number in numbers if number in self.messages]


def reply_to(messages: Iterable[Message]) -> str:
    """What the agent says: some words, a little of its Markdown, and the marks."""
    marks = " and ".join(f"m{message.number}m" for message in messages)
    return f"Done: **{marks}** is on your list. I will remind you on Friday at 9:00, and there is milk for two days."


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed. Raises ValueError where there is none."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]
