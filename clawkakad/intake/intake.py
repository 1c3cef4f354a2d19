"""Intake: what a webhook brought, stored in one transaction before Meta gets its 200.

Decides when there is too much to store, and what becomes of a delivery that cannot be stored as a whole; `filing.py`
decides what becomes of each message. Never talks to anybody: it wakes the conversation and the delivery, which work
from what is on disk.
"""

import functools
import sqlite3
from collections.abc import Callable
from datetime import datetime

from loguru import logger

from clawkakad.assistant.opening import Opening
from clawkakad.errors import RegistryUnavailable
from clawkakad.intake.filing import Filed, Filing
from clawkakad.intake.listening import Listening
from clawkakad.log import Lines
from clawkakad.model import InboxState, UserId
from clawkakad.registry import Registry
from clawkakad.whatsapp.delivery import Delivery

# Meta wants half of its webhooks answered within 250 ms, and all but one in a hundred within a second; it sends at most
# 1,000 a second. More than 256 that wait are more than 250 ms of work at that rate; and behind one that has waited for
# a second, nobody else will be in time. Whoever comes then is asked to come again, which Meta does for seven days.
MOST_WAITING = 256
LONGEST_WAIT_S = 1.0

# Nobody waits for what says only that a message has arrived: it may share its commit with something that is waited for.
LEISURE_S = 0.05
_GOOD_NEWS = frozenset({"delivered", "read", "played"})


class Intake:
    """Stores deliveries. `opening` begins turns with the commit that stores their messages, where it can.

    `on_message` is told who else has something to answer, `on_outbox` that the outbox changed. `is_full`: whether
    the registry's disk is.
    """

    def __init__(
        self,
        registry: Registry,
        filing: Filing,
        clock: Callable[[], datetime],
        *,
        listening: Listening,
        opening: Callable[[], Opening],
        is_full: Callable[[], bool] = lambda: False,
        on_message: Callable[[UserId], None],
        on_outbox: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._filing = filing
        self._clock = clock
        self._listening = listening
        self._opening = opening
        self._is_full = is_full
        self._on_message = on_message
        self._on_outbox = on_outbox
        self._lines = Lines()

    def admit(self) -> None:
        """Before anything is done for a delivery. Raises RegistryUnavailable where it could not be stored in time.

        On a disk that is nearly full nothing is begun either: what room there is left is for what came before.
        """
        if self._is_full():
            self._listening.turned_away()
            raise RegistryUnavailable("the disk is full")
        if self._listening.waiting >= MOST_WAITING or self._listening.oldest_s >= LONGEST_WAIT_S:
            self._listening.turned_away()
            raise RegistryUnavailable("more webhooks than can be stored in time")

    async def accept(self, delivery: Delivery) -> None:
        """Store everything; on disk when it returns. Raises RegistryUnavailable, and then Meta has to send it again.

        Cancelled in the middle, it may have stored: Meta sends again, and duplicates are dropped by wamid.
        """
        ticket, filed = self._listening.begun(), Filed()
        try:
            await self._store(self._filing.news_of(delivery, self._clock()), filed)
        except BaseException:
            self._listening.failed(ticket)
            raise
        else:
            self._listening.stored(ticket)
            self._report(delivery, filed)

    def _wake(self, filed: Filed | None) -> None:
        """Tell of what is on disk, whether or not somebody waits for it, and whatever becomes of the rest."""
        if filed is None:
            return
        for user_id in filed.waiting:
            self._on_message(user_id)
        if filed.outbox:
            self._on_outbox()

    async def _store(self, delivery: Delivery, filed: Filed) -> None:
        if not (delivery.messages or delivery.statuses or delivery.changes):
            return
        now, opening = self._clock(), self._opening()
        work = functools.partial(self._filing.file, delivery=delivery, now=now, opening=opening)

        def then(filed: Filed | None) -> None:
            opening.go(filed)
            self._wake(filed)

        try:
            db, within_s = self._registry.db, _time_of(delivery)
            filed.add(await db.write(work, ahead=opening.ask, then=then, within_s=within_s))
        except Exception as error:  # one bad message must not hold back its neighbours, for days
            if not _is_of_the_content(error):
                raise
            await self._store_apart(delivery, now, filed)

    async def _store_apart(self, delivery: Delivery, now: datetime, filed: Filed) -> None:
        """Each part for itself: what cannot be stored is given up, and the rest is as if it had come alone."""
        for part, work in self._filing.parts(delivery, now):
            try:
                filed.add(await self._registry.db.write(work, then=self._wake))
            except Exception as error:  # a bug of ours, and the next delivery would meet it as well
                if not _is_of_the_content(error):
                    raise
                logger.exception("part of a webhook cannot be stored", **_names(part))
                filed.add(await self._give_up(part, now))

    async def _give_up(self, part: Delivery, now: datetime) -> Filed:
        filed = Filed()
        for message in part.messages:
            work = functools.partial(self._filing.give_up, message=message, now=now)
            try:
                filed.add(await self._registry.db.write(work, then=self._wake))
            except Exception as error:  # then all that is left of it is the line above
                if not _is_of_the_content(error):
                    raise
                logger.exception("not even that it came can be stored", **_names(part))
        return filed

    def _report(self, delivery: Delivery, filed: Filed) -> None:
        for notice in delivery.notices:
            logger.log(notice.level.upper(), "notice from WhatsApp", notice=notice.text)
        for user_id, kind, state in filed.states:
            if state is InboxState.RECEIVED:  # the end of its turn will have a line
                logger.debug("message stored", user=user_id, kind=kind, state=state.value)
            else:
                self._lines.info("message stored", user=user_id, kind=kind, state=state.value)


def _time_of(delivery: Delivery) -> float:
    """How long it may wait for company, in seconds."""
    is_urgent = delivery.messages or delivery.changes or any(s.status not in _GOOD_NEWS for s in delivery.statuses)
    return 0.0 if is_urgent else LEISURE_S


def _is_of_the_content(error: Exception) -> bool:
    """Whether it is about what was to be stored, rather than about the registry: that would hit the next one too."""
    if isinstance(error, sqlite3.Error):
        return isinstance(error, sqlite3.IntegrityError | sqlite3.DataError)
    return not isinstance(error, RegistryUnavailable)


def _names(part: Delivery) -> dict[str, object]:
    """What a part is about, for the log."""
    return {
        "wamids": [*(message.wamid for message in part.messages), *(status.wamid for status in part.statuses)],
        "changes": len(part.changes),
    }
