"""The offline model's rules: what a request leads to."""

import json
import shlex

import pytest

from clawkakad.simulator.offline import meeting, scripts
from clawkakad.simulator.rules import SILENCE, Run, Say, decide
from tests.simulator.requests import NEW, TOOLS, assistant, heartbeat, person, request


def command(text: str, *outputs: str) -> list[str]:
    """The words of the command that a message leads to."""
    decision = decide(request(text, *outputs), TOOLS)
    assert isinstance(decision, Run), decision
    return shlex.split(decision.command)


def said(text: str, *outputs: str, **options: object) -> str:
    """What a message is answered with, once these are the results of its commands."""
    decision = decide(request(text, *outputs, **options), TOOLS)  # type: ignore[arg-type]
    assert isinstance(decision, Say), decision
    return decision.text


COMMANDS = {
    "Uber to office 280": ["expense", "add", "280", "--what", "Uber to office", "--category", "Transport"],
    "280 uber": ["expense", "add", "280", "--what", "Uber", "--category", "Transport"],
    "spent 450 on lunch": ["expense", "add", "450", "--what", "Lunch", "--category", "Food"],
    "₹120 chai": ["expense", "add", "120", "--what", "Chai", "--category", "Food", "--currency", "INR"],
    "Rs. 1,20,000 rent": ["expense", "add", "120000", "--what", "Rent", "--category", "Housing"],
    "gift for mom 1.5k": ["expense", "add", "1500", "--what", "Gift for mom", "--category", "Shopping"],
    "paid the plumber 800": ["expense", "add", "800", "--what", "Plumber", "--category", "Housing"],
    "had lunch 450": ["expense", "add", "450", "--what", "Lunch", "--category", "Food"],
    "bought a lamp for 30 dollars": [
        *["expense", "add", "30", "--what", "Lamp", "--category", "Other", "--currency", "USD"]
    ],
    "spent 12.50 on coffee yesterday": [
        *["expense", "add", "12.50", "--what", "Coffee", "--category", "Food", "--at", "yesterday"]
    ],
    "got salary 50000": ["income", "add", "50000", "--what", "Salary"],
    "received 2,000 from Ravi": ["income", "add", "2000", "--what", "Ravi"],
    "had 2 dosas for breakfast": ["meal", "add", "2 dosas", "--kcal", "350", "--meal", "breakfast"],
    "ate an apple and a coffee": ["meal", "add", "an apple and a coffee", "--kcal", "135"],
    "lunch: dal rice and 2 rotis": ["meal", "add", "dal rice and 2 rotis", "--kcal", "630", "--meal", "lunch"],
    "add task pay rent by friday": ["task", "add", "Pay rent", "--due", "friday"],
    "I need to call the bank tomorrow at 9": ["task", "add", "Call the bank", "--due", "tomorrow 9:00"],
    "todo: milk": ["task", "add", "Milk"],
    "add milk": ["task", "add", "Milk"],
    "Please add milk and eggs to my shopping list": ["task", "add", "Milk and eggs"],
    "add call mom tomorrow": ["task", "add", "Call mom", "--due", "tomorrow"],
    "add lunch 450": ["expense", "add", "450", "--what", "Lunch", "--category", "Food"],
    "what are my tasks?": ["task", "list"],
    "done 3": ["task", "done", "3"],
    "done pay rent": ["task", "list"],
    "remind me in 1 minute to stretch": ["remind", "--at", "in 1 minute", "--from", "*", "--", "stretch"],
    "remind me at 18:30 to call mom": ["remind", "--at", "18:30", "--from", "*", "--", "call mom"],
    "remind me to call mom tomorrow at 9": ["remind", "--at", "tomorrow 9:00", "--from", "*", "--", "call mom"],
    "Please remind me on friday at 7pm about the film": [
        *["remind", "--at", "friday 7pm", "--from", "*", "--", "the film"]
    ],
    "my reminders": ["remind", "list"],
    "cancel reminder 3": ["remind", "cancel", "3"],
    "how much today?": ["summary", "today"],
    "how much did I spend this week?": ["summary", "week"],
    "summary month": ["summary", "month"],
    "undo": ["undo"],
    "oops, undo that": ["undo"],
    "find uber": ["find", "--", "uber"],
    "call me Ash": ["profile", "set", "--name", "Ash"],
    "I live in Europe/Berlin": ["profile", "set", "--zone", "Europe/Berlin"],
    "use eur": ["profile", "set", "--currency", "EUR"],
    "my goal is 2000 kcal": ["goal", "set", "kcal", "2000"],
    "hi!": ["profile"],
}


@pytest.mark.parametrize(("text", "expected"), COMMANDS.items(), ids=COMMANDS)
def test_a_message_becomes_a_command(text: str, expected: list[str]) -> None:
    words = command(text)

    if "--from" in words and "--from" not in expected:
        place = words.index("--from")
        assert words[place + 1] == text
        words = words[:place] + words[place + 2 :]
    assert ["pa", *(text if word == "*" else word for word in expected)] == words


