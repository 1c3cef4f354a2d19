"""A first guess at where a person lives, from the country of their number; they confirm it when they first talk."""

from collections.abc import Sequence
from functools import cache
from importlib import resources

import phonenumbers
from babel.core import get_global
from babel.languages import get_official_languages
from phonenumbers import timezone as phone_zones

from clawkakad.model import IdentifierKind, Profile
from clawkakad.registry.identifiers import Identifier

NOWHERE = Profile(name=None, time_zone="UTC", currency="USD", language="en", country=None)


def guess(identifiers: Sequence[Identifier], name: str | None) -> Profile:
    """The profile to begin with. `name` is what the person calls themselves on WhatsApp, if Meta told it."""
    country, zone = _country_and_zone(identifiers)
    return Profile(
        name=name,
        time_zone=zone or NOWHERE.time_zone,
        currency=_currency(country) or NOWHERE.currency,
        language=_language(country),
        country=country,
    )


def _country_and_zone(identifiers: Sequence[Identifier]) -> tuple[str | None, str | None]:
    for kind, value in identifiers:
        if kind is IdentifierKind.WA_ID:
            try:
                number = phonenumbers.parse(f"+{value}")
            except phonenumbers.NumberParseException:
                continue
            country = phonenumbers.region_code_for_number(number)
            country = country or phonenumbers.region_code_for_country_code(number.country_code or 0)
            return country, _zone(number, country)
    for _, value in identifiers:  # a business-scoped id begins with the country, "US.1349…"
        return value[:2], None
    return None, None


def _zone(number: phonenumbers.PhoneNumber, country: str | None) -> str | None:
    """The zone of the number's area; where it fits several, the country's most populous one among them."""
    fitting = [z for z in phone_zones.time_zones_for_number(number) if z != phone_zones.UNKNOWN_TIMEZONE]
    countrys = _zones_of(country)
    if len(countrys) == 1:  # also where the number's zone goes by an old name, such as Asia/Calcutta
        return countrys[0]
    return next((zone for zone in countrys if zone in fitting), fitting[0] if fitting else None)


@cache
def _zones_of(country: str | None) -> list[str]:
    """The zones of a country, the most populous first (the order of the tz database's zone.tab)."""
    table = (resources.files("tzdata") / "zoneinfo" / "zone.tab").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in table.splitlines() if not line.startswith("#"))
    return [row[2] for row in rows if row[0] == country]


def _currency(country: str | None) -> str | None:
    rows = get_global("territory_currencies").get(country or "", [])
    current = [code for code, _start, end, tender in rows if end is None and tender]
    return current[0] if current else None


def _language(country: str | None) -> str:
    languages = get_official_languages(country) if country else ()
    return languages[0] if languages else NOWHERE.language
