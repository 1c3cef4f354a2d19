"""The simulated people and their file."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from clawkakad.errors import UsageError
from clawkakad.model import Wamid
from clawkakad.simulator.people import Author, Message, People, State, invented_number, new_wamid, user_id_of

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def message(wa_id: str, text: str = "hi", author: Author = Author.PERSON) -> Message:
    return Message(new_wamid(), wa_id, author, text, NOW, State.SENT, callback_data="k", client_id="c")


def test_everything_is_there_again_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    people = People(path)
    robin = people.add("Robin", "+91 98765-43210")
    kept = people.keep(message(robin.wa_id, "Olá\n👋"))
    people.move(kept.id, State.READ, NOW)
    people.close()

    again = People(path)

    assert again.people == people.people
    assert again.messages == people.messages
    assert again.messages[kept.id].state is State.READ
    assert path.stat().st_mode & 0o077 == 0
    again.close()


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    people = People(path)
    robin = people.add("Robin", "+91 98765 43210")
    people.close()
    with path.open("a") as file:
        file.write('{"event": "message", "id": "wam')

    again = People(path)
    assert again.people == {robin.wa_id: robin}
    again.keep(message(robin.wa_id))
    again.close()

    third = People(path)
    assert len(third.messages) == 1
    third.close()


@pytest.mark.parametrize("text", ["two\u2028lines", "next\x85line", "page\x0cbreak", "half a sign \ud83d"])
def test_a_text_with_signs_that_are_rare_is_there_again_too(tmp_path: Path, text: str) -> None:
    path = tmp_path / "people.jsonl"
    people = People(path)
    robin = people.add("Robin", "+91 98765 43210")
    people.keep(message(robin.wa_id, text))
    people.close()

    again = People(path)

    assert [kept.text for kept in again.of(robin.wa_id)] == [text]
    again.close()


def test_a_state_only_moves_on() -> None:
    people = People()
    kept = people.keep(message("919876543210"))

    assert people.move(kept.id, State.READ, NOW) is not None
    assert people.move(kept.id, State.DELIVERED, NOW) is None
    assert people.move(Wamid("wamid.x"), State.READ, NOW) is None
    assert people.messages[kept.id].state is State.READ


@pytest.mark.parametrize("number", ["+91 98765 43210", "919876543210", "+91-98765-43210", " +91 (98765) 43210 "])
def test_a_number_is_understood_in_any_human_form(number: str) -> None:
    assert People().add("Robin", number).wa_id == "919876543210"


@pytest.mark.parametrize("number", ["hello", "+", "12", "+91"])
def test_what_is_no_number_is_refused_in_plain_words(number: str) -> None:
    with pytest.raises(UsageError, match="country code"):
        People().add("Robin", number)


def test_a_name_without_a_number_gets_one_that_stays() -> None:
    assert People().add("Robin").wa_id == People().add("robin").wa_id
    assert invented_number("Robin", {invented_number("Robin", set())}) != invented_number("Robin", set())


def test_a_person_needs_a_name() -> None:
    with pytest.raises(UsageError):
        People().add("  ", "+91 98765 43210")


def test_a_user_id_has_the_country_and_hides_the_number() -> None:
    assert user_id_of("919876543210").startswith("IN.")
    assert user_id_of("4915123456789").startswith("DE.")
    assert "98765" not in user_id_of("919876543210")
    assert user_id_of("919876543210") == user_id_of("919876543210")


def test_an_address_without_plus_is_nobodys() -> None:
    people = People()
    robin = people.add("Robin", "+91 98765 43210")

    assert people.by_address(to="+919876543210", recipient=None) == robin
    assert people.by_address(to="919876543210", recipient=None) is None
    assert people.by_address(to=None, recipient=robin.user_id) == robin
    assert people.by_address(to="+15550100000", recipient=robin.user_id) is None
