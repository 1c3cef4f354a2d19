"""Money as people write it, to whole minor units and back. No input or output.

Rules:

* an amount is an INTEGER in the minor unit of its currency (ISO 4217: most have 2 decimals, JPY 0, KWD 3), never a float;
* nothing is rounded: more decimals than the currency has is an error;
* with both separators the last one is the decimal point (`1,200.50`, `1.200,50`); commas alone in front of groups of
  digits are thousands (`1,200`, `1,20,000`), one comma before one or two last digits is a decimal comma (`4,50`);
* a symbol several countries share (`$`, `kr`, `Rs`) means the person's own currency if it can, else the best known one.
"""

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from .errors import PaError

TEACH = 'AMOUNT must be a number such as 280 or 99.50; try: pa expense add 280 --what "Uber" --category Transport'
MOST_MINOR = 10**15  # far above anything real, far below SQLite's integers

# ISO 4217, active codes of money that people hold, list of 2024.
CODES = frozenset(
    """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
    CLF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG
    HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD
    MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF
    SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS
    VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG""".split()
)
DIGITS = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    "CLF": 4,
}
# Written names and symbols; the first code is meant unless the person's own is among the others.
NAMES: dict[str, tuple[str, ...]] = {
    "$": ("USD", "CAD", "AUD", "NZD", "SGD", "HKD", "MXN", "TWD", "ARS", "CLP", "COP"),
    "€": ("EUR",),
    "£": ("GBP", "EGP"),
    "₹": ("INR",),
    "¥": ("JPY", "CNY"),
    "₩": ("KRW",),
    "₪": ("ILS",),
    "₺": ("TRY",),
    "₽": ("RUB",),
    "₦": ("NGN",),
    "฿": ("THB",),
    "₫": ("VND",),
    "₱": ("PHP",),
    "₴": ("UAH",),
    "r$": ("BRL",),
    "s$": ("SGD",),
    "us$": ("USD",),
    "rs": ("INR", "PKR", "LKR", "NPR", "MUR", "SCR"),
    "rm": ("MYR",),
    "rp": ("IDR",),
    "kr": ("SEK", "NOK", "DKK", "ISK"),
    "zł": ("PLN",),
    "rupee": ("INR", "PKR", "LKR", "NPR", "MUR", "SCR"),
    "dollar": ("USD", "CAD", "AUD", "NZD", "SGD", "HKD"),
    "buck": ("USD", "CAD", "AUD", "NZD", "SGD", "HKD"),
    "euro": ("EUR",),
    "pound": ("GBP", "EGP"),
    "quid": ("GBP",),
    "yen": ("JPY",),
    "yuan": ("CNY",),
    "dirham": ("AED", "MAD"),
}
MULTIPLIERS = {"": 1, "k": 1_000, "lakh": 100_000, "lac": 100_000, "crore": 10_000_000, "cr": 10_000_000}
WRITTEN = re.compile(
    r"(?P<before>[^\d.,-]*\.?)\s*(?P<number>\d[\d.,' _]*)\s*(?P<times>(?:k|lakh|lac|crore|cr)?)s?(?P<after>(?![a-z]).*|\s.*)"
)
GROUPED = re.compile(r"\d{1,3}(?:,\d{2,3})*,\d{3}")
SEVERAL_DOTS = re.compile(r"\d{1,3}(?:\.\d{3}){2,}")


@dataclass(frozen=True)
class Money:
    """An amount in the minor unit of its currency."""

    minor: int
    currency: str


def digits_of(currency: str) -> int:
    """How many decimals the currency has (ISO 4217)."""
    return DIGITS.get(currency, 2)


def currency_code(name: str, home: str | None) -> str:
    """The ISO 4217 code meant by a code, a symbol or a word. Raises PaError for what is none."""
    word = name.strip().strip(".").casefold()
    if word.upper() in CODES:
        return word.upper()
    meant = NAMES.get(word) or NAMES.get(word.removesuffix("s"))
    if meant is None:
        raise PaError(f'"{name.strip()[:20]}" is not a currency that I know; use a three-letter code such as INR or USD')
    return home if home in meant else meant[0]


def parse_amount(text: str, home: str | None, named: str | None = None) -> Money:
    """`280`, `₹1,200.50`, `280 INR`, `2.5k` as money. `named` is an explicit currency, `home` the person's own.

    Raises PaError, which teaches the right call: no number, nothing or less, too many decimals, no currency known.
    """
    tidy = unicodedata.normalize("NFKC", text).replace("٫", ".").replace("٬", ",").casefold().strip()
    match = WRITTEN.fullmatch(tidy)
    if match is None:
        raise PaError(TEACH if not tidy.startswith("-") else "AMOUNT must be more than 0; to take a row back use: pa undo")
    number = _decimal(match["number"].strip()) * MULTIPLIERS[match["times"]]
    currency = _currency([match["before"], match["after"].removeprefix("/-")], home, named)
    return Money(_minor(number, currency), currency)


def format_amount(minor: int, currency: str) -> str:
    """`280.00 INR`, `500 JPY`, `1.250 KWD`."""
    digits = digits_of(currency)
    return f"{Decimal(minor).scaleb(-digits):.{digits}f} {currency}"


def _decimal(number: str) -> Decimal:
    """The number behind what was typed. Full of digits, separators, blanks; raises PaError when they make no sense."""
    plain = re.sub(r"[' _]", "", number).rstrip(".,")
    comma, dot = plain.rfind(","), plain.rfind(".")
    if comma >= 0 and dot >= 0:
        plain = plain.replace(",", "") if dot > comma else plain.replace(".", "").replace(",", ".")
    elif comma >= 0:
        plain = plain.replace(",", "") if GROUPED.fullmatch(plain) else plain.replace(",", ".")
    elif SEVERAL_DOTS.fullmatch(plain):
        plain = plain.replace(".", "")
    try:
        return Decimal(plain)
    except InvalidOperation as error:
        raise PaError(TEACH) from error


def _currency(written: list[str], home: str | None, named: str | None) -> str:
    """The one currency meant by what stands round the number and by --currency."""
    beside = {currency_code(name, named and named.upper() or home) for name in written if name.strip(" .")}
    if named:
        beside.add(currency_code(named, home))
    if len(beside) > 1:
        raise PaError(f"two currencies at once ({', '.join(sorted(beside))}); name one: pa expense add 280 --currency INR")
    if beside:
        return beside.pop()
    if not home:
        raise PaError("the person's currency is not known yet; ask them, then: pa profile set --currency INR")
    return home


def _minor(number: Decimal, currency: str) -> int:
    """Whole minor units; never rounds."""
    units = number.scaleb(digits_of(currency))
    if units <= 0:
        raise PaError("AMOUNT must be more than 0; to take a row back use: pa undo")
    if units != units.to_integral_value():
        raise PaError(f"{currency} has {digits_of(currency)} decimals, {number} has more; write the exact AMOUNT")
    if units > MOST_MINOR:
        raise PaError(f"{number} is too large for an AMOUNT; check the number")
    return int(units)
