"""Delivery: sends what is in the outbox. Per person in order, one at a time; people never wait for one another.

Read `_round` as the table of contents: look, sort, decide about what is unsettled, choose who is sent to, write that
down, send. Each send is on disk as `sending` before its request is written. A request whose outcome is not known is
settled by a status that carries our key; where none comes it is sent again, or held for the operator, by the rule
of `settling`. Nothing is ever given up without a line that says so.
"""

import asyncio
import contextlib
import functools
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from loguru import logger

from clawkakad.delivery import planning, sending, settling, steps
from clawkakad.delivery.circuit import Circuit, State
from clawkakad.delivery.express import Express
from clawkakad.delivery.judging import Fate, Judge, Kind
from clawkakad.delivery.lookout import LOOK_AGAIN_S, Lookout
from clawkakad.delivery.pacing import FULL_AFTER_S, Brake, Pacer
from clawkakad.delivery.pausing import Pausing
from clawkakad.delivery.sending import Sender
from clawkakad.delivery.settling import Patience, Verdict
from clawkakad.delivery.steps import Step
from clawkakad.delivery.window import WINDOW
from clawkakad.errors import RegistryUnavailable
from clawkakad.model import UserId, Wamid
from clawkakad.moments import moment_after
from clawkakad.registry import Registry, sends
from clawkakad.registry.sends import Head
from clawkakad.registry.transaction import Transaction

TIDY_S = 60.0
STOP_S = 10.0
COMMIT_S = 2.0  # for a commit that has begun, when the daemon stops


@dataclass(frozen=True)
class SendRules:
    """The operator's settings. `settle_s`: least seconds that a status may take; `sends_per_s`: of our number."""

    settle_s: float = 60.0
    resends: int = 1
    sends_per_s: float = 80.0


