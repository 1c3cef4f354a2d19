"""The signature of a webhook: HMAC-SHA256 over the raw bytes of the body, keyed with the app secret.

Never parses the body: Meta escapes characters in ways that no JSON library repeats, so only the raw bytes count.
Nothing in it says when it was made; who stores messages must drop the ones that come again.

https://developers.facebook.com/docs/graph-api/webhooks/getting-started#validate-payloads
"""

import hmac
from collections.abc import Sequence

from clawkakad.errors import BadSignature

HEADER = "X-Hub-Signature-256"
_PREFIX = b"sha256="


def sign(body: bytes, secret: str) -> str:
    """The value of the header that belongs to this body."""
    return _signature(hmac.new(secret.encode(), digestmod="sha256"), body).decode()


class Verifier:
    """Knows signatures of these secrets; several let an operator rotate without losing a message.

    An empty one never fits: everybody knows it.
    """

    def __init__(self, secrets: Sequence[str]) -> None:
        self._begun = [hmac.new(secret.encode(), digestmod="sha256") for secret in secrets if secret]

    def verify(self, body: bytes, header: str | None) -> None:
        """Raise BadSignature unless one of the secrets made the header for exactly these bytes.

        Each is tried, whichever fits first, so that the time taken says nothing.
        """
        if not header:
            raise BadSignature("no signature")
        given = header.encode("utf-8", "surrogateescape")
        fits = [hmac.compare_digest(given, _signature(begun.copy(), body)) for begun in self._begun]
        if not any(fits):
            raise BadSignature("the signature does not fit the body")


def _signature(begun: hmac.HMAC, body: bytes) -> bytes:
    begun.update(body)
    return _PREFIX + begun.hexdigest().encode()
