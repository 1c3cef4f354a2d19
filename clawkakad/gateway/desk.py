"""Who the news of one sandbox's runs is for: the turn that asked, the heartbeat that was woken, or nobody (a stray).

No I/O and no tasks: events go in, futures of waiting turns are resolved, strays pile up until they may be handed on.
A stray is held back while a turn is open, since it may prove to be that turn's own reply: the run with which a
restarted gateway continues an interrupted turn has an id that nobody knew before. Each run's end goes to one place.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable

from clawkakad.gateway.frames import AgentEvent, ChatEvent, Event, HeartbeatEvent
from clawkakad.gateway.runs import Answer, Ending, Outcome, RunBook

MAX_REMEMBERED = 256
"""How many run ids are remembered as asked for, and as handed on; the oldest is forgotten first."""

MAX_HELD = 32
"""How many ends of unknown runs are held back while a turn is open."""

RETRIED_BY_GATEWAY = frozenset({"requests-in-flight", "cron-in-progress"})
"""Reasons for which the gateway skips a wake only for a second, and tries it again by itself."""

_OF_RUNS = (AgentEvent, ChatEvent)  # the commoner first; a union would be made anew for each event


class Desk:
    """The news of one sandbox. `turns` is how many turns are open on it, `keys` which of them are a person's."""

    def __init__(self) -> None:
        self.turns = 0
        self.keys: set[str] = set()
        self.quiet_boot: str | None = None
        """The process of the gateway in which our last turn ended well: as far as we know, nothing runs in it."""
        self._book = RunBook()
        self._asked: OrderedDict[str, asyncio.Future[Outcome]] = OrderedDict()
        self._given_up: OrderedDict[str, None] = OrderedDict()
        self._told: OrderedDict[str, None] = OrderedDict()
        self._held: OrderedDict[str, Outcome] = OrderedDict()
        self._heartbeat: asyncio.Future[Outcome] | None = None

    def expect(self, run_id: str) -> asyncio.Future[Outcome]:
        """The end of a run that somebody asked for, which is no stray from now on."""
        future = self._asked.get(run_id)
        if future is None:
            future = self._asked[run_id] = asyncio.get_running_loop().create_future()
            _trim(self._asked)
        held = self._held.pop(run_id, None)
        if held is not None and not future.done():
            future.set_result(held)
        return future

    def claim(self, run_id: str) -> Outcome | None:
        """The run was recognised as somebody's: no stray, now or later. Its end, if it was heard already."""
        future = self.expect(run_id)
        return future.result() if future.done() else None

    def recognise(self, run_id: str, text: str) -> Answer:
        """The answer of a run that proved to be somebody's; an empty one if the person got its text as a stray."""
        heard = self.claim(run_id)
        if self.was_told(run_id):
            return Answer(run_id, "")
        return Answer(run_id, heard.text if heard and heard.text else text)

    def missed(self, run_id: str, text: str) -> Answer | None:
        """The answer of a run that the history tells of; None if it went somewhere, or goes to a turn, already."""
        if run_id in self._asked or self.was_told(run_id):
            return None
        return self.recognise(run_id, text)

    def give_up(self, run_ids: Iterable[str]) -> None:
        """Nobody waits for these any more: an end that comes late, or came and was not taken, is a stray."""
        for run_id in run_ids:
            self._given_up[run_id] = None
            future = self._asked.pop(run_id, None)
            if future is not None and future.done():
                self._hold(future.result())
        _trim(self._given_up)

    def gave_up(self, run_id: str) -> bool:
        """Whether it is one of those that somebody waited for until it was too late."""
        return run_id in self._given_up

    def tell(self, run_id: str) -> None:
        """Its text goes to the person now, whoever was waiting for it: not a second time."""
        self._told[run_id] = None
        _trim(self._told)

    def was_told(self, run_id: str) -> bool:
        """Whether its text went to the person before anybody recognised it: as a stray, or for a heartbeat's."""
        return run_id in self._told

    def forget(self, run_id: str) -> None:
        """It never happened, as far as the gateway knows: the same id may start anew."""
        self._asked.pop(run_id, None)
        self._held.pop(run_id, None)
        self._book.forget(run_id)

    def expect_heartbeat(self) -> asyncio.Future[Outcome]:
        """The end of the next heartbeat turn."""
        self._heartbeat = asyncio.get_running_loop().create_future()
        return self._heartbeat

    def drop_heartbeat(self) -> None:
        """Nobody waits for it any more: if its end comes, or came and was not taken, it is a stray."""
        future, self._heartbeat = self._heartbeat, None
        if future is not None and future.done() and future.result().run_id not in self._asked:
            self._hold(future.result())

    def hear(self, event: Event) -> None:
        """Take one event of any of the sandbox's connections."""
        if isinstance(event, _OF_RUNS):
            outcome = self._book.hear(event)
            if outcome is not None:
                self._sort(outcome)
        elif isinstance(event, HeartbeatEvent):
            self._heard_heartbeat(event)

    def strays(self) -> list[Outcome]:
        """The texts that nobody asked for, each once, oldest first; none while a turn is open."""
        if self.turns or not self._held:
            return []
        held, self._held = self._held, OrderedDict()
        texts = [outcome for outcome in held.values() if outcome.ending is Ending.FINAL and outcome.text]
        self._told.update((outcome.run_id, None) for outcome in texts)
        _trim(self._told)
        return texts

    def _sort(self, outcome: Outcome) -> None:
        future = self._asked.get(outcome.run_id)
        if future is not None:
            if not future.done():
                future.set_result(outcome)
        elif self._is_persons(outcome.run_id) or not self._end_heartbeat(outcome):
            self._hold(outcome)

    def _is_persons(self, run_id: str) -> bool:
        """It is known to be no heartbeat's."""
        return self.gave_up(run_id) or self._book.is_heartbeat(run_id) is False

    def _hold(self, outcome: Outcome) -> None:
        """A sandbox could make up any number of runs while a turn is open: the oldest ones are dropped."""
        self._held[outcome.run_id] = outcome
        while len(self._held) > MAX_HELD:
            self._held.popitem(last=False)

    def _heard_heartbeat(self, event: HeartbeatEvent) -> None:
        """What the gateway made of a wake. A text never comes this way: its run's final brings it."""
        if event.preview or event.reason in RETRIED_BY_GATEWAY:
            return
        if event.status.startswith("ok"):
            self._end_heartbeat(Outcome("", Ending.FINAL, ""))
        else:
            why = event.reason or event.status
            self._end_heartbeat(Outcome("", Ending.ERROR, f"the gateway held no heartbeat: {why}", why))

    def _end_heartbeat(self, outcome: Outcome) -> bool:
        if self._heartbeat is None or self._heartbeat.done():
            return False
        self._heartbeat.set_result(outcome)
        return True


def _trim(remembered: OrderedDict[str, asyncio.Future[Outcome]] | OrderedDict[str, None]) -> None:
    while len(remembered) > MAX_REMEMBERED:
        remembered.popitem(last=False)
