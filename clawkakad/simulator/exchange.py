"""The exchange: between people's phones and the daemon. What a person writes goes out as a webhook; what the Graph API
is given goes to the phone; states and typing go both ways.

Owns the tasks that deliver. Messages of a person go out in order, and so do the statuses for a person; neither waits
for the other, nor for another person's. Whoever watches (a page, a terminal, a test) is told of every change; a watcher
that does not keep up is dropped, and sees everything again when it comes back.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from loguru import logger

from clawkakad.model import Wamid
from clawkakad.simulator import payloads
from clawkakad.simulator.knobs import Knobs
from clawkakad.simulator.payloads import Business
from clawkakad.simulator.people import Author, Message, People, Person, State, display, new_wamid
from clawkakad.simulator.troubles import Dice
from clawkakad.simulator.webhooks import Courier

TYPING_S = 25.0  # the typing indicator ends by itself (Meta, "Typing indicators")
MOST_BEHIND = 1000  # events that a watcher may be behind

Event = dict[str, Any]


class Watcher:
    """Somebody who looks at the exchange. `looking_at`: the person whose chat is open and visible there."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event | None] = asyncio.Queue(MOST_BEHIND)
        self.looking_at: str | None = None

    async def next(self) -> Event | None:
        """The next event, None when there will be no more."""
        return await self.events.get()


