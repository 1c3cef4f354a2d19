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

from aiohttp import web
from loguru import logger

from clawkakad.errors import BadSignature, RegistryUnavailable
from clawkakad.web.answer import Answer
from clawkakad.web.bodies import Bodies
from clawkakad.web.listener import Handler
from clawkakad.whatsapp import signature
from clawkakad.whatsapp.parsing import Delivery, parse

BODY_LIMIT = 3 * 1024 * 1024  # bytes; Meta's ceiling for a webhook
WEBHOOK = "/whatsapp/webhook"

Methods = Mapping[str, Callable[[web.BaseRequest], Awaitable[Answer]]]


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
) -> Handler:
    """Answers every request, for a listener with BODY_LIMIT. Raises ValueError for an empty token or secret.

    Those would let everybody in. `health` gives what /healthz shows; with `"ok": False` in it the status is 503.
    """
    if not verification_token or not app_secrets or not all(app_secrets):
        raise ValueError("the verification token and every app secret must not be empty")
    webhook = _Webhook(intake, verification_token, tuple(app_secrets), phone_number_id)

    async def healthz(_: web.BaseRequest) -> Answer:
        state = health()
        fields = {"Content-Type": "application/json; charset=utf-8", "Cache-Control": "no-store"}
        return Answer(503 if state.get("ok") is False else 200, json.dumps(state).encode(), fields)

    return _bare(
        {
            WEBHOOK: {"GET": webhook.subscribe, "POST": webhook.receive},
            "/healthz": {"GET": healthz, "HEAD": healthz},
        }
    )


class _Webhook:
    """Both methods of the webhook's address."""

    def __init__(self, intake: Intake, token: str, secrets: tuple[str, ...], phone_number_id: str) -> None:
        self._intake = intake
        self._token = token.encode()
        self._secrets = secrets
        self._phone_number_id = phone_number_id
        self._bodies = Bodies(limit=BODY_LIMIT)
        self._forged = 0  # bad signatures since the last good one
        self._unstored = 0  # answered 503 since the last 200

    async def subscribe(self, request: web.BaseRequest) -> Answer:
        """Meta asks whether the address is ours: the right token gets its challenge back, all else 403."""
        query = request.query
        token = query.get("hub.verify_token", "").encode("utf-8", "surrogatepass")
        known = hmac.compare_digest(token, self._token)
        challenge = query.get("hub.challenge")
        if not known or query.get("hub.mode") != "subscribe" or not challenge:
            logger.warning("verification of the webhook refused", token_fits=known)
            raise web.HTTPForbidden
        logger.info("webhook verified by Meta")
        body = challenge.encode("utf-8", "replace")
        return Answer(200, body, {"Content-Type": "text/plain", "X-Content-Type-Options": "nosniff"})

    async def receive(self, request: web.BaseRequest) -> Answer:
        """Store a webhook and say so. Unsigned ones are turned away before their body is read."""
        header = request.headers.get(signature.HEADER)
        if not header:
            return self._turn_away()
        body = await self._bodies.read(request)
        try:
            signature.verify(body, header, self._secrets)
        except BadSignature:
            return self._turn_away()
        self._forged = 0
        try:
            self._intake.admit()
            await self._intake.accept(parse(body, phone_number_id=self._phone_number_id))
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


def _bare(routes: Mapping[str, Methods]) -> Handler:
    """Every failure becomes a status without a body, and is logged if it is ours. `routes`: by path and method."""

    async def handle(request: web.BaseRequest) -> Answer:
        methods = routes.get(request.path)
        if methods is None:
            return Answer(404)
        handler = methods.get(request.method)
        if handler is None:
            return Answer(405, fields={"Allow": ",".join(methods)})
        try:
            return await handler(request)
        except web.HTTPException as error:
            return Answer(error.status)
        except (ConnectionError, web.RequestPayloadError):
            return Answer(400)  # the body broke off or was malformed; mostly nobody is left to read this
        except Exception:  # one request's failure must not show itself, nor touch another's
            logger.exception("request failed", path=request.path)
            return Answer(500)

    return handle
