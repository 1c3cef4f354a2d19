"""`pa summary` and `pa find`."""

from .fake_host import FakeHost
from .program import Program


def test_an_empty_day(pa: Program) -> None:
    assert pa.lines("summary", "today") == [
        "expenses today: 0",
        "income today: 0",
        "meals today: 0 kcal (0 meals)",
        "tasks: 0 open, 0 overdue",
    ]


def test_a_full_day(pa: Program, host: FakeHost) -> None:
    for words in (
        ("expense", "add", "280", "--category", "Transport"),
        ("expense", "add", "100.50", "--category", "food"),
        ("expense", "add", "20", "--category", "transport"),
        ("expense", "add", "12 USD", "--category", "Food"),
        ("expense", "add", "999", "--at", "yesterday"),
        ("income", "add", "50000"),
        ("meal", "add", "idli", "--kcal", "350", "--protein", "8.5"),
        ("goal", "set", "kcal", "2000"),
        ("goal", "set", "protein", "60"),
        ("task", "add", "rent", "--due", "yesterday"),
        ("task", "add", "gym"),
        ("task", "done", "gym"),
        ("remind", "--at", "09:00", "tea"),
    ):
        pa.lines(*words)
    assert pa.lines("summary") == [
        "expenses today: 400.50 INR (Transport 300.00, Food 100.50); 12.00 USD (Food 12.00)",
        "income today: 50000.00 INR",
        "meals today: 350 of 2000 kcal (1 meal), protein 8.5 of 60 g",
        "tasks: 1 open, 1 overdue, 1 done",
        'reminders: 1 pending, next reminder 3: "tea", 2026-11-23 09:00 (Asia/Kolkata)',
    ]


def test_week_begins_on_monday_month_on_its_first_day(pa: Program) -> None:
    for day in ("2026-10-31", "2026-11-01", "2026-11-22", "2026-11-23"):
        pa.line("expense", "add", "10", "--at", day)
        pa.line("meal", "add", "idli", "--kcal", "100", "--at", day)
    assert pa.lines("summary", "week")[0] == "expenses week: 10.00 INR (Other 10.00)"
    assert pa.lines("summary", "this", "month")[0] == "expenses month: 30.00 INR (Other 30.00)"
    assert pa.lines("summary", "month")[2] == "meals month: 300 kcal (3 meals), 100 kcal a day"
    assert pa.lines("summary", "yesterday")[0] == "expenses yesterday: 10.00 INR (Other 10.00)"
    assert pa.lines("summary", "year")[0] == "expenses year: 40.00 INR (Other 40.00)"
    assert "is no period that I know" in pa.refusal("summary", "fortnight")


def test_find_looks_everywhere_for_all_words_in_any_case(pa: Program) -> None:
    pa.line("expense", "add", "280", "--what", "Uber to office")
    pa.line("task", "add", "book UBER for mom")
    pa.line("meal", "add", "Übercake", "--kcal", "100")
    pa.line("contact", "add", "Ravi", "--note", "drives for uber")
    pa.line("income", "add", "10", "--from", "uber refunded me")
    assert len(pa.lines("find", "uber")) == 4
    assert pa.lines("find", "OFFICE", "uber") == ['expense 1: 280.00 INR, Other, "Uber to office", 2026-11-23']
    assert pa.lines("search", "übercake") == ['meal 1: "Übercake", 100 kcal, breakfast']
    assert pa.lines("find", "100%") == ['nothing found with "100%"']
    assert "TEXT is missing" in pa.refusal("find")


def test_find_shows_the_newest_and_says_that_there_is_more(pa: Program) -> None:
    pa.line("task", "add", "first")
    pa.write(
        """WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 30)
           INSERT INTO tasks (what, zone, created_at) SELECT 'tea ' || value, 'UTC', '2026-11-01T00:00:00Z' FROM n"""
    )
    lines = pa.lines("find", "tea")
    assert len(lines) == 21
    assert lines[-1] == "... and more; narrow it down"
