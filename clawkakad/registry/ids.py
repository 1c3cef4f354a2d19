"""Ids: short, lower case, safe in paths and container names; random, but for the key of a message."""

import base64
import hashlib
import secrets
import time
from datetime import datetime

from clawkakad.model import SandboxId, UserId, Wamid

_VARIANT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))  # the two bits that every UUID has there


def _random(letters: int) -> str:
    return base64.b32encode(secrets.token_bytes(letters)).decode().lower()[:letters]


def new_user_id() -> UserId:
    """50 random bits."""
    return UserId("u" + _random(10))


def new_sandbox_id() -> SandboxId:
    """50 random bits; short, since it stands in socket paths."""
    return SandboxId("s" + _random(10))


def new_key() -> str:
    """A key that outsiders echo back to us: a UUID of version 7 (RFC 9562), 74 random bits behind the time.

    Such keys sort by when they were made, so that an index of them grows at its end: each commit writes one page of it
    rather than one for each key.
    """
    return _key(time.time_ns() // 1_000_000, secrets.token_hex(10))


def key_of(wamid: Wamid, sent_at: datetime) -> str:
    """The key of a message, made of it alone: that of a message whose row was lost is the same when it comes again."""
    return _key(max(0, int(sent_at.timestamp() * 1000)), hashlib.sha256(wamid.encode()).hexdigest())


def _key(at_ms: int, noise: str) -> str:
    at = f"{at_ms:012x}"
    return f"{at[:8]}-{at[8:]}-7{noise[:3]}-{_VARIANT[noise[3]]}{noise[4:7]}-{noise[7:19]}"
