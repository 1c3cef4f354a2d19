"""The listener against clients that are slow, many, or no HTTP clients at all, on real sockets."""

import asyncio
import gc
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from clawkakad.errors import UsageError
from clawkakad.web.answer import Answer
from clawkakad.web.connection import Limits
from clawkakad.web.incoming import AT_ONCE
from clawkakad.web.listener import listening
from clawkakad.web.request import Request
from tests.support import SCALE, eventually
from tests.web.support import Open, Wire, post, wire

QUICK = Limits(header_s=0.3 * SCALE, body_s=0.6 * SCALE, idle_s=1.5 * SCALE, linger_s=0.2, drain_s=2 * SCALE)
GET = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"


async def echo(request: Request) -> Answer:
    if request.path != "/":
        return Answer(404)
    return Answer(body=request.body if request.method == "POST" else b"hello")


@asynccontextmanager
async def serving(limits: Limits = QUICK, host: str = "127.0.0.1") -> AsyncIterator[int]:
    async with listening(Open(echo), host, 0, limits=limits) as port:
        yield port


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving() as one:
        yield one


async def test_a_request_is_served_and_the_server_stays_nameless(port: int) -> None:
    async with wire(port) as client:
        await client.send(post("/", b"body"))
        status, headers, body = await client.answer()

    assert (status, body) == (200, b"body")
    assert "server" not in headers


async def test_a_client_that_says_nothing_is_cut_off(port: int) -> None:
    async with wire(port) as client:
        began = time.monotonic()
        assert await client.ended() == b""

    assert time.monotonic() - began < QUICK.idle_s


async def test_headers_that_trickle_in_are_cut_off_at_the_deadline(port: int) -> None:
    async with wire(port) as client:
        began = time.monotonic()
        trickle = asyncio.create_task(drip(client, b"GET / HTTP/1.1\r\n" + b"X-Slow: 1\r\n" * 1000))
        assert await client.ended() == b""
        await trickle

    assert time.monotonic() - began < 3 * QUICK.header_s


async def test_a_body_that_trickles_in_is_cut_off_at_the_deadline(port: int) -> None:
    async with wire(port) as client:
        began = time.monotonic()
        head = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10000\r\n\r\n"
        trickle = asyncio.create_task(drip(client, head + b"x" * 9000, at_once=len(head)))
        assert await client.ended() == b""
        await trickle

    assert QUICK.header_s < time.monotonic() - began < 3 * QUICK.body_s


async def test_the_headers_of_a_second_request_have_their_deadline_too(port: int) -> None:
    async with wire(port) as client:
        await client.send(GET)
        assert (await client.answer())[0] == 200
        began = time.monotonic()
        await client.send(b"GET / HTTP/1.1\r\nHost:")
        assert await client.ended() == b""

    assert time.monotonic() - began < QUICK.idle_s


class Closed(Open):
    """A site that refuses everybody by the head."""

    def refuse(self, _: Request) -> Answer | None:
        return Answer(404)


async def test_a_body_that_nobody_wants_is_waited_for_a_moment_only() -> None:
    async with listening(Closed(echo), "127.0.0.1", 0, limits=replace(QUICK, body_s=60)) as port:
        async with wire(port) as client:
            await client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nabc")
            assert (await client.answer())[0] == 404
            assert await client.ended() == b""
        async with wire(port) as client:
            await client.send(post("/", b"abc"))
            assert (await client.answer())[0] == 404
            await client.send(GET)
            assert (await client.answer())[0] == 404


async def test_an_idle_connection_stays_longer_than_a_header_may_take(port: int) -> None:
    async with wire(port) as client:
        await client.send(GET)
        await client.answer()
        with pytest.raises(TimeoutError):
            await client.ended(within_s=1.5 * QUICK.header_s)
        await client.send(GET)
        assert (await client.answer())[0] == 200


async def test_a_handler_may_take_longer_than_client_deadlines() -> None:
    async def slow(request: Request) -> Answer:
        await asyncio.sleep(2 * QUICK.body_s)
        return Answer(body=b"done")

    async with listening(Open(slow), "127.0.0.1", 0, limits=QUICK) as port, wire(port) as client:
        await client.send(post("/", b"body"))
        assert (await client.answer())[2] == b"done"


