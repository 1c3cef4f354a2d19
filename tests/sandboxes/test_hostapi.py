"""The host API over real unix sockets: who asks is known by the socket; the model's answers pass as they come."""

import asyncio
import contextlib
import gzip
import io
import json
import os
import socket
import stat
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import test_utils, web
from loguru import logger

from clawkakad import log
from clawkakad.allowance import Allowance
from clawkakad.errors import RegistryUnavailable, Rejected
from clawkakad.model import Profile, SandboxId, UserId
from clawkakad.sandboxes import hostapi, modelproxy, paservices, paths
from clawkakad.sandboxes.hostapi import HostApi
from clawkakad.sandboxes.modelcalls import upstream_body
from clawkakad.sandboxes.modelproxy import ModelProxy, Upstream, open_upstream
from clawkakad.sandboxes.paths import SandboxPaths
from tests.fakes.upstream import FakeUpstream, fake_upstream
from tests.support import SCALE, eventually, short_directory

ANN, BOB = (SandboxId("s00000000aa"), UserId("u00000000aa")), (SandboxId("s00000000bb"), UserId("u00000000bb"))
PROFILE = Profile(name=None, time_zone="Europe/Berlin", currency="EUR", language="de", country="DE")
HI = {"role": "user", "content": "hi"}
STREAM = {"model": "assistant", "messages": [HI], "stream": True}


class Services:
    """The assistant's side, in memory."""

    def __init__(self) -> None:
        self.profiles: dict[UserId, Profile] = {}
        self.reminders: dict[UserId, list[dict[str, object]]] = {}
        self.broken = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_gate = 0

    async def profile(self, user_id: UserId) -> Profile:
        return self.profiles.get(user_id, PROFILE)

    async def change_profile(self, user_id: UserId, changes: Mapping[str, str]) -> Profile:
        if changes.get("time_zone") == "Mars/Olympus":
            raise Rejected("Mars/Olympus is no time zone; try Europe/Berlin")
        self.profiles[user_id] = replace(await self.profile(user_id), **changes)
        return self.profiles[user_id]

    async def add_reminder(
        self, user_id: UserId, *, at: str, zone: str | None, text: str, key: str
    ) -> tuple[dict[str, object], bool]:
        self.at_gate += 1
        await self.gate.wait()
        if self.broken:
            raise RegistryUnavailable("disk full")
        mine = self.reminders.setdefault(user_id, [])
        for reminder in mine:
            if reminder["key"] == key:
                return reminder, False
        mine.append({"id": len(mine) + 1, "wall": at, "zone": zone, "text": text, "key": key})
        return mine[-1], True

    async def list_reminders(self, user_id: UserId) -> list[dict[str, object]]:
        return self.reminders.get(user_id, [])

    async def cancel_reminder(self, user_id: UserId, reminder_id: int) -> dict[str, object] | None:
        for reminder in self.reminders.get(user_id, []):
            if reminder["id"] == reminder_id:
                return reminder
        return None


class Usage:
    def __init__(self) -> None:
        self.rows: list[tuple[UserId, str, int, int, float]] = []

    async def add(self, user_id: UserId, *, model: str, tokens_in: int, tokens_out: int, cost_usd: float) -> None:
        self.rows.append((user_id, model, tokens_in, tokens_out, cost_usd))


class House:
    """Two sandboxes' doors, and a way to knock."""

    def __init__(self, runtime: Path, proxy: ModelProxy, usage: "Usage") -> None:
        self.runtime, self.usage, self.services = runtime, usage, Services()
        self.changed: list[tuple[SandboxId, Profile]] = []
        self.api = HostApi(
            proxy=proxy,
            services=self.services,
            gid=os.getegid(),
            profile_changed=lambda sandbox_id, profile: self.changed.append((sandbox_id, profile)),
        )

    def paths(self, who: tuple[SandboxId, UserId]) -> SandboxPaths:
        return paths.paths_of(self.runtime, who[0])

    @contextlib.asynccontextmanager
    async def knock(
        self, who: tuple[SandboxId, UserId], method: str, path: str, **arguments: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        connector = aiohttp.UnixConnector(str(self.paths(who).host_socket))
        async with (
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=20)) as session,
            session.request(method, f"http://host{path}", **arguments) as answer,
        ):
            yield answer

    async def ask(self, who: tuple[SandboxId, UserId], method: str, path: str, **arguments: Any) -> tuple[int, Any]:
        async with self.knock(who, method, path, **arguments) as answer:
            return answer.status, json.loads(await answer.text())


