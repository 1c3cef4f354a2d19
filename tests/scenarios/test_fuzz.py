"""Webhooks that are not what they should be, over HTTP to the real daemon: it never fails at one, and whatever is wrong
in one item is no harm to its neighbour.
"""

import copy
import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clawkakad.simulator import payloads
from clawkakad.simulator.people import Author, Message, Person, State, new_wamid
from clawkakad.whatsapp.signature import HEADER, sign
from tests.scenarios.background import Background
from tests.scenarios.conftest import Stage, data, known, open_stage
from tests.scenarios.nursery import Nursery
from tests.support import DATA

pytestmark = pytest.mark.timeout(180)

RECORDED = [json.loads(data(path.name)) for path in sorted((DATA / "payloads").glob("*.json"))]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.just("\ud800") | st.just("\0"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
UNHURRIED = settings(
    max_examples=250,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@dataclass
class Target:
    """A daemon whose people never get a sandbox, and one connection to it."""

    stage: Stage
    robin: Person
    connection: http.client.HTTPConnection

    def post(self, body: bytes) -> int:
        signed = sign(body, self.stage.world.simulator.secrets.app_secret)
        self.connection.request("POST", "/whatsapp/webhook", body, {HEADER: signed})
        answer = self.connection.getresponse()
        answer.read()
        return answer.status

    def good_one(self) -> dict[str, Any]:
        """A change with a message that has nothing wrong with it."""
        exchange = self.stage.world.simulator.exchange
        message = Message(new_wamid(), self.robin.wa_id, Author.PERSON, "hello", exchange.now(), State.SENT)
        return payloads.text_message(exchange.business, self.robin, message)

    def has(self, document: dict[str, Any]) -> bool:
        """Whether the message of `good_one` is stored."""
        wamid = document["entry"][0]["changes"][0]["value"]["messages"][0]["id"]
        return bool(self.stage.world.daemon.rows("SELECT 1 FROM inbox WHERE wamid = ? AND text = 'hello'", wamid))


@pytest.fixture(scope="module")
def target(nursery: Nursery) -> Iterator[Target]:
    with Background() as background:
        stage = background.open(open_stage(nursery, known(CLAWKAKA_MESSAGES_PER_HOUR="0", CLAWKAKA_LOG_LEVEL="INFO")))
        stage.engine.fail = ("containers", 500)
        background.do(stage.world.daemon.start())
        connection = http.client.HTTPConnection("127.0.0.1", stage.world.daemon.port, timeout=20)
        try:
            yield Target(stage, stage.person(), connection)
            assert "Traceback" not in stage.world.daemon.log.read_text()
        finally:
            connection.close()


def paths(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    yield path
    if isinstance(document, dict | list):
        for key, child in document.items() if isinstance(document, dict) else enumerate(document):
            yield from paths(child, (*path, key))


@st.composite
def damaged(draw: st.DrawFn, fixed: int = 0) -> Any:
    """A recorded webhook with some places replaced, removed or added to. `fixed`: so many levels stay whole."""
    document = copy.deepcopy(draw(st.sampled_from(RECORDED)))
    for _ in range(draw(st.integers(1, 3))):
        places = [path for path in paths(document) if len(path) > fixed]
        if not places:
            break
        *above, last = draw(st.sampled_from(places))
        parent = document
        for key in above:
            parent = parent[key]
        if draw(st.booleans()):
            parent[last] = draw(ANYTHING)
        else:
            del parent[last]
    return document


def wire(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=True).encode("ascii")


@UNHURRIED
@given(body=st.binary(max_size=200) | ANYTHING.map(wire) | damaged().map(wire))
def test_no_body_makes_it_fail(target: Target, body: bytes) -> None:
    assert target.post(body) == 200


@UNHURRIED
@given(bad=damaged(fixed=4))
def test_a_message_beside_a_damaged_one_is_stored(target: Target, bad: dict[str, Any]) -> None:
    good = target.good_one()
    both = copy.deepcopy(good)
    both["entry"] = [*bad.get("entry", []), *both["entry"]]

    assert target.post(wire(both)) == 200

    assert target.has(good)
