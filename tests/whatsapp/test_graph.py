"""The Graph client against a real server: what is sent, and which of three outcomes each failure is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from clawkakad.errors import GraphRejected, GraphUnavailable, SendUnknown
from clawkakad.model import IdentifierKind, Wamid
from clawkakad.whatsapp.graph import GraphClient, Recipient
from clawkakad.whatsapp.origin import Deadline
from tests.fakes.graph import FakeGraph, Fault, Reply, fake_graph
from tests.support import eventually, free_port

ROBIN = Recipient(IdentifierKind.WA_ID, "15550100123")
TOKEN = "EAA-test-token"


@pytest.fixture
async def graph() -> AsyncIterator[FakeGraph]:
    async with fake_graph() as fake:
        yield fake


@pytest.fixture
async def client(graph: FakeGraph) -> AsyncIterator[GraphClient]:
    async with client_of(graph.base_url) as one:
        yield one


@dataclass
class Doorstep:
    """Where one is let in and then sees the door shut, before anything can be said: no TLS comes about."""

    base_url: str = ""
    visits: int = 0


@pytest.fixture
async def doorstep() -> AsyncIterator[Doorstep]:
    def shut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        step.visits += 1
        writer.transport.abort()

    server = await asyncio.start_server(shut, "127.0.0.1", 0)
    async with server:
        step = Doorstep(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield step


@asynccontextmanager
async def client_of(base_url: str, *, total_s: float = 5) -> AsyncIterator[GraphClient]:
    client = GraphClient(
        base_url=base_url,
        version="v25.0",
        phone_number_id="100",
        access_token=TOKEN,
        deadline=Deadline(total_s=total_s, connect_s=2),
    )
    try:
        yield client
    finally:
        await client.aclose()


async def test_a_text_goes_out_as_meta_wants_it(client: GraphClient, graph: FakeGraph) -> None:
    wamid = await client.send_text(ROBIN, "hello", callback_data="out-1", reply_to=Wamid("wamid.IN"))

    assert wamid == "wamid.FAKE-1"
    (request,) = graph.requests
    assert request.path == "/v25.0/100/messages"
    assert request.authorization == f"Bearer {TOKEN}"
    assert request.body == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+15550100123",
        "type": "text",
        "text": {"body": "hello", "preview_url": False},
        "context": {"message_id": "wamid.IN"},
        "biz_opaque_callback_data": "out-1",
    }


async def test_a_person_without_a_number_is_addressed_by_their_scoped_id(client: GraphClient, graph: FakeGraph) -> None:
    await client.send_text(Recipient(IdentifierKind.BSUID, "US.1349"), "hello", callback_data="out-1")

    assert graph.requests[0].body["recipient"] == "US.1349"
    assert "to" not in graph.requests[0].body
    assert "context" not in graph.requests[0].body


@pytest.mark.parametrize("typing", [True, False])
async def test_reading_and_typing_are_one_call(client: GraphClient, graph: FakeGraph, typing: bool) -> None:
    await client.mark_read(Wamid("wamid.IN"), typing=typing)

    expected = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.IN"}
    assert graph.requests[0].body == expected | ({"typing_indicator": {"type": "text"}} if typing else {})


@pytest.mark.parametrize("code", [100, 131026, 131030, 190, 131047, 999999])
async def test_a_refusal_is_not_repeated_and_keeps_its_code(client: GraphClient, graph: FakeGraph, code: int) -> None:
    graph.script = [Reply.error(code, error_data={"details": "because"})]

    with pytest.raises(GraphRejected) as caught:
        await client.send_text(ROBIN, "hello", callback_data="out-1")

    assert (caught.value.code, caught.value.details) == (code, "because")
    assert len(graph.requests) == 1


@pytest.mark.parametrize("code", [4, 80007, 130429, 131056, 131057])
async def test_a_limit_is_left_to_the_caller_with_its_waiting_time(
    client: GraphClient, graph: FakeGraph, code: int
) -> None:
    graph.script = [Reply.error(code, headers={"Retry-After": "17"})]

    with pytest.raises(GraphUnavailable) as caught:
        await client.send_text(ROBIN, "hello", callback_data="out-1")

    assert (caught.value.code, caught.value.retry_after_s) == (code, 17.0)
    assert len(graph.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply.error(131000),
        Reply.error(131016, status=503),
        Reply.error(2, status=500),
        Reply.error(987654, status=500),
        Reply.error(987654, is_transient=True),
        Reply(status=502, body=b"<html>Bad Gateway</html>"),
        Reply(status=504, body=b""),
        Reply(body=b""),
        Reply(body=b"{}"),
        Reply(body=b'{"messages":[]}'),
        Reply(body=b'{"messages":[{"id":""}]}'),
        Reply(body=b'{"messages":[{"id":7}]}'),
        Reply(body=b"[" * 70000),
        Reply(body=b"\xff\xfe garbage"),
        Reply(fault=Fault.DROP_BEFORE_BODY),
        Reply(fault=Fault.DROP_AFTER_BODY),
        Reply(fault=Fault.DROP_IN_ANSWER),
        Reply(fault=Fault.NOT_HTTP),
    ],
    ids=lambda reply: reply.fault.name if reply.fault else f"{reply.status}-{(reply.body or b'')[:24]!r}",
)
async def test_what_may_have_been_sent_is_unknown_and_never_repeated(
    client: GraphClient, graph: FakeGraph, reply: Reply
) -> None:
    graph.script = [reply]

    with pytest.raises(SendUnknown):
        await client.send_text(ROBIN, "hello", callback_data="out-1")

    assert len(graph.requests) == 1


async def test_silence_ends_at_the_deadline_as_unknown(graph: FakeGraph) -> None:
    graph.script = [Reply(fault=Fault.HANG)]

    async with client_of(graph.base_url, total_s=0.3) as client:
        with pytest.raises(SendUnknown, match=r"^no answer from WhatsApp: none came in time$"):
            await client.send_text(ROBIN, "hello", callback_data="out-1")


async def test_a_late_answer_within_the_deadline_counts(client: GraphClient, graph: FakeGraph) -> None:
    graph.script = [Reply(delay_s=0.2)]

    assert await client.send_text(ROBIN, "hello", callback_data="out-1") == "wamid.FAKE-1"


async def test_nobody_listening_means_nothing_sent() -> None:
    async with client_of(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(GraphUnavailable) as caught:
            await client.send_text(ROBIN, "hello", callback_data="out-1")

    assert caught.value.code is None
    assert str(caught.value) == "WhatsApp cannot be reached: no connection could be made"


async def test_a_name_that_does_not_resolve_means_nothing_sent() -> None:
    async with client_of("http://graph.invalid") as client:
        with pytest.raises(GraphUnavailable, match="its name could not be looked up"):
            await client.mark_read(Wamid("wamid.IN"), typing=False)


@pytest.mark.parametrize("address", ["http://", "graph.facebook.com", "http://127.0.0.1:80000", "ftp://127.0.0.1"])
async def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        GraphClient(base_url=address, version="v25.0", phone_number_id="100", access_token=TOKEN)


async def test_an_api_that_comes_back_between_the_attempts_gets_the_message() -> None:
    port = free_port()
    async with client_of(f"http://127.0.0.1:{port}") as client:
        sending = asyncio.create_task(client.send_text(ROBIN, "hello", callback_data="out-1"))
        await asyncio.sleep(0.1)  # the first attempt is over long before, and the second not yet due
        async with fake_graph(port) as graph:
            assert await sending == "wamid.FAKE-1"
            assert len(graph.requests) == 1


async def test_an_api_that_stays_away_is_tried_three_times(doorstep: Doorstep) -> None:
    async with client_of(doorstep.base_url) as client:
        with pytest.raises(GraphUnavailable, match="connection could be made"):
            await client.send_text(ROBIN, "hello", callback_data="out-1")

    assert doorstep.visits == 3


async def test_cancelling_ends_the_waiting_for_a_next_attempt(doorstep: Doorstep) -> None:
    async with client_of(doorstep.base_url) as client:
        sending = asyncio.create_task(client.send_text(ROBIN, "hello", callback_data="out-1"))
        await eventually(lambda: doorstep.visits == 1)
        sending.cancel()

        with pytest.raises(asyncio.CancelledError):
            await sending
        await asyncio.sleep(0.5)  # longer than until the second
    assert doorstep.visits == 1


async def test_a_redirect_is_not_followed_with_the_token(client: GraphClient, graph: FakeGraph) -> None:
    graph.script = [Reply(status=307, body=b"", headers={"Location": f"{graph.base_url}/v25.0/evil/messages"})]

    with pytest.raises(GraphRejected):
        await client.send_text(ROBIN, "hello", callback_data="out-1")

    assert len(graph.requests) == 1


async def test_what_is_too_long_is_refused_before_it_leaves(client: GraphClient, graph: FakeGraph) -> None:
    with pytest.raises(GraphRejected):
        await client.send_text(ROBIN, "x" * 4097, callback_data="out-1")

    assert graph.requests == []


async def test_no_error_tells_the_token_or_the_text(client: GraphClient, graph: FakeGraph) -> None:
    graph.script = [Reply.error(190), Reply(fault=Fault.DROP_AFTER_BODY)]

    for _ in range(2):
        with pytest.raises((GraphRejected, SendUnknown)) as caught:
            await client.send_text(ROBIN, "a private matter", callback_data="out-1")
        told = f"{caught.value} {caught.value.__cause__}"
        assert TOKEN not in told
        assert "private" not in told


async def test_a_connection_dropped_while_the_answer_is_read_frees_the_session(
    client: GraphClient, graph: FakeGraph
) -> None:
    graph.script = [Reply(fault=Fault.DROP_IN_ANSWER)]
    with pytest.raises(SendUnknown, match=r"^no answer from WhatsApp: it broke off$"):
        await client.send_text(ROBIN, "hello", callback_data="out-1")

    async def sent() -> bool:
        return bool(await client.send_text(ROBIN, "again", callback_data="out-2"))

    assert await eventually(sent)


async def test_a_probe_asks_for_the_number_and_sends_nothing(client: GraphClient, graph: FakeGraph) -> None:
    await client.probe()

    (request,) = graph.requests
    assert (request.path, request.authorization, request.body) == ("/v25.0/100", f"Bearer {TOKEN}", None)


@pytest.mark.parametrize(
    "reply",
    [Reply(status=503, body=b""), Reply.error(2, status=500), Reply(fault=Fault.DROP_AFTER_BODY), Reply.error(4)],
    ids=["503", "code 2", "reset", "limit"],
)
async def test_a_probe_never_leaves_anything_unknown(client: GraphClient, graph: FakeGraph, reply: Reply) -> None:
    graph.script = [reply]

    with pytest.raises(GraphUnavailable):
        await client.probe()


async def test_a_probe_that_is_refused_has_found_the_api(client: GraphClient, graph: FakeGraph) -> None:
    graph.script = [Reply.error(190, status=401)]

    with pytest.raises(GraphRejected):
        await client.probe()
