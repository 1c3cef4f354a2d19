"""All state, in one SQLite file: one module per table family, one way to write.

Owns the schema and its migrations, the guarantee that a commit is on disk, and the words in which the rest of the
package reads and changes state. Knows nothing of Meta, Docker or the gateway.
"""

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from clawkakad.errors import UsageError
from clawkakad.registry.database import Database, open_beside, open_database
from clawkakad.registry.disks import DiskRow, Disks
from clawkakad.registry.heartbeats import Heartbeats
from clawkakad.registry.inbox import Inbox
from clawkakad.registry.outbox import Outbox
from clawkakad.registry.reminders import Reminders
from clawkakad.registry.sandboxes import Sandboxes, SandboxRow
from clawkakad.registry.upgrades import Upgrades
from clawkakad.registry.usage import Usage
from clawkakad.registry.users import UserRow, Users

__all__ = ["DiskRow", "Registry", "SandboxRow", "UserRow", "edit_registry", "locked", "open_registry", "read_registry"]

FILE = "registry.sqlite"
LOCK = "clawkakad.lock"


@dataclass(frozen=True)
class Registry:
    """The tables, and the database for the transactions that span several of them."""

    db: Database
    users: Users
    inbox: Inbox
    outbox: Outbox
    reminders: Reminders
    heartbeats: Heartbeats
    sandboxes: Sandboxes
    upgrades: Upgrades
    disks: Disks
    usage: Usage


@contextlib.asynccontextmanager
async def open_registry(path: Path, clock: Callable[[], datetime], *, log_room: int = 0) -> AsyncIterator[Registry]:
    """Open for reading and writing. `log_room`: as of `open_database`. Raises UsageError where it cannot be used."""
    async with open_database(path, log_room=log_room) as db:
        yield _registry(db, clock)


@contextlib.asynccontextmanager
async def read_registry(path: Path, clock: Callable[[], datetime]) -> AsyncIterator[Registry]:
    """Open for a look beside a running daemon. Raises UsageError where there is no registry of this version yet."""
    async with open_beside(path, writing=False) as db:
        yield _registry(db, clock)


@contextlib.asynccontextmanager
async def edit_registry(path: Path, clock: Callable[[], datetime]) -> AsyncIterator[Registry]:
    """Open for changes beside a running daemon, which finds them within a second. Raises UsageError as above."""
    async with open_beside(path, writing=True) as db:
        yield _registry(db, clock)


@contextlib.contextmanager
def locked(
    directory: Path, *, file: str = LOCK, taken: str = "another clawkakad runs on it: stop it first"
) -> Iterator[None]:
    """One process at a time: one daemon per state directory. Raises UsageError where another one holds the lock."""
    descriptor = os.open(directory / file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"{directory} is in use: {taken}") from error
        yield
    finally:
        os.close(descriptor)


def _registry(db: Database, clock: Callable[[], datetime]) -> Registry:
    return Registry(
        db=db,
        users=Users(db),
        inbox=Inbox(db),
        outbox=Outbox(db, clock),
        reminders=Reminders(db, clock),
        heartbeats=Heartbeats(db),
        sandboxes=Sandboxes(db, clock),
        upgrades=Upgrades(db, clock),
        disks=Disks(db),
        usage=Usage(db, clock),
    )
