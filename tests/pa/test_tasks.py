"""`pa task`."""

from .program import Program


def test_a_task_with_a_due_time(pa: Program) -> None:
    line = pa.line("task", "add", "Pay rent", "--due", "2026-11-25 09:00", "--from", "rent due wed 9")
    assert line == 'ok task 1: "Pay rent", due 2026-11-25 09:00'
    row = pa.row("SELECT what, state, due_at, due_day, zone, source_text FROM tasks")
    assert row == {
        "what": "Pay rent",
        "state": "open",
        "due_at": "2026-11-25T03:30:00Z",
        "due_day": "2026-11-25",
        "zone": "Asia/Kolkata",
        "source_text": "rent due wed 9",
    }


def test_tasks_due_on_a_day_or_never(pa: Program) -> None:
    assert pa.line("task", "add", "Buy", "milk", "--due", "tomorrow") == 'ok task 1: "Buy milk", due 2026-11-24'
    assert pa.line("task", "Call the bank") == 'ok task 2: "Call the bank"'
    assert pa.row("SELECT due_at, due_day FROM tasks WHERE id = 1") == {"due_at": None, "due_day": "2026-11-24"}


def test_a_due_time_that_has_passed_is_kept_and_said(pa: Program) -> None:
    assert pa.line("task", "add", "Pay rent", "--due", "2026-11-20 09:00") == (
        'ok task 1: "Pay rent", due 2026-11-20 09:00 (overdue)'
    )


def test_open_tasks_are_listed_most_pressing_first(pa: Program) -> None:
    assert pa.lines("task", "list") == ["no open tasks"]
    for what, due in (("someday", "none"), ("friday", "friday"), ("late", "yesterday"), ("soon", "09:00")):
        pa.line("task", "add", what, "--due", due)
    pa.line("task", "add", "finished")
    pa.line("task", "done", "5")
    assert pa.lines("tasks") == [
        'overdue task 3: "late", due 2026-11-22',
        'task 4: "soon", due 2026-11-23 09:00',
        'task 2: "friday", due 2026-11-27',
        'task 1: "someday"',
    ]
    assert pa.lines("task", "list", "--all")[-1] == 'done task 5: "finished"'


def test_a_task_is_done_once(pa: Program) -> None:
    pa.line("task", "add", "Pay rent")
    assert pa.line("task", "done", "task 1") == 'ok done task 1: "Pay rent"'
    assert pa.row("SELECT state, done_at FROM tasks") == {"state": "done", "done_at": "2026-11-23T03:00:00Z"}
    assert pa.line("task", "done", "1") == 'ok already done, task 1: "Pay rent"'
    assert pa.line("undo") == 'ok undone: done task 1: "Pay rent"'
    assert pa.row("SELECT state, done_at FROM tasks") == {"state": "open", "done_at": None}


def test_a_task_may_be_named_by_words_that_only_one_has(pa: Program) -> None:
    pa.line("task", "add", "Pay the RENT")
    pa.line("task", "add", "Pay the bill")
    assert "several tasks match: 1, 2" in pa.refusal("task", "done", "pay")
    assert "no open task matches" in pa.refusal("task", "done", "gym")
    assert "no open task matches" in pa.refusal("task", "done")
    assert "there is no task 9" in pa.refusal("task", "done", "9")
    assert pa.line("task", "done", "rent") == 'ok done task 1: "Pay the RENT"'


def test_a_number_in_the_words_of_a_task_is_not_its_id(pa: Program) -> None:
    for what in ("milk", "eggs", "Chapter 1"):
        pa.line("task", "add", what)
    assert pa.line("task", "done", "chapter 1") == 'ok done task 3: "Chapter 1"'
    assert pa.line("task", "done", "task 1") == 'ok done task 1: "milk"'
    assert "ID must be a number" in pa.refusal("task", "delete", "expense 2")


def test_a_task_is_edited_and_deleted(pa: Program) -> None:
    pa.line("task", "add", "Pay rent", "--due", "friday")
    assert pa.line("task", "edit", "1", "--due", "tomorrow 9:00") == 'ok task 1: "Pay rent", due 2026-11-24 09:00'
    assert pa.line("task", "edit", "1", "--what", "Pay the rent", "--due", "none") == 'ok task 1: "Pay the rent"'
    assert "say what to change" in pa.refusal("task", "edit", "1")
    assert pa.line("task", "delete", "1") == 'ok deleted task 1: "Pay the rent"'


def test_wrong_tasks_teach_the_call(pa: Program) -> None:
    assert "WHAT is to be done is missing" in pa.refusal("task", "add", "--due", "friday")
    assert 'WHEN is such as "2026-11-23 09:00"' in pa.refusal("task", "add", "Pay rent", "--due", "whenever")


def test_an_id_is_never_used_twice(pa: Program) -> None:
    pa.line("task", "add", "one")
    pa.line("undo")
    assert pa.line("task", "add", "two").startswith("ok task 2")
