"""The channel to a gateway that keeps to no rule: on a raw socket, on asyncio's own loop and on uvloop."""

import asyncio
import base64
import hashlib
import struct
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clawkakad.allowance import Allowance
from clawkakad.errors import GatewayClosed, GatewayUnavailable
from clawkakad.gateway.channel import CALL_S, MOST_UNREAD, Channel
from clawkakad.gateway.link import AT_ONCE_S
from clawkakad.gateway.websocket import CLOSE, PING, PONG, TEXT, Reader
from tests.gateway.test_websocket import of_server
from tests.loops import on_both_loops
from tests.support import SCALE, eventually, short_directory

HELLO = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %b\r\n\r\n"
MIB = 1024 * 1024


@dataclass
class Peer:
    """The other side: what it does after the handshake, and what it heard."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    frames: list[tuple[int, bytes]] = field(default_factory=list)

    async def hear(self) -> None:
        """Take in what the channel says, until it ends."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.frames.append(await self._frame())

    async def _frame(self) -> tuple[int, bytes]:
        first, size = await self.reader.readexactly(2)
        assert size & 0x80  # as a client must
        size &= 0x7F
        if size > 125:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
        mask = await self.reader.readexactly(4)
        masked = await self.reader.readexactly(size)
        return first & 0x0F, bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked))

    async def says(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    @property
    def codes(self) -> list[int]:
        """Of the goodbyes that came."""
        return [struct.unpack("!H", payload)[0] for opcode, payload in self.frames if opcode == CLOSE]


@dataclass
class Heard:
    """What came over a channel."""

    texts: list[str] = field(default_factory=list)
    ends: list[GatewayClosed] = field(default_factory=list)

    def hear(self, text: str, at: float) -> None:
        assert 0 <= time.monotonic() - at < 60
        self.texts.append(text)


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def serving(script: Script, *, greet: bool = True, behind: bytes = b"") -> AsyncIterator[Path]:
    """A gateway that greets and then does what is in the script; the socket ends with it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # RuntimeError: uvloop's, where the channel has gone.
        with suppress(ConnectionError, RuntimeError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            if greet:
                writer.write(HELLO % accepting(head) + behind)
            await script(Peer(reader, writer))
        writer.close()

    with short_directory() as directory:
        server = await asyncio.start_unix_server(serve, directory / "s")
        try:
            yield directory / "s"
        finally:
            server.close()


def accepting(head: bytes) -> bytes:
    key = head.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


async def made(path: Path, allowance: Allowance | None = None) -> Channel:
    allowance = allowance or Allowance(AT_ONCE_S)
    _, channel = await asyncio.get_running_loop().create_unix_connection(lambda: Channel(allowance), str(path))
    return channel


@asynccontextmanager
async def opened(path: Path, allowance: Allowance | None = None) -> AsyncIterator[tuple[Channel, Heard]]:
    """A channel that is listened to, and gone afterwards."""
    channel, heard = await made(path, allowance), Heard()
    await channel.open()
    channel.listen(heard.hear, heard.ends.append)
    try:
        yield channel, heard
    finally:
        await asyncio.wait_for(channel.aclose(1001), 10 * SCALE)


async def says(*pieces: bytes, peer: Peer) -> None:
    for piece in pieces:
        await peer.says(piece)
        await asyncio.sleep(0.005)
    await peer.hear()


def script(*pieces: bytes) -> Script:
    return lambda peer: says(*pieces, peer=peer)


async def nothing(_: Peer) -> None:
    pass


# The handshake --------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_what_comes_with_the_yes_is_heard_first_and_not_before_somebody_listens() -> None:
    async def later(peer: Peer) -> None:
        await asyncio.sleep(0.05)
        await says(of_server(TEXT, b"2"), peer=peer)

    async with serving(later, behind=of_server(TEXT, b"1")) as path:
        channel = await made(path)
        await channel.open()
        await asyncio.sleep(0.15)
        heard = Heard()
        channel.listen(heard.hear, heard.ends.append)

        await eventually(lambda: heard.texts == ["1", "2"])
        await channel.aclose(1000)
    assert heard.ends == []  # we know that we have closed it


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", id="a no"),
        pytest.param(b"SSH-2.0-x\r\n\r\n", id="no HTTP"),
        pytest.param(b"HTTP/1.1 101 x\r\n" + b"a: b\r\n" * 100_000, id="no end"),
        pytest.param(b"HTTP/1.1 101 x\r\n", id="half a yes"),
        pytest.param(b"", id="nothing"),
    ],
)
@on_both_loops
async def test_what_is_no_yes_is_no_connection(answer: bytes) -> None:
    async with serving(lambda peer: peer.says(answer), greet=False) as path:
        channel = await made(path)

        with pytest.raises(GatewayUnavailable, match="cannot connect"):
            await asyncio.wait_for(channel.open(), 10 * SCALE)
        channel.drop()


@on_both_loops
async def test_a_gateway_that_goes_before_it_is_asked_is_no_connection() -> None:
    async def slam(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    with short_directory() as directory:
        server = await asyncio.start_unix_server(slam, directory / "s")
        channel = await made(directory / "s")
        await asyncio.sleep(0.05)
        with pytest.raises(GatewayUnavailable, match="cannot connect"):
            await asyncio.wait_for(channel.open(), 10 * SCALE)
        channel.drop()
        server.close()


@on_both_loops
async def test_an_opening_that_is_cut_off_leaves_nothing() -> None:
    gone = asyncio.Event()

    async def wait(peer: Peer) -> None:
        await peer.hear()
        gone.set()

    async with serving(wait, greet=False) as path:
        channel = await made(path)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.open(), 0.05)
        channel.drop()
        await asyncio.wait_for(gone.wait(), 10 * SCALE)


@on_both_loops
async def test_a_gateway_that_goes_before_anybody_listens_is_told_to_who_does() -> None:
    async with serving(nothing) as path:
        channel, heard = await made(path), Heard()
        await channel.open()
        await asyncio.sleep(0.05)
        channel.listen(heard.hear, heard.ends.append)

        await eventually(lambda: [str(end) for end in heard.ends] == ["the gateway is gone"])
        await channel.aclose(1000)


# What comes in --------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_texts_come_in_order_whatever_the_pieces() -> None:
    data = b"".join(of_server(TEXT, str(number).encode() * (number % 7 * 50)) for number in range(400))
    pieces = [data[at : at + 999] for at in range(0, len(data), 999)]
    async with serving(script(*pieces[:50], b"".join(pieces[50:]))) as path, opened(path) as (_, heard):
        await eventually(lambda: heard.texts == [str(number) * (number % 7 * 50) for number in range(400)])


@on_both_loops
async def test_a_ping_gets_its_pong_and_a_pong_nothing() -> None:
    peers: list[Peer] = []

    async def knock(peer: Peer) -> None:
        peers.append(peer)
        await says(of_server(PING, b"a") + of_server(PONG, b"b") + of_server(PING, b""), peer=peer)

    async with serving(knock) as path, opened(path):
        await eventually(lambda: bool(peers) and peers[0].frames == [(PONG, b"a"), (PONG, b"")])


@pytest.mark.parametrize(
    ("data", "code", "why"),
    [
        (of_server(TEXT, b"hi", first=0xC0), 1002, "a frame that no server may send"),
        (of_server(2, b"hi"), 1003, "a binary message"),
        (of_server(TEXT, b"\xff"), 1007, "a text that is not UTF-8"),
        (b"\x81\x7f" + (9 * MIB).to_bytes(8, "big"), 1009, "a message that is too big"),
    ],
)
@on_both_loops
async def test_who_breaks_a_rule_is_told_and_left(data: bytes, code: int, why: str) -> None:
    peers: list[Peer] = []

    async def breaks(peer: Peer) -> None:
        peers.append(peer)
        await says(of_server(TEXT, b"before") + data + of_server(TEXT, b"after"), peer=peer)

    async with serving(breaks) as path, opened(path) as (channel, heard):
        await eventually(lambda: heard.ends != [])
        assert (str(heard.ends[0]), heard.ends[0].code, heard.texts) == (why, code, ["before"])
        await eventually(lambda: peers[0].codes == [code])
        with pytest.raises(GatewayClosed):
            channel.send("too late")
    assert len(heard.ends) == 1


@on_both_loops
async def test_who_breaks_a_rule_and_goes_on_sending_fills_no_memory() -> None:
    async def flood(peer: Peer) -> None:
        await peer.says(of_server(2, b"x"))
        for _ in range(400):
            await peer.says(b"x" * MIB)

    async with serving(flood) as path, opened(path) as (_, heard):
        tracemalloc.start()
        await eventually(lambda: heard.ends != [])
        await asyncio.sleep(0.5)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert most < 16 * MIB  # the flood's own is in it


@on_both_loops
async def test_a_listener_that_raises_ends_its_connection_and_nobody_elses() -> None:
    def raises(text: str, at: float) -> None:
        raise RuntimeError(text)

    async with serving(script(of_server(TEXT, b"boo") * 3)) as path:
        channel, ends = await made(path), list[GatewayClosed]()
        await channel.open()
        channel.listen(raises, ends.append)
        await eventually(lambda: ends != [])
        await channel.aclose(1001)
    assert [str(end) for end in ends] == ["the hearing failed: RuntimeError"]


@pytest.mark.parametrize("tiny", [of_server(TEXT, b""), of_server(PONG, b""), of_server(0, b"", first=0)])
@on_both_loops
async def test_a_flood_of_tiny_frames_holds_nobody_up_for_long(tiny: bytes) -> None:
    begun = of_server(TEXT, b"", first=0) if tiny[0] == 0 else b""
    slowest = 0.0

    async def flood(peer: Peer) -> None:
        await peer.says(begun)
        for _ in range(40):
            await peer.says(tiny * 100_000)

    async with serving(flood) as path, opened(path, Allowance()):
        for _ in range(100):
            began = time.monotonic()
            await asyncio.sleep(0.005)
            slowest = max(slowest, time.monotonic() - began - 0.005)
    assert slowest < 0.15 * SCALE  # a batch of the flood itself is some of it


class Noted(Allowance):
    """One that knows what was paid."""

    def __init__(self) -> None:
        super().__init__(AT_ONCE_S)
        self.paid: list[float] = []

    def spend_change(self, work_s: float) -> float:
        self.paid.append(work_s)
        return super().spend_change(work_s)


@on_both_loops
async def test_bytes_one_by_one_pay_for_what_the_loop_does_with_each() -> None:
    allowance = Noted()

    async def trickle(peer: Peer) -> None:
        for byte in of_server(TEXT, b"x" * 100):
            await peer.says(bytes([byte]))
            await asyncio.sleep(0.002)

    async with serving(trickle) as path, opened(path, allowance) as (_, heard):
        await eventually(lambda: heard.texts == ["x" * 100])
        assert len(allowance.paid) > 20
        assert min(allowance.paid) >= CALL_S


@on_both_loops
async def test_what_else_is_due_gets_its_turn_between_two_texts() -> None:
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        asyncio.get_running_loop().call_soon(tick)

    def hear(text: str, at: float) -> None:
        seen.append(ticks)
        time.sleep(0.003)

    seen: list[int] = []
    async with serving(script(of_server(TEXT, b"x") * 10)) as path:
        channel = await made(path)
        await channel.open()
        tick()
        channel.listen(hear, lambda _: None)
        await eventually(lambda: len(seen) == 10)
        await channel.aclose(1001)
    assert len(set(seen)) == 10


@on_both_loops
async def test_what_came_whole_is_heard_though_the_socket_has_broken_meanwhile() -> None:
    """We write to who has gone, and have not read all that it said before."""
    heard, ends = list[str](), list[GatewayClosed]()

    def hear(text: str, at: float) -> None:
        heard.append(text)
        time.sleep(0.02)
        with suppress(GatewayClosed):
            channel.send("x" * 1000)

    async with serving(lambda peer: peer.says(of_server(TEXT, b"1") + of_server(TEXT, b"2"))) as path:
        channel = await made(path)
        await channel.open()
        await asyncio.sleep(0.05)
        channel.listen(hear, ends.append)
        await eventually(lambda: ends != [])
        await asyncio.sleep(0.05)
        await channel.aclose(1001)
    assert (heard, len(ends)) == (["1", "2"], 1)


# The end --------------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_goodbye_is_answered_and_told_with_its_code() -> None:
    peers: list[Peer] = []

    async def leave(peer: Peer) -> None:
        peers.append(peer)
        await says(of_server(CLOSE, b"\x03\xf4bye") + of_server(TEXT, b"after"), peer=peer)

    async with serving(leave) as path, opened(path) as (_, heard):
        await eventually(lambda: heard.ends != [])
        assert (str(heard.ends[0]), heard.ends[0].code) == ("closed by the gateway", 1012)
        await eventually(lambda: peers[0].codes == [1012])
    assert (len(heard.ends), heard.texts) == (1, [])


@on_both_loops
async def test_closing_waits_for_the_answer_and_no_longer() -> None:
    async def polite(peer: Peer) -> None:
        await peer.reader.readexactly(8)
        await peer.says(of_server(CLOSE, b"\x03\xe9"))
        await asyncio.sleep(20)

    async with serving(polite) as path, opened(path) as (channel, _):
        began = time.monotonic()
        await channel.aclose(1001)
        await channel.aclose(1001)
        assert time.monotonic() - began < 1.5 * SCALE


@on_both_loops
async def test_closing_does_not_wait_for_ever() -> None:
    async def deaf(_: Peer) -> None:
        await asyncio.sleep(20)

    async with serving(deaf) as path, opened(path) as (channel, heard):
        began = time.monotonic()
        await channel.aclose(1001)
        assert 1.5 < time.monotonic() - began < 6 * SCALE
    assert heard.ends == []


@on_both_loops
async def test_a_gateway_that_does_not_read_gets_no_more_than_it_may() -> None:
    async def deaf(_: Peer) -> None:
        await asyncio.sleep(20)

    async with serving(deaf) as path, opened(path) as (channel, heard):
        sent = 0
        with pytest.raises(GatewayClosed):
            for _ in range(100):
                channel.send("x" * 100_000)
                sent += 100_000
        assert MOST_UNREAD <= sent < 3 * MOST_UNREAD
        await eventually(lambda: [str(end) for end in heard.ends] == ["the gateway is gone"])


@on_both_loops
async def test_who_half_closes_and_reads_nothing_holds_nobody_up() -> None:
    async def half_close(peer: Peer) -> None:
        await asyncio.sleep(0.1)
        peer.writer.write_eof()
        await asyncio.sleep(20)

    async with serving(half_close) as path, opened(path) as (channel, heard):
        channel.send("x" * 900_000)
        await eventually(lambda: [str(end) for end in heard.ends] == ["the gateway is gone"])
        began = time.monotonic()
        await channel.aclose(1001)
        assert time.monotonic() - began < 1 * SCALE


@on_both_loops
async def test_a_long_message_is_no_reason_to_leave_who_has_yet_to_read_it() -> None:
    peers: list[Peer] = []

    async def hears(peer: Peer) -> None:
        peers.append(peer)
        await asyncio.sleep(0.2)
        await peer.hear()

    async with serving(hears) as path, opened(path) as (channel, _):
        channel.send("x" * 2 * MIB)
        for number in range(3):
            channel.send(str(number))
        await eventually(lambda: bool(peers) and len(peers[0].frames) == 4, within_s=30)


@on_both_loops
async def test_behind_our_goodbye_nothing_is_heard_or_said() -> None:
    peers: list[Peer] = []

    async def late(peer: Peer) -> None:
        peers.append(peer)
        await peer.reader.readexactly(1)
        await peer.says(of_server(TEXT, b"late"))
        await asyncio.sleep(20)

    async with serving(late) as path, opened(path) as (channel, heard):
        channel.leave(1001)
        channel.leave(1001)
        with pytest.raises(GatewayClosed):
            channel.send("one more")
        await asyncio.sleep(0.1)
        rest = await peers[0].reader.read(100)
        assert len(rest) == 7  # one goodbye, but for its first byte
    assert (heard.texts, heard.ends) == ([], [])


@on_both_loops
async def test_a_closing_that_is_cut_off_still_closes() -> None:
    ended = asyncio.Event()

    async def deaf(peer: Peer) -> None:
        await peer.hear()
        ended.set()

    async with serving(deaf) as path, opened(path) as (channel, _):
        with suppress(TimeoutError):
            await asyncio.wait_for(channel.aclose(1001), 0.05)
        await asyncio.wait_for(ended.wait(), 1 * SCALE)


@on_both_loops
async def test_who_has_said_goodbye_need_not_wait_for_our_end() -> None:
    ended = list[float]()

    async def leave(peer: Peer) -> None:
        await peer.says(of_server(CLOSE, b"\x03\xf4"))
        began = time.monotonic()
        await peer.hear()
        ended.append(time.monotonic() - began)

    async with serving(leave) as path, opened(path):
        await eventually(lambda: ended != [])
        assert ended[0] < 1 * SCALE


@on_both_loops
async def test_pings_of_who_never_reads_fill_no_memory() -> None:
    async def knock(peer: Peer) -> None:
        for _ in range(200):
            await peer.says(of_server(PING, b"") * 5000)

    async with serving(knock) as path, opened(path) as (channel, _):
        await asyncio.sleep(0.5)
        assert channel._transport.get_write_buffer_size() < 64 * 1024


@on_both_loops
async def test_what_is_sent_arrives_whole() -> None:
    texts = ["", "x" * 125, "y" * 126, "ü" * 40_000, "🙂" * 100_000]
    peers: list[Peer] = []

    async def hears(peer: Peer) -> None:
        peers.append(peer)
        await peer.hear()

    async with serving(hears) as path, opened(path) as (channel, _):
        for text in texts:
            channel.send(text)
        await eventually(lambda: bool(peers) and len(peers[0].frames) == len(texts), within_s=30)
    assert peers[0].frames[: len(texts)] == [(TEXT, text.encode()) for text in texts]


async def test_reading_a_message_of_many_pieces_takes_as_long_as_it_is() -> None:
    """Not as long as it is times as long as it is."""

    def read(size: int) -> float:
        data, reader = of_server(TEXT, b"x" * size), Reader(8 * MIB)
        began = time.perf_counter()
        for at in range(0, len(data), 1024):
            list(reader.read(data[at : at + 1024]))
        return time.perf_counter() - began

    small = min(read(MIB) for _ in range(3))
    assert min(read(8 * MIB) for _ in range(3)) < 24 * small