class Exchange:
    """One business number and its people."""

    def __init__(
        self,
        people: People,
        courier: Courier,
        business: Business,
        clock: Callable[[], datetime],
        knobs: Knobs | None = None,
    ) -> None:
        self.people = people
        self.business = business
        self.knobs = knobs or Knobs()
        self.courier = courier
        self._clock = clock
        self._watchers: list[Watcher] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._outward: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._statuses: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._typing: dict[str, asyncio.TimerHandle] = {}

    def now(self) -> datetime:
        """The time here, aware."""
        return self._clock()

    def typing(self) -> list[str]:
        """The people who see that the assistant is typing."""
        return list(self._typing)

    def shown(self, wa_id: str) -> list[Message]:
        """A chat as the person's phone has it: without what never reached it."""
        return [m for m in self.people.of(wa_id) if not (m.author is Author.ASSISTANT and m.state is State.FAILED)]

    def resume(self) -> None:
        """Send again what the daemon has not taken in an earlier run."""
        for message in list(self.people.messages.values()):
            if message.author is Author.PERSON and message.state is State.SENT:
                self._spawn(self._bring(message), f"webhook {message.id}")

    async def aclose(self) -> None:
        """Stop everything; what was not delivered is sent by the next run."""
        for handle in self._typing.values():
            handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for watcher in list(self._watchers):
            self._drop(watcher)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[Watcher]:
        """A watcher, as long as the block lasts."""
        watcher = Watcher()
        self._watchers.append(watcher)
        try:
            yield watcher
        finally:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

    def add_person(self, name: str, number: str | None = None) -> Person:
        """A new person. Raises UsageError."""
        person = self.people.add(name, number)
        self._tell({"type": "person", **person_document(person)})
        return person

    def write(
        self, person: Person, text: str, *, client_id: str | None = None, reply_to: Wamid | None = None
    ) -> Message:
        """A person writes. The same `client_id` again is the same message: a page repeats what it is not sure of."""
        for known in self.people.of(person.wa_id):
            if client_id and known.client_id == client_id:
                return known
        message = Message(
            id=new_wamid(),
            wa_id=person.wa_id,
            author=Author.PERSON,
            text=text,
            at=self.now(),
            state=State.SENT,
            reply_to=reply_to,
            client_id=client_id,
        )
        self._keep(message)
        self._spawn(self._bring(message), f"webhook {message.id}")
        return message

    def receive(
        self, person: Person, text: str, *, callback_data: str | None = None, reply_to: Wamid | None = None
    ) -> Message:
        """The assistant's message reaches a phone, or by a knob fails on the way."""
        message = Message(
            id=new_wamid(),
            wa_id=person.wa_id,
            author=Author.ASSISTANT,
            text=text,
            at=self.now(),
            state=State.PENDING,
            reply_to=reply_to,
            callback_data=callback_data,
        )
        failure = self.knobs.next_failures.pop(0) if self.knobs.next_failures else None
        if failure is None:
            self._keep(message)
        else:
            self.people.keep(message)
        self._stop_typing(person.wa_id)
        self._spawn(self._report(person, message, failure), f"statuses {message.id}")
        return message

    def mark_read(self, wamid: Wamid, *, typing: bool) -> bool:
        """The assistant has read a message, and with it all earlier ones of that person. False for an unknown one."""
        read = self.people.messages.get(wamid)
        if read is None or read.author is not Author.PERSON:
            return False
        for message in self.people.of(read.wa_id):
            if message.author is Author.PERSON and message.at <= read.at:
                self._move(message.id, State.READ)
        if typing:
            self._start_typing(read.wa_id)
        return True

    def look(self, watcher: Watcher, wa_id: str | None) -> None:
        """A chat is open and visible somewhere: what has arrived in it is read."""
        watcher.looking_at = wa_id
        person = self.people.people.get(wa_id or "")
        if person is None:
            return
        for message in self.people.of(person.wa_id):
            if message.author is Author.ASSISTANT and message.state is State.DELIVERED:
                self._spawn(self._status(person, message.id, State.READ), f"read {message.id}")

    async def _bring(self, message: Message) -> None:
        person = self.people.people[message.wa_id]
        async with self._outward[message.wa_id]:
            taken = await self._deliver(payloads.text_message(self.business, person, message))
        self._move(message.id, State.DELIVERED if taken else State.FAILED)

    async def _report(self, person: Person, message: Message, failure: int | None) -> None:
        """The statuses of a message that was taken."""
        await self._status(person, message.id, State.SENT)
        if failure is not None:
            await self._status(person, message.id, State.FAILED, error_code=failure)
            return
        await self._status(person, message.id, State.DELIVERED)
        if self.knobs.read_by_itself or any(w.looking_at == person.wa_id for w in self._watchers):
            await self._status(person, message.id, State.READ)

    async def _status(self, person: Person, wamid: Wamid, state: State, *, error_code: int | None = None) -> None:
        """Move a message on and report it, unless a knob is against it."""
        moved = self._move(wamid, state)
        if moved is None or self.knobs.statuses == "off":
            return
        document = payloads.status(self.business, person, moved, state.value, self.now(), error_code=error_code)
        dice, key = Dice(self.knobs.seed), f"{moved.callback_data or wamid} {state}"
        if dice.falls(self.knobs.statuses_missing, "missing", key):
            return
        for copy in range(2 if dice.falls(self.knobs.statuses_twice, "twice", key) else 1):
            if self.knobs.statuses == "shuffled":
                delay_s = self.knobs.status_delay_s * dice.of("delay", f"{key} {copy}").uniform(1, 3)
                self._spawn(self._bring_late(document, delay_s), f"status {wamid}")
            else:
                await self._bring_in_order(person, document)

    async def _bring_in_order(self, person: Person, document: dict[str, Any]) -> None:
        if self.knobs.statuses == "delayed":
            await asyncio.sleep(self.knobs.status_delay_s)
        async with self._statuses[person.wa_id]:
            await self._deliver(document)

    async def _deliver(self, document: dict[str, Any]) -> bool:
        return await self.courier.deliver(payloads.without_numbers(document) if self.knobs.numbers_hidden else document)

    async def _bring_late(self, document: dict[str, Any], delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await self._deliver(document)

    def _keep(self, message: Message) -> None:
        self.people.keep(message)
        self._tell({"type": "message", **message_document(message)})

    def _move(self, wamid: Wamid, state: State) -> Message | None:
        moved = self.people.move(wamid, state, self.now())
        if moved is not None:
            self._tell({"type": "state", "id": wamid, "wa_id": moved.wa_id, "state": state.value})
        return moved

    def _start_typing(self, wa_id: str) -> None:
        self._stop_typing(wa_id)
        self._typing[wa_id] = asyncio.get_running_loop().call_later(TYPING_S, self._stop_typing, wa_id)
        self._tell({"type": "typing", "wa_id": wa_id, "on": True})

    def _stop_typing(self, wa_id: str) -> None:
        handle = self._typing.pop(wa_id, None)
        if handle is not None:
            handle.cancel()
            self._tell({"type": "typing", "wa_id": wa_id, "on": False})

    def _tell(self, event: Event) -> None:
        for watcher in list(self._watchers):
            try:
                watcher.events.put_nowait(event)
            except asyncio.QueueFull:
                self._drop(watcher)

    def _drop(self, watcher: Watcher) -> None:
        """No more events: the newest one makes room for the end."""
        if watcher in self._watchers:
            self._watchers.remove(watcher)
        if watcher.events.full():
            watcher.events.get_nowait()
        watcher.events.put_nowait(None)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.opt(exception=task.exception()).error("the simulator failed at a delivery")


def person_document(person: Person) -> dict[str, Any]:
    """A person as the page sees them."""
    return {"wa_id": person.wa_id, "name": person.name, "number": display(person.wa_id)}


def message_document(message: Message) -> dict[str, Any]:
    """A message as the page sees it."""
    document = message.document()
    return {name: document[name] for name in ("id", "wa_id", "author", "text", "at", "state", "reply_to", "client_id")}
