"""What every command is given: the clock, the person's profile, and the two outside things, opened when first used."""

import sqlite3
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from .arguments import Arguments
from .database import open_database
from .days import Lean
from .errors import PaError
from .journal import Value
from .profile import Profile
from .when import Moment, noon, parse_when, stamp

if TYPE_CHECKING:
    from .host import HostApi


class Happened(NamedTuple):
    """When something happened, as the tables keep it."""

    at: str
    day: str


@dataclass
class Context:
    """One run of the program."""

    now: datetime
    profile: Profile
    database_path: Path
    host_url: str
    _db: sqlite3.Connection | None = field(default=None, repr=False)

    @property
    def db(self) -> sqlite3.Connection:
        """The database, opened (and made) at first use."""
        if self._db is None:
            self._db = open_database(self.database_path)
        return self._db

    @property
    def host(self) -> "HostApi":
        """The daemon's host API."""
        from .host import HostApi

        return HostApi(self.host_url)

    def close(self) -> None:
        """Closes what was opened."""
        if self._db is not None:
            self._db.close()

    @property
    def zone(self) -> ZoneInfo:
        """The person's zone."""
        return self.profile.zone

    @property
    def stamp(self) -> str:
        """Now, as stored."""
        return stamp(self.now)

    @property
    def today(self) -> date:
        """The calendar day where the person is."""
        return self.now.astimezone(self.zone).date()

    @property
    def wall(self) -> str:
        """The person's clock, for messages."""
        return self.now.astimezone(self.zone).strftime("%Y-%m-%d %H:%M")

    def moment(self, words: str, lean: Lean) -> Moment:
        """What WHEN means for this person now."""
        return parse_when(words, self.now, self.zone, lean)

    def origin(self, args: Arguments) -> dict[str, Value]:
        """The columns that say where a row comes from: the person's words, and when they reached us."""
        return {"source_text": args.source, "created_at": self.stamp}

    def happened(self, args: Arguments) -> Happened:
        """The time of something that has happened: --at, else now. A day without a time counts as its noon."""
        words = args.text("at")
        if not words:
            return Happened(self.stamp, self.today.isoformat())
        moment = self.moment(words, Lean.PAST)
        if moment.day > self.today or (moment.at and moment.at > self.now):
            raise PaError(f'--at "{words[:40]}" is still to come (now {self.wall}); log it once it has happened')
        if moment.at is None and moment.day == self.today:
            return Happened(self.stamp, self.today.isoformat())
        return Happened(stamp(moment.at or noon(moment, self.zone)), moment.day.isoformat())
