"""The webhook and the health check through a real server on a real socket."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from urllib.parse import quote

import aiohttp
import pytest
from loguru import logger

from clawkakad.errors import RegistryUnavailable
from clawkakad.web.connection import Limits
from clawkakad.web.incoming import MOST_BEYOND, SMALL, Room
from clawkakad.web.listener import listening
from clawkakad.web.public import BODY_LIMIT, public_site
from clawkakad.whatsapp.parsing import Delivery, parse
from clawkakad.whatsapp.signature import HEADER, sign
from tests.support import DATA, eventually
from tests.web.support import post, wire
from tests.whatsapp.expectations import EXPECTED, PHONE_NUMBER_ID

SECRET, OLD_SECRET, TOKEN = "test-app-secret", "the-secret-before", "töken & more"
WEBHOOK = "/whatsapp/webhook"
TEXT = (DATA / "payloads" / "text_basic.json").read_bytes()


class RecordingIntake:
    """Keeps what it is given, or raises `trouble`; waits for `gate` first, if there is one."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.trouble: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.full = False

    def admit(self) -> None:
        if self.full:
            raise RegistryUnavailable("full")

    async def accept(self, delivery: Delivery) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        self.deliveries.append(delivery)


class Site:
    """A running public site, and a client of it."""

    def __init__(self, port: int, session: aiohttp.ClientSession, intake: RecordingIntake, room: Room) -> None:
        self.port = port
        self.room = room
        self.session = session
        self.intake = intake
        self.health: dict[str, object] = {"ok": True, "users": 2}

    async def post(self, body: bytes, signature: str | None, path: str = WEBHOOK) -> tuple[int, bytes]:
        headers = {HEADER: signature} if signature is not None else {}
        async with self.session.post(path, data=io.BytesIO(body), headers=headers) as response:
            assert "Server" not in response.headers
            return response.status, await response.read()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    intake, room = RecordingIntake(), Room()
    async with AsyncExitStack() as stack:
        handler = public_site(
            intake=intake,
            verification_token=TOKEN,
            app_secrets=[SECRET, OLD_SECRET],
            phone_number_id=PHONE_NUMBER_ID,
            health=lambda: running.health,
        )
        port = await stack.enter_async_context(
            listening(handler, "127.0.0.1", 0, limits=Limits(body=BODY_LIMIT, linger_s=0.2), room=room)
        )
        session = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))
        running = Site(port, session, intake, room)
        yield running


@pytest.fixture
def log() -> Iterator[list[str]]:
    lines: list[str] = []
    number = logger.add(lines.append, level="TRACE", format="{level} {message} {extra} {exception}")
    yield lines
    logger.remove(number)


@pytest.mark.parametrize("name", EXPECTED)
async def test_a_recorded_webhook_is_accepted_whole(site: Site, log: list[str], name: str) -> None:
    body = (DATA / "payloads" / f"{name}.json").read_bytes()

    assert await site.post(body, sign(body, SECRET)) == (200, b"")
    assert site.intake.deliveries == [parse(body, phone_number_id=PHONE_NUMBER_ID)]
    assert not any("Traceback" in line for line in log)


async def test_the_secret_before_a_rotation_still_counts(site: Site) -> None:
    assert await site.post(TEXT, sign(TEXT, OLD_SECRET)) == (200, b"")


@pytest.mark.parametrize(
    "signature",
    [None, "", "nonsense", sign(TEXT, "guessed"), sign(TEXT + b" ", SECRET), sign(TEXT, SECRET).upper()],
)
async def test_an_unsigned_webhook_is_refused_without_a_word(site: Site, signature: str | None) -> None:
    assert await site.post(TEXT, signature) == (401, b"")
    assert site.intake.deliveries == []


async def test_a_series_of_forgeries_warns_once(site: Site, log: list[str]) -> None:
    for _ in range(5):
        await site.post(TEXT, "sha256=00")

    assert len([line for line in log if line.startswith("WARNING")]) == 1


