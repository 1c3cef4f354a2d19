"""The fake Graph API: Meta's answers, Meta's refusals, and what the knobs do to them."""

import asyncio
from typing import Any

import aiohttp
import pytest

from clawkakad.simulator.knobs import AFTER, BEFORE, TAKEN, Trouble
from clawkakad.simulator.people import Author, State
from clawkakad.simulator.troubles import Dice
from tests.simulator.conftest import Pair
from tests.support import eventually

TO = "+15550100123"


@pytest.fixture
async def open_window(pair: Pair) -> Pair:
    """Robin has just written."""
    pair.simulator.exchange.write(pair.robin, "hi")
    await eventually(lambda: pair.daemon.texts)
    return pair


def code(answer: tuple[int, Any]) -> tuple[int, int]:
    """HTTP status and Meta's code."""
    return answer[0], answer[1]["error"]["code"]


async def test_a_text_is_taken_and_reported_on(open_window: Pair) -> None:
    pair = open_window
    status, answer = await pair.daemon.send(TO, "Hello", biz_opaque_callback_data="outbox:7")

    assert status == 200
    (contact,), (sent,) = answer["contacts"], answer["messages"]
    assert contact == {"input": TO, "wa_id": "15550100123", "user_id": pair.robin.user_id}
    assert sent["id"].startswith("wamid.")
    await eventually(lambda: [s["status"] for s in pair.daemon.statuses] == ["sent", "delivered"])
    for report in pair.daemon.statuses:
        assert report["id"] == sent["id"]
        assert report["biz_opaque_callback_data"] == "outbox:7"
        assert report["recipient_id"] == "15550100123"
        assert report["pricing"]["category"] == "service"


async def test_a_user_id_will_do_for_a_number(open_window: Pair) -> None:
    pair = open_window
    body = {"messaging_product": "whatsapp", "type": "text", "text": {"body": "Hello"}}

    status, answer = await pair.daemon.messages({**body, "recipient": pair.robin.user_id})

    assert status == 200
    assert answer["contacts"][0]["input"] == pair.robin.user_id


async def test_it_is_read_when_somebody_looks(open_window: Pair) -> None:
    pair = open_window
    await pair.daemon.send(TO, "Hello")
    async with pair.simulator.exchange.watching() as watcher:
        await eventually(lambda: pair.last("Hello").state is State.DELIVERED)
        pair.simulator.exchange.look(watcher, pair.robin.wa_id)
        await eventually(lambda: "read" in [s["status"] for s in pair.daemon.statuses])
        await pair.daemon.send(TO, "More")
        await eventually(lambda: pair.last("More").state is State.READ)
    assert "pricing" not in next(s for s in pair.daemon.statuses if s["status"] == "read")


async def test_reading_marks_all_earlier_ones_and_types_until_the_answer(pair: Pair) -> None:
    exchange = pair.simulator.exchange
    first, second = exchange.write(pair.robin, "one"), exchange.write(pair.robin, "two")

    assert await pair.daemon.read(second.id, typing=True) == (200, {"success": True})

    assert {exchange.people.messages[m.id].state for m in (first, second)} == {State.READ}
    assert exchange.typing() == [pair.robin.wa_id]
    await pair.daemon.send(TO, "three")
    assert exchange.typing() == []


