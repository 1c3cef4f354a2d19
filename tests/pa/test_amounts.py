"""Amounts as people write them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pa.currencies import CODES, DIGITS
from pa.errors import PaError
from pa.money import MOST_MINOR, Money, format_amount, parse_amount


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("280", "280.00 INR"),
        ("280.5", "280.50 INR"),
        ("₹280", "280.00 INR"),
        ("Rs. 280", "280.00 INR"),
        ("rs280/-", "280.00 INR"),
        ("280 INR", "280.00 INR"),
        ("inr280", "280.00 INR"),
        ("280 rupees", "280.00 INR"),
        ("1,200.50", "1200.50 INR"),
        ("1.200,50", "1200.50 INR"),
        ("1 200,50", "1200.50 INR"),
        ("1,20,000", "120000.00 INR"),
        ("1.200.000", "1200000.00 INR"),
        ("4,50", "4.50 INR"),
        (".5", "0.50 INR"),
        ("1.5k", "1500.00 INR"),
        ("2 lakh", "200000.00 INR"),
        ("$12.99", "12.99 USD"),
        ("12 euros", "12.00 EUR"),
        ("¥1200", "1200 JPY"),
        ("1.250 KWD", "1.250 KWD"),
        ("٢٨٠", "280.00 INR"),
        ("０.10 usd", "0.10 USD"),
    ],
)
def test_amounts_are_understood_as_people_write_them(written: str, shown: str) -> None:
    amount = parse_amount(written, "INR")
    assert format_amount(amount.minor, amount.currency) == shown


def test_minor_units_follow_the_currency() -> None:
    assert parse_amount("280", "INR").minor == 28000
    assert parse_amount("500", "JPY").minor == 500
    assert parse_amount("1.5", "KWD").minor == 1500
    assert parse_amount("0.1", "USD").minor == 10


def test_a_shared_symbol_means_the_persons_own_currency() -> None:
    assert parse_amount("$5", "CAD").currency == "CAD"
    assert parse_amount("$5", "INR").currency == "USD"
    assert parse_amount("Rs 5", "PKR").currency == "PKR"
    assert parse_amount("$5", "INR", named="aud").currency == "AUD"


@pytest.mark.parametrize(
    "written",
    ["", "abc", "-5", "0", "0.00", "1.234", "1.2.3", "12,34.5", "1e5", "½", "280 dogs", "9" * 17, "280 usd eur"],
)
def test_what_is_no_amount_is_refused(written: str) -> None:
    with pytest.raises(PaError):
        parse_amount(written, "INR")


def test_two_currencies_at_once_are_refused() -> None:
    with pytest.raises(PaError, match="two currencies"):
        parse_amount("€5", "INR", named="USD")


def test_more_decimals_than_the_currency_has_are_never_rounded() -> None:
    with pytest.raises(PaError, match="JPY has 0 decimals"):
        parse_amount("99.5", "JPY")


@pytest.mark.parametrize("written", ["50.000 IDR", "₫50.000", "1.200 €", "1200,500", "1.000,000 EUR", "1,200 TND"])
def test_what_may_be_thousands_or_decimals_is_asked_about(written: str) -> None:
    with pytest.raises(PaError, match="may be two amounts"):
        parse_amount(written, "INR")


def test_three_decimals_are_decimals_where_they_can_be_nothing_else() -> None:
    assert parse_amount("1.200 KWD", "INR") == Money(1200, "KWD")
    assert parse_amount("0,500 TND", "INR") == Money(500, "TND")
    assert parse_amount("1.250k", "INR") == Money(125_000, "INR")
    assert parse_amount("500.00", "JPY") == Money(500, "JPY")


def test_an_unknown_home_currency_is_asked_for() -> None:
    with pytest.raises(PaError, match="pa profile set --currency"):
        parse_amount("280", None)
    assert parse_amount("280 INR", None).currency == "INR"


def test_every_currency_with_unusual_decimals_exists() -> None:
    assert set(DIGITS) <= CODES


@given(minor=st.integers(1, MOST_MINOR), currency=st.sampled_from(sorted(CODES)))
def test_what_is_shown_can_be_read_back(minor: int, currency: str) -> None:
    assert parse_amount(format_amount(minor, currency), "INR") == Money(minor, currency)


@given(written=st.text(max_size=30) | st.text(alphabet="0123456789.,' k₹$-/inrs", max_size=20))
def test_no_text_breaks_it(written: str) -> None:
    with suppress(PaError):
        assert parse_amount(written, "INR").minor > 0
