"""Amounts of money in a line of text, kept as the digits that were written. No I/O."""

import re

from clawkakad.simulator.offline import tables

_NUMBER = r"(?P<number>\d{1,3}(?:,\d{2,3})+(?:\.\d{1,2})?|\d+(?:\.\d{1,2})?)(?P<thousands>k\b)?"
_SIGN = r"₹|\$|€|£|\b(?:rs\.?|inr|usd|eur|gbp)"
_UNIT = r"₹|\$|€|£|(?:rupees?|rs|inr|usd|dollars?|euros?|eur|pounds?|gbp|bucks)\b\.?"
MONEY = re.compile(rf"(?P<sign>{_SIGN})?\s*(?<![\d.,:])(?:{_NUMBER})(?![\d:])(?:\s*(?P<unit>{_UNIT}))?", re.IGNORECASE)


def only_money(text: str) -> re.Match[str] | None:
    """The one amount of a line; with several, the only one that has a sign, else None."""
    found = list(MONEY.finditer(text))
    if len(found) > 1:
        found = [match for match in found if is_signed(match)]
    return found[0] if len(found) == 1 else None


def is_signed(money: re.Match[str]) -> bool:
    """Whether a currency stands beside the number."""
    return bool(money["sign"] or money["unit"])


def amount_of(money: re.Match[str]) -> dict[str, str]:
    """`amount`, and `currency` if a sign names one: `rs`, `bucks` and no sign leave it to the person's profile."""
    number = money["number"].replace(",", "")
    if money["thousands"]:
        number = f"{float(number) * 1000:.2f}".removesuffix(".00")
    currency = tables.SYMBOLS.get((money["sign"] or money["unit"] or "").lower().rstrip("."))
    return {"amount": number, "currency": currency} if currency else {"amount": number}


def words_beside(money: re.Match[str], text: str) -> str:
    """The line without its amount."""
    return " ".join(f"{text[: money.start()]} {text[money.end() :]}".split())
