"""`pa remind`, against a real host API on loopback."""

import time

from .fake_host import FakeHost
from .program import Program


def test_a_reminder_is_asked_for_as_wall_time_and_mirrored(pa: Program, host: FakeHost) -> None:
    line = pa.line("remind", "--at", "2026-11-23 09:00", "call mom", "--from", "remind me to call mom at 9")
    assert line == 'ok reminder 3: "call mom", 2026-11-23 09:00 (Asia/Kolkata)'
    (body,) = host.posts
    assert {name: body[name] for name in ("at", "text", "zone")} == {
        "at": "2026-11-23T09:00",
        "text": "call mom",
        "zone": "Asia/Kolkata",
    }
    assert len(body["key"]) == 36
    assert pa.row("SELECT * FROM reminders") == {
        "id": 3,
        "text": "call mom",
        "due_at": "2026-11-23T03:30:00Z",
        "wall": "2026-11-23 09:00",
        "zone": "Asia/Kolkata",
        "state": "pending",
        "source_text": "remind me to call mom at 9",
        "created_at": "2026-11-23T03:00:00Z",
    }
    assert pa.rows("SELECT * FROM reminder_attempts") == []


def test_a_distance_in_time_is_asked_for_as_an_instant(pa: Program, host: FakeHost) -> None:
    assert pa.line("remind", "add", "--at", "in 20m", "--text", "tea").endswith("2026-11-23 08:50 (Asia/Kolkata)")
    assert host.posts[0]["at"] == "2026-11-23T03:20:00Z"
    assert host.posts[0]["zone"] is None


def test_a_doubled_wall_time_is_asked_for_as_the_first_instant(pa: Program, host: FakeHost) -> None:
    pa.live_in("America/New_York", "USD")
    pa.now = "2026-10-31T12:00:00+00:00"
    pa.line("remind", "--at", "tomorrow 01:30", "clocks")
    pa.line("remind", "--at", "2027-03-14 02:30", "gap")
    assert [body["at"] for body in host.posts] == ["2026-11-01T05:30:00Z", "2027-03-14T03:30"]


def test_two_reminders_have_two_keys(pa: Program, host: FakeHost) -> None:
    pa.line("remind", "--at", "09:00", "tea")
    pa.line("remind", "--at", "09:00", "tea")
    assert len({body["key"] for body in host.posts}) == 2
    assert len(host.pending) == 2


def test_a_lost_answer_is_asked_again_with_the_same_key(pa: Program, host: FakeHost) -> None:
    host.faults = ["lose"]
    assert pa.line("remind", "--at", "09:00", "tea").startswith("ok reminder 3")
    first, second = host.posts
    assert first == second
    assert len(host.pending) == 1


def test_a_connection_that_breaks_before_is_tried_again(pa: Program, host: FakeHost) -> None:
    host.faults = ["drop"]
    assert pa.line("remind", "--at", "09:00", "tea").startswith("ok reminder 3")


def test_asking_again_after_two_lost_answers_makes_no_second_reminder(pa: Program, host: FakeHost) -> None:
    host.faults = ["lose", "lose"]
    assert "nothing is confirmed" in pa.refusal("remind", "--at", "in 20m", "tea")
    assert len(pa.rows("SELECT * FROM reminder_attempts")) == 1
    pa.now = "2026-11-23T03:00:40+00:00"
    assert pa.line("remind", "--at", "in 20m", "tea").endswith("08:50 (Asia/Kolkata)")
    assert len({(body["key"], body["at"]) for body in host.posts}) == 1
    assert len(host.pending) == 1
    assert pa.rows("SELECT * FROM reminder_attempts") == []


def test_asking_again_for_one_that_is_over_makes_another(pa: Program, host: FakeHost) -> None:
    """Its answer was lost, the agent found it by listing, and the person wants it again after all."""
    host.faults = ["lose", "lose"]
    pa.refusal("remind", "--at", "09:00", "tea")
    pa.line("remind", "cancel", "3")
    assert pa.line("remind", "--at", "09:00", "tea").startswith("ok reminder 4")
    assert host.pending == {4}
    assert pa.rows("SELECT id, state FROM reminders ORDER BY id") == [
        {"id": 3, "state": "cancelled"},
        {"id": 4, "state": "pending"},
    ]


def test_one_that_was_sent_before_its_answer_came_is_not_made_again(pa: Program, host: FakeHost) -> None:
    host.faults = ["fire"]
    assert pa.line("remind", "--at", "08:31", "tea").startswith("ok reminder 3")
    assert len({body["key"] for body in host.posts}) == 1


def test_the_same_request_much_later_is_a_new_one(pa: Program, host: FakeHost) -> None:
    host.faults = ["drop", "drop"]
    pa.refusal("remind", "--at", "in 20m", "tea")
    pa.now = "2026-11-23T03:30:00+00:00"
    assert pa.line("remind", "--at", "in 20m", "tea").endswith("09:20 (Asia/Kolkata)")


def test_a_daemon_that_is_away_is_one_clear_line(pa: Program) -> None:
    started = time.monotonic()
    assert pa.refusal("remind", "--at", "09:00", "tea") == (
        "error: the host does not answer (nothing is listening); nothing is confirmed, try again in a minute"
    )
    assert time.monotonic() - started < 5


