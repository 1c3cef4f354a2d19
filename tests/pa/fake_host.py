"""The daemon's side of the PA services: a real HTTP server on loopback that can lose answers, break and refuse."""

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from zoneinfo import ZoneInfo


class FakeHost:
    """Keeps reminders by key, and the profile in its file. Faults are consumed one by one, by the requests to come."""

    def __init__(self, profile_path: Path) -> None:
        self.profile_path = profile_path
        self.requests: list[tuple[str, str, Any]] = []
        self.reminders: dict[int, dict[str, Any]] = {}
        self.by_key: dict[str, dict[str, Any]] = {}
        self.pending: set[int] = set()
        # "lose": do it, close without an answer; "fire": that, and it was sent by then; "drop": close before; "503";
        # "nonsense"
        self.faults: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def posts(self) -> list[Any]:
        """The bodies of all reminders asked for."""
        return [body for method, path, body in self.requests if method == "POST"]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """What the daemon would say."""
        self.requests.append((method, path, body))
        if path == "/pa/v1/profile":
            return self._profile(body) if method == "PUT" else (200, self._read_profile())
        if path == "/pa/v1/reminders":
            return self._make(body) if method == "POST" else (200, {"reminders": self._pending()})
        number = int(path.rpartition("/")[2])
        if method == "DELETE" and number in self.pending:
            self.pending.discard(number)
            return 200, self.reminders[number]
        return 404, {"error": f"there is no pending reminder {number}"}

    def _make(self, body: dict[str, Any]) -> tuple[int, Any]:
        if body["key"] in self.by_key:
            known = self.by_key[body["key"]]
            return 200, known | {"state": "pending" if known["id"] in self.pending else "cancelled"}
        if body["text"] == "refuse me":
            return 400, {"error": "that is more than 5 years away; choose a nearer time"}
        zone = ZoneInfo(body["zone"] or self._read_profile()["time_zone"])
        at = datetime.fromisoformat(body["at"])
        at = (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
        wall = at.astimezone(zone).strftime("%Y-%m-%d %H:%M")
        number = len(self.reminders) + 3
        made = {"id": number, "due_at": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "wall": wall, "zone": zone.key}
        self.reminders[number] = self.by_key[body["key"]] = made | {"text": body["text"]}
        self.pending.add(number)
        return 201, self.reminders[number]

    def _pending(self) -> list[dict[str, Any]]:
        return sorted((self.reminders[number] for number in self.pending), key=lambda item: item["due_at"])

    def _profile(self, body: dict[str, Any]) -> tuple[int, Any]:
        profile = self._read_profile() | body
        self.profile_path.write_text(json.dumps(profile), encoding="utf-8")
        return 200, profile

    def _read_profile(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.profile_path.read_text(encoding="utf-8"))
        return loaded

    def _handler(host) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                fault = host.faults.pop(0) if host.faults else ""
                if fault in ("drop", "503", "nonsense"):
                    self._answer(503, b"{}") if fault == "503" else self._answer(
                        200, b"[1"
                    ) if fault == "nonsense" else None
                    return
                status, answer = host.answer(self.command, self.path, body)
                if fault == "fire":
                    host.pending.clear()
                if fault not in ("lose", "fire"):
                    self._answer(status, json.dumps(answer).encode("utf-8"))

            def _answer(self, status: int, raw: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *arguments: object) -> None:
                """Says nothing: the tests look at the requests."""

            do_GET = do_POST = do_PUT = do_DELETE = _serve

        return Handler
