"""A first guess at where a person lives, from the country of their number; they confirm it when they first talk."""

from collections.abc import Sequence

import phonenumbers
from babel.core import get_global
from babel.languages import get_official_languages
from phonenumbers import timezone as phone_zones

from clawkakad.model import IdentifierKind, Profile
from clawkakad.registry.users import Identifier

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
            return phonenumbers.region_code_for_number(number), _zone(number)
    for _, value in identifiers:  # a business-scoped id begins with the country, "US.1349…"
        return value[:2], None
    return None, None


def _zone(number: phonenumbers.PhoneNumber) -> str | None:
    zones = [z for z in phone_zones.time_zones_for_number(number) if z != phone_zones.UNKNOWN_TIMEZONE]
    return zones[0] if zones else None


def _currency(country: str | None) -> str | None:
    rows = get_global("territory_currencies").get(country or "", [])
    current = [code for code, _start, end, tender in rows if end is None and tender]
    return current[0] if current else None


def _language(country: str | None) -> str:
    languages = get_official_languages(country) if country else ()
    return languages[0] if languages else NOWHERE.language
