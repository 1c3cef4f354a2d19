"""Helpers of all tests: wait for a condition, and directories short enough for unix sockets."""

import asyncio
import os
import socket
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import TypeVar

from clawkakad import faults
from clawkakad.assistant.opening import Opening
from clawkakad.assistant.turnbook import Turn
from clawkakad.model import Profile, UserId
from clawkakad.registry.transaction import Transaction
from clawkakad.sandboxes.image import DEFAULT_TAG

T = TypeVar("T")

NOWHERE = Profile(name=None, time_zone="UTC", currency="USD", language="en", country=None)

SCALE = float(os.environ.get("TEST_TIME_SCALE", "1"))
"""All waits of the tests are multiplied by this: raise it on a slow machine."""

DATA = Path(__file__).parent / "data"

IMAGE = os.environ.get("CLAWKAKA_IMAGE", DEFAULT_TAG)
"""The sandbox image of those tests that need the real one."""


PORTS = 1_000
"""How many a process of tests has for itself: more than it asks for while any of them is still in use."""

_MARKS: list[socket.socket] = []


class _Nobody:
    """Grants no opening: whoever is to answer has to be woken."""

    def grant(self, user_id: UserId) -> bool:
        return False

    def open(self, tx: Transaction, user_id: UserId, now: datetime) -> Turn | None:
        raise AssertionError("not granted")

    def ask(self, user_id: UserId, turn: Turn) -> None:
        raise AssertionError("not granted")

    def go(self, user_id: UserId, lost: Turn | None) -> None:
        raise AssertionError("not granted")


def nobody_opens() -> Opening:
    """An opening that begins nothing."""
    return Opening(_Nobody())


async def eventually(condition: Callable[[], T | Awaitable[T]], *, within_s: float = 5.0, every_s: float = 0.02) -> T:
    """Wait until `condition` is true and return its value; fail with its name after `within_s` seconds."""
    deadline = time.monotonic() + within_s * SCALE
    while True:
        outcome = condition()
        value = await outcome if isinstance(outcome, Awaitable) else outcome
        if value:
            return value
        if time.monotonic() > deadline:
            name = getattr(condition, "__qualname__", str(condition))
            raise AssertionError(f"not within {within_s * SCALE:g} s: {name}")
        await asyncio.sleep(every_s)


def free_port() -> int:
    """A TCP port of loopback that is free, and stays so for who asked: also while a daemon is started again."""
    for port in islice(_own_ports(), PORTS):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("none of these tests' own ports is free")


@cache
def _own_ports() -> Iterator[int]:
    """Ports of this process of tests alone, round and round; a socket without a file marks them as taken.

    All are below those that Linux gives to outgoing connections (32768 and up: `ip_local_port_range` in ip-sysctl).
    """
    for first in range(32_768 - PORTS, 20_000, -PORTS):
        mark = socket.socket(socket.AF_UNIX)
        try:
            mark.bind(f"\0clawkakad-tests-ports-{first}")
        except OSError:
            mark.close()
            continue
        _MARKS.append(mark)
        return cycle(range(first, first + PORTS))
    raise AssertionError("too many tests run on this machine at once")


@contextmanager
def counted_commits() -> Iterator[list[str]]:
    """The commits of this process from now on."""
    points: list[str] = []
    faults.arm(lambda point: points.append(point) if point == "commit" else None)
    try:
        yield points
    finally:
        faults.arm(None)


@contextmanager
def held_by_another(path: Path) -> Iterator[Callable[[], None]]:
    """Another connection has the write lock of a database: who writes has to wait. Gives what lets go of it early."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def let_go() -> None:
        if other.in_transaction:
            other.execute("ROLLBACK")

    try:
        yield let_go
    finally:
        let_go()
        other.close()


@contextmanager
def short_directory() -> Iterator[Path]:
    """A temporary directory with a path short enough for unix sockets (107 bytes)."""
    with tempfile.TemporaryDirectory(prefix="ck-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)
