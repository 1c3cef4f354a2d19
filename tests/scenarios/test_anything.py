"""Hypothesis decides what happens: messages, duplicates, statuses, kills, a clock that jumps, a Graph API that fails.
Whatever it was: each message is answered once, and nothing stays behind.
"""

import asyncio
import os
from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from clawkakad.delivery.settling import MOST_BEHIND_S
from clawkakad.simulator import payloads
from clawkakad.simulator.knobs import AFTER, BEFORE, Trouble
from clawkakad.simulator.people import Author, Message, Person, State
from tests.scenarios.background import Background
from tests.scenarios.conftest import Stage, known, open_stage, post
from tests.scenarios.nursery import Nursery
from tests.support import eventually

pytestmark = pytest.mark.timeout(600)

EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "8"))
SETTLE_S = 2  # longer than a status takes here, kills included
CLOCKS = (0, 0, 3600, -3600, 90_000, -90_000)
SETTINGS = known(
    CLAWKAKA_SETTLE_S=str(SETTLE_S),
    CLAWKAKA_RESENDS="3",  # two of these in a row may hit the same message
    CLAWKAKA_BURST_S="0.05",
    CLAWKAKA_MESSAGES_PER_HOUR="0",
    CLAWKAKA_LOG_LEVEL="INFO",
)


class Anything(RuleBasedStateMachine):
    """One daemon and three people."""

    nursery: ClassVar[Nursery]

    def __init__(self) -> None:
        super().__init__()
        self._background = Background()
        self._background.__enter__()
        self._stage: Stage | None = None
        self._people: list[Person] = []
        self._said = 0

    @property
    def stage(self) -> Stage:
        assert self._stage is not None
        return self._stage

    @initialize()
    def begin(self) -> None:
        self._stage = self._background.open(open_stage(self.nursery, SETTINGS))
        self._people = [self.stage.person(name) for name in ("Robin", "Mika", "Sam")]
        self.stage.world.simulator.exchange.knobs.pair_limit = False
        self._background.do(self.stage.world.daemon.start())

    @rule(who=st.integers(0, 2), count=st.integers(1, 3))
    def somebody_writes(self, who: int, count: int) -> None:
        async def say() -> None:
            for _ in range(count):
                self.stage.world.say(self._people[who], f"m{self._said}")
                self._said += 1

        self._background.do(say())

    @precondition(lambda self: self._said)
    @rule(which=st.integers(0))
    def meta_sends_a_message_again(self, which: int) -> None:
        said = self._messages(Author.PERSON)
        message = said[which % len(said)]
        exchange = self.stage.world.simulator.exchange
        person = exchange.people.people[message.wa_id]
        if message.state is not State.SENT:  # taken already, so this is a second time
            self._post(payloads.text_message(exchange.business, person, message))

    @precondition(lambda self: self._said)
    @rule(which=st.integers(0), status=st.sampled_from(["sent", "delivered", "read"]))
    def meta_sends_a_status_again(self, which: int, status: str) -> None:
        heard = self._messages(Author.ASSISTANT)
        if heard:
            exchange = self.stage.world.simulator.exchange
            message = heard[which % len(heard)]
            person = exchange.people.people[message.wa_id]
            self._post(payloads.status(exchange.business, person, message, status, exchange.now()))

    @rule()
    def it_is_killed(self) -> None:
        self._background.do(self.stage.world.daemon.replace())

    @rule()
    def it_is_stopped_and_started(self) -> None:
        async def restart() -> None:
            assert await self.stage.world.daemon.stop() == 0
            await self.stage.world.daemon.start()

        self._background.do(restart())

    @rule(clock_s=st.sampled_from(CLOCKS))
    def its_clock_jumps(self, clock_s: int) -> None:
        self._background.do(self.stage.world.daemon.order(clock_s=clock_s))

    @rule(trouble=st.sampled_from([*BEFORE, *AFTER, Trouble.LATE]))
    def a_send_goes_wrong(self, trouble: Trouble) -> None:
        self.stage.world.simulator.exchange.knobs.next_troubles.append(trouble)

    @rule(code=st.sampled_from([4, 80007, 130429, 131056, 131057, 429]))
    def a_send_is_refused_for_now(self, code: int) -> None:
        self.stage.world.simulator.exchange.knobs.next_errors.append(code)

    @rule(which=st.integers(0))
    def a_gateway_drops_its_connection(self, which: int) -> None:
        gateways = list(self.stage.gateways.values())
        if gateways:
            self._background.do(gateways[which % len(gateways)].drop())

    @rule(delay_s=st.sampled_from([0.0, 0.2]))
    def the_agent_is_slow_or_not(self, delay_s: float) -> None:
        self.stage.agent_delay_s = delay_s

    @rule()
    def time_passes(self) -> None:
        self._background.do(asyncio.sleep(0.1))

    def teardown(self) -> None:
        try:
            if self._stage is not None:
                self._background.do(self._all_is_well())
        finally:
            self._background.__exit__()

    async def _all_is_well(self) -> None:
        knobs = self.stage.world.simulator.exchange.knobs
        knobs.next_troubles, knobs.next_errors = [], []
        await self.stage.world.daemon.order(clock_s=0)
        for person in self._people:  # what the service window held goes out when its person writes
            self.stage.world.say(person, "last")
        try:
            # A clock that jumps over a restart looks like two minutes in which Meta could bring nothing.
            await eventually(self._quiet, within_s=60 + MOST_BEHIND_S, every_s=0.05)
        except AssertionError as error:
            raise AssertionError(self._what_there_is()) from error
        answers = Counter(word for m in self._messages(Author.ASSISTANT) for word in set(m.text.split()))
        wrong = {f"m{n}": answers[f"m{n}"] for n in range(self._said) if answers[f"m{n}"] != 1}
        assert wrong == {}, self._what_there_is()
        sends = Counter(m.callback_data for m in self._messages(Author.ASSISTANT))
        assert set(sends.values()) <= {1}, self._what_there_is()

    def _quiet(self) -> bool:
        daemon = self.stage.world.daemon
        if any(m.state is State.SENT for m in self._messages(Author.PERSON)):
            return False
        stored = daemon.rows("SELECT 1 FROM inbox WHERE text = 'last'")
        waits = daemon.rows("SELECT 1 FROM inbox WHERE state <> 'answered'")
        unsent = daemon.rows("SELECT 1 FROM outbox WHERE state NOT IN ('delivered', 'read')")
        return len(stored) == len(self._people) and not waits and not unsent

    def _messages(self, author: Author) -> list[Message]:
        return [m for m in self.stage.world.simulator.exchange.people.messages.values() if m.author is author]

    def _post(self, document: dict[str, object]) -> None:
        status = self._background.do(post(self.stage, payloads.wire(document)))
        assert status in (200, 503)

    def _what_there_is(self) -> str:
        rows = self.stage.world.daemon.rows
        inbox = rows("SELECT id, text, state, turn, attempt, reason FROM inbox WHERE state <> 'answered'")
        outbox = rows(
            "SELECT id, state, hold, text, unknowns, not_before, reason FROM outbox WHERE state <> 'delivered'"
        )
        heard = [(m.wa_id[-4:], m.text) for m in self._messages(Author.ASSISTANT)]
        return f"inbox {inbox}\noutbox {outbox}\nheard {heard}\n{self.stage.world.daemon.tail(12)}"


def test_whatever_happens_each_message_is_answered_once(nursery: Nursery) -> None:
    Anything.nursery = nursery
    run_state_machine_as_test(
        Anything,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=25,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.generate],  # what depends on moments cannot be made smaller by trying again
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
