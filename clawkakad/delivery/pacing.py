"""How fast messages may go out: to one person, from our number, and for everybody after a limit was hit. No I/O.

All times are monotonic seconds. Whoever asks takes: a token that was taken for a send that never happened is a small
delay, one that was not taken is a refusal by Meta.
https://developers.facebook.com/docs/whatsapp/messaging-limits
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from clawkakad.model import UserId

BURST = 45  # Meta's pair limit: messages to one person in a row …
EVERY_S = 6.0  # … borrowed from one each six seconds
FULL_AFTER_S = BURST * EVERY_S  # sends before that do not count any more
_GRAIN = 1e-9  # of a token: what sums of fractions are off
LONGEST_BRAKE_S = 300.0  # unless Meta itself asks for more


class Bucket:
    """Tokens that come back at a steady rate, up to a capacity; full at first."""

    def __init__(self, capacity: float, per_s: float, now: float) -> None:
        self._capacity = capacity
        self._per_s = per_s
        self._left = capacity
        self._at = now

    def wait_s(self, now: float) -> float:
        """Seconds until there is a token; 0 where there is one."""
        missing = 1 - self.left(now)
        return missing / self._per_s if missing > _GRAIN else 0.0

    def take(self, now: float) -> None:
        """Take one, or borrow it where there is none."""
        self._left, self._at = self.left(now) - 1, max(now, self._at)

    def drain(self, now: float) -> None:
        """Leave one, for another try: the other side counts differently, and did not count what it refused."""
        self._left, self._at = 1.0, max(now, self._at)

    def left(self, now: float) -> float:
        """Tokens that there are."""
        return min(self._capacity, self._left + max(0.0, now - self._at) * self._per_s)

    def is_full(self, now: float) -> bool:
        """Whether it is as if nothing had ever been taken."""
        return self.left(now) >= self._capacity


@dataclass
class _Served:
    bucket: Bucket
    last_at: float


class Pacer:
    """A bucket for each person who was sent to lately, and one for our number.

    The number's holds a tenth of a second's messages and fills at nine tenths of the rate: no second, wherever it
    begins, has more than `sends_per_s` (or two, where that is less than ten).
    """

    def __init__(self, sends_per_s: float, now: float) -> None:
        self._number = Bucket(max(1.0, sends_per_s / 10), sends_per_s * 0.9, now)
        self._people: dict[UserId, _Served] = {}

    def number_wait_s(self, now: float) -> float:
        """Seconds until our number may send at all."""
        return self._number.wait_s(now)

    def wait_s(self, user_id: UserId, now: float) -> float:
        """Seconds until this person may be sent to, as far as the pair limit goes."""
        served = self._people.get(user_id)
        return 0.0 if served is None else served.bucket.wait_s(now)

    def take(self, user_id: UserId, now: float) -> None:
        """A message goes out to this person."""
        self._number.take(now)
        self.note(user_id, now)

    def note(self, user_id: UserId, at: float) -> None:
        """One went out, perhaps before this process began."""
        served = self._people.setdefault(user_id, _Served(Bucket(BURST, 1 / EVERY_S, at), at))
        served.bucket.take(at)
        served.last_at = max(at, served.last_at)

    def drain(self, user_id: UserId, now: float) -> None:
        """Meta says that this person has had enough: somebody else sends to them too."""
        served = self._people.setdefault(user_id, _Served(Bucket(BURST, 1 / EVERY_S, now), now))
        served.bucket.drain(now)

    def last_served_at(self, user_id: UserId) -> float:
        """When this person had their turn; long ago for those whom we do not remember."""
        served = self._people.get(user_id)
        return served.last_at if served is not None else float("-inf")

    def forget_idle(self, now: float) -> None:
        """Forget whoever has a full bucket again."""
        self._people = {user: served for user, served in self._people.items() if not served.bucket.is_full(now)}

    def __len__(self) -> int:
        """How many people are remembered."""
        return len(self._people)

    def remember(self, sends: Iterable[tuple[UserId, float]]) -> None:
        """What the last process sent, oldest first, in this process's seconds."""
        for user_id, at in sends:
            self.note(user_id, at)


class Brake:
    """A limit of the number or the app was hit: all sending stands still, longer each time, until one is taken."""

    def __init__(self, dice: Callable[[], float] = random.random) -> None:
        self._dice = dice
        self._hits = 0
        self._until = float("-inf")

    def hit(self, now: float, *, first_s: float, asked_s: float | None) -> float:
        """Stand still: twice as long as last time, with jitter, at least `asked_s`; returns for how many seconds.

        What was in flight when the limit was hit hits it too, and that is no further time.
        """
        if now >= self._until:
            seconds = min(LONGEST_BRAKE_S, first_s * 2.0 ** min(self._hits, 20)) * (1 + 0.25 * self._dice())
            self._hits += 1
            self._until = now + seconds
        self._until = max(self._until, now + (asked_s or 0.0))
        return self._until - now

    def wait_s(self, now: float) -> float:
        """Seconds for which nothing is sent."""
        return max(0.0, self._until - now)

    def taken(self) -> None:
        """A message was taken: the limit is behind us."""
        self._hits = 0
