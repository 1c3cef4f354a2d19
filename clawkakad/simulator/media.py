"""Files in the simulator: kept in memory, found by id, fetched by addresses that soon expire. No network here."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

ADDRESS_LIVES = timedelta(minutes=5)
LARGEST_FILE = 16 * 1024 * 1024  # bytes
MOST_FILES = 50  # the oldest ones are forgotten


@dataclass(frozen=True)
class File:
    """A file as it was uploaded."""

    content: bytes
    mime_type: str


class Media:
    """All files, and the addresses that were given out for them."""

    def __init__(self) -> None:
        self._files: dict[str, File] = {}
        self._tickets: dict[str, tuple[str, datetime]] = {}

    def add(self, content: bytes, mime_type: str) -> str:
        """Keep a file; its id."""
        media_id = str(10**14 + secrets.randbelow(10**14))
        self._files[media_id] = File(content, mime_type)
        for old in list(self._files)[:-MOST_FILES]:
            del self._files[old]
        return media_id

    def describe(self, media_id: str, base: str, now: datetime) -> dict[str, object] | None:
        """What the Graph API says of a file, with a fresh address under `base`; None for an unknown one."""
        file = self._files.get(media_id)
        if file is None:
            return None
        ticket = secrets.token_urlsafe(16)
        self._tickets = {t: row for t, row in self._tickets.items() if row[1] > now}
        self._tickets[ticket] = (media_id, now + ADDRESS_LIVES)
        return {
            "messaging_product": "whatsapp",
            "url": f"{base}/{ticket}",
            "mime_type": file.mime_type,
            "sha256": hashlib.sha256(file.content).hexdigest(),
            "file_size": len(file.content),
            "id": media_id,
        }

    def open(self, ticket: str, now: datetime) -> File | None:
        """The file behind an address, None once that has expired."""
        media_id, until = self._tickets.get(ticket, ("", now))
        return self._files.get(media_id) if until > now else None
