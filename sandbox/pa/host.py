"""The daemon's host API: reminders and the profile, as JSON over loopback HTTP.

Owns requests, their deadline and the one retry. Never decides what to do about an answer. Every call is safe to repeat:
the caller's key makes a repeated reminder the same one.
"""

import http.client
import json
import time
import urllib.error
import urllib.request

from .errors import HostAway, HostRefused
from .text import one_line

DEADLINE_S = 10.0  # for both tries together
FIRST_TRY_S = 6.0  # so that a first try that hangs leaves time for a second
PAUSE_S = 0.3  # the relay answers at once while the daemon restarts
LARGEST_ANSWER = 4_000_000  # two hundred reminders of a thousand emoji each, twelve bytes in JSON, are 2.4 MB

JsonObject = dict[str, object]


class HostApi:
    """The host API at one base URL such as `http://127.0.0.1:8080`."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")
        # No proxy, whatever the environment says: this is loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def call(self, method: str, path: str, body: JsonObject | None = None) -> JsonObject:
        """The object answered; tried again once when the connection breaks. Raises HostAway or HostRefused.

        After a second try the first may have been carried out unheard: callers must read refusals that way.
        """
        deadline = time.monotonic() + DEADLINE_S
        try:
            return self._once(method, path, body, FIRST_TRY_S)
        except HostAway:
            time.sleep(PAUSE_S)
            return self._once(method, path, body, max(PAUSE_S, deadline - time.monotonic()))

    def _once(self, method: str, path: str, body: JsonObject | None, timeout_s: float) -> JsonObject:
        data = None if body is None else json.dumps(body).encode("utf-8")
        request = urllib.request.Request(self._base_url + path, data=data, method=method)  # noqa: S310 - our own place
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with self._opener.open(request, timeout=timeout_s) as response:
                return _object(response.read(LARGEST_ANSWER))
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
            raise HostAway(_reason(error)) from error


def _object(raw: bytes) -> JsonObject:
    """The JSON object in an answer; ValueError when it is none, as after a cut connection."""
    loaded = json.loads(raw)
    if not isinstance(loaded, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - what json.loads raises for the rest of nonsense
    return loaded


def _refusal(error: urllib.error.HTTPError) -> HostRefused | HostAway:
    """The daemon's own sentence, where it sent one."""
    with error:
        try:
            sentence = _object(error.read(LARGEST_ANSWER)).get("error")
        except (OSError, ValueError, http.client.HTTPException):
            sentence = None
    if error.code >= 500:
        return HostAway(f"it answered {error.code}")
    return HostRefused(error.code, one_line(str(sentence or f"the host refused that ({error.code})")))


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, ConnectionRefusedError):
        return "nothing is listening"
    return "the connection broke"
