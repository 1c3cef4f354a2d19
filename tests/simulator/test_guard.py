"""Other web sites cannot reach the simulator."""

import aiohttp
import pytest

from clawkakad.simulator.guard import host_of, is_same_origin
from clawkakad.simulator.server import running_simulator
from tests.simulator.conftest import Pair


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("127.0.0.1:3002", "127.0.0.1"),
        ("LocalHost", "localhost"),
        ("[::1]:80", "[::1]"),
        ("", ""),
        ("evil.example:1", "evil.example"),
    ],
)
def test_the_host_is_read_without_its_port(header: str, host: str) -> None:
    assert host_of(header) == host


def test_origins_are_compared_whole() -> None:
    assert is_same_origin(None, "localhost:1")
    assert is_same_origin("http://localhost:1", "localhost:1")
    assert not is_same_origin("http://localhost:2", "localhost:1")
    assert not is_same_origin("null", "localhost:1")
    assert not is_same_origin("http://localhost:1.evil.example", "localhost:1")


@pytest.mark.parametrize("path", ["/", "/socket", "/simulator/messages", "/v1/models"])
async def test_a_name_that_is_not_ours_is_refused(pair: Pair, path: str) -> None:
    async with pair.daemon.session.get(pair.simulator.url + path, headers={"Host": "evil.example"}) as answer:
        assert answer.status == 421


async def test_its_own_address_may_be_of_ipv6(pair: Pair) -> None:
    running = running_simulator(pair.simulator.secrets, host="::1", names=frozenset())
    async with running as simulator, pair.daemon.session.get(simulator.url) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("path", ["/simulator/messages", "/simulator/people", "/simulator/knobs"])
async def test_a_request_of_another_site_is_refused(pair: Pair, path: str) -> None:
    headers = {"Origin": "https://evil.example"}
    async with pair.daemon.session.post(pair.simulator.url + path, json={}, headers=headers) as answer:
        assert answer.status == 403


async def test_a_socket_of_another_site_is_refused(pair: Pair) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await pair.daemon.session.ws_connect(f"{pair.simulator.url}/socket", origin="https://evil.example")


async def test_the_page_runs_nothing_but_its_own(pair: Pair) -> None:
    async with pair.daemon.session.get(pair.simulator.url) as answer:
        policy = answer.headers["Content-Security-Policy"]
        page = await answer.text()

    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "//" not in page.replace("http://www.w3.org", "")
