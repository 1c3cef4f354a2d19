"""A simulator and a stand-in for the daemon, both on real ports, that know each other."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from clawkakad.simulator.people import Message, Person
from clawkakad.simulator.server import Secrets, Simulator, running_simulator
from tests.simulator.daemon import Daemon, join, running_daemon

QUICK_RETRIES_S = (0.02, 0.02, 0.02, 0.02, 0.02)


class Time:
    """The real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.added = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.added


@dataclass
class Pair:
    """The two, and a person who has written once, so that the service window is open."""

    simulator: Simulator
    daemon: Daemon
    time: Time
    robin: Person

    def last(self, text: str) -> Message:
        """The newest message with that text."""
        return next(m for m in reversed(self.simulator.exchange.people.messages.values()) if m.text == text)


@pytest.fixture
def secrets() -> Secrets:
    return Secrets.made()


@pytest.fixture
async def pair(secrets: Secrets) -> AsyncIterator[Pair]:
    time = Time()
    async with (
        running_daemon(secrets) as daemon,
        running_simulator(secrets, clock=time, retry_delays_s=QUICK_RETRIES_S) as simulator,
    ):
        join(daemon, simulator)
        robin = simulator.exchange.add_person("Robin", "+1 555 010 0123")
        yield Pair(simulator, daemon, time, robin)
