"""The model, as one sandbox sees it: an OpenAI-compatible endpoint whose key, price and whereabouts stay outside.

Owns the call upstream: who may have how many under way, its key, its retries, and the counting of what it cost. Bytes
of an answer pass as they come. What is sent, and what errors mean, is decided in `modelcalls`. No more than
`PER_SANDBOX` requests of a sandbox are in memory, and reading them takes no more than a tenth of the daemon's time.
"""

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp
from aiohttp import web
from loguru import logger
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from clawkakad.allowance import Allowance
from clawkakad.errors import ClawkakaError, RegistryUnavailable, Rejected
from clawkakad.model import SandboxId, UserId
from clawkakad.sandboxes.bodies import read_body
from clawkakad.sandboxes.metering import BodyMeter, Cost, StreamMeter
from clawkakad.sandboxes.modelcalls import (
    AllowanceUsedUp,
    KeyUnknown,
    UpstreamBusy,
    UpstreamRefused,
    decipher,
    upstream_body,
)
from clawkakad.sandboxes.openclaw import MODEL_ID

BODY_LIMIT = 2 * 1024 * 1024  # bytes of a request; a full context is some 600 KB of text
ERROR_LIMIT = 64 * 1024  # bytes of an upstream's error that are read
PER_SANDBOX = 4  # calls under way
OVER_ALL = 32
WAIT_FOR_PLACE_S = 60.0  # for a free one among those
READ_S = 30.0  # for the whole request
CONNECT_S = 10.0
SILENCE_S = 180.0  # longest wait for the next bytes; a slow model thinks for a minute before its first
ATTEMPTS = 3
RETRY_AFTER_MAX_S = 10.0
MORE_MONEY = "at the model's provider raise the limit of this key, or add credit; a monthly limit ends with the month"

KeyFor = Callable[[SandboxId], Awaitable[str | None]]
OtherKey = Callable[[SandboxId, str | None], Awaitable[str | None]]


@dataclass(frozen=True)
class Upstream:
    """Where the model really is: `base_url` ends before `/chat/completions`; reached through `unix_socket` if given."""

    base_url: str
    model: str
    unix_socket: Path | None = None


class UsageLog(Protocol):
    """What the proxy needs of the registry."""

    async def add(self, user_id: UserId, *, model: str, tokens_in: int, tokens_out: int, cost_usd: float) -> None: ...


@contextlib.asynccontextmanager
async def open_upstream(upstream: Upstream) -> AsyncIterator[aiohttp.ClientSession]:
    """The HTTP session of the proxy. Its connector has no bound of its own: the proxy's places are the bound."""
    connector = (
        aiohttp.TCPConnector(limit=0)
        if upstream.unix_socket is None
        else aiohttp.UnixConnector(str(upstream.unix_socket), limit=0)
    )
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=SILENCE_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=True) as session:
        yield session


async def _no_other_key(sandbox_id: SandboxId, unknown: str | None) -> str | None:
    """Where keys are not made by us."""
    return None


class _Share:
    """What one sandbox may take up."""

    def __init__(self) -> None:
        self.places = asyncio.Semaphore(PER_SANDBOX)
        self.reading = asyncio.Lock()
        self.allowance = Allowance()


