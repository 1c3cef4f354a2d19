"""What the delivery does next, from what is on disk: sorted, then chosen. No I/O."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from clawkakad.delivery.pacing import Pacer
from clawkakad.delivery.window import in_window
from clawkakad.model import OutboxState, UserId
from clawkakad.registry.outbox import OutboxRow
from clawkakad.registry.sends import Head, Way

WINDOW_CLOSED = "the service window is closed: it goes out when the person writes"
UNREACHABLE = "WhatsApp cannot deliver to this person: it goes out when they write"


@dataclass
class Sorted:
    """The heads of all queues whose person nobody is sending to now, by what is due.

    Not `is_whole`: only what is remembered of those queued, from the look before.
    """

    queued: list[Head] = field(default_factory=list)
    closed: list[tuple[Head, str]] = field(default_factory=list)  # to be held, and why
    homeless: list[Head] = field(default_factory=list)  # nothing stands for this person any more
    lost: list[Head] = field(default_factory=list)  # `sending`, and nobody is: their outcome could not be stored
    unsettled: list[Head] = field(default_factory=list)
    soonest_s: float = float("inf")  # until one of those that wait for their time is due
    is_whole: bool = True


def sort_out(heads: Iterable[Head], busy: Collection[UserId], now: datetime) -> Sorted:
    """What each head needs."""
    found = Sorted()
    for head in heads:
        if head.row.user_id not in busy:
            _sort(head, found, now)
    return found


def _sort(head: Head, found: Sorted, now: datetime) -> None:
    row = head.row
    if row.state is OutboxState.AMBIGUOUS:
        found.unsettled.append(head)
    elif row.state is OutboxState.SENDING:
        found.lost.append(head)
    elif head.way.address is None:
        found.homeless.append(head)
    elif head.way.is_unreachable:
        found.closed.append((head, UNREACHABLE))
    elif not is_open(head.way, now):
        found.closed.append((head, WINDOW_CLOSED))
    elif (left_s := seconds_left(row, now)) > 0:
        found.soonest_s = min(found.soonest_s, left_s)
    else:
        found.queued.append(head)


def is_open(way: Way, now: datetime) -> bool:
    """Whether a person may be sent to now."""
    return way.address is not None and not way.is_unreachable and in_window(now, way.last_inbound_at)


def seconds_left(row: OutboxRow, now: datetime) -> float:
    """Seconds that a row still waits. A clock that was set back makes nobody wait longer than was meant."""
    passed = now - row.changed_at
    left = (row.not_before - row.changed_at) - passed
    return 0.0 if passed.total_seconds() < 0 else max(0.0, left.total_seconds())


@dataclass(frozen=True)
class Choice:
    """Who is sent to now. `wait_s`: until more could be; infinite where only the end of a send makes room."""

    start: tuple[Head, ...]
    wait_s: float


def choose(queued: Sequence[Head], pacer: Pacer, *, room: int, now: float) -> Choice:
    """Take from the front of each queue, whoever had their turn longest ago first; the pacer counts what is taken."""
    start: list[Head] = []
    wait_s = float("inf")
    for head in sorted(queued, key=lambda head: (pacer.last_served_at(head.row.user_id), head.row.id)):
        if len(start) >= room:
            break
        if pacer.number_wait_s(now) > 0:
            wait_s = min(wait_s, pacer.number_wait_s(now))
            break
        person_s = pacer.wait_s(head.row.user_id, now)
        if person_s > 0:
            wait_s = min(wait_s, person_s)
            continue
        pacer.take(head.row.user_id, now)
        start.append(head)
    return Choice(tuple(start), wait_s)
