"""The signature of a webhook: HMAC-SHA256 over the raw bytes of the body, keyed with the app secret.

Never parses the body: Meta escapes characters in ways that no JSON library repeats, so only the raw bytes count.
Nothing in it says when it was made; who stores messages must drop the ones that come again.

https://developers.facebook.com/docs/graph-api/webhooks/getting-started#validate-payloads
"""

import hmac
from collections.abc import Sequence

from clawkakad.errors import BadSignature

HEADER = "X-Hub-Signature-256"
_PREFIX = "sha256="


def sign(body: bytes, secret: str) -> str:
    """The value of the header that belongs to this body."""
    return _PREFIX + hmac.digest(secret.encode(), body, "sha256").hex()


def verify(body: bytes, header: str | None, secrets: Sequence[str]) -> None:
    """Raise BadSignature unless one of the secrets made the header for exactly these bytes.

    Several secrets let an operator rotate without losing a message. Each is tried, whichever fits first, so that the
    time taken says nothing. An empty secret never fits: everybody knows it.
    """
    if not header:
        raise BadSignature("no signature")
    given = header.encode("utf-8", "surrogateescape")
    fits = [hmac.compare_digest(given, sign(body, secret).encode()) for secret in secrets if secret]
    if not any(fits):
        raise BadSignature("the signature does not fit the body")
