"""Which currencies there are, how many decimals each has, and by which names people call them. No input or output.

A name that several countries share (`$`, `kr`, `Rs`) means the person's own currency if it can, else the best known.
"""

from .errors import PaError

# ISO 4217, active codes of money that people hold, list of 2024.
CODES = frozenset(
    """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF
    CLF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG
    HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD
    MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF
    SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS
    VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG""".split()  # noqa: SIM905 - a table to read
)
DIGITS = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split(), 0),  # noqa: SIM905
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),  # noqa: SIM905
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
        raise PaError(
            f'"{name.strip()[:20]}" is not a currency that I know; use a three-letter code such as INR or USD'
        )
    return home if home in meant else meant[0]
