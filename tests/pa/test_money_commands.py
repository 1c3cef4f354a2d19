"""`pa expense` and `pa income`."""

import pytest

from .program import Program


def test_an_expense_is_kept_in_minor_units_with_zone_day_and_words(pa: Program) -> None:
    line = pa.line(
        *(
            "expense",
            "add",
            "280",
            "--what",
            "Uber to office",
            "--category",
            "transport",
            "--from",
            "Uber to office 280",
        )
    )
    assert line == 'ok expense 1: 280.00 INR, Transport, "Uber to office", 2026-11-23'
    assert pa.row("SELECT * FROM expenses") == {
        "id": 1,
        "what": "Uber to office",
        "category": "Transport",
        "amount_minor": 28000,
        "currency": "INR",
        "spent_at": "2026-11-23T03:00:00Z",
        "zone": "Asia/Kolkata",
        "day": "2026-11-23",
        "source_text": "Uber to office 280",
        "created_at": "2026-11-23T03:00:00Z",
    }


@pytest.mark.parametrize(
    "words",
    [
        ("expense", "280", "--what", "Uber"),
        ("expenses", "add", "280", "INR", "--what", "Uber"),
        ("expense", "add", "₹280", "Uber"),
        ("expense", "add", "280", "--note", "Uber", "--cat", "OTHER"),
        ("expense", "add", "--amount=280", "--what=Uber"),
        ("EXPENSE", "ADD", "--what", "Uber", "--", "Rs.", "280"),
    ],
)
def test_other_ways_to_say_it_are_understood(pa: Program, words: tuple[str, ...]) -> None:
    assert pa.line(*words) == 'ok expense 1: 280.00 INR, Other, "Uber", 2026-11-23'


def test_currencies_without_and_with_three_decimals(pa: Program) -> None:
    assert pa.line("expense", "add", "500", "--currency", "jpy") == "ok expense 1: 500 JPY, Other, 2026-11-23"
    assert pa.line("expense", "add", "1.25 KWD") == "ok expense 2: 1.250 KWD, Other, 2026-11-23"
    assert [row["amount_minor"] for row in pa.rows("SELECT amount_minor FROM expenses ORDER BY id")] == [500, 1250]


def test_a_word_that_is_a_code_too_is_a_word(pa: Program) -> None:
    assert pa.line("expense", "add", "40", "pen") == 'ok expense 1: 40.00 INR, Other, "pen", 2026-11-23'
    assert pa.line("expense", "add", "99", "Top", "up") == 'ok expense 2: 99.00 INR, Other, "Top up", 2026-11-23'
    assert pa.line("expense", "add", "40", "PEN") == "ok expense 3: 40.00 PEN, Other, 2026-11-23"
    assert pa.line("expense", "add", "4", "try", "--what", "tea") == 'ok expense 4: 4.00 TRY, Other, "tea", 2026-11-23'
    pa.live_in("America/Lima", "PEN")
    assert pa.line("expense", "add", "40", "pen").startswith("ok expense 5: 40.00 PEN")


def test_a_day_of_the_past_counts_as_its_noon(pa: Program) -> None:
    assert pa.line("expense", "add", "99.50", "--at", "yesterday").endswith("2026-11-22")
    assert pa.row("SELECT spent_at, day FROM expenses") == {"spent_at": "2026-11-22T06:30:00Z", "day": "2026-11-22"}


def test_the_day_is_the_persons_own(pa: Program) -> None:
    pa.now = "2026-11-22T20:00:00+00:00"
    assert pa.line("expense", "add", "10").endswith("2026-11-23")
    pa.live_in("America/New_York", "USD")
    assert pa.line("expense", "add", "10").endswith("10.00 USD, Other, 2026-11-22")


def test_the_future_is_not_spent_yet(pa: Program) -> None:
    assert "still to come" in pa.refusal("expense", "add", "10", "--at", "tomorrow")
    assert "still to come" in pa.refusal("expense", "add", "10", "--at", "today 18:00")


def test_income(pa: Program) -> None:
    assert pa.line("income", "add", "50k", "--what", "salary") == 'ok income 1: 50000.00 INR, "salary", 2026-11-23'
    assert pa.row("SELECT amount_minor, received_at FROM income") == {
        "amount_minor": 5_000_000,
        "received_at": "2026-11-23T03:00:00Z",
    }


def test_an_expense_is_edited_and_deleted(pa: Program) -> None:
    pa.line("expense", "add", "280", "--what", "Uber", "--category", "Transport")
    edited = pa.line("expense", "edit", "1", "--amount", "300", "--category", "Travel", "--at", "yesterday")
    assert edited == 'ok expense 1: 300.00 INR, Travel, "Uber", 2026-11-22'
    assert pa.line("expense", "edit", "#1", "--amount", "5", "--currency", "USD").startswith("ok expense 1: 5.00 USD")
    assert pa.line("expense", "delete", "1").startswith("ok deleted expense 1: 5.00 USD")
    assert pa.rows("SELECT * FROM expenses") == []


def test_edits_of_nothing_and_of_no_row_are_refused(pa: Program) -> None:
    assert "there is no expense 7" in pa.refusal("expense", "edit", "7", "--amount", "1")
    pa.line("expense", "add", "1")
    assert "say what to change" in pa.refusal("expense", "edit", "1")
    assert "ID must be a number" in pa.refusal("expense", "delete", "uber")


def test_lists_show_a_period_newest_first(pa: Program) -> None:
    for at in ("2026-10-31", "yesterday", "now"):
        pa.line("expense", "add", "10", "--what", at, "--at", at)
    assert pa.lines("expense", "list") == ['expense 3: 10.00 INR, Other, "now", 2026-11-23']
    assert [line.split(":")[0] for line in pa.lines("expense", "list", "month")] == ["expense 3", "expense 2"]
    assert pa.lines("income", "list", "month") == ["no income month"]
    assert "is no period" in pa.refusal("expense", "list", "decade")


def test_the_same_again_within_moments_is_kept_with_a_note(pa: Program) -> None:
    words = ("expense", "add", "280", "--what", "Uber", "--from", "Uber 280")
    assert len(pa.lines(*words)) == 1
    pa.now = "2026-11-23T03:01:00+00:00"
    assert pa.lines(*words)[1] == "note: expense 1 is the same and just as new; if this one is a double: pa undo"
    pa.now = "2026-11-23T03:10:00+00:00"
    assert len(pa.lines(*words)) == 1


def test_a_missing_or_wrong_amount_teaches_the_call(pa: Program) -> None:
    taught = 'AMOUNT must be a number such as 280 or 99.50; try: pa expense add 280 --what "Uber" --category Transport'
    assert pa.refusal("expense", "add") == f"error: {taught}"
    assert pa.refusal("expense", "add", "lots") == f"error: {taught}"
    assert "more than 0" in pa.refusal("expense", "add", "-5")
    assert "--what needs a value" in pa.refusal("expense", "add", "280", "--what")
    assert "no option --colour" in pa.refusal("expense", "add", "280", "--colour", "red")


def test_an_unknown_currency_of_the_person_is_asked_for(pa: Program) -> None:
    pa.live_in("Asia/Kolkata", None)
    assert "pa profile set --currency" in pa.refusal("expense", "add", "280")
    assert pa.line("expense", "add", "280 INR") == "ok expense 1: 280.00 INR, Other, 2026-11-23"
