"""What the internet may reach: Meta's webhook and a health check, nothing else.

Answers are bare: a status and no body, whatever went wrong. A 200 to a webhook means that everything in it is on disk,
or was of no use (which includes what a stranger sends after twenty messages of one day); anything else makes Meta send
the whole of it again, for days. Where more comes than can be stored in time the answer is an early 503, no late 200.

https://developers.facebook.com/docs/graph-api/webhooks/getting-started
"""

import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol
from urllib.parse import parse_qs

from loguru import logger

from clawkakad.errors import BadSignature, RegistryUnavailable
from clawkakad.web.answer import Answer
from clawkakad.web.connection import Site
from clawkakad.web.request import Request
from clawkakad.whatsapp import signature
from clawkakad.whatsapp.parsing import Delivery, parse

BODY_LIMIT = 3 * 1024 * 1024  # bytes; Meta's ceiling for a webhook
WEBHOOK = "/whatsapp/webhook"

_SIGNATURE = signature.HEADER.lower()

Methods = Mapping[str, Callable[[Request], Awaitable[Answer]]]


class Intake(Protocol):
    """Where deliveries go."""

    def admit(self) -> None:
        """Raise RegistryUnavailable where one more could not be stored in time."""

    async def accept(self, delivery: Delivery) -> None:
        """Return when everything is on disk; raise RegistryUnavailable when nothing could be stored."""


def public_site(
    *,
    intake: Intake,
    verification_token: str,
    app_secrets: Sequence[str],
    phone_number_id: str,
    health: Callable[[], dict[str, object]],
) -> Site:
    """For a listener with BODY_LIMIT. Raises ValueError for an empty token or secret.

    Those would let everybody in. `health` gives what /healthz shows; with `"ok": False` in it the status is 503.
    """
    if not verification_token or not app_secrets or not all(app_secrets):
        raise ValueError("the verification token and every app secret must not be empty")
    webhook = _Webhook(intake, verification_token, tuple(app_secrets), phone_number_id)

    async def healthz(_: Request) -> Answer:
        state = health()
        fields = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}
        return Answer(503 if state.get("ok") is False else 200, json.dumps(state).encode(), fields)

    return _PublicSite(webhook, {"GET": healthz, "HEAD": healthz})


class _PublicSite:
    """The two addresses that there are."""

    def __init__(self, webhook: "_Webhook", health: Methods) -> None:
        self._webhook = webhook
        self._routes = {WEBHOOK: {"GET": webhook.subscribe, "POST": webhook.receive}, "/healthz": health}

    def refuse(self, request: Request) -> Answer | None:
        methods = self._routes.get(request.path)
        if methods is None:
            return Answer(404)
        if request.method not in methods:
            return Answer(405, fields={"Allow": ",".join(methods)})
        return self._webhook.refuse(request) if request.method == "POST" else None

    async def answer(self, request: Request) -> Answer:
        return await self._routes[request.path][request.method](request)


class _Webhook:
    """Both methods of the webhook's address."""

    def __init__(self, intake: Intake, token: str, secrets: tuple[str, ...], phone_number_id: str) -> None:
        self._intake = intake
        self._token = token.encode()
        self._verifier = signature.Verifier(secrets)
        self._phone_number_id = phone_number_id
        self._forged = 0  # bad signatures since the last good one
        self._unstored = 0  # answered 503 since the last 200

    def refuse(self, request: Request) -> Answer | None:
        """Unsigned webhooks are turned away before their body is read."""
        return None if request.fields.get(_SIGNATURE) else self._turn_away()

    async def subscribe(self, request: Request) -> Answer:
        """Meta asks whether the address is ours: the right token gets its challenge back, all else 403."""
        query = parse_qs(request.query)
        known = hmac.compare_digest(_first(query, "hub.verify_token"), self._token)
        challenge = _first(query, "hub.challenge")
        if not known or _first(query, "hub.mode") != b"subscribe" or not challenge:
            logger.warning("verification of the webhook refused", token_fits=known)
            return Answer(403)
        logger.info("webhook verified by Meta")
        return Answer(200, challenge, {"Content-Type": "text/plain", "X-Content-Type-Options": "nosniff"})

    async def receive(self, request: Request) -> Answer:
        """Store a webhook and say so."""
        try:
            self._verifier.verify(request.body, request.fields[_SIGNATURE])
        except BadSignature:
            return self._turn_away()
        self._forged = 0
        try:
            self._intake.admit()
            await self._intake.accept(parse(request.body, phone_number_id=self._phone_number_id))
        except RegistryUnavailable as error:
            self._not_stored(error)
            return Answer(503)
        self._stored()
        return Answer()

    def _not_stored(self, error: RegistryUnavailable) -> None:
        """The first of a series says why; under overload there are hundreds a second."""
        level = "DEBUG" if self._unstored else "ERROR"
        logger.log(level, "webhook not stored, Meta will send it again", reason=str(error))
        self._unstored += 1

    def _stored(self) -> None:
        if self._unstored:
            logger.info("webhooks are stored again", refused=self._unstored)
            self._unstored = 0

    def _turn_away(self) -> Answer:
        """The first of a series is worth a warning: most often the app secret is not the right one."""
        logger.log("DEBUG" if self._forged else "WARNING", "webhook refused: not signed with our app secret")
        self._forged += 1
        return Answer(401)


def _first(query: Mapping[str, Sequence[str]], name: str) -> bytes:
    """A parameter of a query; empty where it is not there."""
    return query.get(name, [""])[0].encode()
