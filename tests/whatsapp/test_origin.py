"""Requests to an origin over real sockets, against servers that break every rule: on asyncio's own loop and on uvloop.

Each test ends with a look at what must never be left behind: something logged by the loop, or a connection.
"""

import asyncio
import contextlib
import re
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clawkakad.whatsapp.httpconnection import ANSWER_LIMIT, Answer, Unanswered
from clawkakad.whatsapp.origin import AT_ONCE, Deadline, Origin, Unreached
from tests.loops import on_both_loops
from tests.support import SCALE, eventually, free_port

AMPLE = Deadline(total_s=20 * SCALE, connect_s=20 * SCALE)
SHORT_S = 0.2 * SCALE
HURRIED = Deadline(total_s=SHORT_S, connect_s=AMPLE.connect_s)
OK = b"HTTP/1.1 200 OK\r\n"
HI = OK + b"Content-Length: 2\r\n\r\nhi"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Visit:
    """One connection, as its server sees it. `seen` is all that came over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.seen = b""
        self.is_over = False

    async def request(self) -> bytes:
        head = await self.head()
        length = re.search(rb"Content-Length: (\d+)", head)
        body = await self._reader.readexactly(int(length[1]) if length else 0)
        self.seen += body
        return head + body

    async def head(self) -> bytes:
        head = await self._reader.readuntil(b"\r\n\r\n")
        self.seen += head
        return head

    async def say(self, *parts: bytes) -> None:
        for number, part in enumerate(parts):
            if number:
                await asyncio.sleep(0.01)  # each for itself
            self._writer.write(part)
            await self._writer.drain()

    async def say_for_ever(self, part: bytes) -> None:
        while True:
            await self.say(part)
            await asyncio.sleep(0)

    async def end(self) -> None:
        """Until the other side goes away."""
        while data := await self._reader.read(1 << 16):
            self.seen += data

    def shut(self) -> None:
        self._writer.close()

    def half_shut(self) -> None:
        self._writer.write_eof()

    def reset(self) -> None:
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def read_nothing(self) -> None:
        self._writer.transport.pause_reading()


Script = Callable[[Visit], Awaitable[None]]


@dataclass
class Server:
    """`visits`: every connection that it got, in order."""

    scheme: str
    port: int = 0
    visits: list[Visit] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def open(self) -> int:
        return sum(not visit.is_over for visit in self.visits)

    @property
    def seen(self) -> bytes:
        return b"".join(visit.seen for visit in self.visits)


@asynccontextmanager
async def serving(*scripts: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """The first connection gets the first script, and so on; those for whom there is none, the last."""
    server = Server("https" if tls else "http")
    tasks: set[asyncio.Task[None]] = set()

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        visit = Visit(reader, writer)
        server.visits.append(visit)
        try:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):  # the other side may go at any time
                await scripts[min(len(server.visits), len(scripts)) - 1](visit)
        finally:
            visit.is_over = True
            writer.transport.abort()
            await asyncio.sleep(0)
            tasks.discard(task)

    listening = await asyncio.start_server(receive, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in tasks.copy():
            task.cancel()
        await eventually(lambda: not tasks)
        await asyncio.sleep(0.01)  # transports go one turn of the loop later


@asynccontextmanager
async def origin_of(url: str, **settings: Any) -> AsyncIterator[Origin]:
    origin = Origin(url, **settings)
    try:
        yield origin
    finally:
        await origin.aclose()
        await asyncio.sleep(0.01)


async def ask(origin: Origin, body: bytes = b"", deadline: Deadline = AMPLE) -> Answer:
    return await origin.ask(origin.head("POST", "/x", {}), body, deadline)


async def always(visit: Visit) -> None:
    """A good server."""
    while True:
        await visit.request()
        await visit.say(HI)


async def never(visit: Visit) -> None:
    await visit.end()


async def dripping(visit: Visit) -> None:
    await visit.request()
    await visit.say(OK + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 999)


async def asked(visit: Visit) -> None:
    """Takes a request, and says nothing to it."""
    await visit.request()
    await visit.end()


def says(*parts: bytes, then: Script = never) -> Script:
    async def script(visit: Visit) -> None:
        await visit.request()
        await visit.say(*parts)
        await then(visit)

    return script


async def shut(visit: Visit) -> None:
    visit.shut()
    await visit.end()


async def half_shut(visit: Visit) -> None:
    visit.half_shut()
    await visit.end()


async def reset(visit: Visit) -> None:
    visit.reset()


def for_ever(part: bytes) -> Script:
    async def script(visit: Visit) -> None:
        await visit.say_for_ever(part)

    return script


async def answers_and_reads_nothing(visit: Visit) -> None:
    """Answers before it has read, and then reads nothing any more."""
    await visit.head()
    visit.read_nothing()
    await visit.say(b"HTTP/1.1 429 Slower\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
    await asyncio.Event().wait()


def holding(go: asyncio.Event) -> Script:
    """Takes requests, and answers none before the event; each answer is the connection's last."""

    async def script(visit: Visit) -> None:
        await visit.request()
        await go.wait()
        await visit.say(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi")
        await visit.end()

    return script


async def every_place_is_free(server: Server, origin: Origin, go: asyncio.Event) -> None:
    """As many requests as there are places are on their way before the first is answered."""
    go.clear()
    before = server.seen.count(b"POST")
    tasks = [asyncio.create_task(ask(origin)) for _ in range(AT_ONCE)]
    await eventually(lambda: server.seen.count(b"POST") == before + AT_ONCE)
    go.set()
    assert {answer.body for answer in await asyncio.gather(*tasks)} == {b"hi"}


def sockets() -> int:
    """How many this process has. Who does not read does not notice that the other side is gone."""
    return sum(1 for link in Path("/proc/self/fd").iterdir() if _target(link).startswith("socket:"))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed since it was listed
        return ""


@dataclass
class Paper:
    """Contexts of servers, and of a client that trusts `server` and `other`, but not `stranger`."""

    server: ssl.SSLContext
    older_server: ssl.SSLContext
    other: ssl.SSLContext
    stranger: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Paper:
    place = tmp_path_factory.mktemp("paper")

    def write(who: str, names: str) -> Callable[[], ssl.SSLContext]:
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
        files = ["-keyout", f"{place}/{who}.key", "-out", f"{place}/{who}.pem", "-addext", f"subjectAltName={names}"]
        subprocess.run([*command.split(), *files], check=True, capture_output=True)

        def context() -> ssl.SSLContext:
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            made.load_cert_chain(f"{place}/{who}.pem", f"{place}/{who}.key")
            return made

        return context

    server = write("server", "DNS:localhost,IP:127.0.0.1")
    other, stranger = write("other", "DNS:elsewhere.invalid"), write("stranger", "DNS:localhost,IP:127.0.0.1")
    older = server()
    older.maximum_version = ssl.TLSVersion.TLSv1_2  # the server has the last word of the handshake
    client = ssl.create_default_context(cafile=f"{place}/server.pem")
    client.load_verify_locations(f"{place}/other.pem")
    return Paper(server(), older, other(), stranger(), client)


# An answer, and what becomes of the connection


@dataclass
class Case:
    parts: tuple[bytes, ...]
    status: int = 200
    body: bytes = b"hi"
    fields: dict[str, str] = field(default_factory=dict)
    then: Script = always
    is_kept: bool = True


LONG = b"x" * ANSWER_LIMIT
ANSWERS = {
    "a length": Case((HI,), fields={"content-length": "2"}),
    "a length, byte by byte": Case(tuple(HI[at : at + 1] for at in range(len(HI))), fields={"content-length": "2"}),
    "no body": Case((OK + b"Content-Length: 0\r\n\r\n",), body=b"", fields={"content-length": "0"}),
    "names and values": Case(
        (OK + b"RETRY-after:17 \r\nX-Empty:\r\nX-Odd: \xe9\r\nContent-Length: 2\r\n\r\nhi",),
        fields={"retry-after": "17", "x-empty": "", "x-odd": "é", "content-length": "2"},
    ),
    "a refusal": Case((b"HTTP/1.1 400 \r\nContent-Length: 2\r\n\r\nhi",), 400, fields={"content-length": "2"}),
    "204": Case((b"HTTP/1.1 204 No Content\r\n\r\n",), 204, b""),
    "304 with the length of another": Case(
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 900\r\n\r\n",), 304, b"", {"content-length": "900"}
    ),
    "204 with a body": Case((b"HTTP/1.1 204 No Content\r\n\r\nhi",), 204, b"", is_kept=False),
    "chunks": Case((CHUNKED, b"1\r\nh\r\n1;a=b\r\ni\r\n", b"0\r\n\r\n"), fields={"transfer-encoding": "chunked"}),
    "a trailer": Case((CHUNKED + b"2\r\nhi\r\n0\r\nRetry-After: 17\r\n\r\n",), fields={"transfer-encoding": "chunked"}),
    "on its way": Case((b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n", HI), fields={"content-length": "2"}),
    "on its way, twice, in one": Case(
        (b"HTTP/1.1 103 Early Hints\r\nLink: z\r\n\r\n" * 2 + HI,), fields={"content-length": "2"}
    ),
    "closed by its word": Case(
        (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi",),
        fields={"connection": "close", "content-length": "2"},
        is_kept=False,
    ),
    "closed by its word, chunks": Case(
        (OK + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",),
        fields={"connection": "close", "transfer-encoding": "chunked"},
        is_kept=False,
    ),
    "HTTP/1.0": Case(
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",), fields={"content-length": "2"}, is_kept=False
    ),
    "HTTP/1.0 that is kept": Case(
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",),
        fields={"connection": "keep-alive", "content-length": "2"},
    ),
    "until the end": Case((OK + b"\r\n", b"h", b"i"), then=shut, is_kept=False),
    "until the half of the end": Case((OK + b"\r\n", b"hi"), then=half_shut, is_kept=False),
    "closed right after it": Case((HI,), fields={"content-length": "2"}, then=shut, is_kept=False),
    "reset right after it": Case((HI,), fields={"content-length": "2"}, then=reset, is_kept=False),
    "compressed, though nobody asked": Case(
        (OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",),
        body=b"\x1f\x8b",
        fields={"content-encoding": "gzip", "content-length": "2"},
    ),
    "as long as is kept": Case(
        (OK + b"Content-Length: %d\r\n\r\n" % len(LONG) + LONG,), body=LONG, fields={"content-length": str(len(LONG))}
    ),
    "longer than is kept": Case(
        (OK + b"X: y\r\n\r\n", LONG, b"more", b"and more"), body=LONG, fields={"x": "y"}, is_kept=False
    ),
    "without an end": Case(
        (CHUNKED,),
        body=LONG,
        fields={"transfer-encoding": "chunked"},
        then=for_ever(b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        is_kept=False,
    ),
    "two at once": Case(
        (HI + b"HTTP/1.1 400 Bad\r\nRetry-After: 17\r\nContent-Length: 3\r\n\r\nbad",),
        fields={"content-length": "2"},
        is_kept=False,
    ),
    "two, one of them without an end": Case(
        (HI + OK + b"X:" + b"y" * 4096,), fields={"content-length": "2"}, then=for_ever(b"y" * 4096), is_kept=False
    ),
    "and the beginning of another": Case((HI + b"H",), fields={"content-length": "2"}, is_kept=False),
    "and what cannot be read": Case((HI + b"\x00\x01",), fields={"content-length": "2"}, is_kept=False),
    "and a blank line": Case((b"\r\n" + HI + b"\r\n",), fields={"content-length": "2"}),
}


@pytest.mark.parametrize("case", ANSWERS.values(), ids=list(ANSWERS))
@on_both_loops
async def test_an_answer_is_read_and_the_connection_kept_where_it_can_be(case: Case) -> None:
    async with serving(says(*case.parts, then=case.then), always) as server, origin_of(server.url) as origin:
        first = await ask(origin)
        assert (first.status, first.body, dict(first.fields)) == (case.status, case.body, case.fields)
        if not case.is_kept:
            await eventually(lambda: server.open == 0)
            await asyncio.sleep(0.02)  # until it is heard of

        assert (await ask(origin)).body == b"hi"
        assert len(server.visits) == (1 if case.is_kept else 2)


@pytest.mark.parametrize(
    ("parts", "then", "why"),
    [
        pytest.param((), shut, "the connection broke", id="closed"),
        pytest.param((), half_shut, "the connection broke", id="half closed"),
        pytest.param((), reset, "the connection broke", id="reset"),
        pytest.param((b"HTT",), shut, "it broke off", id="closed in the first line"),
        pytest.param((OK + b"Content-Le",), shut, "it broke off", id="closed in the head"),
        pytest.param((OK,), reset, "it broke off", id="reset in the head"),
        pytest.param((HI[:-1],), shut, "it broke off", id="closed in the body"),
        pytest.param((HI[:-1],), half_shut, "it broke off", id="half closed in the body"),
        pytest.param((HI[:-1],), reset, "it broke off", id="reset in the body"),
        pytest.param((CHUNKED + b"2\r\nhi\r\n",), shut, "it broke off", id="closed between chunks"),
        pytest.param((CHUNKED + b"2\r\nhi\r\n0\r\n",), shut, "it broke off", id="closed in the trailer"),
        pytest.param((OK + b"\r\nhi",), reset, "it broke off", id="reset where closing would be the end"),
        pytest.param((b"HTTP/1.1 100 Continue\r\n\r\n",), shut, "the connection broke", id="only on its way"),
        pytest.param((b"\x00\xff\r\n\r\n",), never, "it cannot be read", id="no HTTP"),
        pytest.param((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",), never, "it cannot be read", id="HTTP/2"),
        pytest.param((OK + b"no field\r\n\r\n",), never, "it cannot be read", id="no field"),
        pytest.param((OK + b"Content-Length: x\r\n\r\n",), never, "it cannot be read", id="no length"),
        pytest.param((CHUNKED + b"x\r\n",), never, "it cannot be read", id="no chunk"),
        pytest.param(
            (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi",),
            never,
            "it cannot be read",
            id="two lengths",
        ),
        pytest.param(
            (b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",),
            never,
            "it cannot be read",
            id="another protocol",
        ),
        pytest.param((OK,), for_ever(b"X: y\r\n" * 500), "it has no end", id="a head of endless fields"),
        pytest.param((OK + b"X: ",), for_ever(b"y" * 4096), "it has no end", id="a head of an endless field"),
        pytest.param((CHUNKED + b"0\r\n",), for_ever(b"X: y\r\n" * 500), "it has no end", id="an endless trailer"),
        pytest.param((CHUNKED + b"0\r\nX: ",), for_ever(b"y" * 4096), "it has no end", id="a trailer of one field"),
        pytest.param((CHUNKED + b"2;",), for_ever(b"y" * 4096), "it has no end", id="a chunk of an endless head"),
    ],
)
@on_both_loops
async def test_what_is_no_whole_answer_leaves_the_outcome_unknown_and_the_connection_closed(
    parts: tuple[bytes, ...], then: Script, why: str
) -> None:
    async with serving(says(*parts, then=then), always) as server, origin_of(server.url) as origin:
        with pytest.raises(Unanswered) as caught:
            await ask(origin)
        await eventually(lambda: server.open == 0)

        assert str(caught.value) == why
        assert (await ask(origin)).body == b"hi"
        assert server.seen.count(b"POST") == 2  # and not one more


@on_both_loops
async def test_a_request_goes_out_as_it_was_given() -> None:
    async with serving(always) as server, origin_of(server.url) as origin:
        await origin.ask(origin.head("POST", "/a?b", {"X-One": "1", "Accept": "text/plain"}), b"\x00\r\n\r\n", AMPLE)

    assert server.seen == (
        b"POST /a?b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: clawkakad\r\nAccept: text/plain\r\n"
        b"Accept-Encoding: identity\r\nX-One: 1\r\nContent-Length: 5\r\n\r\n\x00\r\n\r\n" % server.port
    )


@pytest.mark.parametrize("bad", ["a\r\nB: c", "a\nb", "a\x00", "a\u2028"])
def test_what_would_break_a_head_is_refused(bad: str) -> None:
    origin = Origin("http://127.0.0.1")
    for method, path, fields in ((bad, "/", {}), ("GET", bad, {}), ("GET", "/", {bad: "x"}), ("GET", "/", {"X": bad})):
        with pytest.raises(ValueError, match="head of a request"):
            origin.head(method, path, fields)


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://name.invalid", "name.invalid"),
        ("https://name.invalid:443/x", "name.invalid"),
        ("https://user:word@name.invalid:80", "name.invalid:80"),
        ("http://[::1]:8080", "[::1]:8080"),
        ("http://bücher.invalid", "xn--bcher-kva.invalid"),
    ],
)
def test_the_host_is_named_as_it_is_asked_for(url: str, authority: str) -> None:
    assert b"\r\nHost: %b\r\n" % authority.encode() in Origin(url).head("GET", "/", {})


# Deadlines


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(says(), id="silence"),
        pytest.param(says(OK), id="silence in the head"),
        pytest.param(says(HI[:-1]), id="silence in the body"),
        pytest.param(says(b"HTTP/1.1 100 Continue\r\n\r\n"), id="silence after a word"),
        pytest.param(says(then=for_ever(b"HTTP/1.1 100 Continue\r\n\r\n")), id="on its way for ever"),
        pytest.param(dripping, id="a drop now and then"),
    ],
)
@on_both_loops
async def test_an_answer_that_is_not_there_in_time_is_unknown(script: Script) -> None:
    async with serving(script, always) as server, origin_of(server.url) as origin:
        began = time.monotonic()
        with pytest.raises(Unanswered, match=r"^none came in time$"):
            await ask(origin, deadline=HURRIED)
        assert SHORT_S * 0.9 < time.monotonic() - began < SHORT_S * 10
        await eventually(lambda: server.open == 0)

        assert (await ask(origin)).body == b"hi"


@on_both_loops
async def test_a_server_that_does_not_read_is_left_at_the_deadline() -> None:
    async def script(visit: Visit) -> None:
        await visit.head()
        visit.read_nothing()
        await asyncio.Event().wait()

    async with serving(script) as server, origin_of(server.url) as origin:
        before = sockets()
        with pytest.raises(Unanswered, match=r"^none came in time$"):
            await ask(origin, b"x" * 20_000_000, HURRIED)
        await eventually(lambda: sockets() == before + 1)  # the server's own


@on_both_loops
async def test_a_server_that_answers_and_does_not_read_is_left_at_once() -> None:
    async with serving(answers_and_reads_nothing) as server, origin_of(server.url) as origin:
        before = sockets()
        assert (await ask(origin, b"x" * 20_000_000)).status == 429
        await eventually(lambda: sockets() == before + 1)


# Before there is a connection


@pytest.fixture
def dead() -> Iterator[int]:
    """A port whose queue is full: who connects hears nothing at all."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(8):
            one = stack.enter_context(socket.socket())
            one.settimeout(0.05)
            try:
                one.connect(listening.getsockname())
            except TimeoutError:
                break
        else:
            raise AssertionError("the queue has no end")
        yield listening.getsockname()[1]


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives name.invalid the ports of loopback that are said, or whatever a coroutine does."""

    def become(*ports: int, instead: Callable[[], Awaitable[Any]] | None = None) -> None:
        loop = asyncio.get_running_loop()
        real = loop.getaddrinfo

        async def look_up(host: str, *args: Any, **named: Any) -> Any:
            if host != "name.invalid":
                return await real(host, *args, **named)
            if instead is not None:
                return await instead()
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

        monkeypatch.setattr(loop, "getaddrinfo", look_up)

    return become


@on_both_loops
async def test_waiting_for_one_of_the_places_ends_in_time() -> None:
    go = asyncio.Event()
    async with serving(holding(go)) as server, origin_of(server.url) as origin:
        tasks = [asyncio.create_task(ask(origin)) for _ in range(AT_ONCE)]
        await eventually(lambda: server.seen.count(b"POST") == AT_ONCE)

        with pytest.raises(Unreached, match=r"^no connection in time$"):
            await ask(origin, b"late", Deadline(total_s=AMPLE.total_s, connect_s=SHORT_S))
        waiting = asyncio.create_task(ask(origin, b"patient"))
        impatient = asyncio.create_task(ask(origin, b"cancelled"))
        await asyncio.sleep(0.01)
        impatient.cancel()
        go.set()

        assert {answer.body for answer in await asyncio.gather(*tasks, waiting)} == {b"hi"}
        assert b"late" not in server.seen
        assert b"cancelled" not in server.seen
        await every_place_is_free(server, origin, go)


@on_both_loops
async def test_a_place_that_comes_free_has_a_connection_already() -> None:
    go = asyncio.Event()

    async def script(visit: Visit) -> None:
        while True:
            await visit.request()
            await go.wait()
            await visit.say(HI)

    async with serving(script) as server, origin_of(server.url) as origin:
        tasks = [asyncio.create_task(ask(origin)) for _ in range(AT_ONCE + 20)]
        await eventually(lambda: server.seen.count(b"POST") == AT_ONCE)
        go.set()
        await asyncio.gather(*tasks)

        assert len(server.visits) == AT_ONCE


@pytest.mark.parametrize("deadline", [Deadline(AMPLE.total_s, SHORT_S), Deadline(SHORT_S, AMPLE.connect_s)])
@pytest.mark.parametrize("where", ["looking up", "connecting", "shaking hands"])
@on_both_loops
async def test_what_comes_before_a_request_ends_in_time_with_nothing_sent(
    where: str, deadline: Deadline, dead: int, name: Callable[..., None]
) -> None:
    async with serving(never) as server:
        if where == "looking up":
            name(instead=asyncio.Event().wait)
        else:
            name(dead if where == "connecting" else server.port)
        async with origin_of(f"https://name.invalid:{server.port}") as origin:
            began = time.monotonic()
            with pytest.raises(Unreached, match=r"^no connection in time$"):
                await ask(origin, deadline=deadline)

            assert time.monotonic() - began < SHORT_S * 10
            await eventually(lambda: server.open == 0)
            assert b"POST" not in server.seen


@pytest.mark.parametrize("where", ["looking up", "connecting", "shaking hands", "answering"])
@on_both_loops
async def test_cancelled_while_it_waits_a_request_leaves_nothing(
    where: str, dead: int, name: Callable[..., None]
) -> None:
    before = sockets()
    async with serving(never) as server:
        if where == "looking up":
            name(instead=asyncio.Event().wait)
        else:
            name(dead if where == "connecting" else server.port)
        async with origin_of(f"http{'s' * (where != 'answering')}://name.invalid:{server.port}") as origin:
            task = asyncio.create_task(ask(origin))
            if where in ("shaking hands", "answering"):
                await eventually(lambda: server.seen)
            else:
                await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await eventually(lambda: server.open == 0)
            assert (b"POST" in server.seen) == (where == "answering")
    await eventually(lambda: sockets() == before)


@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "out of time"])
@pytest.mark.parametrize("is_secure", [False, True], ids=["http", "https"])
@on_both_loops
async def test_ended_at_any_moment_a_request_gives_its_place_back_and_tells_the_truth(
    is_cancelled: bool, is_secure: bool, paper: Paper
) -> None:
    go = asyncio.Event()
    go.set()
    async with (
        serving(holding(go), tls=paper.server if is_secure else None) as server,
        origin_of(server.url, tls=paper.client) as origin,
    ):
        outcomes: list[Any] = []
        turns = 0
        while sum(isinstance(outcome, Answer) for outcome in outcomes) < 3:
            turns += 1 if turns < 50 else 5
            deadline = AMPLE if is_cancelled else Deadline(total_s=turns / 5000, connect_s=turns / 5000)
            task = asyncio.create_task(ask(origin, b"<%d>" % len(outcomes), deadline))
            if is_cancelled:
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
            outcomes += await asyncio.gather(task, return_exceptions=True)

        await eventually(lambda: server.open == 0)
        for number, outcome in enumerate(outcomes):
            assert isinstance(outcome, Answer | (asyncio.CancelledError if is_cancelled else Unreached | Unanswered))
            if isinstance(outcome, Unreached):
                assert b"<%d>" % number not in server.seen
        await every_place_is_free(server, origin, go)


@on_both_loops
async def test_cancelled_with_its_answer_in_hand_a_request_spoils_nobody_elses() -> None:
    async def script(visit: Visit) -> None:
        while True:
            request = await visit.request()
            await visit.say(OK + b"Content-Length: 3\r\n\r\n" + request[-3:])

    async with serving(script) as server, origin_of(server.url) as origin:
        for turns in range(60):
            task = asyncio.create_task(ask(origin, b"old"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            assert (await ask(origin, b"new")).body == b"new"


@pytest.mark.parametrize("first", ["refuses", "dead"])
@on_both_loops
async def test_an_address_that_does_not_answer_is_passed_over(first: str, dead: int, name: Callable[..., None]) -> None:
    async with serving(always) as server:
        name(dead if first == "dead" else free_port(), server.port)
        async with origin_of("http://name.invalid") as origin:
            assert (await ask(origin)).body == b"hi"
            assert server.seen.count(b"POST") == 1


@on_both_loops
async def test_no_address_that_answers_means_nothing_sent(name: Callable[..., None]) -> None:
    name(free_port(), free_port())
    async with origin_of("http://name.invalid") as origin:
        with pytest.raises(Unreached, match=r"^no connection could be made$"):
            await ask(origin)


@pytest.mark.parametrize("host", ["graph.invalid", "a" * 64, "a..b", "-", "xn--a"])
@pytest.mark.parametrize("scheme", ["http", "https"])
@on_both_loops
async def test_a_name_that_is_nobodys_means_nothing_sent(scheme: str, host: str) -> None:
    async with origin_of(f"{scheme}://{host}") as origin:
        with pytest.raises(Unreached, match=r"^its name could not be looked up$"):
            await ask(origin)


@on_both_loops
async def test_a_socket_that_the_loop_will_not_have_means_nothing_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(sock: socket.socket, address: object) -> None:
        raise RuntimeError("File descriptor 7 is used by transport")  # uvloop's, now and then

    async with serving(always) as server, origin_of(server.url) as origin:
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", refuse)
        with pytest.raises(Unreached, match=r"^no connection could be made$"):
            await ask(origin)
        monkeypatch.undo()
        assert (await ask(origin)).body == b"hi"


@on_both_loops
async def test_an_answer_before_the_question_is_nobodys_or_is_the_answer(paper: Paper) -> None:
    async def script(visit: Visit) -> None:
        await visit.say(HI)
        await visit.end()

    for tls in (None, paper.older_server):
        async with serving(script, tls=tls) as server, origin_of(server.url, tls=paper.client) as origin:
            try:
                assert (await ask(origin)).body == b"hi"
            except Unreached:
                await eventually(lambda server=server: server.open == 0)
                assert server.seen == b""


# TLS


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@on_both_loops
async def test_over_tls_a_connection_is_kept_and_closed_as_without(host: str, paper: Paper) -> None:
    async with serving(always, tls=paper.server) as server:
        async with origin_of(f"https://{host}:{server.port}", tls=paper.client) as origin:
            assert [(await ask(origin)).body for _ in range(3)] == [b"hi"] * 3
            assert len(server.visits) == 1
        await eventually(lambda: server.open == 0)


@pytest.mark.parametrize("then", [never, shut, reset], ids=["stays", "shuts", "resets"])
@pytest.mark.parametrize(
    "answer", [OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi", HI], ids=["closed by its word", "kept"]
)
@on_both_loops
async def test_over_tls_whoever_closes_the_next_request_finds_another(
    answer: bytes, then: Script, paper: Paper
) -> None:
    async with (
        serving(says(answer, then=then), always, tls=paper.server) as server,
        origin_of(server.url, tls=paper.client) as origin,
    ):
        assert (await ask(origin)).body == b"hi"
        if then is not never or b"close" in answer:
            await eventually(lambda: server.open == 0)
            await asyncio.sleep(0.01)
            assert (await ask(origin)).body == b"hi"


@pytest.mark.parametrize("answer", [b"Connection: close", b"Connection: keep-alive"])
@on_both_loops
async def test_over_tls_nobody_waits_for_the_others_goodbye(answer: bytes, paper: Paper) -> None:
    async def script(visit: Visit) -> None:
        await visit.request()
        visit.read_nothing()
        await visit.say(OK + answer + b"\r\nContent-Length: 2\r\n\r\nhi")
        await asyncio.Event().wait()

    async with serving(script, tls=paper.server) as server:
        before = sockets()
        async with origin_of(server.url, tls=paper.client) as origin:
            assert (await ask(origin)).body == b"hi"
        await eventually(lambda: sockets() <= before + 1)


@on_both_loops
async def test_nothing_is_said_to_whom_nobody_vouches_for(paper: Paper) -> None:
    for theirs, ours in ((paper.stranger, paper.client), (paper.server, None), (paper.other, paper.client)):
        async with serving(always, tls=theirs) as server:
            async with origin_of(server.url, tls=ours) as origin:
                with pytest.raises(Unreached, match=r"^no secure connection could be made$"):
                    await ask(origin)
            assert server.seen == b""


@pytest.mark.parametrize(
    ("answer", "then", "why"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", never, "no secure connection could be made"),
        (b"", shut, "connection could be made"),
        (b"", reset, "connection could be made"),
    ],
    ids=["plain HTTP", "shut", "reset"],
)
@on_both_loops
async def test_a_handshake_that_fails_means_nothing_sent(answer: bytes, then: Script, why: str, paper: Paper) -> None:
    async def script(visit: Visit) -> None:
        await visit.say(answer)
        await then(visit)

    async with (
        serving(script) as server,
        origin_of(server.url.replace("http", "https"), tls=paper.client) as origin,
    ):
        with pytest.raises(Unreached, match=why):
            await ask(origin)
        await eventually(lambda: server.open == 0)
        assert b"POST" not in server.seen


# Connections that rest


@pytest.mark.parametrize(
    "unasked", [HI, b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n", b"H", b"\x00", b"\r\n" * 40_000]
)
@on_both_loops
async def test_what_nobody_asked_for_is_nobodys_answer(unasked: bytes) -> None:
    async with serving(says(HI, unasked), always) as server, origin_of(server.url) as origin:
        assert (await ask(origin)).body == b"hi"
        await eventually(lambda: server.open == 0)

        assert (await ask(origin)).status == 200
        assert len(server.visits) == 2


@pytest.mark.parametrize("then", [shut, half_shut, reset])
@on_both_loops
async def test_a_connection_that_was_closed_while_it_rested_is_not_asked(then: Script) -> None:
    async with serving(says(HI, then=then), always) as server, origin_of(server.url) as origin:
        for _ in range(2):
            assert (await ask(origin)).body == b"hi"
            await asyncio.sleep(0.05)


@on_both_loops
async def test_each_connection_that_rests_for_long_is_closed_when_it_is_its_time() -> None:
    kept_s = SHORT_S * 2
    async with serving(always) as server, origin_of(server.url, kept_s=kept_s) as origin:
        await asyncio.gather(ask(origin), ask(origin))
        await asyncio.sleep(kept_s / 2)
        await ask(origin)
        assert (len(server.visits), server.open) == (2, 2)

        await eventually(lambda: server.open == 1)
        await eventually(lambda: server.open == 0)
        await ask(origin)
        assert (len(server.visits), server.open) == (3, 1)
        await eventually(lambda: server.open == 0)


@on_both_loops
async def test_the_connection_that_was_used_last_is_used_again_and_the_others_go() -> None:
    kept_s = SHORT_S * 2
    async with serving(always) as server, origin_of(server.url, kept_s=kept_s) as origin:
        await asyncio.gather(ask(origin), ask(origin))
        for _ in range(9):
            await asyncio.sleep(kept_s / 6)
            await ask(origin)

        assert (len(server.visits), server.open) == (2, 1)


@on_both_loops
async def test_what_is_too_old_is_not_asked_even_before_it_is_swept() -> None:
    async with serving(always) as server, origin_of(server.url, kept_s=SHORT_S) as origin:
        await ask(origin)
        time.sleep(SHORT_S * 1.1)  # noqa: ASYNC251 - the loop is held up, and its timers with it
        await asyncio.sleep(0)
        await ask(origin)

        assert len(server.visits) == 2


@on_both_loops
async def test_closing_lets_what_runs_end_and_keeps_nothing() -> None:
    go = asyncio.Event()

    async def slow(visit: Visit) -> None:
        await visit.request()
        await go.wait()
        await visit.say(HI)
        await visit.end()

    async with serving(slow, always) as server, origin_of(server.url) as origin:
        running = asyncio.create_task(ask(origin))
        await eventually(lambda: b"POST" in server.seen)
        await ask(origin)
        await origin.aclose()
        await origin.aclose()
        await eventually(lambda: server.open == 1)
        go.set()

        assert (await running).body == b"hi"
        await eventually(lambda: server.open == 0)
        assert (await ask(origin)).body == b"hi"
        await eventually(lambda: server.open == 0)