async def test_pipelined_requests_are_all_answered(port: int) -> None:
    async with wire(port) as client:
        await client.send(GET * 5)
        for _ in range(5):
            assert (await client.answer())[0] == 200


async def test_pipelined_requests_behind_a_body_that_came_later_are_all_answered(port: int) -> None:
    head, body = post("/", b"body")[:-4], b"body"
    async with wire(port) as client:
        await client.send(head)
        await asyncio.sleep(0.1 * SCALE)
        await client.send(body + GET * 15)
        for _ in range(16):
            assert (await client.answer())[0] == 200


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"GET / HTTP/1.1\r\nBad Header\r\n\r\n",
        b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["tls", "ssh", "header", "long line", "negative length", "two lengths"],
)
async def test_noise_gets_a_bare_answer(port: int, noise: bytes) -> None:
    async with wire(port) as client:
        await client.send(noise)
        answer = await client.ended()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert body == b""
    assert b"aiohttp" not in answer.lower()
    assert b"python" not in answer.lower()


async def test_more_connections_than_granted_are_refused_until_one_leaves() -> None:
    async with serving(Limits(connections=3)) as port, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(wire(port)) for _ in range(3)]
        for client in clients:
            await served(client)
        async with wire(port) as late:
            assert await late.ended() == b""
        clients[0].writer.close()

        async def room() -> bool:
            async with wire(port) as client:
                await client.send(GET)
                return await client.answered()

        await eventually(room)


