"""Instants as the registry keeps them: UTC text that sorts, `2026-11-22T10:00:00.000Z`."""

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=256)  # a transaction writes its one instant into many columns
def to_text(instant: datetime) -> str:
    """`instant` must be aware: a naive one is a bug."""
    if instant.tzinfo is not UTC:
        if instant.tzinfo is None:
            raise ValueError("naive datetime")
        instant = instant.astimezone(UTC)
    return instant.isoformat(timespec="milliseconds")[:-6] + "Z"  # without +00:00


def from_text(text: str) -> datetime:
    """The aware UTC instant that `to_text` wrote."""
    return datetime.fromisoformat(text)


def maybe(text: str | None) -> datetime | None:
    """`from_text` for a column that may be NULL."""
    return None if text is None else from_text(text)
