"""The person's profile: name, zone, currency, language. Read only; the daemon owns the file and rewrites it whole.

A profile that is missing or odd never stops the assistant: the zone falls back to UTC, the rest to unknown.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

UTC_ZONE = "UTC"


@dataclass(frozen=True)
class Profile:
    """What the daemon knows of the person; None where it is not known."""

    name: str | None
    zone: ZoneInfo
    currency: str | None
    language: str | None
    country: str | None


def read_profile(path: Path) -> Profile:
    """The profile in that file."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        loaded = {}
    return profile_of(loaded if isinstance(loaded, dict) else {})


def profile_of(fields: dict[str, object]) -> Profile:
    """The profile in the daemon's words, `{"time_zone": "Asia/Kolkata", ...}`."""

    def field(name: str) -> str | None:
        value = fields.get(name)
        return value if isinstance(value, str) and value else None

    return Profile(
        name=field("name"),
        zone=_zone(field("time_zone")),
        currency=field("currency"),
        language=field("language"),
        country=field("country"),
    )


def _zone(name: str | None) -> ZoneInfo:
    try:
        return ZoneInfo(name or UTC_ZONE)
    except (KeyError, ValueError, OSError):  # unknown name, a path instead of a name, a folder such as "Asia"
        return ZoneInfo(UTC_ZONE)
