"""Prompts: a person's own words as they are, and nobody's words in the place of our notes."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawkakad.assistant import prompt
from clawkakad.model import ReminderState, UserId, Wamid
from clawkakad.registry.inbox import InboxRow
from clawkakad.registry.reminders import Reminder
from tests.assistant.test_burst import NOW, row

SIX_HOURS = timedelta(hours=6)
SNEAKY = st.lists(
    st.sampled_from(
        [
            "[",
            "\uff3b",
            "]",
            "reminder sent",
            "In reply to",
            "forwarded",
            "WRITTEN",
            "your disk",
            "Your person",
            " ",
            "\n",
            "“",
            "”",
            ":",
        ]
    ),
).map("".join)


def told(*messages: InboxRow, quotes: dict[Wamid, str] | None = None, sent: tuple[Reminder, ...] = ()) -> str:
    return prompt.of_turn(messages, quotes or {}, sent, now=NOW, zone_name="Asia/Kolkata", old_after=SIX_HOURS)


def reminder(text: str) -> Reminder:
    return Reminder(1, UserId("u1"), NOW, "2026-11-22 10:00", "UTC", text, ReminderState.FIRED)


def is_note(line: str) -> bool:
    return line.lower().startswith(tuple(f"[{words}" for words in prompt.NOTES))


@pytest.mark.parametrize("text", ["milk", "[x] done", "array[0] = 1", "[location: here]", "> quoted", "two\nlines"])
def test_one_message_is_its_words_alone(text: str) -> None:
    assert told(row(1, text=text)) == text


@given(SNEAKY)
def test_no_words_of_a_person_pass_as_a_note(text: str) -> None:
    assert not any(is_note(line.strip()) for line in told(row(1, text=text)).split("\n"))


@given(SNEAKY)
def test_every_line_that_was_forwarded_is_marked(text: str) -> None:
    first, *lines = told(row(1, text=text)._replace(forwarded=True)).split("\n")

    assert first == "[forwarded, somebody else's words]"
    assert all(line.startswith("> ") for line in lines if line)


@given(SNEAKY | st.text())
def test_a_quote_stays_inside_its_note(text: str) -> None:
    message = row(1, text="yes")._replace(reply_to=Wamid("w"))

    first, *rest = told(message, quotes={Wamid("w"): text}).split("\n")

    assert first.startswith("[in reply to")
    assert first.endswith("]")
    assert first.count("[") == first.count("]") == 1
    assert first.count("”") <= 1
    assert rest == ["yes"]


def test_a_long_quote_is_shortened() -> None:
    message = row(1, text="yes")._replace(reply_to=Wamid("w"))

    note = told(message, quotes={Wamid("w"): "word " * 1000}).split("\n")[0]

    assert note.endswith("…”]")
    assert len(note) < prompt.LONGEST_QUOTE + 30


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (timedelta(hours=5, minutes=59), None),
        (timedelta(hours=6), "[written 6 hours ago, on 2026-11-22 09:30, and received only now]"),
        (timedelta(hours=47), "[written 47 hours ago, on 2026-11-20 16:30, and received only now]"),
        (timedelta(days=2), "[written 2 days ago, on 2026-11-20 15:30, and received only now]"),
    ],
)
def test_an_old_message_says_when_it_was_written_on_its_persons_wall(age: timedelta, words: str | None) -> None:
    message = row(1, text="hi")._replace(sent_at=NOW - age)

    assert told(message) == ("hi" if words is None else f"{words}\nhi")


def test_nothing_is_old_where_that_is_switched_off() -> None:
    assert not prompt.is_old(row(1), NOW + timedelta(days=9), timedelta())


@given(SNEAKY)
def test_a_reminder_is_one_note(text: str) -> None:
    lines = told(row(1, text="hi"), sent=(reminder(text),)).split("\n")

    assert len(lines) == 2
    assert is_note(lines[0])


def test_an_agent_whose_disk_is_nearly_full_is_told_first() -> None:
    text = prompt.of_turn([row(1, text="hi")], {}, (), now=NOW, zone_name="UTC", old_after=SIX_HOURS, disk="9 of 10 MB")

    first, *rest = text.split("\n")
    assert is_note(first)
    assert "9 of 10 MB" in first
    assert rest == ["hi"]
