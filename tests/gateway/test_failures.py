"""Every failure gets a kind that a conversation can put into words."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from clawkakad.errors import TurnFailed
from clawkakad.gateway.failures import FailureKind, explained, failure_kind
from clawkakad.gateway.frames import MAX_TEXT, ChatEvent, RunStatus, decode
from clawkakad.gateway.history import Broken, read_history, standing
from clawkakad.gateway.runs import failure, outcome_of_chat, outcome_of_wait, text_of
from clawkakad.model import SandboxId, UserId
from clawkakad.sandboxes.modelproxy import ModelProxy, Upstream
from tests.fakes.gateway import FakeGateway
from tests.fakes.gateway_agent import Reply
from tests.fakes.upstream import FakeUpstream
from tests.gateway.conftest import SANDBOX
from tests.gateway.recordings import events, payloads
from tests.gateway.world import World
from tests.support import free_port

RECORDED = {
    "f-allowance": FailureKind.UNCLASSIFIED,  # a 400: hidden behind "the request schema", the endpoint has to tell
    "f-filter": FailureKind.UNCLASSIFIED,  # a reply that the model's provider cut off
    "f-context": FailureKind.CONTEXT,
    "f-notfound": FailureKind.MODEL,
    "f-billing": FailureKind.BILLING,
    "f-resting": FailureKind.AUTH,
    "f-late": FailureKind.TIMEOUT,
}
"""What a model endpoint was made to answer while these were recorded, by run id; "resting" is the call after."""


@pytest.mark.parametrize(("run_id", "kind"), RECORDED.items())
@pytest.mark.parametrize("told", ["first event", "second event", "agent.wait", "history"])
def test_a_recorded_failure_has_its_kind_wherever_it_is_told(run_id: str, kind: FailureKind, told: str) -> None:
    if told == "history":
        where = next(
            found
            for payload in payloads("failures", "chat.history")
            if isinstance(found := standing(read_history(payload), (run_id, f"{run_id}.2")), Broken)
        )
        caught = failure(where.text)
    else:
        caught = _raised(run_id, told)

    assert caught.kind == kind
    assert str(caught)


def _raised(run_id: str, told: str) -> TurnFailed:
    if told == "agent.wait":
        status = next(one for one in payloads("failures", "agent.wait") if one["runId"] == run_id)
        outcome = outcome_of_wait(run_id, RunStatus.model_validate(status))
    else:
        heard = [frame for frame in events("failures", "chat") if frame["payload"]["runId"] == run_id]
        event = decode(json.dumps(heard[told == "second event"]))
        assert isinstance(event, ChatEvent)
        outcome = outcome_of_chat(event)
    assert outcome is not None
    with pytest.raises(TurnFailed) as caught:
        text_of(outcome)
    return caught.value


@pytest.mark.parametrize(
    ("word", "text", "kind"),
    [
        ("auth", "", FailureKind.AUTH),
        ("auth_permanent", "", FailureKind.AUTH),
        ("billing", "", FailureKind.BILLING),
        ("rate_limit", "", FailureKind.RATE_LIMIT),
        ("overloaded", "", FailureKind.OVERLOADED),
        ("server_error", "", FailureKind.OVERLOADED),
        ("timeout", "", FailureKind.TIMEOUT),
        ("context_overflow", "", FailureKind.CONTEXT),
        ("model_not_found", "", FailureKind.MODEL),
        ("draining", "", FailureKind.INTERRUPTED),
        ("some new word", "", FailureKind.UNCLASSIFIED),
        (None, "", FailureKind.UNCLASSIFIED),
        # The gateway's sentences for each of its words, where it leaves the word out
        (
            None,
            "⚠️ LLM request failed (authentication failed, HTTP 401). Re-authenticate the provider",
            FailureKind.AUTH,
        ),
        (None, "⚠️ LLM request failed (authentication was rejected, HTTP 403).", FailureKind.AUTH),
        (None, "⚠️ LLM request failed (rate limited, HTTP 429). This is usually temporary", FailureKind.RATE_LIMIT),
        (None, "⚠️ API rate limit reached. Please try again later.", FailureKind.RATE_LIMIT),
        (None, "⚠️ LLM request failed (provider billing issue, HTTP 402). Check provider", FailureKind.BILLING),
        (None, "⚠️ LLM request failed (provider overloaded, HTTP 529). This is usually", FailureKind.OVERLOADED),
        (None, "The AI service is temporarily overloaded. Please try again in a moment.", FailureKind.OVERLOADED),
        (None, "⚠️ LLM request failed (provider internal error, HTTP 500).", FailureKind.OVERLOADED),
        (None, "LLM request timed out.", FailureKind.TIMEOUT),
        (None, "⚠️ LLM request failed (context limit exceeded).", FailureKind.CONTEXT),
        (None, "⚠️ LLM request failed (model not found, HTTP 404).", FailureKind.MODEL),
        ("format", "⚠️ LLM request failed (request format rejected, HTTP 400).", FailureKind.UNCLASSIFIED),
    ],
)
def test_words_and_sentences(word: str | None, text: str, kind: FailureKind) -> None:
    assert failure_kind(word, text) is kind


def test_a_failures_text_is_bounded_before_it_is_searched() -> None:
    assert failure("x" * MAX_TEXT * 10).kind is FailureKind.UNCLASSIFIED
    assert failure("x" * MAX_TEXT + "billing").kind is FailureKind.UNCLASSIFIED


# What our own model endpoint says ---------------------------------------------------------------------------------


class NoUsage:
    async def add(self, user_id: UserId, *, model: str, tokens_in: int, tokens_out: int, cost_usd: float) -> None:
        pass


class Endpoint:
    """The real model endpoint, with a door to it."""

    def __init__(self, base_url: str, http: aiohttp.ClientSession) -> None:
        there = Upstream(base_url=base_url, model="m")
        self.proxy = ModelProxy(http, upstream=there, key_for=_no_key, usage=NoUsage(), retry_first_s=0.01)
        app = web.Application()
        app.router.add_post("/", self._pass)
        self.server = TestServer(app)
        self._http = http

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        return await self.proxy.complete(request, SANDBOX, UserId("u1"))

    async def call(self, body: str = '{"model": "m", "messages": [{"role": "user", "content": "hi"}]}') -> int:
        async with self._http.post(self.server.make_url("/"), data=body) as answer:
            await answer.read()
            return answer.status

    def known_as(self) -> FailureKind:
        return failure_kind(None, self.proxy.refusal_of(SANDBOX) or "")


@asynccontextmanager
async def endpoint_at(base_url: str) -> AsyncIterator[Endpoint]:
    async with aiohttp.ClientSession() as http:
        made = Endpoint(base_url, http)
        async with made.server:
            yield made


@pytest.fixture
async def upstream() -> FakeUpstream:
    return FakeUpstream()


@pytest.fixture
async def endpoint(upstream: FakeUpstream) -> AsyncIterator[Endpoint]:
    async with TestServer(upstream.app()) as model, endpoint_at(f"{model.make_url('/v1')}") as made:
        yield made


async def _no_key(sandbox_id: SandboxId) -> str | None:
    return None


def said(message: str) -> dict[str, object]:
    return {"error": {"message": message}}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, said("No auth credentials found"), FailureKind.AUTH),
        (403, said("This key may not use that model"), FailureKind.AUTH),
        (403, said("Key limit exceeded (monthly limit)."), FailureKind.BILLING),
        (403, said("Your chosen model requires moderation and your input was flagged"), FailureKind.CONTENT),
        (402, said("Insufficient credits"), FailureKind.BILLING),
        (429, said("slow down"), FailureKind.RATE_LIMIT),
        (503, said("try later"), FailureKind.OVERLOADED),
        (413, {}, FailureKind.CONTEXT),
        (400, said("This model's maximum context length is 131072 tokens. However, you asked"), FailureKind.CONTEXT),
        (400, said("Your request was rejected as a result of our safety system."), FailureKind.CONTENT),
        (400, said("Invalid prompt: flagged by moderation"), FailureKind.CONTENT),
        (404, said("The model `x` was not found"), FailureKind.UNCLASSIFIED),
        (400, {}, FailureKind.UNCLASSIFIED),
    ],
)
async def test_what_the_model_endpoint_refuses_is_known_by_its_words(
    endpoint: Endpoint, upstream: FakeUpstream, status: int, body: dict[str, object], kind: FailureKind
) -> None:
    upstream.refusals = [(status, {"Retry-After": "0"}, body)] * 3

    answered = await endpoint.call()

    assert answered in (400, 401, 404)
    hidden = failure("LLM request failed: provider rejected the request schema or tool payload.", "format")
    assert explained(hidden, endpoint.proxy.refusal_of(SANDBOX)).kind == kind


async def test_a_request_that_is_too_big_for_the_model_endpoint_is_too_long_a_conversation(endpoint: Endpoint) -> None:
    assert await endpoint.call("[" * 200_000) == 400

    assert endpoint.known_as() is FailureKind.CONTEXT


async def test_a_model_that_is_not_there_is_overloaded() -> None:
    async with endpoint_at(f"http://127.0.0.1:{free_port()}/v1") as endpoint:
        assert await endpoint.call() == 400
        assert endpoint.known_as() is FailureKind.OVERLOADED


async def test_an_answered_call_is_forgiven(endpoint: Endpoint, upstream: FakeUpstream) -> None:
    upstream.refusals = [(402, {}, {})]
    await endpoint.call()
    assert endpoint.known_as() is FailureKind.BILLING

    await endpoint.call()

    assert endpoint.proxy.refusal_of(SANDBOX) is None


async def test_the_refusals_of_a_sandbox_that_is_gone_are_forgotten(endpoint: Endpoint, upstream: FakeUpstream) -> None:
    upstream.refusals = [(402, {}, {})]
    await endpoint.call()

    endpoint.proxy.forget(SANDBOX)

    assert endpoint.proxy.refusal_of(SANDBOX) is None


# In a turn ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def world(gateway: FakeGateway) -> AsyncIterator[World]:
    made = World(gateway)
    yield made
    await made.aclose()


async def test_what_the_gateway_hides_the_model_endpoint_tells(world: World) -> None:
    world.refusal = "The allowance for the model is used up."
    hidden = "LLM request failed: provider rejected the request schema or tool payload."
    world.gateway.agent = lambda text: Reply(error=hidden, kind="format")

    with pytest.raises(TurnFailed, match="allowance") as caught:
        await world.ask()

    assert caught.value.kind is FailureKind.BILLING


async def test_what_the_gateway_tells_counts_first(world: World) -> None:
    world.refusal = "The allowance for the model is used up."
    world.gateway.agent = lambda text: Reply(error="no", kind="auth")

    with pytest.raises(TurnFailed) as caught:
        await world.ask()

    assert caught.value.kind is FailureKind.AUTH


async def test_a_heartbeat_that_fails_has_a_kind_too(world: World) -> None:
    world.refusal = "The model took too long."
    world.gateway.heartbeat = lambda text: Reply(error="no", kind="format")

    with pytest.raises(TurnFailed) as caught:
        await world.wake()

    assert caught.value.kind is FailureKind.TIMEOUT


@pytest.mark.parametrize("lost", [{"error"}, set()])
async def test_the_kind_survives_a_failure_that_is_told_only_later(world: World, lost: set[str]) -> None:
    world.gateway.mute = lost
    world.gateway.agent = lambda text: Reply(error="⚠️ Agent failed before reply: rate limited, HTTP 429", kind="format")

    with pytest.raises(TurnFailed) as caught:
        await world.ask()

    assert caught.value.kind is FailureKind.RATE_LIMIT
