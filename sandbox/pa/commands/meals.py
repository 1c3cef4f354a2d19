"""`pa meal` and `pa goal`: what was eaten, and what a day should hold."""

import re

from ..arguments import Arguments, Shape
from ..changes import add_row, delete_row, edit_row, row_number
from ..context import Context
from ..errors import PaError
from ..journal import Value
from ..lines import MACROS, goal_line
from ..when import instant
from .listing import list_period

MEAL_ADD = Shape(
    "pa meal add WHAT --kcal N [--meal breakfast|lunch|dinner|snack] [--protein G] [--carbs G] [--fat G] [--at WHEN]"
    " [--from TEXT]",
    'pa meal add "2 dosas" --kcal 350 --meal breakfast',
    ("what", "kcal", "meal", *MACROS, "at", "from"),
)
MEAL_EDIT = Shape(
    "pa meal edit ID [--what TEXT] [--kcal N] [--meal M] [--protein G] [--carbs G] [--fat G] [--at WHEN]",
    "pa meal edit 2 --kcal 400",
    MEAL_ADD.options,
)
MEAL_DELETE = Shape("pa meal delete ID", "pa meal delete 2")
MEAL_LIST = Shape("pa meal list [today|yesterday|week|month|year]", "pa meal list today")
GOAL_SET = Shape("pa goal set KIND VALUE", "pa goal set kcal 2000", ("from",))
GOAL_LIST = Shape("pa goal list", "pa goal list")

MEALS = ("breakfast", "lunch", "dinner", "snack")
# Three digits behind a comma are thousands; behind a dot they may be, so such a number is refused.
NUMBER = re.compile(
    r"[~≈]?\s*(?:(?P<grouped>[1-9]\d{0,2}(?:,\d{3})+)|(?P<plain>\d{1,6}(?:[.,]\d{1,2})?))"
    r"\s*(?:k?cal(?:ories)?|g|grams?|ml|l|kg)?"
)
KINDS = {"calories": "kcal", "calorie": "kcal", "cal": "kcal", "proteins": "protein", "carb": "carbs", "fats": "fat"}


def add_meal(context: Context, args: Arguments) -> list[str]:
    """Something eaten, with the assistant's estimate of its energy."""
    what = args.text("what") or args.sentence
    if not what:
        raise args.wrong("WHAT was eaten is missing")
    if "kcal" not in args.options:
        raise args.wrong("estimate the energy and say it with --kcal N")
    when = context.happened(args)
    values: dict[str, Value] = {"what": what, "meal": _meal(args) or _by_the_clock(context, when.at)}
    values |= _measures(args) | {"eaten_at": when.at, "day": when.day, "zone": context.zone.key}
    return add_row(context, "meals", values | context.origin(args))


def edit_meal(context: Context, args: Arguments) -> list[str]:
    """Other values for a meal."""
    values = _measures(args)
    if what := args.text("what"):
        values["what"] = what
    if meal := _meal(args):
        values["meal"] = meal
    if "at" in args.options:
        when = context.happened(args)
        values |= {"eaten_at": when.at, "day": when.day, "zone": context.zone.key}
    if not values:
        raise args.wrong("say what to change")
    return [f"ok {edit_row(context, 'meals', row_number(args), values)}"]


def delete_meal(context: Context, args: Arguments) -> list[str]:
    """A meal that never was."""
    return [f"ok deleted {delete_row(context, 'meals', row_number(args))}"]


def list_meals(context: Context, args: Arguments) -> list[str]:
    """The meals of a period, newest first."""
    return list_period(context, args, "meals")


def set_goal(context: Context, args: Arguments) -> list[str]:
    """A goal for each day; setting it again replaces it."""
    kind = "_".join(args.words[:-1]).lower()
    if not kind.replace("_", "").isalpha():
        raise args.wrong("KIND and VALUE are needed")
    kind, value = KINDS.get(kind, kind), _number(args, "VALUE", args.words[-1])
    if value <= 0:
        raise args.wrong("VALUE must be more than 0")
    known = context.db.execute("SELECT id FROM goals WHERE kind = ?", (kind,)).fetchone()
    if known is None:
        return add_row(context, "goals", {"kind": kind, "value": value, **context.origin(args)})
    return [f"ok {edit_row(context, 'goals', known['id'], {'value': value, 'source_text': args.source})}"]


def list_goals(context: Context, args: Arguments) -> list[str]:
    """Every goal."""
    rows = context.db.execute("SELECT * FROM goals ORDER BY kind").fetchall()
    return [goal_line(dict(row)) for row in rows] or ["no goals"]


def _meal(args: Arguments) -> str | None:
    meal = (args.text("meal") or "").lower()
    if meal and meal not in MEALS:
        raise args.wrong(f'--meal must be one of {", ".join(MEALS)}, not "{meal[:20]}"')
    return meal or None


def _by_the_clock(context: Context, eaten_at: str) -> str:
    """Which meal it was by the person's clock."""
    hour = instant(eaten_at).astimezone(context.zone).hour
    ends = (("snack", 4), ("breakfast", 11), ("lunch", 16), ("snack", 18), ("dinner", 23), ("snack", 24))
    return next(meal for meal, end in ends if hour < end)


def _measures(args: Arguments) -> dict[str, Value]:
    """The numbers given: whole kcal, grams."""
    given = [name for name in MACROS if name in args.options]
    values: dict[str, Value] = {f"{name}_g": _number(args, f"--{name}", args.options[name]) for name in given}
    if "kcal" in args.options:
        values["kcal"] = round(_number(args, "--kcal", args.options["kcal"]))
    return values


def _number(args: Arguments, name: str, typed: str) -> float:
    match = NUMBER.fullmatch(typed.strip().lower())
    if match is None:
        raise args.wrong(f'{name} must be one number such as 350, not "{typed.strip()[:20]}"')
    number = float(match["grouped"].replace(",", "") if match["grouped"] else match["plain"].replace(",", "."))
    if number > 20000:
        raise PaError(f"{name} {typed.strip()[:20]} is more than anybody needs; check the number")
    return number