async def _key_for(sandbox_id: SandboxId) -> str | None:
    return f"key-of-{sandbox_id}"


async def _other_key(sandbox_id: SandboxId, unknown: str | None) -> str | None:
    return "other-key" if (sandbox_id, unknown) == (BOB[0], f"key-of-{BOB[0]}") else None


@contextlib.asynccontextmanager
async def house_at(base_url: str) -> AsyncIterator[House]:
    upstream = Upstream(base_url=base_url, model="vendor/real")
    with short_directory() as runtime:
        async with open_upstream(upstream) as session:
            usage = Usage()
            proxy = ModelProxy(
                session,
                upstream=upstream,
                key_for=_key_for,
                other_key=_other_key,
                usage=usage,
                retry_first_s=0.01,
            )
            house = House(runtime, proxy, usage)
            for who in (ANN, BOB):
                paths.prepare(house.paths(who), os.getegid())
                await house.api.open(*who, house.paths(who))
            try:
                yield house
            finally:
                await house.api.aclose()


@contextlib.asynccontextmanager
async def knocking(house: House, head: str) -> AsyncIterator[asyncio.StreamReader]:
    """A connection of Ann's on which so much was sent, and no more."""
    reader, writer = await asyncio.open_unix_connection(str(house.paths(ANN).host_socket))
    writer.write(head.encode())
    await writer.drain()
    try:
        yield reader
    finally:
        writer.close()


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with fake_upstream() as running:
        yield running


@pytest.fixture
async def house(upstream: FakeUpstream) -> AsyncIterator[House]:
    async with house_at(upstream.address) as open_house:
        yield open_house


# Who asks


async def test_who_asks_is_known_by_the_socket(house: House) -> None:
    await house.ask(ANN, "PUT", "/pa/v1/profile", json={"name": "Ann", "user_id": BOB[1]})

    assert "Ann" == (await house.ask(ANN, "GET", "/pa/v1/profile"))[1]["name"]
    assert (await house.ask(BOB, "GET", "/pa/v1/profile"))[1]["name"] is None


async def test_the_socket_is_for_the_sandboxes_group_only(house: House) -> None:
    facts = house.paths(ANN).host_socket.stat()

    assert stat.S_ISSOCK(facts.st_mode)
    assert 0o660 == stat.S_IMODE(facts.st_mode)
    assert os.getegid() == facts.st_gid


async def test_what_is_not_there_is_404(house: House) -> None:
    for path in ("/", "/v1/embeddings", "/pa/v1/users", "/pa/v1/reminders/x"):
        async with house.knock(ANN, "GET", path) as answer:
            assert answer.status in (404, 405)


async def test_a_socket_left_by_an_earlier_daemon_is_replaced(house: House) -> None:
    await house.api.close(ANN[0])
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(house.paths(ANN).host_socket))
    left.close()
    await house.api.open(*ANN, house.paths(ANN))

    assert 200 == (await house.ask(ANN, "GET", "/v1/models"))[0]


async def test_opening_twice_and_closing_twice_are_fine(house: House) -> None:
    await house.api.open(*ANN, house.paths(ANN))
    assert 200 == (await house.ask(ANN, "GET", "/v1/models"))[0]
    await house.api.close(ANN[0])
    await house.api.close(ANN[0])

    assert not house.paths(ANN).host_socket.exists()
    assert 200 == (await house.ask(BOB, "GET", "/v1/models"))[0]


async def test_a_door_whose_closing_is_cut_off_is_shut(house: House) -> None:
    closing = asyncio.create_task(house.api.close(ANN[0]))
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait({closing})

    assert closing.cancelled()
    assert not house.paths(ANN).host_socket.exists()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as visitor, pytest.raises(FileNotFoundError):
        visitor.connect(str(house.paths(ANN).host_socket))