class Delivery:
    """The sending loop. `caught_up`: no webhook waits for long to be stored; `lag_s`: how long statuses take lately.

    `on_sent` is told of sends that are on disk as taken, where nothing hangs on their statuses.
    """

    def __init__(
        self,
        registry: Registry,
        graph: Sender,
        clock: Callable[[], datetime],
        *,
        rules: SendRules,
        caught_up: Callable[[], bool],
        lag_s: Callable[[], float],
        on_sent: Callable[[Wamid, datetime], None] = lambda *_: None,
        monotonic: Callable[[], float] = time.monotonic,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._registry = registry
        self._graph = graph
        self._clock = clock
        self._rules = rules
        self._caught_up = caught_up
        self._lag_s = lag_s
        self._on_sent = on_sent
        self._monotonic = monotonic
        self._changed = asyncio.Event()
        self._in_flight: dict[UserId, asyncio.Task[None] | None] = {}  # without a task, it is being written down
        self._unanswered: dict[UserId, float] = {}  # of those, since when: an outage takes them along
        self._probe: asyncio.Task[None] | None = None
        self._tidied_at = float("-inf")
        self._is_full = False
        self._has_taken_over = False
        self._pacer = Pacer(rules.sends_per_s, monotonic())
        self._brake, self._circuit, self._pausing = Brake(dice), Circuit(dice), Pausing()
        self._judge = Judge(self._circuit, self._brake, self._pacer, dice)
        self._lookout = Lookout(registry, clock, self._pausing)
        self._patience = Patience()

    def wake(self) -> None:
        """The outbox has changed. Never waits."""
        self._lookout.changed()
        self._changed.set()

    def express(self, user_id: UserId) -> Express | None:
        """The right to begin a send to this person in the transaction that queues it; None: it waits its turn.

        `Express.go` must be called after that transaction, whatever became of it.
        """
        now = self._monotonic()
        waits = self._pacer.wait_s(user_id, now) or self._pacer.number_wait_s(now)
        is_busy = user_id in self._in_flight or self._is_full or not self._has_taken_over
        if is_busy or waits or self._pausing.is_on or not self._room(now):
            return None
        self._pacer.take(user_id, now)
        self._begun(user_id, now)
        return Express(user_id, functools.partial(self._goes, user_id, is_trial=False))

    async def run(self) -> None:
        """Send for ever. What the last process left in flight is first marked ambiguous."""
        await self._take_over()
        try:
            while True:
                self._changed.clear()
                await self._rest(await self._look_and_send())
        finally:
            await self._stop()

    async def _look_and_send(self) -> float:
        """Everything that is due now; seconds until there is more."""
        try:
            return await self._round()
        except RegistryUnavailable as error:
            logger.warning("outbox cannot be used now", error=str(error))
        except Exception:  # a mistake of ours in one round must not end the sending of all others
            logger.exception("a round of sending failed for a reason of our own")
        return LOOK_AGAIN_S

    async def _round(self) -> float:
        now = self._monotonic()
        # In a trial WhatsApp has answered a probe; with nothing else to send, what is unsettled must not wait for one.
        self._patience.tick(now, listening=self._caught_up() and self._circuit.state is not State.OPEN)
        await self._tidy(now)
        probe_in_s = self._circuit.probe_in_s(now)
        if probe_in_s is not None:
            return self._probe_in(probe_in_s)
        was_busy = bool(self._in_flight)
        found = await self._lookout.look(self._in_flight, now)
        # A pause's trial that has ended meanwhile has told more than this look has seen.
        room = 0 if was_busy and self._pausing.is_on else self._room(now)
        choice = planning.choose(found.queued, self._pacer, room=room, now=now)
        self._is_full = len(choice.start) == room < len(found.queued)
        # A timer may end a moment before its time by our clock: what was not looked for is not gone.
        verdicts = self._verdicts(found.unsettled) if found.is_whole else []
        step = Step(found, tuple(verdicts), choice.start)
        await self._carry_out(step)
        return self._until_next(step, min(choice.wait_s, found.soonest_s))

    def _room(self, now: float) -> int:
        """How many sends may begin."""
        if self._brake.wait_s(now) or self._pausing.wait_s(now):
            return 0
        if self._pausing.is_on:
            return 0 if self._in_flight else 1
        if self._circuit.is_silent(self._unanswered.values(), now):
            return 0
        width = (
            self._circuit.width
        )  # as many again may be answered and not stored yet: a crash takes those along as well
        return max(0, min(width - len(self._unanswered), 2 * width - len(self._in_flight)))

    def _verdicts(self, unsettled: list[Head]) -> list[tuple[Head, Verdict]]:
        """What becomes of those for which no status came within the wait."""
        self._patience.keep_only({head.row.id for head in unsettled})
        wait_s = settling.wait_s(self._rules.settle_s, self._lag_s() if unsettled else 0.0)
        rows = [head for head in unsettled if self._patience.waited_s(head.row.id) >= wait_s]
        now, resends = self._clock(), self._rules.resends
        return [
            (head, settling.decide(age=now - r.created_at, unknowns=r.unknowns, origin=r.origin, resends=resends))
            for head, r in ((head, head.row) for head in rows)
        ]

    async def _carry_out(self, step: Step) -> None:
        """Write down what was decided, and send."""
        if step.is_empty():
            return
        is_trial = self._pausing.is_on
        for head in step.start:
            self._begun(head.row.user_id, self._monotonic())
        work = functools.partial(steps.write, step=step, now=self._clock(), is_trial=is_trial)
        go = functools.partial(self._go, step, is_trial=is_trial)
        # Also where the daemon stops meanwhile: what the commit has begun must go out, or it looks unknown.
        await self._registry.db.write_through(work, go, within_s=COMMIT_S)
        self._lookout.started(step.start)
        steps.tell(step)

    def _go(self, step: Step, written: list[Head] | None, *, is_trial: bool) -> None:
        """What of a step was written down goes out."""
        begun = {head.row.id: head for head in written or ()}
        for head in step.start:
            self._goes(head.row.user_id, begun.get(head.row.id), is_trial=is_trial)

    def _goes(self, user_id: UserId, head: Head | None, *, is_trial: bool) -> None:
        """Send what was begun for somebody, or let go of them."""
        if head is None:
            self._done(user_id)
        else:
            self._start(head, is_trial)

    def _start(self, head: Head, is_trial: bool) -> None:
        task = asyncio.create_task(self._send(head, is_trial), name=f"send {head.row.id}")
        self._in_flight[head.row.user_id] = task
        self._unanswered[head.row.user_id] = self._monotonic()
        task.add_done_callback(lambda _: self._done(head.row.user_id))

    def _begun(self, user_id: UserId, now: float) -> None:
        """Nobody else sends to them until it is done."""
        self._in_flight[user_id] = None
        self._unanswered[user_id] = now

    def _answered(self, user_id: UserId) -> None:
        """There is room for another one, although its fate is still to be stored."""
        self._unanswered.pop(user_id, None)
        if self._is_full:
            self._changed.set()

    def _done(self, user_id: UserId) -> None:
        del self._in_flight[user_id]
        self._answered(user_id)

    async def _send(self, head: Head, is_trial: bool) -> None:
        try:
            outcome = await sending.send(self._graph, head)
            was = self._circuit.state
            fate = self._judge.fate(head.row, outcome, self._monotonic())
            if fate.kind is Kind.SENT:  # any other one may be a reason to send nothing more: that has to be known first
                self._answered(head.row.user_id)
            self._tell_circuit(was)
            await self._keep(head, fate, is_trial)
        except Exception:  # a mistake of ours with one message must not end the sending of all others
            logger.exception("a send failed for a reason of our own", outbox=head.row.id)

    async def _keep(self, head: Head, fate: Fate, is_trial: bool) -> None:
        """Store the fate, however long that takes: it is known, and must not be guessed later."""
        while True:
            now = self._clock()
            try:
                stored, news = await self._registry.db.write(
                    lambda tx, now=now: sending.keep(tx, head, fate, now, lifts=is_trial)  # type: ignore[misc]
                )
            except RegistryUnavailable as error:
                logger.warning("outcome of a send cannot be stored now", outbox=head.row.id, error=str(error))
                await asyncio.sleep(LOOK_AGAIN_S)
            else:
                break
        sending.tell(head.row, stored, news=news)
        if stored.wamid is not None and not (is_trial or self._pausing.is_on):
            self._on_sent(stored.wamid, now)
        concerns_others = is_trial or stored.kind is not Kind.SENT
        if news or concerns_others:
            self._lookout.changed(now=concerns_others)
            self._changed.set()

    def _probe_in(self, seconds: float) -> float:
        """Ask whether WhatsApp is there again, when it is time; seconds until something may have changed."""
        if seconds == 0 and self._probe is None:
            self._probe = asyncio.create_task(self._ask(), name="probe of WhatsApp")
        return min(LOOK_AGAIN_S, seconds) if self._probe is None else LOOK_AGAIN_S

    async def _ask(self) -> None:
        try:
            self._circuit.probed(await sending.is_there(self._graph), self._monotonic())
        finally:
            self._probe = None
            self._changed.set()

    def _tell_circuit(self, was: State) -> None:
        """A line when an outage begins, and one when it is over."""
        state = self._circuit.state
        if state is State.OPEN and was is State.CLOSED:
            logger.warning("WhatsApp cannot be reached: nothing is sent until it answers")
        elif state is State.CLOSED and was is not State.CLOSED:
            logger.info("WhatsApp answers again")

    def _until_next(self, step: Step, wait_s: float) -> float:
        """Seconds until more is due by itself."""
        if step.settles():
            self._lookout.changed()
        now = self._monotonic()
        blocked_s = max(self._brake.wait_s(now), self._pausing.wait_s(now))
        return min(LOOK_AGAIN_S, self._lookout.wait_s(now), max(wait_s, blocked_s))

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(moment_after(seconds)):
                await self._changed.wait()

    async def _tidy(self, now: float) -> None:
        """Once in a while: forget who is idle, and let go what a wrong clock had held."""
        if now - self._tidied_at < TIDY_S:
            return
        self._pacer.forget_idle(now)
        wall = self._clock()
        await self._registry.db.write(lambda tx: sends.release_open(tx, wall - WINDOW, wall))
        self._tidied_at = now

    async def _take_over(self) -> None:
        """What the last process left: sends in flight, and how much of their pair limit people have used up."""
        while True:
            now = self._clock()
            try:
                left = await self._registry.db.write(functools.partial(_inherit, now=now))
            except RegistryUnavailable as error:
                logger.warning("outbox cannot be written now", error=str(error))
                await asyncio.sleep(LOOK_AGAIN_S)
            else:
                break
        self._has_taken_over = True
        monotonic = self._monotonic()
        self._pacer.remember((user, monotonic - max(0.0, (now - at).total_seconds())) for user, at in left.recent)
        if left.sent_at is not None:
            self._patience.was_away((now - left.sent_at).total_seconds())
        if left.interrupted:
            logger.warning("sends with unknown outcome from the last run", sends=left.interrupted)

    async def _stop(self) -> None:
        """Let requests in flight end: each is bounded by the Graph client's own deadline."""
        tasks = [task for task in self._in_flight.values() if task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_S)
        for task in [*tasks, *([self._probe] if self._probe else [])]:
            task.cancel()


class _Left(NamedTuple):
    """By the last process: how many were in flight, when the last of unknown outcome was sent, who got one lately."""

    interrupted: int
    sent_at: datetime | None
    recent: Sequence[tuple[UserId, datetime]]


def _inherit(tx: Transaction, *, now: datetime) -> _Left:
    sent_at = sends.last_unsettled(tx)
    return _Left(sends.interrupted(tx), sent_at, sends.recent(tx, now - timedelta(seconds=FULL_AFTER_S)))