REFUSED: dict[str, tuple[dict[str, Any], int, int]] = {
    "another product": ({"messaging_product": "telegram"}, 400, 100),
    "no recipient": ({"to": None}, 400, 100),
    "a stranger": ({"to": "+15550109999"}, 400, 131030),
    "a number without plus": ({"to": "15550100123"}, 400, 131030),
    "ourselves": ({"to": "+15550100199"}, 400, 131021),
    "no text": ({"text": None}, 400, 131008),
    "an empty text": ({"text": {"body": " "}}, 400, 131008),
    "a text too long": ({"text": {"body": "ü" * 4097}}, 400, 100),
    "too much callback data": ({"biz_opaque_callback_data": "x" * 513}, 400, 100),
    "another type": ({"type": "sticker"}, 400, 131051),
    "a state that is none": ({"status": "seen"}, 400, 100),
    "a read without an id": ({"status": "read"}, 400, 100),
    "a read of an unknown message": ({"status": "read", "message_id": "wamid.x"}, 400, 131009),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_a_wrong_request_is_refused_as_by_meta(open_window: Pair, case: str) -> None:
    changes, status, number = REFUSED[case]
    body = {"messaging_product": "whatsapp", "to": TO, "type": "text", "text": {"body": "Hello"}}

    answer = await open_window.daemon.messages({**body, **changes})

    assert code(answer) == (status, number)
    assert set(answer[1]["error"]) >= {"message", "type", "code", "fbtrace_id"}


async def test_a_text_of_the_greatest_length_is_counted_in_code_points(open_window: Pair) -> None:
    assert (await open_window.daemon.send(TO, "👍" * 4096))[0] == 200


async def test_a_wrong_token_is_told(open_window: Pair) -> None:
    assert code(await open_window.daemon.messages({}, token="EAAwrong")) == (401, 190)
    assert code(await open_window.daemon.messages({}, token="")) == (401, 190)


async def test_another_number_id_is_unknown(open_window: Pair) -> None:
    assert code(await open_window.daemon.post("/v25.0/999/messages", {})) == (400, 100)


async def test_the_window_closes_a_day_after_the_persons_last_message(open_window: Pair) -> None:
    pair = open_window
    pair.time.added = pair.time.added.__class__(hours=23, minutes=59)
    assert (await pair.daemon.send(TO, "still"))[0] == 200
    pair.time.added += pair.time.added.__class__(minutes=2)

    assert code(await pair.daemon.send(TO, "too late")) == (400, 131047)


async def test_who_never_wrote_cannot_be_written_to(pair: Pair) -> None:
    assert code(await pair.daemon.send(TO, "Hello")) == (400, 131047)


async def test_too_many_messages_to_one_person_hit_the_pair_limit(open_window: Pair) -> None:
    pair = open_window
    pair.simulator.exchange.knobs.statuses = "off"
    answers = [await pair.daemon.send(TO, f"{n}") for n in range(46)]

    assert {answer[0] for answer in answers[:45]} == {200}
    assert code(answers[45]) == (400, 131056)
    pair.time.added += pair.time.added.__class__(seconds=7)
    assert (await pair.daemon.send(TO, "later"))[0] == 200


class TestKnobs:
    async def test_next_errors_come_one_by_one(self, open_window: Pair) -> None:
        pair = open_window
        pair.simulator.exchange.knobs.next_errors = [130429, 131056, 190, 503]

        assert code(await pair.daemon.send(TO, "a")) == (429, 130429)
        assert code(await pair.daemon.send(TO, "a")) == (400, 131056)
        assert code(await pair.daemon.send(TO, "a")) == (401, 190)
        assert await pair.daemon.send(TO, "a") == (503, "<html>upstream error</html>")
        assert (await pair.daemon.send(TO, "a"))[0] == 200

    async def test_a_lost_answer_was_taken(self, open_window: Pair) -> None:
        pair = open_window
        pair.simulator.exchange.knobs.lose_answers = 1

        with pytest.raises(aiohttp.ClientError):
            await pair.daemon.send(TO, "Hello", biz_opaque_callback_data="k")

        await eventually(lambda: [s["status"] for s in pair.daemon.statuses] == ["sent", "delivered"])
        assert pair.daemon.statuses[0]["biz_opaque_callback_data"] == "k"

    async def test_a_lost_request_was_not(self, open_window: Pair) -> None:
        pair = open_window
        pair.simulator.exchange.knobs.lose_requests = 1

        with pytest.raises(aiohttp.ClientError):
            await pair.daemon.send(TO, "Hello")

        messages = pair.simulator.exchange.people.messages.values()
        assert [m for m in messages if m.author is Author.ASSISTANT] == []

    async def test_a_message_may_fail_afterwards_and_then_never_reaches_the_phone(self, open_window: Pair) -> None:
        pair = open_window
        pair.simulator.exchange.knobs.next_failures = [131026]

        assert (await pair.daemon.send(TO, "Hello"))[0] == 200

        await eventually(lambda: [s["status"] for s in pair.daemon.statuses] == ["sent", "failed"])
        failed = pair.daemon.statuses[1]
        assert failed["errors"][0]["code"] == 131026
        assert "recipient_user_id" not in failed
        assert [m.text for m in pair.simulator.exchange.shown(pair.robin.wa_id)] == ["hi"]

    async def test_statuses_can_be_off(self, open_window: Pair) -> None:
        pair = open_window
        pair.simulator.exchange.knobs.statuses = "off"

        await pair.daemon.send(TO, "Hello")

        await eventually(lambda: pair.last("Hello").state is State.DELIVERED)
        assert pair.daemon.statuses == []

    async def test_they_are_turned_from_outside(self, open_window: Pair) -> None:
        pair = open_window
        url = f"{pair.simulator.url}/simulator/knobs"
        async with pair.daemon.session.post(url, json={"next_errors": [131016], "latency_s": 0.01}) as answer:
            assert (await answer.json())["latency_s"] == 0.01
        async with pair.daemon.session.post(url, json={"next_error": [131016]}) as answer:
            assert answer.status == 400
            assert "next_error" in await answer.text()

        assert code(await pair.daemon.send(TO, "a")) == (503, 131016)

    async def test_the_error_rate_is_a_chance(self, open_window: Pair) -> None:
        open_window.simulator.exchange.knobs.error_rate = 1.0

        assert code(await open_window.daemon.send(TO, "a")) == (503, 131016)

    @pytest.mark.parametrize("trouble", [*BEFORE, *AFTER])
    async def test_a_trouble_is_told_apart_by_whether_the_message_was_taken(
        self, open_window: Pair, trouble: Trouble
    ) -> None:
        pair = open_window
        pair.simulator.exchange.knobs.next_troubles = [trouble]

        try:
            status, answer = await pair.daemon.send(TO, "Hello", biz_opaque_callback_data="k")
        except aiohttp.ClientError:
            status, answer = 0, {}

        assert status in (0, 200, 502, 503)
        assert "messages" not in answer
        assert len(taken(pair)) == (trouble in TAKEN)
        assert (await pair.daemon.send(TO, "Hello", biz_opaque_callback_data="k"))[0] == 200

    @pytest.mark.parametrize("trouble", [Trouble.HANG, Trouble.HANG_AFTER])
    async def test_a_request_may_hang(self, open_window: Pair, trouble: Trouble) -> None:
        pair = open_window
        pair.simulator.exchange.knobs.next_troubles = [trouble]

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await pair.daemon.send(TO, "Hello")

        assert len(taken(pair)) == (trouble is Trouble.HANG_AFTER)

    async def test_an_answer_may_come_after_the_statuses(self, open_window: Pair) -> None:
        pair = open_window
        pair.simulator.exchange.knobs.next_troubles = [Trouble.LATE]

        sending = asyncio.create_task(pair.daemon.send(TO, "Hello"))
        await eventually(lambda: [s["status"] for s in pair.daemon.statuses] == ["sent", "delivered"])

        assert not sending.done()
        assert (await sending)[1]["messages"] == [{"id": pair.last("Hello").id}]

    @pytest.mark.parametrize(("knob", "kinds"), [("troubles_before", BEFORE), ("troubles_after", AFTER)])
    async def test_a_rate_of_troubles_strikes_the_first_send_of_a_message_only(
        self, open_window: Pair, knob: str, kinds: tuple[Trouble, ...]
    ) -> None:
        pair = open_window
        pair.simulator.exchange.knobs = pair.simulator.exchange.knobs.turned({knob: 1.0, "pair_limit": False})
        struck = 0
        for key in map(str, range(12)):
            try:
                status, answer = await pair.daemon.send(TO, key, biz_opaque_callback_data=key)
                struck += status != 200 or "messages" not in answer
            except aiohttp.ClientError:
                struck += 1
            assert (await pair.daemon.send(TO, key, biz_opaque_callback_data=key))[0] == 200

        assert struck == 12
        assert len(taken(pair)) == (24 if kinds is AFTER else 12)

    async def test_a_429_says_when_to_come_again(self, open_window: Pair) -> None:
        pair = open_window
        knobs = {"next_errors": [130429, 429, 131016], "retry_after_s": 7}
        pair.simulator.exchange.knobs = pair.simulator.exchange.knobs.turned(knobs)

        waits = []
        for _ in range(3):
            async with pair.daemon.session.post(
                f"{pair.simulator.url}/v25.0/{pair.daemon.secrets.phone_number_id}/messages",
                json={"messaging_product": "whatsapp", "to": TO, "text": {"body": "a"}},
                headers={"Authorization": f"Bearer {pair.daemon.secrets.access_token}"},
            ) as answer:
                waits.append((answer.status, answer.headers.get("Retry-After")))
        assert waits == [(429, "7"), (429, "7"), (503, None)]

    async def test_an_expired_token_is_refused_everywhere(self, open_window: Pair) -> None:
        pair = open_window
        pair.simulator.exchange.knobs.token_expired = True
        assert code(await pair.daemon.send(TO, "a")) == (401, 190)
        assert code(await pair.daemon.read("wamid.x")) == (401, 190)

        pair.simulator.exchange.knobs.token_expired = False
        assert (await pair.daemon.send(TO, "a"))[0] == 200

    async def test_statuses_can_be_lost_doubled_and_out_of_order(self, open_window: Pair) -> None:
        pair = open_window
        knobs = {"statuses": "shuffled", "status_delay_s": 0.05, "statuses_missing": 0.3, "statuses_twice": 0.3}
        knobs |= {"pair_limit": False, "seed": 7}
        pair.simulator.exchange.knobs = pair.simulator.exchange.knobs.turned(knobs)
        keys = [str(number) for number in range(40)]
        for key in keys:
            await pair.daemon.send(TO, key, biz_opaque_callback_data=key)

        dice = Dice(7)
        wanted = sorted(
            (key, state)
            for key in keys
            for state in ("sent", "delivered")
            if not dice.falls(0.3, "missing", f"{key} {state}")
            for _ in range(1 + dice.falls(0.3, "twice", f"{key} {state}"))
        )
        assert 40 < len(wanted) < 100

        def came() -> list[tuple[str, str]]:
            return [(s["biz_opaque_callback_data"], s["status"]) for s in pair.daemon.statuses]

        await eventually(lambda: sorted(came()) == wanted)
        assert any(came().index((key, "delivered")) < came().index((key, "sent")) for key in keys if both(came(), key))

    async def test_every_knob_can_be_turned_by_json(self, pair: Pair) -> None:
        knobs = pair.simulator.exchange.knobs.model_dump(mode="json")
        async with pair.daemon.session.post(f"{pair.simulator.url}/simulator/knobs", json=knobs) as answer:
            assert (answer.status, await answer.json()) == (200, knobs)


def taken(pair: Pair) -> list[str]:
    """What reached the phone."""
    messages = pair.simulator.exchange.people.messages.values()
    return [m.text for m in messages if m.author is Author.ASSISTANT]


def both(came: list[tuple[str, str]], key: str) -> bool:
    return {(key, "sent"), (key, "delivered")} <= set(came)


async def test_media_go_up_and_down(pair: Pair) -> None:
    session, headers = pair.daemon.session, {"Authorization": f"Bearer {pair.daemon.secrets.access_token}"}
    base = f"{pair.simulator.url}/v25.0"
    form = aiohttp.FormData({"messaging_product": "whatsapp", "type": "text/plain"})
    form.add_field("file", b"hello", filename="a.txt", content_type="text/plain")
    async with session.post(
        f"{base}/{pair.daemon.secrets.phone_number_id}/media", data=form, headers=headers
    ) as answer:
        media_id = (await answer.json())["id"]

    async with session.get(f"{base}/{media_id}", headers=headers) as answer:
        facts = await answer.json()
    assert (facts["mime_type"], facts["file_size"], len(facts["sha256"])) == ("text/plain", 5, 64)
    async with session.get(facts["url"]) as answer:
        assert answer.status == 401
    async with session.get(facts["url"], headers=headers) as answer:
        assert await answer.read() == b"hello"
    pair.time.added += pair.time.added.__class__(minutes=6)
    async with session.get(facts["url"], headers=headers) as answer:
        assert answer.status == 404


async def test_our_number_can_be_looked_up(pair: Pair) -> None:
    headers = {"Authorization": f"Bearer {pair.daemon.secrets.access_token}"}
    url = f"{pair.simulator.url}/v25.0/{pair.daemon.secrets.phone_number_id}"
    async with pair.daemon.session.get(url, headers=headers) as answer:
        assert (await answer.json())["display_phone_number"] == "+15550100199"