@pytest.mark.parametrize(
    ("body", "requests", "limits"),
    [
        (b"x" * 32 * 2**20, GET, replace(QUICK, connections=1)),
        (b"x" * 32 * 2**20, GET.replace(b"Host", b"Connection: close\r\nHost"), replace(QUICK, connections=1)),
    ],
    ids=["is idle", "wants it closed"],
)
async def test_who_never_reads_loses_the_place(body: bytes, requests: bytes, limits: Limits) -> None:
    async def much(request: Request) -> Answer:
        return Answer(body=body if request.method == "GET" else b"hello")

    async with listening(Open(much), "127.0.0.1", 0, limits=limits) as port, wire(port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.writer.write(requests)

        async def room() -> bool:
            async with wire(port) as other:
                await other.send(post("/", b""))
                return await other.answered()

        assert not await room()
        await eventually(room)


def own_address() -> str | None:
    """An address of this machine other than loopback, without sending anything."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = str(sock.getsockname()[0])
    return None if address.startswith("127.") else address


async def test_one_address_cannot_take_all_connections() -> None:
    other_address = own_address()
    if other_address is None:
        pytest.skip("this machine has no address but loopback")
    async with serving(Limits(per_address=2), host="0.0.0.0") as port, AsyncExitStack() as stack:
        for _ in range(2):
            await served(await stack.enter_async_context(wire(port, other_address)))
        async with wire(port, other_address) as third:
            assert await third.ended() == b""
        for _ in range(4):
            await served(await stack.enter_async_context(wire(port)))


async def test_a_taken_port_is_said_in_one_line(port: int) -> None:
    with pytest.raises(UsageError) as caught:
        async with listening(Open(echo), "127.0.0.1", port):
            pass

    assert f"port {port}" in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_an_address_that_is_not_ours_is_said_in_one_line() -> None:
    with pytest.raises(UsageError) as caught:
        async with listening(Open(echo), "192.0.2.1", 0):
            pass

    assert "\n" not in str(caught.value)


async def test_a_request_in_flight_is_answered_when_the_listener_stops() -> None:
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Answer:
        started.set()
        await release.wait()
        return Answer(body=b"done")

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(listening(Open(slow), "127.0.0.1", 0, limits=QUICK))
        async with wire(port) as client:
            await client.send(GET)
            await started.wait()
            stopping = asyncio.create_task(stack.aclose())
            await eventually(lambda: refused(port))
            release.set()
            _, headers, body = await client.answer()
            assert (headers["connection"], body) == ("close", b"done")
            await stopping


async def test_an_idle_connection_does_not_hold_up_the_stop() -> None:
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving(Limits(drain_s=30)))
        async with wire(port) as client:
            await served(client)
            async with asyncio.timeout(5 * SCALE):
                await stack.aclose()
            assert await client.ended() == b""


async def test_who_sends_line_ends_only_is_cut_off_like_who_says_nothing(port: int) -> None:
    async with wire(port) as client:
        began = time.monotonic()
        await client.send(b"\r\n")
        assert await client.ended() == b""

    assert time.monotonic() - began < QUICK.idle_s


async def test_who_asks_on_and_never_reads_loses_the_place() -> None:
    async def much(_: Request) -> Answer:
        return Answer(body=b"x" * 2**20)

    async with listening(Open(much), "127.0.0.1", 0, limits=Limits(connections=1)) as port, wire(port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with suppress(ConnectionError):
            for _ in range(32):
                await client.send(GET)
                await asyncio.sleep(0.01)
        await eventually(lambda: enters(port))


async def test_who_is_slow_to_read_the_last_answer_gets_all_of_it() -> None:
    async def much(_: Request) -> Answer:
        return Answer(body=b"x" * 32 * 2**20)

    limits = Limits(linger_s=0.1)
    async with listening(Open(much), "127.0.0.1", 0, limits=limits) as port, wire(port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET.replace(b"Host", b"Connection: close\r\nHost"))
        await asyncio.sleep(5 * limits.linger_s)
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await client.answer())[2]) == 32 * 2**20


async def test_what_is_unread_when_the_listener_stops_is_given_up() -> None:
    async def much(_: Request) -> Answer:
        return Answer(body=b"x" * 32 * 2**20)

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(listening(Open(much), "127.0.0.1", 0, limits=QUICK))
        async with wire(port) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(GET)
            await asyncio.sleep(0.1)
            await stack.aclose()
            client.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len(await client.ended()) < 32 * 2**20


async def test_who_sends_on_behind_the_last_answer_is_cut_off(port: int) -> None:
    async with wire(port) as client:
        await client.send(GET.replace(b"Host", b"Connection: close\r\nHost"))
        assert (await client.answer())[0] == 200
        async with asyncio.timeout(QUICK.idle_s):
            await drip(client, b"x" * 100_000)


async def test_who_has_sent_everything_is_answered_all_the_same() -> None:
    slow = Slow.site()
    async with listening(slow, "127.0.0.1", 0, limits=QUICK) as port, wire(port) as client:
        await client.send(GET)
        await slow.started.wait()
        client.writer.write_eof()
        await asyncio.sleep(0.1)
        slow.release.set()
        assert (await client.answer())[1]["connection"] == "close"


async def test_who_sends_on_while_being_answered_has_to_wait() -> None:
    slow, more = Slow.site(), 32 * 2**20
    limits = Limits(body=2 * more)
    async with listening(slow, "127.0.0.1", 0, limits=limits) as port, wire(port) as client:
        await client.send(GET)
        await slow.started.wait()
        client.writer.write(post("/", b"x" * more))
        await asyncio.sleep(0.5)
        assert client.writer.transport.get_write_buffer_size() > more // 2
        slow.release.set()
        assert [(await client.answer())[0] for _ in range(2)] == [200, 200]


async def test_who_asks_too_much_at_once_is_told_which_answer_is_the_last(port: int) -> None:
    async with wire(port) as client:
        await client.send(GET * (AT_ONCE + 1))
        said = [(await client.answer())[1].get("connection") for _ in range(AT_ONCE)]
        assert await client.ended() == b""

    assert said == [None] * (AT_ONCE - 1) + ["close"]


async def test_who_is_told_to_send_is_not_told_again_when_it_is_too_much() -> None:
    head = b"POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving(replace(QUICK, body=10)) as port, wire(port) as client:
        await client.send(head)
        assert (await client.answer())[0] == 100
        await client.send(b"b\r\n" + b"x" * 11)
        assert (await client.answer())[0] == 413
        assert await client.ended() == b""


async def test_who_closes_its_side_and_never_reads_loses_the_place() -> None:
    started = asyncio.Event()

    async def much(request: Request) -> Answer:
        started.set()
        await asyncio.sleep(0.1)
        return Answer(body=b"x" * 32 * 2**20)

    limits = replace(QUICK, connections=1)
    async with listening(Open(much), "127.0.0.1", 0, limits=limits) as port, wire(port) as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET)
        await started.wait()
        client.writer.write_eof()
        await eventually(lambda: enters(port))


async def test_a_client_that_is_gone_when_its_connection_is_closed_is_no_error(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with wire(port) as other:
        client = socket.create_connection(("127.0.0.1", port))
        kind = type(other.writer.transport)
        write_eof = kind.write_eof

        def too_late(transport: asyncio.WriteTransport) -> None:
            reset(client)
            write_eof(transport)

        monkeypatch.setattr(kind, "write_eof", too_late)
        client.sendall(GET.replace(b"Host", b"Connection: close\r\nHost"))
        await eventually(lambda: client.fileno() < 0)
        await served(other)
    gc.collect()

    assert errors == []


@dataclass
class Slow(Open):
    """A site whose answers take until `release`; `ended` counts those that came to an end, whichever."""

    release: asyncio.Event = field(default_factory=asyncio.Event)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: int = 0

    @classmethod
    def site(cls) -> "Slow":
        async def answer(_: Request) -> Answer:
            one.started.set()
            try:
                await one.release.wait()
            finally:
                one.ended += 1
            return Answer()

        one = cls(answer)
        return one


async def test_what_is_answered_for_a_client_that_has_gone_takes_its_place_until_it_is() -> None:
    slow = Slow.site()
    async with listening(slow, "127.0.0.1", 0, limits=replace(QUICK, connections=1)) as port:
        await ask_and_go(port, slow)
        assert not await enters(port)
        slow.release.set()
        await eventually(lambda: enters(port))


async def test_what_else_a_client_that_has_gone_had_asked_is_not_answered() -> None:
    slow = Slow.site()
    async with listening(slow, "127.0.0.1", 0, limits=QUICK) as port:
        await ask_and_go(port, slow, GET * 2)
        slow.release.set()

    assert slow.ended == 1


async def test_what_is_answered_for_a_client_that_has_gone_ends_when_the_listener_stops() -> None:
    slow = Slow.site()
    async with listening(slow, "127.0.0.1", 0, limits=replace(QUICK, drain_s=0.1)) as port:
        await ask_and_go(port, slow)

    assert slow.ended == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning"
)  # asyncio forgets whom it has accepted and not yet served
@pytest.mark.parametrize("turns", range(6))
async def test_whoever_comes_just_before_the_listener_stops_is_not_left_behind(turns: int) -> None:
    async with serving() as port:
        client = socket.socket()
        client.setblocking(False)
        with suppress(BlockingIOError):
            client.connect(("127.0.0.1", port))
        for _ in range(turns):
            await asyncio.sleep(0)
    gc.collect()

    with client, suppress(ConnectionError):
        async with asyncio.timeout(QUICK.header_s / 2):
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""


async def ask_and_go(port: int, site: Slow, requests: bytes = GET) -> None:
    """A client resets its connection while it is answered, and the server knows."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(requests)
    await site.started.wait()
    reset(client)
    await asyncio.sleep(0.1)


def reset(client: socket.socket) -> None:
    """Close at once, without a last word."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def enters(port: int) -> bool:
    """Whether there is a place: who gets none is cut at once."""
    async with wire(port) as client:
        try:
            await client.ended(within_s=0.1)
        except TimeoutError:
            return True
    return False


async def served(client: Wire) -> None:
    await client.send(GET)
    assert (await client.answer())[0] == 200


async def refused(port: int) -> bool:
    try:
        async with wire(port):
            return False
    except ConnectionError:
        return True


async def drip(client: Wire, data: bytes, *, at_once: int = 0) -> None:
    """Send a byte every now and then, as long as the server takes it."""
    try:
        await client.send(data[:at_once])
        for byte in data[at_once:]:
            await client.send(bytes([byte]))
            await asyncio.sleep(0.02)
    except ConnectionError:
        return
