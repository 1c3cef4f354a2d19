"""`pa meal` and `pa goal`."""

import pytest

from .program import Program


def test_a_meal_is_kept_with_its_estimate(pa: Program) -> None:
    line = pa.line(
        "meal", "add", "2 dosas", "--kcal", "350", "--meal", "Breakfast", "--protein", "8", "--from", "had 2 dosas"
    )
    assert line == 'ok meal 1: "2 dosas", 350 kcal, breakfast, protein 8 g'
    assert pa.row("SELECT * FROM meals") == {
        "id": 1,
        "what": "2 dosas",
        "meal": "breakfast",
        "kcal": 350,
        "protein_g": 8.0,
        "carbs_g": None,
        "fat_g": None,
        "eaten_at": "2026-11-23T03:00:00Z",
        "zone": "Asia/Kolkata",
        "day": "2026-11-23",
        "source_text": "had 2 dosas",
        "created_at": "2026-11-23T03:00:00Z",
    }


@pytest.mark.parametrize(
    ("at", "meal"),
    [
        ("08:00", "breakfast"),
        ("yesterday 13:00", "lunch"),
        ("yesterday 17:00", "snack"),
        ("yesterday 20:30", "dinner"),
        ("yesterday 23:30", "snack"),
        ("02:00", "snack"),
    ],
)
def test_the_clock_says_which_meal_it_was(pa: Program, at: str, meal: str) -> None:
    assert (
        pa.line("meal", "add", "dal", "rice", "--calories", "~420 kcal", "--at", at)
        == f'ok meal 1: "dal rice", 420 kcal, {meal}'
    )


def test_a_meal_without_an_estimate_teaches_the_call(pa: Program) -> None:
    assert pa.refusal("meal", "add", "idli") == (
        'error: estimate the energy and say it with --kcal N; try: pa meal add "2 dosas" --kcal 350 --meal breakfast'
    )
    assert "WHAT was eaten is missing" in pa.refusal("meal", "add", "--kcal", "100")
    assert "--kcal must be one number" in pa.refusal("meal", "add", "idli", "--kcal", "300-400")
    assert "--meal must be one of" in pa.refusal("meal", "add", "idli", "--kcal", "100", "--meal", "brunch")
    assert "check the number" in pa.refusal("meal", "add", "idli", "--kcal", "99999")


def test_a_number_is_never_taken_for_a_thousandth_of_it(pa: Program) -> None:
    assert pa.line("meal", "add", "thali", "--kcal", "~1,200 kcal", "--protein", "62,5").startswith(
        'ok meal 1: "thali", 1200 kcal, breakfast, protein 62.5 g'
    )
    assert pa.line("goal", "set", "kcal", "2,000") == "ok goal kcal: 2000"
    assert "must be one number" in pa.refusal("goal", "set", "kcal", "2.000")
    assert "must be one number" in pa.refusal("goal", "set", "salt", "0,125")


def test_a_meal_is_edited_and_deleted(pa: Program) -> None:
    pa.line("meal", "add", "pizza", "--kcal", "800")
    assert (
        pa.line("meal", "edit", "1", "--kcal", "900", "--fat", "30")
        == 'ok meal 1: "pizza", 900 kcal, breakfast, fat 30 g'
    )
    assert pa.line("meal", "delete", "1").startswith('ok deleted meal 1: "pizza"')
    assert pa.lines("meal", "list") == ["no meals today"]


def test_a_goal_is_set_and_replaced(pa: Program) -> None:
    assert pa.line("goal", "set", "calories", "2200") == "ok goal kcal: 2200"
    assert pa.line("goal", "set", "kcal", "2000") == "ok goal kcal: 2000"
    assert pa.line("goal", "set", "protein", "62.5g") == "ok goal protein: 62.5"
    assert pa.lines("goal", "list") == ["goal kcal: 2000", "goal protein: 62.5"]
    assert "KIND and VALUE" in pa.refusal("goal", "set", "kcal")
    assert "VALUE must be more than 0" in pa.refusal("goal", "set", "kcal", "0")