async def test_one_sandbox_cannot_take_all_connections(house: House) -> None:
    path = str(house.paths(ANN).host_socket)
    held = [await asyncio.open_unix_connection(path) for _ in range(hostapi.CONNECTIONS)]
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        assert b"" == await asyncio.wait_for(reader.read(1), 5)
        assert 200 == (await house.ask(BOB, "GET", "/v1/models"))[0]
    finally:
        for _, held_writer in [*held, (reader, writer)]:
            held_writer.close()


# What one may write in the log


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], list[str]]]:
    """The lines that the operator has got."""
    log.configure("json", "INFO")
    yield lambda: capsys.readouterr().err.splitlines()
    logger.remove()


@pytest.mark.parametrize(
    "sent",
    [
        "GET / HTTP/1.1\r\nHost host\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: host\r\nExpect: nonsense\r\nConnection: close\r\n\r\n",
        "PUT /pa/v1/profile HTTP/1.1\r\nHost: host\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        "\x16\x03\x01",
        "x" * 10_000,
    ],
)
async def test_what_a_sandbox_gets_wrong_is_in_no_log(house: House, logged: Callable[[], list[str]], sent: str) -> None:
    async with knocking(house, sent) as reader:
        assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.")
    assert [] == logged()


async def test_what_we_get_wrong_is_logged_once_for_each_sandbox(
    house: House, logged: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Services, "profile")
    for who in (ANN, ANN, BOB, ANN):
        async with house.knock(who, "GET", "/pa/v1/profile") as answer:
            assert 500 == answer.status

    lines = [json.loads(line) for line in logged()]
    assert [ANN[0], BOB[0]] == [line["sandbox"] for line in lines]
    assert all("AttributeError" in line["trace"] for line in lines)


# What one may take of the daemon's time

GET = b"GET /v1/models HTTP/1.1\r\nHost: host\r\n"


def _flood(path: str, connections: int, sent: bytes) -> float:
    """How long it took to send that so often, and to be answered."""
    began = time.monotonic()
    for _ in range(connections):
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(path)
            one.sendall(sent)
            while sent and one.recv(65536):
                pass
    return time.monotonic() - began


@pytest.mark.parametrize(
    ("connections", "sent"),
    [
        (1, (GET + b"\r\n") * 40 + GET + b"Connection: close\r\n\r\n"),
        (1, (GET + b"Expect: nonsense\r\n\r\n") * 40 + GET + b"Connection: close\r\n\r\n"),
        (120, b"nonsense\r\n\r\n"),
        (120, b""),
    ],
    ids=["requests", "refused ones", "malformed ones", "connections"],
)
async def test_who_floods_waits_for_itself(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, connections: int, sent: bytes
) -> None:
    monkeypatch.setattr(hostapi, "AT_ONCE_S", 0.0)
    async with house_at(upstream.address) as house:
        flood = asyncio.create_task(asyncio.to_thread(_flood, str(house.paths(ANN).host_socket), connections, sent))

        assert 200 == (await house.ask(BOB, "GET", "/v1/models"))[0]
        assert await flood > 0.9  # 40 requests cost 120 ms, and 104 connections that are not in the backlog 104


async def test_requests_behind_a_body_that_came_later_are_all_answered(house: House) -> None:
    reader, writer = await asyncio.open_unix_connection(str(house.paths(ANN).host_socket))
    writer.write(b"PUT /pa/v1/nothing HTTP/1.1\r\nHost: host\r\nContent-Length: 4\r\n\r\n")
    await asyncio.sleep(0.1 * SCALE)
    writer.write(b"body" + (GET + b"\r\n") * 50 + GET + b"Connection: close\r\n\r\n")
    try:
        async with asyncio.timeout(5 * SCALE):
            assert (await reader.read(-1)).count(b"HTTP/1.1 ") == 52
    finally:
        writer.close()


SENDER = """
import socket, sys, threading
path, head, piece = sys.argv[1], sys.argv[2].encode(), sys.argv[3].encode() * 10_000
def send():
    while True:
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(path)
            try:
                one.sendall(head)
                while True:
                    one.sendall(piece)
            except OSError:
                pass
for _ in range(16):
    threading.Thread(target=send).start()
"""