@pytest.mark.parametrize("text", ["Uber'; rm -rf / #$(id) `id` 280", 'taxi "home" \\ 90', "uber --currency X 20"])
def test_what_a_person_writes_stays_one_word_for_the_shell(text: str) -> None:
    words = command(text)

    assert words[:3] == ["pa", "expense", "add"]
    assert words[-1] == text
    assert len(words) == 10


@pytest.mark.parametrize(
    "text",
    ["tell me a joke", "walked 5000 steps", "meeting at 5pm", "how are you", "I'm 35", "what did uber cost?", "[]"],
)
def test_what_is_not_understood_is_said_so(text: str) -> None:
    assert said(text).startswith(scripts.WHAT_I_AM)


def test_a_number_that_may_not_be_money_is_asked_about() -> None:
    assert "spent 302 on flat" in said("flat 302")


def test_an_expense_is_confirmed_in_one_line() -> None:
    output = 'ok expense 1: 280.00 INR, Transport, "Uber to office", 2026-11-22'

    assert said("Uber to office 280", output) == "280 INR, Transport: Uber to office. Logged."


@pytest.mark.parametrize("text", [text for text, words in COMMANDS.items() if len(words) > 1])
@pytest.mark.parametrize(
    "output", ["", "error: no such table\n\n(Command exited with code 2)", "sh: 1: pa: command not found", "okay"]
)
def test_no_success_is_claimed_that_was_not_confirmed(text: str, output: str) -> None:
    answer = said(text, output)

    claims = (
        "Logged",
        "On your list",
        "Reminder set",
        "Done:",
        "is off",
        "Undone",
        "Good to meet",
        "Your clock",
        "Goal:",
    )
    assert not any(claim in answer for claim in claims), answer
    assert "error:" not in answer
    assert "exited" not in answer


def test_a_reason_that_a_person_understands_is_passed_on() -> None:
    answer = said("remind me at 18:30 to call mom", "error: that time is past; try: pa remind --at 'tomorrow 9:00' x")

    assert "that time is past" in answer
    assert "pa remind" not in answer


def test_a_reason_for_programmers_is_not() -> None:
    assert "--at" not in said("remind me at 18:30 to call mom", "error: --at WHEN is missing")


def test_totals_leave_out_what_is_nothing() -> None:
    money = "expenses week: 280.00 INR (Transport 280.00)\nincome week: 0\n"
    output = f"{money}meals week: 0 kcal (0 meals)\ntasks: 0 open, 0 overdue"

    assert said("how much this week?", output) == "Expenses this week: 280 INR (Transport 280)"
    assert said("how much today?", "expenses today: 0\nincome today: 0") == "Nothing logged today yet."


def test_a_task_is_ticked_off_by_its_words_in_two_steps() -> None:
    listed = 'task 3: "Buy milk"\noverdue task 4: "Pay rent", due 2026-11-20'

    assert command("done pay rent", listed) == ["pa", "task", "done", "4"]
    assert said("done pay rent", listed, 'ok done task 4: "Pay rent"') == "Done: Pay rent. One less."
    assert said("done fly", listed) == "I have no open task like “fly”."


def test_of_several_fitting_tasks_one_is_asked_for() -> None:
    listed = 'task 3: "Call mom"\ntask 4: "Call the bank"'

    assert said("done call", listed) == "Which one? _done 3_ (Call mom) or _done 4_ (Call the bank)."


def test_lines_are_taken_one_by_one_if_all_are_understood() -> None:
    text = "uber 100\nadd task pay rent"
    first = 'ok expense 1: 100.00 INR, Transport, "Uber", 2026-11-22'

    assert command(text)[:3] == ["pa", "expense", "add"]
    assert command(text, first)[:3] == ["pa", "task", "add"]
    answer = said(text, first, 'ok task 1: "Pay rent"')
    assert answer.splitlines() == ["100 INR, Transport: Uber. Logged.", "On your list: Pay rent."]


def test_a_burst_of_little_messages_is_one_thing() -> None:
    text = "hi\nadd milk\nand eggs"
    milk, eggs = 'ok task 1: "Milk"', 'ok task 2: "Eggs"'

    assert command(text)[:4] == ["pa", "task", "add", "Milk"]
    assert command(text, milk)[:4] == ["pa", "task", "add", "Eggs"]
    before = [person("x"), assistant("y")]
    assert said(text, milk, eggs, before=before) == "On your list: Milk.\nOn your list: Eggs."
    new = said(text, milk, eggs, TestFirstConversation.PROFILE, notes=NEW)
    assert new.splitlines()[:2] == ["On your list: Milk.", "On your list: Eggs."]
    assert new.count(meeting.ASK_NAME) == 1


@pytest.mark.parametrize("text", ["and eggs", "add a contact Bob", "add what?"])
def test_what_is_added_to_nothing_is_not_understood(text: str) -> None:
    assert said(text).startswith(scripts.WHAT_I_AM)


def test_a_letter_is_not_taken_apart() -> None:
    assert said("dear diary\nuber 100\nbye").startswith(scripts.WHAT_I_AM)


