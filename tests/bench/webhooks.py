"""Meta's side of the webhooks: signed bodies in their wire form, sent over connections that are kept open.

Written on bare protocols, since a client library would take more of the core than the programs that are measured.
"""

import asyncio
import hashlib
import hmac
import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from tests.support import DATA

PATH = "/whatsapp/webhook"
CONNECTIONS = 128

Done = Callable[[int, float], None]
"""Called with the status (0: the connection broke) and the time at which it was read."""


def _template(name: str, kind: str, **fields: str) -> str:
    """A recorded body with slots for what changes."""
    document = json.loads((DATA / "payloads" / name).read_text())
    value = document["entry"][0]["changes"][0]["value"]
    value["contacts"][0].update(wa_id="@WAID@", user_id="US.@WAID@")
    value[kind][0].update(timestamp="@NOW@", **fields)
    return json.dumps(document, separators=(",", ":")).replace("/", "\\/")


_TEXT = _template("text_basic.json", "messages", **{"from": "@WAID@", "from_user_id": "US.@WAID@", "id": "@ID@"})
_RECEIPT = _template(
    "status_sent_service_billable.json",
    "statuses",
    recipient_id="@WAID@",
    recipient_user_id="US.@WAID@",
    id="@ID@",
    status="@STATUS@",
)
PHONE_NUMBER_ID = str(json.loads(_TEXT)["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"])
_RECORDED_TEXT = json.dumps(json.loads(_TEXT)["entry"][0]["changes"][0]["value"]["messages"][0]["text"]["body"])


def text_body(wa_id: str, wamid: str, text: str) -> bytes:
    """Somebody wrote. No character of `text` may need escaping."""
    return _filled(_TEXT.replace(_RECORDED_TEXT, f'"{text}"', 1), wa_id, wamid)


def receipt_body(wa_id: str, wamid: str, status: str, callback_data: str | None) -> bytes:
    """A message of ours was sent, or delivered."""
    body = _RECEIPT.replace("@STATUS@", status, 1)
    if callback_data is not None:
        body = body.replace('"timestamp"', f'"biz_opaque_callback_data":"{callback_data}","timestamp"', 1)
    return _filled(body, wa_id, wamid)


def _filled(template: str, wa_id: str, wamid: str) -> bytes:
    return template.replace("@WAID@", wa_id).replace("@ID@", wamid).replace("@NOW@", str(int(time.time()))).encode()


class Webhooks:
    """Posts to one program, over as many connections as are needed at once. `refused` counts answers other than 200."""

    def __init__(self, port: int, secret: str) -> None:
        self._port = port
        self._secret = secret.encode()
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._opening = 0
        self._waiting: deque[tuple[bytes, Done]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self.in_flight = 0
        self.refused = 0

    def post(self, body: bytes, done: Done) -> None:
        """Send as soon as a connection is free. Never waits."""
        signature = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUser-Agent: facebookexternalua\r\nAccept: */*\r\n"
            f"Content-Type: application/json\r\nX-Hub-Signature-256: sha256={signature}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self.in_flight += 1
        if self._idle:
            self._idle.pop().send(head.encode() + body, done)
            return
        self._waiting.append((head.encode() + body, done))
        if len(self._all) + self._opening < CONNECTIONS:
            self._open()

    def _open(self) -> None:
        self._opening += 1
        task = asyncio.create_task(self._connect())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        except OSError:
            self._lost()
        else:
            self._all.add(connection)
            if self._waiting:
                self.free(connection)
            else:  # unused it would be cut after ten seconds, perhaps in the moment of its first request
                connection.close()
        finally:
            self._opening -= 1

    def _lost(self) -> None:
        """The program does not listen: what waits is not sent."""
        while self._waiting:
            self.ended(self._waiting.popleft()[1], 0)

    def free(self, connection: "_Connection") -> None:
        """It has its answer."""
        if self._waiting:
            connection.send(*self._waiting.popleft())
        else:
            self._idle.append(connection)

    def ended(self, done: Done, status: int) -> None:
        self.in_flight -= 1
        self.refused += status != 200
        done(status, time.monotonic())

    def gone(self, connection: "_Connection") -> None:
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        for connection in list(self._all):
            connection.close()


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, owner: Webhooks) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._done: Done | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, done: Done) -> None:
        assert self._transport is not None
        self._done = done
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(rest) < length_in(head):
            return
        self._buffer = b""
        done, self._done = self._done, None
        if done is not None:
            self._owner.ended(done, int(head[9:12]))
        self._owner.free(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._owner.gone(self)
        done, self._done = self._done, None
        if done is not None:
            self._owner.ended(done, 0)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def length_in(head: bytes) -> int:
    """The Content-Length of a head in HTTP/1.1; 0 where there is none."""
    lower = head.lower()
    at = lower.find(b"\r\ncontent-length:")
    return 0 if at < 0 else int(lower[at + 17 :].split(b"\r\n", 1)[0])


def json_of(body: bytes) -> dict[str, Any]:
    """A body that must be an object."""
    document = json.loads(body)
    assert isinstance(document, dict)
    return document
