"""The Graph API client: sends a text, marks a message as read. One outside thing, thinly.

Decides nothing about when or whether to send. It only tells the three outcomes apart that a caller must treat
differently: GraphUnavailable (nothing was sent), GraphRejected (never will be), SendUnknown (may be on its way; the
API has no idempotency key, so such a send is never repeated here). Never logs; no error holds the token or a text.

https://developers.facebook.com/docs/whatsapp/cloud-api/messages/text-messages
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential
from yarl import URL

from clawkakad.config import Settings
from clawkakad.errors import GraphRejected, GraphUnavailable, SendUnknown
from clawkakad.model import IdentifierKind, Wamid
from clawkakad.whatsapp.answers import decipher
from clawkakad.whatsapp.errors import BAD_PARAMETER
from clawkakad.whatsapp.httpconnection import Unanswered
from clawkakad.whatsapp.origin import Deadline, Origin, Unreached

TEXT_LIMIT = 4096  # code points of a text body
CALLBACK_DATA_LIMIT = 512  # characters of biz_opaque_callback_data
_DEADLINE = Deadline(total_s=30, connect_s=10)
_MARK_DEADLINE = Deadline(total_s=5, connect_s=5)  # nobody waits for it, and while it hangs others are not shown
_FIRST_WAIT_S = 0.2
_FURTHER_TRIES = 2
_LONGEST_WAIT_S = 2.0
_ENCODE = json.JSONEncoder(separators=(",", ":")).encode


class Recipient(NamedTuple):
    """To whom: the identifier that the webhook gave, as it was."""

    kind: IdentifierKind
    value: str

    def address(self) -> dict[str, str]:
        """The field of the request. Without "+" Meta would put our own country code before a number."""
        return {"to": f"+{self.value}"} if self.kind is IdentifierKind.WA_ID else {"recipient": self.value}


class GraphClient:
    """Talks to `<base_url>/<version>/<phone_number_id>/messages` with the operator's token. Closed by `aclose()`.

    Raises ValueError for a `base_url` that is none, or a token that no header can carry.
    """

    def __init__(
        self, *, base_url: str, version: str, phone_number_id: str, access_token: str, deadline: Deadline = _DEADLINE
    ) -> None:
        self._origin = Origin(base_url)
        number = f"{URL(base_url).raw_path.rstrip('/')}/{version}/{phone_number_id}"
        token = {"Authorization": f"Bearer {access_token}"}
        self._about_number = self._origin.head("GET", number, token)
        self._to_messages = self._origin.head(
            "POST", f"{number}/messages", {**token, "Content-Type": "application/json"}
        )
        self._deadline = deadline

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """As the operator has set it up."""
        return cls(
            base_url=settings.api_base_url,
            version=settings.api_version,
            phone_number_id=settings.phone_number_id,
            access_token=settings.access_token.get_secret_value(),
        )

    async def aclose(self) -> None:
        """Let the connections go."""
        await self._origin.aclose()

    async def send_text(
        self, recipient: Recipient, body: str, *, callback_data: str, reply_to: Wamid | None = None
    ) -> Wamid:
        """Send one text of at most 4096 characters and return Meta's id for it: accepted, not yet delivered.

        `callback_data` comes back in every status of it. Tries up to three times while nothing can be reached; raises
        GraphUnavailable, GraphRejected or SendUnknown. Cancelled after it began, the outcome is unknown.
        """
        if len(body) > TEXT_LIMIT or len(callback_data) > CALLBACK_DATA_LIMIT:
            lengths = f"{len(body)} characters of text, {len(callback_data)} of callback data"
            raise GraphRejected(f"not sent: {lengths}", code=BAD_PARAMETER)
        # A preview would make Meta fetch every address that the agent writes, also one that carries data in it.
        message: dict[str, Any] = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            **recipient.address(),
            "type": "text",
            "text": {"body": body, "preview_url": False},
            "biz_opaque_callback_data": callback_data,
        }
        if reply_to is not None:
            message["context"] = {"message_id": reply_to}
        wamid = _sent_id(await self._persistently(message))
        if wamid is None:
            raise SendUnknown("accepted, but the answer names no message id")
        return wamid

    async def probe(self) -> None:
        """Ask for the number's own object: harmless, and tells whether the API is there.

        One try. Raises GraphUnavailable where it is not, GraphRejected where it is and refuses us.
        """
        try:
            await self._request(self._about_number)
        except SendUnknown as error:
            raise GraphUnavailable(str(error)) from error

    async def mark_read(self, wamid: Wamid, *, typing: bool) -> None:
        """Mark a message and those before it as read; `typing` shows the dots until a reply, 25 s at most.

        One try. Raises like `send_text`; callers go on whatever happens.
        """
        message: dict[str, Any] = {"messaging_product": "whatsapp", "status": "read", "message_id": wamid}
        if typing:
            message["typing_indicator"] = {"type": "text"}
        await self._post(message, _MARK_DEADLINE)

    async def _persistently(self, message: Mapping[str, Any]) -> bytes:
        """`_post`, again where nothing could be reached. The first try by itself: tenacity costs half of a request."""
        try:
            return await self._post(message)
        except GraphUnavailable as error:
            if not _never_reached(error):
                raise
        await asyncio.sleep(_FIRST_WAIT_S)
        again = AsyncRetrying(
            retry=retry_if_exception(_never_reached),
            stop=stop_after_attempt(_FURTHER_TRIES),
            wait=wait_random_exponential(multiplier=0.3, min=0.1, max=_LONGEST_WAIT_S),
            reraise=True,
        )
        return await again(self._post, message)

    async def _post(self, message: Mapping[str, Any], deadline: Deadline | None = None) -> bytes:
        return await self._request(self._to_messages, _ENCODE(message).encode(), deadline)

    async def _request(self, head: bytes, body: bytes = b"", deadline: Deadline | None = None) -> bytes:
        """One request, one answer: its body on success, one of the three exceptions otherwise."""
        try:
            answer = await self._origin.ask(head, body, deadline or self._deadline)
        except Unreached as error:
            raise GraphUnavailable(f"WhatsApp cannot be reached: {error}") from error
        except Unanswered as error:
            raise SendUnknown(f"no answer from WhatsApp: {error}") from error
        if not 200 <= answer.status < 300:
            raise decipher(answer.status, answer.fields, answer.body)
        return answer.body


def _never_reached(error: BaseException) -> bool:
    """Only what failed before a byte was written: limits have their own pace, which is the caller's to keep."""
    return isinstance(error, GraphUnavailable) and isinstance(error.__cause__, Unreached)


def _sent_id(body: bytes) -> Wamid | None:
    try:
        wamid = json.loads(body)["messages"][0]["id"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return Wamid(wamid) if isinstance(wamid, str) and wamid else None