class ModelProxy:
    """Answers `/v1/models` and `/v1/chat/completions` for whoever the host API says is asking."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        upstream: Upstream,
        key_for: KeyFor,
        usage: UsageLog,
        other_key: OtherKey = _no_other_key,
        retry_first_s: float = 1.0,
    ) -> None:
        self._session = session
        self._upstream = upstream
        self._key_for = key_for
        self._other_key = other_key
        self._usage = usage
        self._wait = wait_exponential_jitter(multiplier=retry_first_s, max=4, jitter=retry_first_s)
        self._over_all = asyncio.Semaphore(OVER_ALL)
        self._of_sandbox: dict[SandboxId, _Share] = {}
        self._refusals: dict[SandboxId, str] = {}
        self._used_up: set[SandboxId] = set()
        self._counting: set[asyncio.Task[None]] = set()
        self._troubled = False

    def forget(self, sandbox_id: SandboxId) -> None:
        """A sandbox is gone."""
        self._of_sandbox.pop(sandbox_id, None)
        self._refusals.pop(sandbox_id, None)
        self._used_up.discard(sandbox_id)

    def refusal_of(self, sandbox_id: SandboxId) -> str | None:
        """Why the last call of a sandbox failed; None where it was answered. Its gateway keeps that to itself."""
        return self._refusals.get(sandbox_id)

    async def models(self) -> web.Response:
        """The one model there is."""
        model = {"id": MODEL_ID, "object": "model", "owned_by": "clawkaka"}
        return web.json_response({"object": "list", "data": [model]})

    async def complete(self, request: web.Request, sandbox_id: SandboxId, user_id: UserId) -> web.StreamResponse:
        """One model call. Cancelling it (the gateway hung up) ends the call upstream too."""
        own = self._of_sandbox.setdefault(sandbox_id, _Share())
        try:
            # The body is read with a place held: what a sandbox can make us keep in memory is bounded.
            async with _place(own.places):
                body = await self._body(request, own)
                async with _place(self._over_all), self._answer(sandbox_id, body) as answer:
                    return await self._pass_on(request, answer, user_id)
        except UpstreamRefused as refused:
            self._refusals[sandbox_id] = str(refused)
            if refused.grave:
                self._note_trouble(str(refused))
            if isinstance(refused, AllowanceUsedUp):
                self._note_used_up(sandbox_id)
            return _error(refused.status, str(refused))
        except ClawkakaError as error:
            self._refusals[sandbox_id] = str(error)
            self._note_trouble(str(error))
            return _error(400, "The model is not available right now.")

    async def _body(self, request: web.Request, own: _Share) -> bytes:
        """What goes upstream. Making it holds up everybody, so the next one of the same sandbox has to wait.

        Cancelling it does not shorten that.
        """
        raw = await _read(request)
        async with own.reading:
            await asyncio.sleep(own.allowance.rest_s())
            began = time.thread_time()
            try:
                return upstream_body(raw, self._upstream.model)
            finally:
                own.allowance.spend(time.thread_time() - began)

    @contextlib.asynccontextmanager
    async def _answer(self, sandbox_id: SandboxId, body: bytes) -> AsyncIterator[aiohttp.ClientResponse]:
        """The upstream's answer, status 200. Raises UpstreamBusy after the last attempt, UpstreamRefused."""
        key = await self._key_for(sandbox_id)
        attempts = AsyncRetrying(
            retry=retry_if_exception_type(UpstreamBusy),
            stop=stop_after_attempt(ATTEMPTS),
            wait=self._pause,
            reraise=True,
        )
        answer: aiohttp.ClientResponse
        try:
            answer = await attempts(self._post, body, key)
        except KeyUnknown:
            other = await self._other_key(sandbox_id, key)
            if other is None:
                raise
            answer = await attempts(self._post, body, other)
        try:
            self._note_recovery()
            self._refusals.pop(sandbox_id, None)
            self._used_up.discard(sandbox_id)
            yield answer
        finally:
            answer.close()

    async def _post(self, body: bytes, key: str | None) -> aiohttp.ClientResponse:
        # A compressed stream would come in lumps.
        headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        url = f"{self._upstream.base_url}/chat/completions"
        try:
            sent = io.BytesIO(body)  # written piece by piece, unlike bytes
            answer = await self._session.post(url, data=sent, headers=headers, allow_redirects=False)
            if answer.status == 200:
                return answer
            async with answer:
                text = (await answer.content.read(ERROR_LIMIT)).decode(errors="replace")
        except TimeoutError as error:  # not asked again: the person has waited long enough
            raise UpstreamRefused("The model took too long.", status=400, grave=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamBusy(f"the model did not answer: {type(error).__name__}") from error
        raise decipher(answer.status, answer.headers, text)

    async def _pass_on(
        self, request: web.Request, answer: aiohttp.ClientResponse, user_id: UserId
    ) -> web.StreamResponse:
        """Every chunk as it comes. An answer that breaks off is broken off here too: half must not pass for whole."""
        meter = StreamMeter() if answer.content_type == "text/event-stream" else BodyMeter()
        response = web.StreamResponse(headers={"Content-Type": answer.headers.get("Content-Type", "application/json")})
        await response.prepare(request)
        try:
            async for chunk in answer.content.iter_any():
                meter.feed(chunk)
                await response.write(chunk)
            await response.write_eof()
        except aiohttp.ClientConnectionResetError:
            pass  # the gateway hung up; leaving ends the call upstream
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.warning("a model answer broke off", error=type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._count_soon(user_id, meter.end())
        return response

    def _pause(self, state: RetryCallState) -> float:
        """What the upstream asked for, within reason, else one second and then two."""
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, UpstreamBusy) and error.retry_after_s is not None:
            return min(error.retry_after_s, RETRY_AFTER_MAX_S)
        return self._wait(state)

    def _count_soon(self, user_id: UserId, cost: Cost) -> None:
        """In a task of its own: a call that is cancelled has cost what it has cost."""
        task = asyncio.create_task(self._count(user_id, cost), name="count a model call")
        self._counting.add(task)
        task.add_done_callback(self._counting.discard)

    async def _count(self, user_id: UserId, cost: Cost) -> None:
        try:
            await self._usage.add(
                user_id,
                model=self._upstream.model,
                tokens_in=cost.tokens_in,
                tokens_out=cost.tokens_out,
                cost_usd=cost.cost_usd,
            )
        except RegistryUnavailable as error:
            logger.warning("the cost of a model call was not counted", error=str(error))

    def _note_trouble(self, text: str) -> None:
        """Once per stretch of trouble, so that a dead upstream is one line and not a thousand."""
        logger.log("DEBUG" if self._troubled else "ERROR", "the model does not answer", error=text)
        self._troubled = True

    def _note_used_up(self, sandbox_id: SandboxId) -> None:
        """Once for each sandbox, until it is answered again: the next one may have a key of its own."""
        if sandbox_id not in self._used_up:
            self._used_up.add(sandbox_id)
            logger.error("the allowance for the model is used up", sandbox=sandbox_id, advice=MORE_MONEY)

    def _note_recovery(self) -> None:
        if self._troubled:
            logger.info("the model answers again")
        self._troubled = False


@contextlib.asynccontextmanager
async def _place(places: asyncio.Semaphore) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(WAIT_FOR_PLACE_S):
            await places.acquire()
    except TimeoutError as error:
        raise UpstreamRefused("Too many model calls at once.", status=400) from error
    try:
        yield
    finally:
        places.release()


async def _read(request: web.Request) -> bytes:
    try:
        return await read_body(request, limit=BODY_LIMIT, within_s=READ_S)
    except Rejected as error:
        raise UpstreamRefused(str(error), status=400) from error


def _error(status: int, text: str) -> web.Response:
    kind = {401: "authentication_error"}.get(status, "invalid_request_error")
    return web.json_response({"error": {"message": text, "type": kind, "code": None, "param": None}}, status=status)
