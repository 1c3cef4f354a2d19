"""Money as people write it, to whole minor units and back. No input or output.

Rules:

* an amount is an INTEGER in the minor unit of its currency (ISO 4217: most have 2 decimals, JPY 0, KWD 3);
* nothing is a float and nothing is rounded: more decimals than the currency has is an error;
* three digits behind the only separator that could be either are asked about: `50.000` is how fifty thousand is
  written in half of the world, and `1,200 TND` is little more than one dinar in Tunis;
* with both separators the last one is the decimal point (`1,200.50`, `1.200,50`); commas alone in front of groups of
  digits are thousands (`1,200`, `1,20,000`), one comma before other digits is a decimal comma (`4,50`).
"""

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal

from .currencies import currency_code, digits_of
from .errors import PaError

TEACH = 'AMOUNT must be a number such as 280 or 99.50; try: pa expense add 280 --what "Uber" --category Transport'
TOO_LITTLE = "AMOUNT must be more than 0; to take a row back use: pa undo"
MOST_MINOR = 10**15  # far above anything real, far below SQLite's integers

MULTIPLIERS = {"k": 1_000, "lakh": 100_000, "lac": 100_000, "crore": 10_000_000, "cr": 10_000_000}
# What stands before the number, the number, what stands behind it. A dot behind letters belongs to them: "Rs.280".
WRITTEN = re.compile(r"(?P<before>[^\d.,-]*[^\W\d_]\.|[^\d.,-]*)\s*(?P<number>[.,]?\d[\d.,' _]*)(?P<after>.*)")
TIMES = re.compile(r"(?P<word>k|lakh|lac|crore|cr)s?\b\s*(?P<after>.*)")
PLAIN = re.compile(r"\d*\.?\d+")
BLANKS = re.compile(r"\d{1,3}([ '_]\d{3})+([.,]\d+)?")
COMMAS = re.compile(r"[^\D0]\d{0,2}(,\d{2,3})*,\d{3}")
COMMA_AND_THREE = re.compile(r"[^\D0]\d{0,2},\d{3}")
DOTS = re.compile(r"[^\D0]\d{0,2}(\.\d{3})+")


@dataclass(frozen=True)
class Money:
    """An amount in the minor unit of its currency."""

    minor: int
    currency: str


def parse_amount(text: str, home: str | None, named: str | None = None) -> Money:
    """`280`, `₹1,200.50`, `280 INR`, `2.5k` as money. `named` is an explicit currency, `home` the person's own.

    Raises PaError, which teaches the right call: no number, nothing or less, too many decimals, no currency known.
    """
    tidy = unicodedata.normalize("NFKC", text).replace("٫", ".").replace("٬", ",").casefold().strip()
    match = WRITTEN.fullmatch(tidy)
    if match is None:
        raise PaError(TOO_LITTLE if tidy.startswith("-") else TEACH)
    times, after = 1, match["after"].strip()
    if word := TIMES.fullmatch(after):
        times, after = MULTIPLIERS[word["word"]], word["after"]
    currency = _currency([match["before"], after.removeprefix("/-")], home, named)
    number = _decimal(match["number"])
    if times == 1:
        _require_plain(match["number"].rstrip(" .,'_"), number, currency)
    return Money(_minor(number * times, currency), currency)


def format_amount(minor: int, currency: str) -> str:
    """`280.00 INR`, `500 JPY`, `1.250 KWD`."""
    digits = digits_of(currency)
    return f"{Decimal(minor).scaleb(-digits):.{digits}f} {currency}"


def _decimal(number: str) -> Decimal:
    """The number behind digits, separators and blanks. Raises PaError where they make no sense."""
    plain = number.rstrip(" .,'_")
    if re.search(r"[ '_]", plain):
        if not BLANKS.fullmatch(plain):
            raise PaError(TEACH)
        plain = re.sub(r"[ '_]", "", plain)
    whole, point, part = _split(plain)
    if point and part.isdigit():
        plain = f"{whole}.{part}"
    if not PLAIN.fullmatch(plain):
        raise PaError(TEACH)
    return Decimal(plain)


def _split(plain: str) -> tuple[str, str, str]:
    """The whole part without its separators, the decimal separator, the decimals."""
    comma, dot = plain.rfind(","), plain.rfind(".")
    if COMMAS.fullmatch(plain):
        return plain.replace(",", ""), ".", "0"
    if DOTS.fullmatch(plain) and plain.count(".") > 1:
        return plain.replace(".", ""), ".", "0"
    whole, point, part = plain.rpartition("," if comma > dot else ".")
    groups, separator = (DOTS, ".") if point == "," else (COMMAS, ",")
    return (whole.replace(separator, "") if groups.fullmatch(whole) else whole), point, part


def _currency(written: list[str], home: str | None, named: str | None) -> str:
    """The one currency meant by what stands round the number and by --currency."""
    wanted = currency_code(named, home) if named else None
    meant = {currency_code(name, wanted or home) for name in written if name.strip(" .")}
    if wanted:
        meant.add(wanted)
    if len(meant) > 1:
        raise PaError(f"two currencies at once ({', '.join(sorted(meant))}); name one, such as: 280 --currency INR")
    if meant:
        return meant.pop()
    if not home:
        raise PaError("the person's currency is not known yet; ask them, then: pa profile set --currency INR")
    return home


def _require_plain(written: str, number: Decimal, currency: str) -> None:
    """Neither decimals that may be thousands nor thousands that may be decimals."""
    decimals, most = -int(number.as_tuple().exponent), digits_of(currency)
    if 2 < decimals > most or (most == 3 and COMMA_AND_THREE.fullmatch(written)):
        raise PaError(
            f"{written} {currency} may be two amounts; write thousands without separators, such as 50000,"
            f" and at most {most} decimals after a dot"
        )


def _minor(number: Decimal, currency: str) -> int:
    """Whole minor units; never rounds."""
    units = number.scaleb(digits_of(currency))
    if units <= 0:
        raise PaError(TOO_LITTLE)
    if units != units.to_integral_value():
        raise PaError(f"{currency} has {digits_of(currency)} decimals, {number} has more; write the exact AMOUNT")
    if units > MOST_MINOR:
        raise PaError(f"{number} is too large for an AMOUNT; check the number")
    return int(units)
