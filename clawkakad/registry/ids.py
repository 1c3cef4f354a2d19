"""New ids: short, random, lower case, safe in paths and container names."""

import base64
import secrets
import uuid

from clawkakad.model import SandboxId, UserId


def _random(letters: int) -> str:
    return base64.b32encode(secrets.token_bytes(letters)).decode().lower()[:letters]


def new_user_id() -> UserId:
    """50 random bits."""
    return UserId("u" + _random(10))


def new_sandbox_id() -> SandboxId:
    """50 random bits; short, since it stands in socket paths."""
    return SandboxId("s" + _random(10))


def new_key() -> str:
    """A key that outsiders echo back to us: a random UUID."""
    return str(uuid.uuid4())
