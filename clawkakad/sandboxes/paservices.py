"""The PA services of the host API: JSON in, JSON out, for the `pa` program of one sandbox.

Owns the routes under `/pa/v1/` and the words of their errors; what they mean is the assistant's (`PaServices`). A call
that was begun is finished, even if the sandbox hangs up: `pa` may repeat it, and a reminder carries a key for that.
One sandbox has no more than `PLACES` calls under way; others wait without having their bodies read.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

from aiohttp import web

from clawkakad.errors import Rejected, Transient
from clawkakad.model import Profile, UserId
from clawkakad.sandboxes.bodies import read_body, structure
from clawkakad.sandboxes.openclaw import profile_document

BODY_LIMIT = 64 * 1024
STRUCTURE_LIMIT = 5000  # brackets, braces and commas; more than there can be in any one text
READ_S = 10.0  # for the whole request
PLACES = 4  # calls under way, of one sandbox
WAIT_FOR_PLACE_S = 10.0
BEGUN_LIMIT = 16  # changes not finished; more than PLACES only if a sandbox hangs up again and again
TEXT_LIMIT = 4096  # characters of any field: a WhatsApp message holds no more
CHANGEABLE = frozenset({"name", "time_zone", "currency", "language"})

T = TypeVar("T")


class PaServices(Protocol):
    """What the assistant does for `pa`. Rejected means: the request is wrong, its text says what to do."""

    async def profile(self, user_id: UserId) -> Profile: ...

    async def change_profile(self, user_id: UserId, changes: Mapping[str, str]) -> Profile: ...

    async def add_reminder(
        self, user_id: UserId, *, at: str, zone: str | None, text: str, key: str
    ) -> tuple[dict[str, object], bool]: ...

    async def list_reminders(self, user_id: UserId) -> list[dict[str, object]]: ...

    async def cancel_reminder(self, user_id: UserId, reminder_id: int) -> dict[str, object] | None: ...


class PaHandlers:
    """The handlers of one sandbox, and so of one person."""

    def __init__(
        self,
        services: PaServices,
        user_id: UserId,
        profile_changed: Callable[[Profile], None],
        *,
        read_s: float = READ_S,
    ) -> None:
        self._services = services
        self._user_id = user_id
        self._profile_changed = profile_changed
        self._read_s = read_s
        self._begun: set[asyncio.Task[Any]] = set()
        self._places = asyncio.Semaphore(PLACES)

    async def answer(self, request: web.Request, handler: "Handler") -> web.StreamResponse:
        """With a place held, and our errors as JSON with one plain sentence."""
        try:
            async with self._place():
                return await handler(self, request)
        except Rejected as error:
            return _error(400, str(error))
        except Transient:
            return _error(503, "this cannot be stored just now; try again in a minute")

    async def get_profile(self, _: web.Request) -> web.Response:
        """Who the person is."""
        return web.json_response(profile_document(await self._services.profile(self._user_id)))

    async def put_profile(self, request: web.Request) -> web.Response:
        """Change some of it."""
        fields = await _object(request, within_s=self._read_s)
        changes = {name: _text(fields, name) for name in fields if name in CHANGEABLE}
        if not changes:
            raise Rejected("say what to change: name, time_zone, currency or language")
        profile = await self._whole(self._change_profile(changes))
        return web.json_response(profile_document(profile))

    async def _change_profile(self, changes: Mapping[str, str]) -> Profile:
        profile = await self._services.change_profile(self._user_id, changes)
        self._profile_changed(profile)
        return profile

    async def list_reminders(self, _: web.Request) -> web.Response:
        """Those that are pending."""
        return web.json_response({"reminders": await self._services.list_reminders(self._user_id)})

    async def add_reminder(self, request: web.Request) -> web.Response:
        """One more; the same key again is the same one."""
        fields = await _object(request, within_s=self._read_s)
        adding = self._services.add_reminder(
            self._user_id,
            at=_text(fields, "at"),
            zone=None if fields.get("zone") is None else _text(fields, "zone"),
            text=_text(fields, "text"),
            key=_text(fields, "key"),
        )
        reminder, created = await self._whole(adding)
        return web.json_response(reminder, status=201 if created else 200)

    async def cancel_reminder(self, request: web.Request) -> web.Response:
        """One less."""
        reminder_id = int(request.match_info["id"])
        reminder = await self._whole(self._services.cancel_reminder(self._user_id, reminder_id))
        if reminder is None:
            return _error(404, f"there is no pending reminder {reminder_id}; `pa remind list` shows them")
        return web.json_response(reminder)

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        if len(self._begun) >= BEGUN_LIMIT:
            work.close()
            raise Transient("too many changes at once")
        task = asyncio.create_task(work, name="pa service")
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return await asyncio.shield(task)

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(WAIT_FOR_PLACE_S):
                await self._places.acquire()
        except TimeoutError as error:
            raise Transient("too many calls at once") from error
        try:
            yield
        finally:
            self._places.release()


Handler = Callable[[PaHandlers, web.Request], Coroutine[Any, Any, web.StreamResponse]]


def pa_routes(handlers_of: Callable[[web.Request], PaHandlers]) -> list[web.RouteDef]:
    """All routes. `handlers_of` says whose a request is."""

    def of(handler: Handler) -> Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await handlers_of(request).answer(request, handler)

        return answer

    return [
        web.get("/pa/v1/profile", of(PaHandlers.get_profile), allow_head=False),
        web.put("/pa/v1/profile", of(PaHandlers.put_profile)),
        web.get("/pa/v1/reminders", of(PaHandlers.list_reminders), allow_head=False),
        web.post("/pa/v1/reminders", of(PaHandlers.add_reminder)),
        web.delete(r"/pa/v1/reminders/{id:\d{1,15}}", of(PaHandlers.cancel_reminder)),
    ]


async def _object(request: web.Request, *, within_s: float) -> dict[str, object]:
    raw = await read_body(request, limit=BODY_LIMIT, within_s=within_s)
    if structure(raw) > STRUCTURE_LIMIT:
        raise Rejected("the body has too many parts")
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Rejected("the body must be JSON") from error
    if not isinstance(fields, dict):
        raise Rejected("the body must be a JSON object")
    return fields


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > TEXT_LIMIT:
        raise Rejected(f"{name} must be a text of 1 to {TEXT_LIMIT} characters")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can hold half of a character, UTF-8 cannot
        raise Rejected(f"{name} must be a text of whole characters") from error
    return value


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)
