"""The chat page and the control addresses: `/`, its WebSocket, and `/simulator/…` for tests and scripts.

Owns the wire form between page and exchange. What a page sends is checked like anything from outside.

From the page: {"type": "write", "wa_id", "text", "client_id"}, {"type": "look", "wa_id" | null},
{"type": "add", "name", "number"}. To the page: hello (everything), then person, message, state, typing, problem.
"""

import asyncio
from pathlib import Path
from typing import Any, Literal, TypeVar

from aiohttp import WSMsgType, web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from clawkakad.errors import UsageError
from clawkakad.simulator.exchange import Exchange, Watcher, message_document, person_document
from clawkakad.simulator.people import Person, display

STATIC = Path(__file__).parent / "static"
FILES = {
    "chat.css": "text/css",
    "chat.js": "text/javascript",
    "format.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
MOST_SHOWN = 500  # messages of one chat in a hello
LONGEST_TEXT = 4096
LARGEST_FRAME = 64 * 1024
KEEPALIVE_S = 20.0


class Write(BaseModel):
    """A person writes."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["write"] = "write"
    wa_id: str
    text: str = Field(min_length=1, max_length=LONGEST_TEXT)
    client_id: str | None = Field(default=None, max_length=64)


class Look(BaseModel):
    """A chat is open and visible, or none is."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["look"]
    wa_id: str | None


class Add(BaseModel):
    """A new person."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["add"] = "add"
    name: str = Field(min_length=1, max_length=60)
    number: str | None = Field(default=None, max_length=40)


FRAME: TypeAdapter[Write | Look | Add] = TypeAdapter(Write | Look | Add)


class Chat:
    """The page of one exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._sockets: set[web.WebSocketResponse] = set()

    def routes(self) -> list[web.RouteDef]:
        """All addresses of the page and of the control."""
        return [
            web.get("/", _file("index.html", "text/html")),
            *(web.get(f"/static/{name}", _file(name, kind)) for name, kind in FILES.items()),
            web.get("/socket", self._socket),
            web.get("/simulator/messages", self._messages),
            web.post("/simulator/messages", self._write),
            web.get("/simulator/people", self._people),
            web.post("/simulator/people", self._add),
            web.get("/simulator/knobs", self._knobs),
            web.post("/simulator/knobs", self._turn),
        ]

    async def aclose(self) -> None:
        """Close all pages' sockets; they come back when somebody listens again."""
        await asyncio.gather(*(socket.close(code=1001) for socket in set(self._sockets)))

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=KEEPALIVE_S, max_msg_size=LARGEST_FRAME)
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            async with self._exchange.watching() as watcher:
                await socket.send_json(self._hello())
                telling = asyncio.create_task(_tell(socket, watcher), name="page events")
                try:
                    await self._listen(socket, watcher)
                finally:
                    telling.cancel()
                    await asyncio.gather(telling, return_exceptions=True)
        finally:
            self._sockets.discard(socket)
        return socket

    async def _listen(self, socket: web.WebSocketResponse, watcher: Watcher) -> None:
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                continue
            try:
                self._obey(FRAME.validate_json(frame.data), watcher)
            except ValidationError:
                await socket.send_json({"type": "problem", "text": "That could not be read."})
            except UsageError as error:
                await socket.send_json({"type": "problem", "text": str(error)})

    def _obey(self, frame: Write | Look | Add, watcher: Watcher) -> None:
        if isinstance(frame, Look):
            self._exchange.look(watcher, frame.wa_id)
        elif isinstance(frame, Add):
            self._exchange.add_person(frame.name, frame.number)
        else:
            self._exchange.write(self._person(frame.wa_id), frame.text, client_id=frame.client_id)

    def _hello(self) -> dict[str, Any]:
        people, business = self._exchange.people.people, self._exchange.business
        shown = {wa_id: self._exchange.shown(wa_id)[-MOST_SHOWN:] for wa_id in people}
        return {
            "type": "hello",
            "business": {"name": business.name, "number": display(business.wa_id)},
            "people": [person_document(person) for person in people.values()],
            "chats": {wa_id: [message_document(message) for message in shown[wa_id]] for wa_id in shown},
            "typing": self._exchange.typing(),
        }

    def _person(self, wa_id: str) -> Person:
        person = self._exchange.people.people.get(wa_id)
        if person is None:
            raise UsageError("there is no such person")
        return person

    async def _messages(self, request: web.Request) -> web.Response:
        """Everything sent and received, with the times of all states; `?wa_id=` for one person."""
        wanted = request.query.get("wa_id")
        messages = [m.document() for m in self._exchange.people.messages.values() if wanted in (None, m.wa_id)]
        return web.json_response({"messages": messages})

    async def _write(self, request: web.Request) -> web.Response:
        frame = await _read(request, Write)
        try:
            person = self._person(frame.wa_id)
        except UsageError as error:
            raise web.HTTPNotFound(text=str(error)) from error
        message = self._exchange.write(person, frame.text, client_id=frame.client_id)
        return web.json_response(message.document(), status=201)

    async def _people(self, request: web.Request) -> web.Response:
        return web.json_response({"people": [person_document(p) for p in self._exchange.people.people.values()]})

    async def _add(self, request: web.Request) -> web.Response:
        frame = await _read(request, Add)
        try:
            person = self._exchange.add_person(frame.name, frame.number)
        except UsageError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.json_response({**person_document(person), "user_id": person.user_id}, status=201)

    async def _knobs(self, request: web.Request) -> web.Response:
        return web.json_response(self._exchange.knobs.model_dump())

    async def _turn(self, request: web.Request) -> web.Response:
        try:
            changes = await request.json()
            self._exchange.knobs = self._exchange.knobs.turned(dict(changes))
        except (ValueError, TypeError, UsageError) as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return web.json_response(self._exchange.knobs.model_dump())


Frame = TypeVar("Frame", bound=BaseModel)


async def _read(request: web.Request, kind: type[Frame]) -> Frame:
    try:
        return kind.model_validate_json(await request.read())
    except ValidationError as error:
        raise web.HTTPBadRequest(text=str(error)) from error


async def _tell(socket: web.WebSocketResponse, watcher: Watcher) -> None:
    """Pass every event on; a watcher that was dropped is closed, and the page comes back for everything."""
    while (event := await watcher.next()) is not None:
        await socket.send_json(event)
    await socket.close(code=1001)


def _file(name: str, kind: str) -> Handler:
    content = (STATIC / name).read_bytes()

    async def serve(request: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return serve
