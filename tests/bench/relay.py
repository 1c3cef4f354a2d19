"""The bare relay: the least that can stand between Meta and a gateway, as the yardstick of the daemon.

Webhook, signature, one insert on disk, 200; chat.send over the gateway's socket; its final, posted to the Graph API.
No queue, no retry, no order, no memory of anything: a crash loses what is under way.

`python -m tests.bench.relay`, configured by BENCH_PORT, BENCH_SECRET, BENCH_GRAPH, BENCH_SOCKETS (a directory with a
socket for each person, `<wa_id>.sock`), BENCH_TOKEN and BENCH_DATABASE.
"""

import asyncio
import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import aiosqlite
from aiohttp import web


class Gateway:
    """The connection to the gateway of one person."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._finals: dict[str, asyncio.Future[str]] = {}
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, path: Path, token: str) -> "Gateway":
        http = aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(path)))
        socket = await http.ws_connect("ws://localhost/")
        await socket.receive_json()  # the challenge
        scopes = ["operator.read", "operator.write", "operator.admin"]
        client = {"id": "gateway-client", "version": "0", "platform": "linux", "mode": "backend"}
        about = {"minProtocol": 4, "maxProtocol": 4, "client": client, "role": "operator", "caps": []}
        await _request(socket, "connect", {**about, "scopes": scopes, "auth": {"token": token}})
        hello = await socket.receive_json()
        if not hello["ok"]:
            raise RuntimeError("the gateway refuses")
        return cls(socket)

    async def ask(self, text: str) -> str:
        """One turn."""
        run_id = str(uuid4())
        final: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._finals[run_id] = final
        about = {"sessionKey": "main", "idempotencyKey": run_id, "suppressCommandInterpretation": True}
        await _request(self._socket, "chat.send", {**about, "message": text})
        return await final

    async def _read(self) -> None:
        async for message in self._socket:
            frame = json.loads(message.data)
            payload = frame.get("payload", {})
            if frame.get("event") == "chat" and payload["state"] == "final":
                final = self._finals.pop(payload["runId"])
                final.set_result(str(payload["message"]["content"][0]["text"]))


async def _request(socket: aiohttp.ClientWebSocketResponse, method: str, params: dict[str, Any]) -> None:
    await socket.send_json({"type": "req", "id": str(uuid4()), "method": method, "params": params})


class Relay:
    """From the webhook to the reply."""

    def __init__(self, database: aiosqlite.Connection, http: aiohttp.ClientSession) -> None:
        self._database = database
        self._http = http
        self._secret = os.environ["BENCH_SECRET"].encode()
        self._url = os.environ["BENCH_GRAPH"]
        self._gateways: dict[str, asyncio.Task[Gateway]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def receive(self, request: web.Request) -> web.Response:
        """A webhook: statuses are good for nothing here."""
        body = await request.read()
        signature = "sha256=" + hmac.new(self._secret, body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signature, request.headers.get("X-Hub-Signature-256", "")):
            return web.Response(status=401)
        for message in json.loads(body)["entry"][0]["changes"][0]["value"].get("messages", []):
            wa_id, text = message["from"], message["text"]["body"]
            values = (message["id"], wa_id, text)
            await self._database.execute("INSERT INTO inbox (wamid, wa_id, text) VALUES (?, ?, ?)", values)
            task = asyncio.create_task(self._answer(wa_id, text))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return web.Response()

    async def _answer(self, wa_id: str, text: str) -> None:
        if wa_id not in self._gateways:
            path = Path(os.environ["BENCH_SOCKETS"]) / f"{wa_id}.sock"
            self._gateways[wa_id] = asyncio.create_task(Gateway.connect(path, os.environ["BENCH_TOKEN"]))
        gateway = await self._gateways[wa_id]
        reply = await gateway.ask(text)
        about = {"messaging_product": "whatsapp", "to": f"+{wa_id}", "type": "text"}
        async with self._http.post(self._url, json={**about, "text": {"body": reply}}) as answer:
            await answer.read()


async def main() -> None:
    async with (
        aiosqlite.connect(os.environ["BENCH_DATABASE"], isolation_level=None) as database,
        aiohttp.ClientSession() as http,
    ):
        await database.execute("PRAGMA journal_mode = WAL")
        await database.execute("PRAGMA synchronous = FULL")
        await database.execute("CREATE TABLE inbox (wamid TEXT PRIMARY KEY, wa_id TEXT, text TEXT) STRICT")
        app = web.Application()
        app.router.add_post("/whatsapp/webhook", Relay(database, http).receive)
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=150)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(os.environ["BENCH_PORT"])).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
