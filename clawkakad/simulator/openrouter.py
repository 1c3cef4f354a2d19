"""A stand-in for OpenRouter: keys made by a provisioning key, and a model that answers to such keys alone.

Keys live in memory, as long as the simulator: nothing here is worth keeping. The model is the offline model; each
answer costs a little, so that limits can be seen at work. https://openrouter.ai/docs/features/provisioning-api-keys
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from clawkakad.simulator import model

PREFIX = "/api/v1"
COST_OF_ANSWER_USD = 0.0001
PAGE = 100  # keys in one listing, as at OpenRouter


@dataclass
class Key:
    """A key as its owner sees it; the secret itself is shown once and only its hash is kept."""

    hash: str
    label: str
    name: str
    limit: float | None
    limit_reset: str | None
    disabled: bool = False
    usage: float = 0.0
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def document(self) -> dict[str, object]:
        """The key as the API shows it."""
        return {
            "hash": self.hash,
            "name": self.name,
            "label": self.label,
            "disabled": self.disabled,
            "limit": self.limit,
            "limit_remaining": None if self.limit is None else max(0.0, self.limit - self.usage),
            "limit_reset": self.limit_reset,
            "usage": self.usage,
            "created_at": self.created_at.isoformat(),
            "updated_at": None,
        }


class OpenRouter:
    """The keys, and the addresses that work on them. `provisioning_key` is the only one that may make keys."""

    def __init__(self, provisioning_key: str) -> None:
        self._provisioning_key = provisioning_key
        self.keys: dict[str, Key] = {}

    def routes(self) -> list[web.RouteDef]:
        """All addresses of this stand-in."""
        return [
            web.post(f"{PREFIX}/keys", self._create),
            web.get(f"{PREFIX}/keys", self._list),
            web.get(f"{PREFIX}/keys/{{hash}}", self._show),
            web.patch(f"{PREFIX}/keys/{{hash}}", self._change),
            web.delete(f"{PREFIX}/keys/{{hash}}", self._delete),
            web.post(f"{PREFIX}/chat/completions", self._complete),
            web.get(f"{PREFIX}/models", model.models),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        self._check(request)
        body = await _body(request)
        name, limit = body.get("name"), body.get("limit")
        if not isinstance(name, str) or not name:
            raise _error(web.HTTPBadRequest, "name: a key needs a name")
        if limit is not None and (not isinstance(limit, int | float) or isinstance(limit, bool)):
            raise _error(web.HTTPBadRequest, "limit: must be a number of US dollars")
        secret = f"sk-or-v1-{secrets.token_hex(32)}"
        key = Key(hash_of(secret), f"{secret[:12]}...{secret[-3:]}", name, limit, body.get("limit_reset"))
        self.keys[key.hash] = key
        return web.json_response({"data": key.document(), "key": secret}, status=201)

    async def _list(self, request: web.Request) -> web.Response:
        self._check(request)
        offset = request.query.get("offset", "0")
        first = int(offset) if offset.isdecimal() else 0
        newest_first = sorted(self.keys.values(), key=lambda key: key.created_at, reverse=True)
        return web.json_response({"data": [key.document() for key in newest_first[first : first + PAGE]]})

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response({"data": self._key(request).document()})

    async def _change(self, request: web.Request) -> web.Response:
        key, body = self._key(request), await _body(request)
        for name in ("name", "limit", "limit_reset", "disabled"):
            if name in body:
                setattr(key, name, body[name])
        return web.json_response({"data": key.document()})

    async def _delete(self, request: web.Request) -> web.Response:
        del self.keys[self._key(request).hash]
        return web.json_response({"deleted": True})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        key = self.keys.get(hash_of(_bearer(request)))
        if key is None or key.disabled:
            raise _error(web.HTTPUnauthorized, "User not found.")
        if key.limit is not None and key.usage >= key.limit:
            raise _error(web.HTTPForbidden, "Key limit exceeded (monthly limit).")
        key.usage += COST_OF_ANSWER_USD
        return await model.answer(request, cost_usd=COST_OF_ANSWER_USD)

    def _check(self, request: web.Request) -> None:
        if not secrets.compare_digest(_bearer(request).encode(), self._provisioning_key.encode()):
            raise _error(web.HTTPUnauthorized, "Invalid management key.")

    def _key(self, request: web.Request) -> Key:
        self._check(request)
        key = self.keys.get(request.match_info["hash"])
        if key is None:
            raise _error(web.HTTPNotFound, "API key not found.")
        return key


def hash_of(secret: str) -> str:
    """What stands for a key in listings and addresses."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _bearer(request: web.Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer ").strip()


async def _body(request: web.Request) -> Mapping[str, Any]:
    try:
        body = await request.json()
    except ValueError as error:
        raise _error(web.HTTPBadRequest, "the body is not JSON") from error
    if not isinstance(body, dict):
        raise _error(web.HTTPBadRequest, "the body is not an object")
    return body


def _error(kind: type[web.HTTPError], text: str) -> web.HTTPError:
    document = web.json_response({"error": {"code": kind.status_code, "message": text}})
    return kind(text=document.text, content_type="application/json")