async def test_the_answer_waits_until_everything_is_stored(site: Site) -> None:
    site.intake.gate = asyncio.Event()
    posting = asyncio.create_task(site.post(TEXT, sign(TEXT, SECRET)))
    done, _ = await asyncio.wait([posting], timeout=0.2)
    assert not done
    site.intake.gate.set()

    assert await posting == (200, b"")


async def test_what_cannot_be_stored_is_asked_for_again(site: Site) -> None:
    site.intake.trouble = RegistryUnavailable("disk full")
    assert await site.post(TEXT, sign(TEXT, SECRET)) == (503, b"")
    site.intake.trouble = None

    assert await site.post(TEXT, sign(TEXT, SECRET)) == (200, b"")


async def test_a_bug_shows_nothing_outside_and_everything_in_the_log(site: Site, log: list[str]) -> None:
    site.intake.trouble = RuntimeError("a private matter")

    assert await site.post(TEXT, sign(TEXT, SECRET)) == (500, b"")
    assert any(line.startswith("ERROR") and "RuntimeError" in line for line in log)


async def test_signed_garbage_is_accepted_so_that_it_does_not_come_again(site: Site) -> None:
    assert await site.post(b"\xff garbage", sign(b"\xff garbage", SECRET)) == (200, b"")
    assert site.intake.deliveries[0].messages == ()


async def test_the_largest_webhook_passes_and_a_byte_more_does_not(site: Site) -> None:
    largest = TEXT + b" " * (BODY_LIMIT - len(TEXT))

    assert await site.post(largest, sign(largest, SECRET)) == (200, b"")
    assert await site.post(largest + b" ", sign(largest + b" ", SECRET)) == (413, b"")
    assert len(site.intake.deliveries) == 1


