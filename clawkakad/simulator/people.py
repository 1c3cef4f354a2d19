"""The simulated people and what was written, kept in one file of JSON lines, so that the next run shows them again.

Owns the file. Each line is one event (person, message, state); reading them in order gives the present. On opening, the
file is written anew without what is superseded. A torn last line, from a kill in the middle, is dropped.
Times are aware UTC.
"""

import base64
import contextlib
import hashlib
import json
import os
import random
import secrets
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

import phonenumbers

from clawkakad.errors import UsageError
from clawkakad.model import Wamid

FILE = "people.jsonl"
MOST_KEPT = 5_000  # messages; older ones are forgotten when the file is opened


class Author(StrEnum):
    """Who wrote a message."""

    PERSON = "person"
    ASSISTANT = "assistant"


class State(StrEnum):
    """How far a message has come, as its ticks show it; it never goes back."""

    PENDING = "pending"  # a clock: with us only
    SENT = "sent"  # one tick: with WhatsApp
    DELIVERED = "delivered"  # two ticks: with the other side
    READ = "read"  # two blue ticks
    FAILED = "failed"  # given up


ORDER = list(State)


@dataclass(frozen=True)
class Person:
    """Somebody with a phone. `wa_id`: the number in digits. `user_id`: their business-scoped id."""

    wa_id: str
    name: str
    user_id: str


@dataclass(frozen=True)
class Message:
    """A message of a chat. `client_id`: the page's own id of it; `callback_data`: the sender's; `times`: when it came
    to each state, ISO 8601."""

    id: Wamid
    wa_id: str
    author: Author
    text: str
    at: datetime
    state: State
    reply_to: Wamid | None = None
    callback_data: str | None = None
    client_id: str | None = None
    times: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As the page and the file see it."""
        return {**asdict(self), "at": self.at.isoformat()}


class People:
    """All people and messages, in memory and in the file. Not for several processes at once."""

    def __init__(self, path: Path | None = None) -> None:
        self.people: dict[str, Person] = {}
        self.messages: dict[Wamid, Message] = {}
        self._chats: defaultdict[str, list[Wamid]] = defaultdict(list)
        self._file: TextIO | None = None
        if path is not None:
            self._open(path)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def add(self, name: str, number: str | None = None) -> Person:
        """A person with that number in any human format, or an invented one. Raises UsageError for what is no number.

        A number that is known keeps its person, with the new name.
        """
        name = " ".join(name.split())[:60]
        if not name:
            raise UsageError("a person needs a name")
        wa_id = digits_of(number) if number and number.strip() else invented_number(name, set(self.people))
        person = Person(wa_id, name, user_id_of(wa_id))
        self.people[wa_id] = person
        self._append({"event": "person", **asdict(person)})
        return person

    def named(self, name: str) -> Person | None:
        """The person of that name, in any case."""
        return next((p for p in self.people.values() if p.name.casefold() == name.casefold()), None)

    def by_address(self, *, to: str | None, recipient: str | None) -> Person | None:
        """Who a send is for. A number without "+" is a number of the sender's own country, and so nobody's here."""
        if to:
            return self.people.get("".join(c for c in to if c.isdigit())) if to.startswith("+") else None
        return next((p for p in self.people.values() if p.user_id == recipient), None)

    def keep(self, message: Message) -> Message:
        """A new message."""
        self._remember(message)
        self._append({"event": "message", **message.document()})
        return message

    def move(self, wamid: Wamid, state: State, at: datetime) -> Message | None:
        """Move a message on, and return it as it is then; None where it is there, further, or unknown."""
        message = self.messages.get(wamid)
        if message is None or ORDER.index(state) <= ORDER.index(message.state):
            return None
        event = {"event": "state", "id": wamid, "state": state, "at": at.isoformat()}
        self._append(event)
        return self._moved(message, event)

    def _moved(self, message: Message, event: dict[str, Any]) -> Message:
        times = {**message.times, event["state"]: event["at"]}
        moved = replace(message, state=State(event["state"]), times=times)
        self.messages[message.id] = moved
        return moved

    def of(self, wa_id: str) -> list[Message]:
        """One person's chat, oldest first."""
        return [self.messages[wamid] for wamid in self._chats[wa_id]]

    def last_written_at(self, wa_id: str) -> datetime | None:
        """When a person last wrote: the service window counts from there."""
        return max((m.at for m in self.of(wa_id) if m.author is Author.PERSON), default=None)

    def _open(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._replay(path.read_text(encoding="utf-8"))
        draft = path.with_suffix(".new")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.writelines(json.dumps(event) + "\n" for event in self._events())
        draft.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def _replay(self, text: str) -> None:
        for line in text.split("\n"):  # and nowhere else, as splitlines() would: a message may hold U+2028
            # A line that cannot be read is a torn one: the rest of the chat is worth more than it.
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self._apply(json.loads(line))
        for wamid in list(self.messages)[:-MOST_KEPT]:
            self._chats[self.messages.pop(wamid).wa_id].remove(wamid)

    def _apply(self, event: dict[str, Any]) -> None:
        kind = event.pop("event")
        if kind == "person":
            self.people[event["wa_id"]] = Person(**event)
        elif kind == "message":
            self._remember(_message(event))
        elif kind == "state" and event["id"] in self.messages:
            self._moved(self.messages[event["id"]], event)

    def _remember(self, message: Message) -> None:
        if message.id not in self.messages:
            self._chats[message.wa_id].append(message.id)
        self.messages[message.id] = message

    def _events(self) -> Iterator[dict[str, Any]]:
        for person in self.people.values():
            yield {"event": "person", **asdict(person)}
        for message in self.messages.values():
            yield {"event": "message", **message.document()}

    def _append(self, event: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()


def new_wamid() -> Wamid:
    """An id in the form of Meta's."""
    return Wamid("wamid." + base64.b64encode(b"HBgL" + secrets.token_bytes(23)).decode())


def digits_of(number: str) -> str:
    """A number in any human format, with its country code, as digits. Raises UsageError."""
    try:
        parsed = phonenumbers.parse(number if number.strip().startswith("+") else f"+{number}")
    except phonenumbers.NumberParseException:
        parsed = None
    if parsed is None or not phonenumbers.is_possible_number(parsed):
        raise UsageError(f"{number.strip()[:30]} is no phone number with its country code, such as +91 98765 43210")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)[1:]


def invented_number(name: str, taken: set[str]) -> str:
    """An Indian mobile number made of a name: the same name gets the same one, unless it is taken."""
    dice = random.Random(name.casefold())  # noqa: S311 - no secret, only steady
    while (number := f"9198765{dice.randrange(100_000):05}") in taken:
        pass
    return number


def user_id_of(wa_id: str) -> str:
    """The business-scoped id that belongs to a number: its country, a dot, and digits that do not show the number."""
    region = phonenumbers.region_code_for_number(phonenumbers.parse(f"+{wa_id}"))
    country = region if region and len(region) == 2 and region.isalpha() else "US"
    return f"{country}.{int(hashlib.sha256(wa_id.encode()).hexdigest()[:16], 16):020}"


def display(wa_id: str) -> str:
    """A number as people read it."""
    parsed = phonenumbers.parse(f"+{wa_id}")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def _message(event: dict[str, Any]) -> Message:
    return Message(
        **{
            **event,
            "author": Author(event["author"]),
            "state": State(event["state"]),
            "at": datetime.fromisoformat(event["at"]),
        }
    )