@pytest.mark.parametrize(
    ("length", "piece"), [("Content-Length: 999999999999", "x"), ("Transfer-Encoding: chunked", "1\r\nx\r\n")]
)
async def test_a_body_is_read_no_faster_than_there_is_time_for_it(house: House, length: str, piece: str) -> None:
    head = f"PUT /pa/v1/profile HTTP/1.1\r\nHost: host\r\n{length}\r\n\r\n"
    path = str(house.paths(ANN).host_socket)
    flood = await asyncio.create_subprocess_exec(sys.executable, "-c", SENDER, path, head, piece)
    try:
        await eventually(lambda: house.api.is_busy(ANN[0]))
        busy_s, began = time.thread_time(), time.monotonic()
        await asyncio.sleep(2)

        assert time.monotonic() - began > 3 * (time.thread_time() - busy_s)
    finally:
        flood.kill()
        await flood.wait()


async def test_chunks_are_not_read_to_their_end(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hostapi.OPTIONS, "lingering_time", 60.0)
    head = "PUT /pa/v1/profile HTTP/1.1\r\nHost: host\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
    async with knocking(house, head) as reader:
        assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.1 400")


async def test_a_turn_never_waits(upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    rests_s: list[float] = []

    class Watched(Allowance):
        def spend(self, work_s: float) -> float:
            rests_s.append(super().spend(work_s))
            return rests_s[-1]

    monkeypatch.setattr(hostapi, "Allowance", Watched)
    full = json.dumps({**STREAM, "messages": [{"role": "user", "content": "x" * 600_000}]}).encode()
    async with house_at(upstream.address) as house:
        for _ in range(5):
            async with house.knock(ANN, "POST", "/v1/chat/completions", data=io.BytesIO(full)) as answer:
                await answer.read()
            assert 200 == (await house.ask(ANN, "GET", "/pa/v1/profile"))[0]

    assert 0.0 == max(rests_s)


# PA services


async def test_a_change_of_profile_is_answered_whole_and_told(house: House) -> None:
    status, profile = await house.ask(ANN, "PUT", "/pa/v1/profile", json={"currency": "USD"})

    assert 200 == status
    assert {"name": None, "time_zone": "Europe/Berlin", "currency": "USD", "language": "de", "country": "DE"} == profile
    assert [(ANN[0], replace(PROFILE, currency="USD"))] == house.changed


async def test_a_request_that_cannot_be_done_is_told_what_to_do(house: House) -> None:
    status, answer = await house.ask(ANN, "PUT", "/pa/v1/profile", json={"time_zone": "Mars/Olympus"})

    assert 400 == status
    assert {"error": "Mars/Olympus is no time zone; try Europe/Berlin"} == answer
    assert [] == house.changed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"{}",
        b'{"name": 5}',
        b'{"name": " "}',
        b'{"name": "%s"}' % (b"x" * 5000),
        b'{"name": "\\ud800"}',
    ],
)
async def test_nonsense_is_400(house: House, body: bytes) -> None:
    status, answer = await house.ask(ANN, "PUT", "/pa/v1/profile", data=body)

    assert 400 == status
    assert answer["error"]


async def test_reminders_are_made_once_listed_and_cancelled(house: House) -> None:
    wanted = {"at": "2026-11-23T09:00", "text": "call mom", "key": "k1", "zone": None}

    assert 201 == (await house.ask(ANN, "POST", "/pa/v1/reminders", json=wanted))[0]
    assert 200 == (await house.ask(ANN, "POST", "/pa/v1/reminders", json=wanted))[0]
    assert 1 == len((await house.ask(ANN, "GET", "/pa/v1/reminders"))[1]["reminders"])
    assert {"reminders": []} == (await house.ask(BOB, "GET", "/pa/v1/reminders"))[1]
    assert 404 == (await house.ask(BOB, "DELETE", "/pa/v1/reminders/1"))[0]
    assert "call mom" == (await house.ask(ANN, "DELETE", "/pa/v1/reminders/1"))[1]["text"]
    assert 400 == (await house.ask(ANN, "POST", "/pa/v1/reminders", json={**wanted, "key": None}))[0]


async def test_a_registry_that_cannot_commit_is_503(house: House) -> None:
    house.services.broken = True
    wanted = {"at": "09:00", "text": "x", "key": "k"}

    assert 503 == (await house.ask(ANN, "POST", "/pa/v1/reminders", json=wanted))[0]


