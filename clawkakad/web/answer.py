"""What the public side answers: a status, mostly without a body, and no word about which program and version it is."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus


@dataclass(frozen=True, slots=True)
class Answer:
    """One response to one request. `fields`: further header fields, which must be ASCII and on one line each."""

    status: int = 200
    body: bytes = b""
    fields: Mapping[str, str] = field(default_factory=dict)

    def head(self, *, connection: str = "") -> bytes:
        """All but the body. `connection`: what is said of whether it goes on; empty: nothing."""
        fields = {**self.fields, "Connection": connection} if connection else self.fields
        further = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return _beginning(self.status, len(self.body), int(time.time())) + f"{further}\r\n".encode("ascii")


@lru_cache(maxsize=8)
def _beginning(status: int, length: int, second: int) -> bytes:
    """`second` since 1970, which HTTP writes in its own way (RFC 9110, section 5.6.7)."""
    reason, date = HTTPStatus(status).phrase, formatdate(second, usegmt=True)
    return f"HTTP/1.1 {status} {reason}\r\nContent-Length: {length}\r\nDate: {date}\r\n".encode("ascii")
