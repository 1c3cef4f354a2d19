"""`pa expense` and `pa income`: money that went and came, in whole minor units."""

from ..arguments import Arguments, Shape
from ..changes import add_row, delete_row, edit_row, existing, row_number
from ..context import Context
from ..errors import PaError
from ..journal import Value
from ..money import TEACH, Money, parse_amount
from ..text import clean
from .listing import list_period

EXPENSE_ADD = Shape(
    "pa expense add AMOUNT [--what TEXT] [--category C] [--currency CUR] [--at WHEN] [--from TEXT]",
    'pa expense add 280 --what "Uber" --category Transport',
    ("what", "category", "currency", "at", "from", "amount"),
)
EXPENSE_EDIT = Shape(
    "pa expense edit ID [--amount AMOUNT] [--what TEXT] [--category C] [--currency CUR] [--at WHEN]",
    "pa expense edit 1 --amount 300",
    EXPENSE_ADD.options,
)
EXPENSE_DELETE = Shape("pa expense delete ID", "pa expense delete 1")
EXPENSE_LIST = Shape("pa expense list [today|yesterday|week|month|year]", "pa expense list week")
INCOME_ADD = Shape(
    "pa income add AMOUNT [--what TEXT] [--currency CUR] [--at WHEN] [--from TEXT]",
    'pa income add 50000 --what "salary"',
    ("what", "currency", "at", "from", "amount"),
)
INCOME_EDIT = Shape(
    "pa income edit ID [--amount AMOUNT] [--what TEXT] [--currency CUR] [--at WHEN]",
    "pa income edit 1 --amount 52000",
    INCOME_ADD.options,
)
INCOME_DELETE = Shape("pa income delete ID", "pa income delete 1")
INCOME_LIST = Shape("pa income list [today|yesterday|week|month|year]", "pa income list month")

THINGS = frozenset("all bam bob cop cup gel mad mop pen ron sos top try".split())  # noqa: SIM905 - codes that are words


def add_expense(context: Context, args: Arguments) -> list[str]:
    """Money spent."""
    amount, what = _amount_and_what(context, args)
    when = context.happened(args)
    values: dict[str, Value] = {"what": what, "category": category_name(args.text("category") or "")}
    return add_row(context, "expenses", values | _kept(context, args, amount) | {"spent_at": when.at, "day": when.day})


def add_income(context: Context, args: Arguments) -> list[str]:
    """Money received."""
    amount, what = _amount_and_what(context, args)
    when = context.happened(args)
    values: dict[str, Value] = {"what": what}
    return add_row(context, "income", values | _kept(context, args, amount) | {"received_at": when.at, "day": when.day})


def edit_expense(context: Context, args: Arguments) -> list[str]:
    """Other values for an expense."""
    values = _edits(context, args, "expenses", "spent_at")
    if category := args.text("category"):
        values["category"] = category_name(category)
    return _edited(context, args, "expenses", values)


def edit_income(context: Context, args: Arguments) -> list[str]:
    """Other values for an income."""
    return _edited(context, args, "income", _edits(context, args, "income", "received_at"))


def delete_expense(context: Context, args: Arguments) -> list[str]:
    """An expense that never was."""
    return [f"ok deleted {delete_row(context, 'expenses', row_number(args))}"]


def delete_income(context: Context, args: Arguments) -> list[str]:
    """An income that never was."""
    return [f"ok deleted {delete_row(context, 'income', row_number(args))}"]


def list_expenses(context: Context, args: Arguments) -> list[str]:
    """The expenses of a period, newest first."""
    return list_period(context, args, "expenses")


def list_income(context: Context, args: Arguments) -> list[str]:
    """The income of a period, newest first."""
    return list_period(context, args, "income")


def category_name(typed: str) -> str:
    """One spelling for a category however it was typed: `transport`, `TRANSPORT` and `Transport` are the same."""
    words = " ".join(typed.split())[:40] or "Other"
    return words.capitalize() if words.islower() or words.isupper() else words


def _kept(context: Context, args: Arguments, amount: Money) -> dict[str, Value]:
    kept: dict[str, Value] = {"amount_minor": amount.minor, "currency": amount.currency, "zone": context.zone.key}
    return kept | context.origin(args)


def _amount_and_what(context: Context, args: Arguments) -> tuple[Money, str]:
    """`280`, `280 INR`, `280 Uber to office`: the amount first, what is left says what for unless --what does."""
    words = [args.options["amount"], *args.words] if "amount" in args.options else list(args.words)
    if not words:
        raise PaError(TEACH)
    # The currency may be a word of its own on either side; two numbers in a row are never one amount.
    numbers = sum(any(c.isdigit() for c in word) for word in words[:2])
    if len(words) > 1 and numbers == 1 and not any(_is_a_thing(context, args, word) for word in words[:2]):
        try:
            return _parsed(context, args, " ".join(words[:2])), _what(args, words[2:])
        except PaError:
            pass
    return _parsed(context, args, words[0]), _what(args, words[1:])


def _is_a_thing(context: Context, args: Arguments, word: str) -> bool:
    """`40 pen` is a pen; `40 PEN`, and `40 pen` of somebody in Peru or beside --what, are soles."""
    return word.lower() in THINGS and not (
        word.isupper() or word.upper() == context.profile.currency or "what" in args.options
    )


def _parsed(context: Context, args: Arguments, written: str) -> Money:
    return parse_amount(written, context.profile.currency, args.text("currency"))


def _what(args: Arguments, rest: list[str]) -> str:
    given = args.text("what")
    return clean(" ".join(rest)) if given is None else given


def _edits(context: Context, args: Arguments, table: str, time_column: str) -> dict[str, Value]:
    """The columns that money of both kinds has, as far as options change them."""
    values: dict[str, Value] = {}
    if "amount" in args.options or "currency" in args.options:
        row = existing(context, table, row_number(args))
        if "amount" not in args.options:
            raise args.wrong("with another currency say the AMOUNT too")
        amount = parse_amount(args.options["amount"], str(row["currency"]), args.text("currency"))
        values |= {"amount_minor": amount.minor, "currency": amount.currency}
    if (what := args.text("what")) is not None:
        values["what"] = what
    if "at" in args.options:
        when = context.happened(args)
        values |= {time_column: when.at, "day": when.day, "zone": context.zone.key}
    return values


def _edited(context: Context, args: Arguments, table: str, values: dict[str, Value]) -> list[str]:
    if not values:
        raise args.wrong("say what to change")
    return [f"ok {edit_row(context, table, row_number(args), values)}"]