def test_answers_that_make_no_sense_confirm_nothing(pa: Program, host: FakeHost) -> None:
    host.faults = ["503", "nonsense"]
    assert "nothing is confirmed" in pa.refusal("remind", "--at", "09:00", "tea")
    assert host.pending == set()


def test_the_daemons_refusal_is_passed_on_in_its_words(pa: Program, host: FakeHost) -> None:
    assert pa.refusal("remind", "--at", "09:00", "refuse me") == (
        "error: that is more than 5 years away; choose a nearer time"
    )
    assert pa.rows("SELECT * FROM reminder_attempts") == []


def test_reminders_are_listed_and_the_mirror_follows(pa: Program, host: FakeHost) -> None:
    assert pa.lines("remind", "list") == ["no reminders"]
    pa.line("remind", "--at", "tomorrow 9:00", "later")
    pa.line("remind", "--at", "09:00", "sooner")
    assert pa.lines("reminders") == [
        'reminder 4: "sooner", 2026-11-23 09:00 (Asia/Kolkata)',
        'reminder 3: "later", 2026-11-24 09:00 (Asia/Kolkata)',
    ]
    host.pending.discard(4)  # sent
    pa.lines("remind", "list")
    assert pa.rows("SELECT id, state FROM reminders ORDER BY id") == [
        {"id": 3, "state": "pending"},
        {"id": 4, "state": "gone"},
    ]


def test_as_many_and_as_long_as_there_can_be_are_listed(pa: Program, host: FakeHost) -> None:
    long = {
        "due_at": "2026-11-23T04:00:00.000Z",
        "wall": "2026-11-23 09:30",
        "zone": "Asia/Kolkata",
        "text": "🙏" * 1000,
    }
    host.reminders = {number: {"id": number, **long} for number in range(1, 201)}
    host.pending = set(host.reminders)
    assert len(pa.lines("remind", "list")) == 200


def test_a_reminder_is_cancelled(pa: Program, host: FakeHost) -> None:
    pa.line("remind", "--at", "09:00", "tea")
    assert pa.line("remind", "cancel", "3") == 'ok cancelled reminder 3: "tea", 2026-11-23 09:00 (Asia/Kolkata)'
    assert host.pending == set()
    assert pa.row("SELECT state FROM reminders") == {"state": "cancelled"}
    assert pa.refusal("remind", "cancel", "3") == "error: reminder 3 is not pending; see: pa remind list"


def test_a_cancellation_whose_answer_is_lost_is_still_one(pa: Program, host: FakeHost) -> None:
    pa.line("remind", "--at", "09:00", "tea")
    host.faults = ["lose"]
    assert pa.line("remind", "delete", "3").startswith("ok cancelled reminder 3")


def test_undo_takes_a_reminder_back_at_the_daemon(pa: Program, host: FakeHost) -> None:
    pa.line("remind", "--at", "09:00", "tea")
    assert pa.line("undo") == 'ok undone: reminder 3: "tea", 2026-11-23 09:00 (Asia/Kolkata)'
    assert host.pending == set()
    assert "nothing to undo" in pa.refusal("undo")


def test_undo_sets_a_cancelled_reminder_again(pa: Program, host: FakeHost) -> None:
    pa.line("remind", "--at", "09:00", "tea")
    pa.line("remind", "cancel", "3")
    host.faults = ["lose"]
    assert pa.line("undo").endswith('it is now reminder 4: "tea", 2026-11-23 09:00 (Asia/Kolkata)')
    assert host.pending == {4}


def test_undo_of_a_reminder_that_went_out_says_so_and_steps_aside(pa: Program, host: FakeHost) -> None:
    pa.line("task", "add", "before")
    pa.line("remind", "--at", "09:00", "tea")
    host.pending.clear()
    pa.now = "2026-11-23T04:00:00+00:00"
    assert "cannot be taken back" in pa.refusal("undo")
    assert pa.line("undo") == 'ok undone: task 1: "before"'


def test_undo_with_the_daemon_away_changes_nothing(pa: Program, host: FakeHost) -> None:
    pa.line("remind", "--at", "09:00", "tea")
    url, pa.host_url = pa.host_url, "http://127.0.0.1:9"
    assert "does not answer" in pa.refusal("undo")
    pa.host_url = url
    assert pa.line("undo").startswith("ok undone: reminder 3")


def test_wrong_reminders_teach_the_call(pa: Program, host: FakeHost) -> None:
    taught = 'try: pa remind --at "tomorrow 9:00" "call mom"'
    assert taught in pa.refusal("remind", "call mom")
    assert taught in pa.refusal("remind", "--at", "09:00")
    assert f'"tomorrow" has no time of day; {taught}' in pa.refusal("remind", "--at", "tomorrow", "tea")
    assert "is past (now 2026-11-23 08:30)" in pa.refusal("remind", "--at", "today 08:00", "tea")
    assert "WHEN is such as" in pa.refusal("remind", "--at", "soon", "tea")
    assert host.posts == []