async def test_a_reminder_is_made_though_the_sandbox_hung_up(house: House) -> None:
    house.services.gate.clear()
    wanted = {"at": "09:00", "text": "x", "key": "k"}
    asking = asyncio.create_task(house.ask(ANN, "POST", "/pa/v1/reminders", json=wanted))
    await eventually(lambda: house.services.at_gate)
    asking.cancel()
    await asyncio.wait({asking})
    house.services.gate.set()

    await eventually(lambda: house.services.reminders.get(ANN[1]))


async def test_a_sandbox_that_hangs_up_again_and_again_is_told_to_wait(house: House) -> None:
    house.services.gate.clear()
    wanted = {"at": "09:00", "text": "x", "key": "k"}
    begun: list[asyncio.Task[Any]] = []
    while len(begun) < paservices.BEGUN_LIMIT:
        begun.append(asyncio.create_task(house.ask(ANN, "POST", "/pa/v1/reminders", json=wanted)))
        await eventually(lambda: house.services.at_gate == len(begun))
        begun[-1].cancel()
        await asyncio.wait(begun)

    assert 503 == (await house.ask(ANN, "POST", "/pa/v1/reminders", json=wanted))[0]
    house.services.gate.set()
    await eventually(lambda: house.services.reminders.get(ANN[1]))
    assert 200 == (await house.ask(ANN, "POST", "/pa/v1/reminders", json=wanted))[0]


@pytest.mark.parametrize("method_and_path", ["PUT /pa/v1/profile", "POST /pa/v1/reminders"])
@pytest.mark.parametrize("length", ["Content-Length: 65537", "Transfer-Encoding: chunked"])
async def test_a_body_too_large_or_of_unknown_length_is_refused_unread(
    house: House, method_and_path: str, length: str
) -> None:
    async with knocking(house, f"{method_and_path} HTTP/1.1\r\nHost: host\r\n{length}\r\n\r\n") as reader:
        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 400")


async def test_a_small_body_that_is_costly_to_read_is_refused_unread(house: House) -> None:
    costly = b'{"name": "Ann", "x": [%s]}' % b",".join([b"[]"] * 20_000)
    status, answer = await house.ask(ANN, "PUT", "/pa/v1/profile", data=costly)

    assert len(costly) < paservices.BODY_LIMIT
    assert 400 == status
    assert "too many parts" in answer["error"]


async def test_a_sandbox_has_a_few_bodies_read_at_a_time(house: House) -> None:
    unfinished = "PUT /pa/v1/profile HTTP/1.1\r\nHost: host\r\nContent-Length: 65536\r\n\r\n{"
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(paservices.PLACES):
            await stack.enter_async_context(knocking(house, unfinished))
        asking = asyncio.create_task(house.ask(ANN, "PUT", "/pa/v1/profile", json={"name": "Ann"}))
        await asyncio.wait({asking}, timeout=0.3)

        assert not asking.done()
        assert 200 == (await house.ask(BOB, "PUT", "/pa/v1/profile", json={"name": "Bob"}))[0]
    assert 200 == (await asking)[0]


async def test_a_body_that_does_not_come_gives_its_place_back() -> None:
    services = Services()
    app = web.Application()
    handlers = paservices.PaHandlers(services, ANN[1], lambda _: None, read_s=0.1)
    app.add_routes(paservices.pa_routes(lambda _: handlers))
    async with test_utils.TestServer(app) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"PUT /pa/v1/profile HTTP/1.1\r\nHost: host\r\nContent-Length: 99\r\n\r\n{")

        assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 400")
        writer.close()


async def test_nothing_is_unpacked(house: House, upstream: FakeUpstream) -> None:
    packed = {"headers": {"Content-Encoding": "gzip"}, "data": gzip.compress(json.dumps(STREAM).encode())}
    for method, path in (("POST", "/v1/chat/completions"), ("PUT", "/pa/v1/profile")):
        assert 400 == (await house.ask(ANN, method, path, **packed))[0]
    assert [] == upstream.requests


# The model


async def test_a_call_that_would_reach_out_of_the_sandbox_does_not_go_upstream(
    house: House, upstream: FakeUpstream
) -> None:
    fetching = {**STREAM, "tools": [{"type": "openrouter:web_fetch"}]}
    status, answer = await house.ask(ANN, "POST", "/v1/chat/completions", json=fetching)

    assert 400 == status
    assert "A tool must be of the type function" in answer["error"]["message"]
    assert [] == upstream.requests


