"""A model key per person, made and deleted at a loopback key API that speaks like OpenRouter's."""

import asyncio
import contextlib
import itertools
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from clawkakad.errors import Rejected, Transient
from clawkakad.gateway.failures import FailureKind, failure_kind
from clawkakad.model import SandboxId
from clawkakad.sandboxes.modelkeys import ProvisionedKeys, SharedKey

ANN, BOB = SandboxId("s00000000aa"), SandboxId("s00000000bb")


class KeyApi:
    """The provider's side. `status`: answer everything with that instead."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, Any]] = {}  # by hash
        self.status: int | None = None
        self.lose_answer = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._numbers = itertools.count(1)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/v1/keys", self._list)
        app.router.add_post("/api/v1/keys", self._make)
        app.router.add_delete("/api/v1/keys/{hash}", self._delete)
        return app

    def names(self) -> list[str]:
        return sorted(key["name"] for key in self.keys.values())

    def _check(self, request: web.Request) -> web.Response | None:
        if self.status is not None:
            return web.json_response({"error": {"message": "no"}}, status=self.status)
        if request.headers.get("Authorization") != "Bearer provisioning":
            return web.json_response({"error": {"message": "no"}}, status=401)
        return None

    async def _list(self, request: web.Request) -> web.Response:
        await self.may_answer.wait()
        offset = int(request.query["offset"])
        return self._check(request) or web.json_response({"data": list(self.keys.values())[offset : offset + 100]})

    async def _make(self, request: web.Request) -> web.Response:
        if (refusal := self._check(request)) is not None:
            return refusal
        number = next(self._numbers)
        made = {"hash": f"hash{number}", **await request.json()}
        self.keys[made["hash"]] = made
        if self.lose_answer:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"data": made, "key": f"sk-or-v1-{number}"}, status=201)

    async def _delete(self, request: web.Request) -> web.Response:
        if (refusal := self._check(request)) is not None:
            return refusal
        found = self.keys.pop(request.match_info["hash"], None)
        return web.json_response({"deleted": True}) if found else web.json_response({"error": {}}, status=404)


class Hashes:
    def __init__(self) -> None:
        self.of: dict[SandboxId, str | None] = {}

    async def set_key_hash(self, sandbox_id: SandboxId, key_hash: str | None) -> None:
        self.of[sandbox_id] = key_hash


class Bench:
    """A key API, and sources as one daemon after the other would have them."""

    def __init__(self, api: KeyApi, address: str, session: aiohttp.ClientSession, directory: Path) -> None:
        self.api, self.hashes, self.directory = api, Hashes(), directory
        self._address, self._session = address, session

    def source(self, *, instance: str = "inst", provisioning_key: str = "provisioning") -> ProvisionedKeys:
        return ProvisionedKeys(
            self._session,
            base_url=self._address,
            provisioning_key=provisioning_key,
            instance=instance,
            limit_usd=5.0,
            directory=self.directory,
            hashes=self.hashes,
        )


@contextlib.asynccontextmanager
async def _serving(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1"
    finally:
        await runner.cleanup()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    api = KeyApi()
    async with _serving(api.app()) as address, aiohttp.ClientSession() as session:
        yield Bench(api, address, session, tmp_path / "keys")


async def test_a_key_is_made_once_with_a_monthly_limit(bench: Bench) -> None:
    source = bench.source()
    keys = await asyncio.gather(*(source.key(ANN) for _ in range(5)))

    assert {"sk-or-v1-1"} == set(keys)
    assert [{"hash": "hash1", "name": f"clawkaka-inst-{ANN}", "limit": 5.0, "limit_reset": "monthly"}] == list(
        bench.api.keys.values()
    )
    assert {ANN: "hash1"} == bench.hashes.of


async def test_it_is_kept_in_a_private_file_and_found_after_a_restart(bench: Bench) -> None:
    await bench.source().key(ANN)
    bench.api.status = 500

    assert "sk-or-v1-1" == await bench.source().key(ANN)
    assert 0o600 == stat.S_IMODE((bench.directory / ANN).stat().st_mode)
    assert 0o700 == stat.S_IMODE(bench.directory.stat().st_mode)


async def test_nobody_who_has_a_key_waits_while_another_is_made(bench: Bench) -> None:
    await bench.source().key(ANN)
    bench.api.may_answer.clear()
    source = bench.source()  # after a restart
    making = asyncio.create_task(source.key(BOB))
    await asyncio.sleep(0)  # it has begun

    assert "sk-or-v1-1" == await asyncio.wait_for(source.key(ANN), 2)
    assert not making.done()
    bench.api.may_answer.set()
    assert "sk-or-v1-2" == await making


async def test_each_person_has_their_own(bench: Bench) -> None:
    source = bench.source()

    assert await source.key(ANN) != await source.key(BOB)


async def test_a_key_whose_answer_was_lost_is_replaced_and_not_doubled(bench: Bench) -> None:
    bench.api.lose_answer = True
    with pytest.raises(Transient):
        await bench.source().key(ANN)
    bench.api.lose_answer = False

    assert 1 == len(bench.api.keys)
    assert "sk-or-v1-2" == await bench.source().key(ANN)
    assert ["hash2"] == list(bench.api.keys)


async def test_it_is_found_among_hundreds(bench: Bench) -> None:
    bench.api.keys = {f"other{n}": {"hash": f"other{n}", "name": f"other{n}"} for n in range(250)}
    bench.api.keys["lost"] = {"hash": "lost", "name": f"clawkaka-inst-{ANN}"}
    await bench.source().key(ANN)

    assert "lost" not in bench.api.keys
    assert 251 == len(bench.api.keys)


async def test_forgetting_deletes_it_there_and_here_and_may_be_repeated(bench: Bench) -> None:
    source = bench.source()
    await source.key(ANN)
    await source.key(BOB)
    await source.forget(ANN, "hash1")
    await source.forget(ANN, "hash1")
    await source.forget(ANN, None)

    assert [f"clawkaka-inst-{BOB}"] == bench.api.names()
    assert [BOB] == [path.name for path in bench.directory.iterdir()]
    assert {ANN: None, BOB: "hash2"} == bench.hashes.of


async def test_a_key_without_a_known_hash_is_found_by_its_name(bench: Bench) -> None:
    await bench.source().key(ANN)
    await bench.source().forget(ANN, None)

    assert [] == bench.api.names()


async def test_another_installations_keys_are_left_alone(bench: Bench) -> None:
    await bench.source(instance="other").key(ANN)
    await bench.source(instance="inst").forget(ANN, None)

    assert [f"clawkaka-other-{ANN}"] == bench.api.names()


async def test_nothing_is_forgotten_while_the_provider_is_away(bench: Bench) -> None:
    await bench.source().key(ANN)
    bench.api.status = 503
    with pytest.raises(Transient):
        await bench.source().forget(ANN, "hash1")

    assert (bench.directory / ANN).exists()


async def test_a_wrong_provisioning_key_is_for_the_operator(bench: Bench) -> None:
    with pytest.raises(Rejected, match="OPENROUTER_PROVISIONING_KEY") as raised:
        await bench.source(provisioning_key="wrong").key(ANN)

    assert "wrong" not in str(raised.value)
    assert failure_kind(None, str(raised.value)) is FailureKind.AUTH


async def test_a_key_that_was_deleted_there_is_made_anew_once(bench: Bench) -> None:
    await bench.source().key(ANN)
    bench.api.keys.clear()  # `user rm`; then a restore brought the file back
    source = bench.source()
    known = await source.key(ANN)
    assert ["sk-or-v1-2"] * 4 == await asyncio.gather(*(source.other_key(ANN, known) for _ in range(4)))

    assert "sk-or-v1-2" == await source.key(ANN) == await bench.source().key(ANN)
    assert {ANN: "hash2"} == bench.hashes.of
    assert await source.other_key(ANN, "sk-or-v1-2") is None
    assert 1 == len(bench.api.keys)


async def test_a_key_that_was_turned_off_there_stays_off(bench: Bench) -> None:
    source = bench.source()
    key = await source.key(ANN)

    assert await source.other_key(ANN, key) is None
    assert key == await source.key(ANN)
    assert ["hash1"] == list(bench.api.keys)


async def test_a_shared_key_is_everybodys() -> None:
    assert await SharedKey("k").other_key(ANN, "k") is None
    assert "k" == await SharedKey("k").key(ANN) == await SharedKey("k").key(BOB)
    assert await SharedKey(None).key(ANN) is None
    await SharedKey("k").forget(ANN, None)
