"""Which key the model proxy adds for whom. Keys stay on the daemon's side: in memory, and in files of mode 0600.

`SharedKey`: one for everybody, or none. `ProvisionedKeys`: one per person, made at OpenRouter with a monthly limit
(https://openrouter.ai/docs/features/provisioning-api-keys). OpenRouter shows a key only once, so one that carries our
name while its file is missing (we stopped between the two) is deleted there and made anew.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import aiohttp

from clawkakad.errors import Rejected, Transient
from clawkakad.model import SandboxId
from clawkakad.sandboxes.paths import write_file

CALL = aiohttp.ClientTimeout(total=20, sock_connect=10)
PAGE = 100  # keys that OpenRouter lists at once
PAGES = 100


class KeySource(Protocol):
    """Where a sandbox's model key comes from."""

    async def key(self, sandbox_id: SandboxId) -> str | None: ...

    async def other_key(self, sandbox_id: SandboxId, unknown: str | None) -> str | None: ...

    async def forget(self, sandbox_id: SandboxId, key_hash: str | None) -> None: ...


class KeyHashes(Protocol):
    """What is kept of a key in the registry: never the key."""

    async def set_key_hash(self, sandbox_id: SandboxId, key_hash: str | None) -> None: ...


class SharedKey:
    """One key for all sandboxes, or None where the upstream wants none."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    async def key(self, sandbox_id: SandboxId) -> str | None:
        """The key."""
        return self._key

    async def other_key(self, sandbox_id: SandboxId, unknown: str | None) -> str | None:
        """There is none."""
        return None

    async def forget(self, sandbox_id: SandboxId, key_hash: str | None) -> None:
        """Nothing was made for this sandbox."""


class ProvisionedKeys:
    """A key per sandbox, made when it is first asked for, deleted with the sandbox. All of it may be repeated."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        base_url: str,
        provisioning_key: str,
        instance: str,
        limit_usd: float,
        directory: Path,
        hashes: KeyHashes,
    ) -> None:
        self._session = session
        self._url = f"{base_url}/keys"
        self._headers = {"Authorization": f"Bearer {provisioning_key}"}
        self._instance = instance
        self._limit_usd = limit_usd
        self._directory = directory
        self._hashes = hashes
        self._known: dict[SandboxId, str] = {}
        self._replaced: set[SandboxId] = set()
        self._making = asyncio.Lock()  # one at a time: rare, and two would make two keys for one person

    async def key(self, sandbox_id: SandboxId) -> str:
        """The sandbox's key, made if there is none. Raises Transient, Rejected."""
        found = self._found(sandbox_id)  # outside the lock: who has a key does not wait for somebody else's
        if found is not None:
            return found
        async with self._making:
            return self._found(sandbox_id) or await self._make(sandbox_id)

    async def other_key(self, sandbox_id: SandboxId, unknown: str | None) -> str | None:
        """One in place of a key that the model does not know: a restore brings back keys that were deleted there since.

        None where it is still there, so that it was turned off on purpose, or where that was asked for once before:
        not every refused call may end in a new key. Raises Transient, Rejected.
        """
        async with self._making:
            if self._found(sandbox_id) != unknown:
                return self._found(sandbox_id)  # another call was faster
            if sandbox_id in self._replaced:
                return None
            is_there = self._name(sandbox_id) in [item.get("name") async for item in self._listed()]
            made = None if is_there else await self._make(sandbox_id)
            self._replaced.add(sandbox_id)
            return made

    async def forget(self, sandbox_id: SandboxId, key_hash: str | None) -> None:
        """Delete the sandbox's key there and here. Raises Transient, Rejected."""
        async with self._making:
            if key_hash is not None:
                await self._delete(key_hash)
            else:
                await self._delete_named(sandbox_id)
            self._known.pop(sandbox_id, None)
            self._file(sandbox_id).unlink(missing_ok=True)
            await self._hashes.set_key_hash(sandbox_id, None)

    async def _make(self, sandbox_id: SandboxId) -> str:
        await self._delete_named(sandbox_id)
        wanted = {"name": self._name(sandbox_id), "limit": self._limit_usd, "limit_reset": "monthly"}
        made = await self._call("POST", self._url, json=wanted)
        try:
            key, key_hash = str(made["key"]), str(made["data"]["hash"])
        except (KeyError, TypeError) as error:
            raise Rejected("OpenRouter answered a new key in a form that is not known") from error
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_file(self._file(sandbox_id), key, mode=0o600)
        await self._hashes.set_key_hash(sandbox_id, key_hash)
        self._known[sandbox_id] = key
        return key

    async def _delete_named(self, sandbox_id: SandboxId) -> None:
        name = self._name(sandbox_id)
        for key_hash in [item["hash"] async for item in self._listed() if item.get("name") == name]:
            await self._delete(str(key_hash))

    async def _listed(self) -> AsyncIterator[Mapping[str, Any]]:
        for page in range(PAGES):
            items = (await self._call("GET", self._url, params={"offset": str(page * PAGE)})).get("data") or []
            for item in items:
                yield item
            if len(items) < PAGE:
                return

    async def _delete(self, key_hash: str) -> None:
        await self._call("DELETE", f"{self._url}/{key_hash}", absent_is_fine=True)

    async def _call(self, method: str, url: str, *, absent_is_fine: bool = False, **arguments: Any) -> dict[str, Any]:
        """The one place that decides what an answer of the key API means."""
        try:
            async with self._session.request(
                method, url, headers=self._headers, timeout=CALL, allow_redirects=False, **arguments
            ) as answer:
                if answer.status == 404 and absent_is_fine:
                    return {}
                if answer.status == 429 or answer.status >= 500:
                    raise Transient(f"OpenRouter's key API answered {answer.status}")
                if answer.status in (401, 403):  # in words that a failed turn is known by
                    raise Rejected("OpenRouter's key API: its key is refused; check OPENROUTER_PROVISIONING_KEY")
                if answer.status >= 300:
                    raise Rejected(f"OpenRouter's key API answered {answer.status}: check OPENROUTER_PROVISIONING_KEY")
                document = await answer.json()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Transient(f"OpenRouter's key API did not answer: {type(error).__name__}") from error
        return document if isinstance(document, dict) else {}

    def _found(self, sandbox_id: SandboxId) -> str | None:
        if sandbox_id not in self._known:
            try:
                self._known[sandbox_id] = self._file(sandbox_id).read_text(encoding="utf-8").strip()
            except FileNotFoundError:
                return None
        return self._known[sandbox_id] or None

    def _file(self, sandbox_id: SandboxId) -> Path:
        return self._directory / sandbox_id

    def _name(self, sandbox_id: SandboxId) -> str:
        return f"clawkaka-{self._instance}-{sandbox_id}"
