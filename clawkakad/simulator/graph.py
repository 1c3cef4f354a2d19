"""A Graph API of our own: the addresses that a WhatsApp assistant uses, with Meta's answers and Meta's refusals.

Checks requests as strictly as is known of Meta, so that what works here has a chance there. The knobs (see `knobs`)
make it slow, refuse or break on purpose; but for the latency they concern sends only, not read receipts.
"""

import asyncio
import json
import random
import secrets
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from clawkakad.model import Wamid
from clawkakad.simulator import payloads
from clawkakad.simulator.exchange import Exchange
from clawkakad.simulator.knobs import TAKEN
from clawkakad.simulator.media import Media
from clawkakad.simulator.pairlimit import PairLimit
from clawkakad.simulator.people import Person
from clawkakad.simulator.refusals import HTTP_STATUS, refusal, status_of
from clawkakad.simulator.troubles import HTML, Troubles, happen

VERSION = r"{version:v\d+\.\d+}"
LONGEST_TEXT = 4096  # code points
LONGEST_CALLBACK_DATA = 512
READ_ERROR = 131009


class Refused(Exception):
    """This request gets an error object of Meta's."""

    def __init__(self, code: int, details: str = "") -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class GraphApi:
    """The API of one business number. `seed` makes the error rate repeatable."""

    def __init__(self, exchange: Exchange, media: Media, *, access_token: str, seed: int | None = None) -> None:
        self._exchange = exchange
        self._media = media
        self._access_token = access_token
        self._dice = random.Random(seed)  # noqa: S311 - no secret
        self._pairs = PairLimit()
        self._troubles = Troubles()

    def routes(self) -> list[web.RouteDef]:
        """All addresses of the API."""
        return [
            web.post(f"/{VERSION}/{{number_id}}/messages", self._answering(self._messages)),
            web.post(f"/{VERSION}/{{number_id}}/media", self._answering(self._upload)),
            web.get(f"/{VERSION}/{{object_id}}", self._answering(self._object)),
            web.get("/media/{ticket}", self._answering(self._download)),
        ]

    def _answering(self, handler: Any) -> Any:
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                self._check_token(request)
                await asyncio.sleep(self._exchange.knobs.latency_s)
                response: web.StreamResponse = await handler(request)
            except Refused as refused:
                status = status_of(refused.code)
                return web.json_response(
                    refusal(refused.code, refused.details), status=status, headers=self._wait(status)
                )
            return response

        return answer

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        self._check_number(request)
        body = await _json(request)
        if body.get("messaging_product") != "whatsapp":
            raise Refused(100, "Param messaging_product must be whatsapp")
        if "status" in body:
            return self._mark_read(body)
        broken = self._error_by_knob()
        if broken is not None:
            return broken
        trouble = self._troubles.next(self._exchange.knobs, _callback_data(body))
        answer = self._send(body) if trouble is None or trouble in TAKEN else {}
        return web.json_response(answer) if trouble is None else await happen(trouble, request, answer)

    def _mark_read(self, body: Mapping[str, Any]) -> web.Response:
        if body.get("status") != "read" or not isinstance(body.get("message_id"), str):
            raise Refused(100, "status must be read, with a message_id")
        typing = body.get("typing_indicator")
        if typing is not None and typing != {"type": "text"}:
            raise Refused(100, "Param typing_indicator must be {type: text}")
        if not self._exchange.mark_read(Wamid(body["message_id"]), typing=typing is not None):
            raise Refused(READ_ERROR, "message_id is not a message that was received")
        return web.json_response({"success": True})

    def _send(self, body: Mapping[str, Any]) -> dict[str, Any]:
        text, callback_data = _text(body), _callback_data(body)
        person = self._recipient(body)
        written_at = self._exchange.people.last_written_at(person.wa_id)
        now, knobs = self._exchange.now(), self._exchange.knobs
        if written_at is None or (now - written_at).total_seconds() >= knobs.window_s:
            raise Refused(131047, "More than 24 hours have passed since the recipient last replied")
        if knobs.pair_limit and not self._pairs.take(person.wa_id, now):
            raise Refused(131056, "Too many messages from this number to the same recipient in a short time")
        reply_to = (body.get("context") or {}).get("message_id")
        message = self._exchange.receive(person, text, callback_data=callback_data, reply_to=reply_to)
        return payloads.sent_answer(person, str(body.get("to") or body.get("recipient")), message.id)

    def _recipient(self, body: Mapping[str, Any]) -> Person:
        """`to` wins over `recipient`; only people of the simulator are on the list of a test number."""
        to, recipient = body.get("to"), body.get("recipient")
        if not isinstance(to, str) and not isinstance(recipient, str):
            raise Refused(100, "The parameter to is required")
        if to is not None and to.lstrip("+") == self._exchange.business.wa_id:
            raise Refused(131021)
        person = self._exchange.people.by_address(to=to, recipient=recipient)
        if person is None:
            raise Refused(131030, "Recipient is not among the people of the simulator (write to with its leading +)")
        return person

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        self._check_number(request)
        form = await request.post()
        file = form.get("file")
        if form.get("messaging_product") != "whatsapp" or not isinstance(file, web.FileField):
            raise Refused(100, "A form with messaging_product, type and file is needed")
        kind = str(form.get("type") or file.content_type)
        return web.json_response({"id": self._media.add(file.file.read(), kind)})

    async def _object(self, request: web.Request) -> web.StreamResponse:
        """What has an id: a media object, or our number."""
        object_id, business = request.match_info["object_id"], self._exchange.business
        if object_id == business.phone_number_id:
            return web.json_response(
                {"id": object_id, "display_phone_number": f"+{business.wa_id}", "verified_name": business.name}
            )
        document = self._media.describe(object_id, f"{request.scheme}://{request.host}/media", self._exchange.now())
        if document is None:
            raise Refused(100, f"Unsupported get request. Object with ID '{object_id}' does not exist")
        return web.json_response(document)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        found = self._media.open(request.match_info["ticket"], self._exchange.now())
        if found is None:
            return web.Response(status=404)
        return web.Response(body=found.content, content_type=found.mime_type.partition(";")[0])

    def _check_token(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._exchange.knobs.token_expired or not secrets.compare_digest(
            given.encode(), self._access_token.encode()
        ):
            raise Refused(190)

    def _check_number(self, request: web.Request) -> None:
        number_id = request.match_info["number_id"]
        if number_id != self._exchange.business.phone_number_id:
            raise Refused(100, f"Unsupported post request. Object with ID '{number_id}' does not exist")

    def _wait(self, status: int) -> dict[str, str]:
        """The header that tells when to come again."""
        wait_s = self._exchange.knobs.retry_after_s
        return {"Retry-After": f"{wait_s:g}"} if status == 429 and wait_s is not None else {}

    def _error_by_knob(self) -> web.Response | None:
        """Raises Refused, or answers without an error object, where a knob wants that."""
        knobs = self._exchange.knobs
        if knobs.next_errors:
            code = knobs.next_errors.pop(0)
            if code in HTTP_STATUS:
                return web.Response(status=code, text=HTML, content_type="text/html", headers=self._wait(code))
            raise Refused(code, "by a knob of the simulator")
        if self._dice.random() < knobs.error_rate:
            raise Refused(131016, "by a knob of the simulator")
        return None


def _text(body: Mapping[str, Any]) -> str:
    if body.get("type", "text") != "text":
        raise Refused(131051, "The simulator takes text messages only")
    text = body.get("text")
    words = text.get("body") if isinstance(text, dict) else None
    if not isinstance(words, str) or not words.strip():
        raise Refused(131008, "Parameter text.body is missing")
    if len(words) > LONGEST_TEXT:
        raise Refused(100, f"Param text['body'] must be at most {LONGEST_TEXT} characters long")
    return words


def _callback_data(body: Mapping[str, Any]) -> str | None:
    data = body.get("biz_opaque_callback_data")
    if data is not None and (not isinstance(data, str) or len(data) > LONGEST_CALLBACK_DATA):
        raise Refused(100, f"Param biz_opaque_callback_data must be at most {LONGEST_CALLBACK_DATA} characters long")
    return data


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Refused(100, "The body is not JSON") from error
    if not isinstance(body, dict):
        raise Refused(100, "The body is not an object")
    return body