async def test_reading_the_calls_of_a_sandbox_takes_a_tenth_of_the_time_at_most(house: House) -> None:
    costly = json.dumps({"messages": [*[HI] * 30_000, {"role": "nobody"}]}).encode()
    assert len(costly) < modelproxy.BODY_LIMIT
    calls = [house.ask(ANN, "POST", "/v1/chat/completions", data=io.BytesIO(costly)) for _ in range(3)]
    busy_s, started = time.process_time(), time.monotonic()

    assert [400] * 3 == [status for status, _ in await asyncio.gather(*calls)]
    assert time.monotonic() - started > 3 * (time.process_time() - busy_s)


async def test_who_hangs_up_has_to_wait_all_the_same(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    costly = json.dumps({"messages": [*[HI] * 30_000, {"role": "nobody"}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: host\r\nContent-Length: {len(costly)}\r\n\r\n"
    took_s: list[float] = []

    def timed(raw: bytes, model: str) -> bytes:
        began = time.thread_time()
        try:
            return upstream_body(raw, model)
        finally:
            took_s.append(time.thread_time() - began)

    monkeypatch.setattr(modelproxy, "upstream_body", timed)
    began = time.monotonic()
    sent: list[str] = []
    while len(sent) < 4:
        sent.append(costly)
        async with knocking(house, head + costly):
            await eventually(lambda: len(took_s) == len(sent))

    assert time.monotonic() - began > 4 * sum(took_s)


async def test_the_first_words_come_before_the_upstream_says_its_last(house: House, upstream: FakeUpstream) -> None:
    upstream.gate.clear()
    async with house.knock(ANN, "POST", "/v1/chat/completions", json=STREAM) as answer:
        first = await asyncio.wait_for(answer.content.readany(), 5)

        assert b"first" in first
        assert b"DONE" not in first
        upstream.gate.set()
        assert (await answer.content.read()).endswith(b"data: [DONE]\n\n")
        assert "text/event-stream" == answer.content_type


async def test_the_key_and_the_model_are_added_on_the_way(house: House, upstream: FakeUpstream) -> None:
    headers = {"Authorization": "Bearer none-needed", "X-Title": "from the sandbox"}
    async with house.knock(BOB, "POST", "/v1/chat/completions", json=STREAM, headers=headers) as answer:
        await answer.read()

    assert "vendor/real" == upstream.requests[0]["model"]
    assert f"Bearer key-of-{BOB[0]}" == upstream.headers[0]["Authorization"]
    assert "X-Title" not in upstream.headers[0]


@pytest.mark.parametrize("stream", [True, False])
async def test_what_it_cost_is_counted_for_the_person(house: House, stream: bool) -> None:
    async with house.knock(ANN, "POST", "/v1/chat/completions", json={**STREAM, "stream": stream}) as answer:
        await answer.read()

    await eventually(lambda: house.usage.rows)
    assert [(ANN[1], "vendor/real", 100, 7, 0.25)] == house.usage.rows


async def test_the_only_model_there_is(house: House) -> None:
    assert ["assistant"] == [m["id"] for m in (await house.ask(ANN, "GET", "/v1/models"))[1]["data"]]


async def test_trouble_that_passes_is_not_seen_by_the_gateway(house: House, upstream: FakeUpstream) -> None:
    upstream.refusals = [(503, {}, {}), (429, {"Retry-After": "0"}, {})]
    async with house.knock(ANN, "POST", "/v1/chat/completions", json=STREAM) as answer:
        assert 200 == answer.status
        assert b"DONE" in await answer.read()
    assert 3 == len(upstream.requests)


async def test_trouble_that_stays_ends_the_turn_after_three_tries(house: House, upstream: FakeUpstream) -> None:
    upstream.refusals = [(502, {}, {})] * 9
    status, answer = await house.ask(ANN, "POST", "/v1/chat/completions", json=STREAM)

    assert 400 == status
    assert "The model is not available right now." == answer["error"]["message"]
    assert 3 == len(upstream.requests)


async def test_a_refused_key_is_asked_once(house: House, upstream: FakeUpstream) -> None:
    upstream.refusals = [(401, {}, {"error": {"message": "bad key"}})]
    status, answer = await house.ask(ANN, "POST", "/v1/chat/completions", json=STREAM)

    assert 401 == status
    assert "bad key" not in answer["error"]["message"]
    assert 1 == len(upstream.requests)


@pytest.mark.parametrize(
    ("refusals", "seen", "keys"),
    [
        ([401], 200, [f"key-of-{BOB[0]}", "other-key"]),
        ([401, 401], 401, [f"key-of-{BOB[0]}", "other-key"]),
        ([403], 401, [f"key-of-{BOB[0]}"]),  # it is known, and may not
        ([402], 400, [f"key-of-{BOB[0]}"]),  # its limit is reached
    ],
)
async def test_a_key_that_is_not_known_any_more_is_replaced_once(
    house: House, upstream: FakeUpstream, refusals: list[int], seen: int, keys: list[str]
) -> None:
    upstream.refusals = [(status, {}, {}) for status in refusals]
    async with house.knock(BOB, "POST", "/v1/chat/completions", json=STREAM) as answer:
        assert seen == answer.status

    assert [f"Bearer {key}" for key in keys] == [headers["Authorization"] for headers in upstream.headers]


async def test_an_allowance_that_is_used_up_is_told_once_for_each_sandbox(
    house: House, upstream: FakeUpstream, logged: Callable[[], list[str]]
) -> None:
    limit = (403, {}, {"error": {"message": "Key limit exceeded (monthly limit)."}})
    for who, refusals in ((ANN, [limit]), (ANN, [limit]), (BOB, [limit]), (ANN, []), (ANN, [limit])):
        upstream.refusals = list(refusals)
        async with house.knock(who, "POST", "/v1/chat/completions", json=STREAM) as answer:
            await answer.read()

    lines = [json.loads(line) for line in logged()]
    assert [ANN[0], BOB[0], ANN[0]] == [line["sandbox"] for line in lines]
    assert all("used up" in line["message"] and "raise the limit" in line["advice"] for line in lines)


async def test_nobody_home_ends_the_turn_too() -> None:
    async with house_at("http://127.0.0.1:1/v1") as house:
        assert 400 == (await house.ask(ANN, "POST", "/v1/chat/completions", json=STREAM))[0]


async def test_an_answer_that_breaks_off_is_not_taken_for_whole(house: House, upstream: FakeUpstream) -> None:
    upstream.break_off = True
    async with house.knock(ANN, "POST", "/v1/chat/completions", json=STREAM) as answer:
        with pytest.raises(aiohttp.ClientError):
            await answer.read()


async def test_a_gateway_that_hangs_up_ends_the_call_upstream(house: House, upstream: FakeUpstream) -> None:
    upstream.gate.clear()
    async with house.knock(ANN, "POST", "/v1/chat/completions", json=STREAM) as answer:
        await answer.content.readany()

    await eventually(lambda: upstream.hung_up)


async def test_a_body_too_large_is_refused(house: House, upstream: FakeUpstream) -> None:
    large = json.dumps({**STREAM, "messages": ["x" * (modelproxy.BODY_LIMIT + 1)]}).encode()
    status, answer = await house.ask(ANN, "POST", "/v1/chat/completions", data=io.BytesIO(large))

    assert 400 == status
    assert "too large" in answer["error"]["message"]
    assert [] == upstream.requests


async def test_a_greedy_sandbox_waits_for_itself_and_not_others_for_it(house: House, upstream: FakeUpstream) -> None:
    upstream.gate.clear()
    calls = [
        asyncio.create_task(house.ask(ANN, "POST", "/v1/chat/completions", json={**STREAM, "stream": False}))
        for _ in range(9)
    ]
    await eventually(lambda: upstream.under_way == modelproxy.PER_SANDBOX)
    others = asyncio.create_task(house.ask(BOB, "POST", "/v1/chat/completions", json={**STREAM, "stream": False}))
    await eventually(lambda: upstream.under_way == modelproxy.PER_SANDBOX + 1)
    upstream.gate.set()

    assert [200] * 10 == [(await call)[0] for call in [*calls, others]]
    assert modelproxy.PER_SANDBOX + 1 == upstream.most_under_way