async def test_a_body_too_long_that_does_not_tell_its_length_is_refused_too(site: Site) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(BODY_LIMIT // 65536 + 1):
            yield b" " * 65536

    async with site.session.post(WEBHOOK, data=pieces(), headers={HEADER: "sha256=00"}) as response:
        assert (response.status, await response.read()) == (413, b"")


async def test_a_client_that_waits_to_be_told_to_send_its_body_is_told(site: Site) -> None:
    head, _, body = post(WEBHOOK, TEXT, X_Hub_Signature_256=sign(TEXT, SECRET), Expect="100-continue").partition(
        b"\r\n\r\n"
    )
    async with wire(site.port) as client:
        await client.send(head + b"\r\n\r\n")
        assert (await client.answer())[0] == 100
        await client.send(body)
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize(
    ("version", "said", "answered"),
    [("1.1", None, None), ("1.1", "close", "close"), ("1.0", None, None), ("1.0", "keep-alive", "keep-alive")],
)
async def test_it_says_whether_the_connection_goes_on(
    site: Site, version: str, said: str | None, answered: str | None
) -> None:
    field = f"Connection: {said}\r\n" if said else ""
    async with wire(site.port) as client:
        await client.send(f"GET /healthz HTTP/{version}\r\nHost: a\r\n{field}\r\n".encode())
        status, fields, _ = await client.answer()
        assert (status, fields.get("connection")) == (200, answered)
        assert fields["date"].endswith(" GMT")
        if (answered or said) == "close" or (version, answered) == ("1.0", None):
            assert await client.ended() == b""
        else:
            await client.send(b"HEAD /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert (await client.ended()).endswith(b"\r\n\r\n")


async def test_a_compressed_body_is_taken_as_the_bytes_that_it_is(site: Site) -> None:
    async with wire(site.port) as client:
        await client.send(
            post(WEBHOOK, b"\x1f\x8b no gzip", Content_Encoding="gzip", X_Hub_Signature_256=sign(b"other", SECRET))
        )
        assert (await client.answer())[0] == 401


async def test_large_bodies_cannot_fill_the_memory_and_small_ones_still_pass(site: Site) -> None:
    head = f"POST {WEBHOOK} HTTP/1.1\r\nHost: a\r\n{HEADER}: sha256=00\r\nContent-Length: {BODY_LIMIT}\r\n\r\n".encode()

    async def large() -> tuple[int, bytes]:
        return await site.post(b" " * BODY_LIMIT, "sha256=00")

    async with AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(wire(site.port)) for _ in range(10)]
        for client in slow:
            await client.send(head)
        assert await large() == (401, b"")  # what was only announced is in nobody's way

        for client in slow:
            await client.send(b"x" * (BODY_LIMIT - 1))
        await eventually(lambda: site.room.free < BODY_LIMIT - SMALL)
        assert await large() == (503, b"")
        assert await site.post(TEXT, sign(TEXT, SECRET)) == (200, b"")

    await eventually(lambda: site.room.free == MOST_BEYOND)
    assert await large() == (401, b"")


async def test_a_client_that_leaves_in_mid_body_leaves_no_trace(site: Site, log: list[str]) -> None:
    whole = post(WEBHOOK, TEXT, X_Hub_Signature_256=sign(TEXT, SECRET))
    async with wire(site.port) as client:
        await client.send(whole[:-10])
    assert await site.post(TEXT, sign(TEXT, SECRET)) == (200, b"")

    assert len(site.intake.deliveries) == 1
    assert not any("Traceback" in line for line in log)


async def test_a_broken_chunk_is_a_bad_request(site: Site, log: list[str]) -> None:
    head = f"POST {WEBHOOK} HTTP/1.1\r\nHost: a\r\n{HEADER}: sha256=00\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    async with wire(site.port) as client:
        await client.send(head + b"zz\r\nxx\r\n")
        assert (await client.ended()).startswith(b"HTTP/1.1 400 ")

    assert not any("Traceback" in line for line in log)


def verification(token: str, *, mode: str = "subscribe", challenge: str = "1158201444") -> str:
    return f"{WEBHOOK}?hub.mode={mode}&hub.challenge={quote(challenge)}&hub.verify_token={quote(token)}"


async def test_meta_gets_its_challenge_back(site: Site) -> None:
    async with site.session.get(verification(TOKEN)) as response:
        assert (response.status, await response.text()) == (200, "1158201444")
        assert response.content_type == "text/plain"


@pytest.mark.parametrize(
    "path",
    [
        WEBHOOK,
        verification("wrong"),
        verification(""),
        verification(TOKEN, mode="unsubscribe"),
        verification(TOKEN, challenge=""),
        f"{WEBHOOK}?hub.mode=subscribe&hub.challenge=1&hub.verify_token=%ff%fe",
    ],
)
async def test_any_other_verification_is_forbidden(site: Site, path: str) -> None:
    async with wire(site.port) as client:
        await client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        status, _, body = await client.answer()

    assert (status, body) == (403, b"")


async def test_no_token_ever_reaches_the_log(site: Site, log: list[str]) -> None:
    for token in (TOKEN, "a-wrong-token"):
        async with site.session.get(verification(token)):
            pass

    assert log
    assert not any("token &" in line or quote(TOKEN) in line or "a-wrong-token" in line for line in log)


@pytest.mark.parametrize(("ok", "status"), [(True, 200), (False, 503)])
async def test_health_is_small_and_tells_by_its_status(site: Site, ok: bool, status: int) -> None:
    site.health["ok"] = ok
    async with site.session.get("/healthz") as response:
        assert response.status == status
        assert json.loads(await response.read()) == {"ok": ok, "users": 2}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/whatsapp", 404),
        ("GET", "/whatsapp/webhook/", 404),
        ("POST", "/healthz", 405),
        ("DELETE", WEBHOOK, 405),
        ("HEAD", WEBHOOK, 405),
        ("GET", "/../../etc/passwd", 404),
    ],
)
async def test_nothing_else_is_there(site: Site, method: str, path: str, status: int) -> None:
    async with wire(site.port) as client:
        await client.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        got, _, body = await client.answer()

    assert (got, body) == (status, b"")


@pytest.mark.parametrize(("token", "secrets"), [("", ["s"]), ("t", []), ("t", [""]), ("t", ["s", ""])])
def test_an_empty_token_or_secret_is_refused_at_the_start(token: str, secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        public_site(
            intake=RecordingIntake(), verification_token=token, app_secrets=secrets, phone_number_id="1", health=dict
        )