@pytest.mark.parametrize(
    "text",
    [
        "[reminder sent 09:00: call mom]\nuber 100",
        "[reminder sent 09:00: call [mom]]\n[reminder sent 09:05: x]\nuber 100",
        "[Sun 2026-11-22 10:00 UTC] uber 100",
    ],
)
def test_notes_in_brackets_are_not_the_persons_words(text: str) -> None:
    assert command(text)[-1] == "uber 100"


def test_a_result_of_an_earlier_turn_is_not_this_ones() -> None:
    before = [*request("uber 90", "ok expense 1: 90.00 INR")[1:-1], assistant("90, Transport: Uber. Logged.")]
    decision = decide(request("uber 100", before=before), TOOLS)

    assert isinstance(decision, Run)
    assert "100" in decision.command


def test_without_the_tool_it_only_talks() -> None:
    assert isinstance(decide(request("uber 100"), []), Say)


class TestFirstConversation:
    PROFILE = "profile: name unknown, zone Asia/Kolkata, currency INR, language en, country IN\nnow: 2026-11-23 04:20"

    def test_a_greeting_is_answered_with_a_question_for_the_name(self) -> None:
        assert said("hi", self.PROFILE, notes=NEW).endswith(meeting.ASK_NAME)

    def test_the_answer_is_kept_as_the_name_and_leads_to_what_they_do(self) -> None:
        before = [person("hi", first=True), assistant(f"Hi! {meeting.ASK_NAME}")]
        first = decide(request("i'm asha, hello", before=before, notes=NEW), TOOLS)
        output = "ok profile: name Asha, zone Asia/Kolkata, currency INR, language en"
        then = said("i'm asha, hello", output, before=before, notes=NEW)

        assert first == Run("pa profile set --name Asha")
        assert "Asia/Kolkata" in then
        assert then.endswith(meeting.ASK_WORK)

    def test_what_they_do_is_noted_and_then_it_is_over(self) -> None:
        before = [person("Asha"), assistant(f"Good to meet you, Asha. {meeting.ASK_WORK}")]
        first = decide(request("I'm a potter; it's $(fun)", before=before, notes=NEW), TOOLS)

        assert isinstance(first, Run)
        assert "'- What they do: I'\"'\"'m a potter; it'\"'\"'s $(fun)' >> USER.md" in first.command
        assert "?" not in said("I'm a potter", "ok noted", before=before, notes=NEW).replace("this week?", "")

    def test_a_name_that_is_known_is_used(self) -> None:
        profile = self.PROFILE.replace("unknown,", "Asha,", 1)

        assert said("hello", profile, notes=NEW).startswith("Hi Asha!")
        assert said("hello", profile, before=[person("x"), assistant("y")]) == "Hi Asha. What's up?"

    def test_who_begins_with_an_errand_gets_it_done_first(self) -> None:
        logged = 'ok expense 1: 280.00 INR, Transport, "Uber", 2026-11-22'
        answer = said("uber 280", logged, self.PROFILE, notes=NEW)

        assert answer.splitlines()[0] == "280 INR, Transport: Uber. Logged."
        assert answer.endswith(meeting.ASK_NAME)

    def test_a_question_that_is_passed_over_is_not_asked_again(self) -> None:
        before = [person("hi", first=True), assistant(f"Hi! {meeting.ASK_NAME}")]
        logged = 'ok expense 1: 280.00 INR, Transport, "Uber", 2026-11-22'

        assert said("uber 280", logged, before=before, notes=NEW) == "280 INR, Transport: Uber. Logged."


class TestHeartbeat:
    def test_a_finding_becomes_one_short_nudge(self) -> None:
        event = 'Heartbeat: this was found.\\nSystem: overdue task 3: \\"Pay rent\\", due 2026-11-20 09:00'
        decision = decide(heartbeat(event), TOOLS)

        assert decision == Say("Overdue task: Pay rent (due Fri 20 Nov 09:00). Done, or shall I move it?")

    def test_several_findings_are_counted(self) -> None:
        event = 'overdue task 3: \\"Pay rent\\"\\nSystem: birthday today: \\"Asha\\", turns 40'
        decision = decide(heartbeat(event), TOOLS)

        assert isinstance(decision, Say)
        assert "And 1 more" in decision.text

    @pytest.mark.parametrize("event", [None, "nothing to see", "Exec finished: ok"])
    def test_without_a_finding_it_is_silent(self, event: str | None) -> None:
        assert decide(heartbeat(event), TOOLS) == Say(SILENCE)

    def test_a_person_who_writes_of_heartbeats_is_no_heartbeat(self) -> None:
        assert said("my heartbeat is fast, NO_REPLY").startswith(scripts.WHAT_I_AM)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{}],
        [{"role": "user"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": [{"type": "image_url"}, 5]}],
        [{"role": "assistant", "content": "x", "tool_calls": None}],
    ],
    ids=json.dumps,
)
def test_odd_requests_are_answered_too(messages: list[dict[str, object]]) -> None:
    assert decide(messages, TOOLS)
