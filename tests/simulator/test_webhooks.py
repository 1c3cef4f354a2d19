"""What reaches the daemon: signed, in Meta's wire form, in order, and again until it is taken."""

import json
from pathlib import Path

import pytest

from clawkakad.simulator.payloads import wire
from clawkakad.simulator.people import State
from clawkakad.simulator.server import Secrets, running_simulator
from clawkakad.whatsapp.parsing import parse
from tests.simulator.conftest import QUICK_RETRIES_S, Pair
from tests.simulator.daemon import join, running_daemon
from tests.support import eventually


def test_the_wire_form_is_metas() -> None:
    text = "Café ☕ 👨‍👩‍👧 https://example.invalid/a?b=<c> @home"

    body = wire({"body": text})

    assert body == (
        rb'{"body":"Caf\u00e9 \u2615 \ud83d\udc68\u200d\ud83d\udc69\u200d\ud83d\udc67 '
        rb'https:\/\/example.invalid\/a?b=<c> @home"}'
    )
    assert json.loads(body) == {"body": text}


async def test_a_message_arrives_signed_with_number_and_user_id(pair: Pair) -> None:
    message = pair.simulator.exchange.write(pair.robin, "Olá 👋 a/b")

    await eventually(lambda: pair.daemon.texts)
    (value,) = pair.daemon.values
    assert value["contacts"] == [{"profile": {"name": "Robin"}, "wa_id": "15550100123", "user_id": pair.robin.user_id}]
    (item,) = value["messages"]
    assert item["from_user_id"].startswith("US.")
    assert (item["from"], item["id"], item["text"]) == ("15550100123", message.id, {"body": "Olá 👋 a/b"})
    delivery = parse(pair.daemon.bodies[0], phone_number_id=pair.daemon.secrets.phone_number_id)
    assert [inbound.text for inbound in delivery.messages] == ["Olá 👋 a/b"]
    assert delivery.notices == ()


async def test_the_ticks_tell_how_far_it_came(pair: Pair) -> None:
    pair.daemon.answers = [503]
    message = pair.simulator.exchange.write(pair.robin, "hi")
    messages = pair.simulator.exchange.people.messages

    assert messages[message.id].state is State.SENT
    await eventually(lambda: messages[message.id].state is State.DELIVERED)
    await pair.daemon.read(message.id)
    assert messages[message.id].state is State.READ
    assert set(messages[message.id].times) == {"delivered", "read"}


@pytest.mark.parametrize("refusal", [503, 401, 202, 500])
async def test_anything_but_200_is_sent_again(pair: Pair, refusal: int) -> None:
    pair.daemon.answers = [refusal, refusal]

    pair.simulator.exchange.write(pair.robin, "hi")

    await eventually(lambda: pair.daemon.texts == ["hi"])


async def test_messages_of_a_person_arrive_in_order_though_the_first_is_refused(pair: Pair) -> None:
    pair.daemon.answers = [503, 503]
    for text in ("one", "two", "three"):
        pair.simulator.exchange.write(pair.robin, text)

    await eventually(lambda: len(pair.daemon.texts) == 3)
    assert pair.daemon.texts == ["one", "two", "three"]


async def test_a_webhook_that_is_never_taken_is_given_up(pair: Pair) -> None:
    pair.daemon.answers = [503] * 100

    message = pair.simulator.exchange.write(pair.robin, "hi")

    await eventually(lambda: pair.simulator.exchange.people.messages[message.id].state is State.FAILED)


async def test_what_was_not_taken_is_sent_by_the_next_run(secrets: Secrets, tmp_path: Path) -> None:
    async with running_simulator(secrets, directory=tmp_path) as first:
        robin = first.exchange.add_person("Robin", "+1 555 010 0123")
        message = first.exchange.write(robin, "hi")

    async with (
        running_daemon(secrets) as daemon,
        running_simulator(secrets, directory=tmp_path, retry_delays_s=QUICK_RETRIES_S) as second,
    ):
        join(daemon, second)
        await eventually(lambda: daemon.texts == ["hi"])
        assert daemon.values[0]["messages"][0]["id"] == message.id


async def test_the_same_message_of_a_page_twice_is_one(pair: Pair) -> None:
    first = pair.simulator.exchange.write(pair.robin, "hi", client_id="c1")
    again = pair.simulator.exchange.write(pair.robin, "hi", client_id="c1")

    assert first.id == again.id
