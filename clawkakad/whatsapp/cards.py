"""Contacts that somebody passes on, in words for the agent. No I/O."""

import re
from collections.abc import Iterator, Sequence

from clawkakad.whatsapp.content import Card, CardAddress, CardName, CardPhone
from clawkakad.whatsapp.lenient import present
from clawkakad.whatsapp.notes import joined, note, quoted

MOST_CARDS = 20
_MOST_OF_A_KIND = 10  # numbers, addresses … of one card
_LONGEST = 1000  # characters of one card
_VCARD_NAME = re.compile(r"^FN[^:\r\n]{0,100}:(.{1,200})", re.IGNORECASE | re.MULTILINE)


def of_cards(cards: Sequence[Card]) -> str:
    """A line for each contact that says anything; "" when none does."""
    lines = [line for line in map(_line, cards[:MOST_CARDS]) if line]
    if lines and len(cards) > MOST_CARDS:
        lines.append(note(f"and {len(cards) - MOST_CARDS} more contacts, left out here"))
    return "\n".join(lines)


def _line(card: Card) -> str:
    said = joined(_name(card), *_details(card))[:_LONGEST]
    what = "their own contact, as they were asked for it" if card.origin == "contact_request" else "contact"
    return note(f"{what}: {said}") if said else ""


def _name(card: Card) -> str:
    name = card.name or CardName()
    parts = " ".join(part for part in (name.first_name, name.last_name) if part)
    in_vcard = _VCARD_NAME.search(card.vcard or "")
    return quoted(name.formatted_name, 100) or quoted(parts, 100) or quoted(in_vcard and in_vcard[1], 100)


def _details(card: Card) -> Iterator[str]:
    for phone in present(card.phones)[:_MOST_OF_A_KIND]:
        yield _number(phone)
    for email in present(card.emails)[:_MOST_OF_A_KIND]:
        yield quoted(email.email, 100)
    if card.org is not None:
        yield quoted(card.org.title, 100)
        yield quoted(card.org.company, 100)
    for address in present(card.addresses)[:_MOST_OF_A_KIND]:
        yield _address(address)
    for url in present(card.urls)[:_MOST_OF_A_KIND]:
        yield quoted(url.url, 200)
    if birthday := quoted(card.birthday, 30):
        yield f"born {birthday}"


def _number(phone: CardPhone) -> str:
    return quoted(phone.phone, 40) or (f"+{phone.wa_id}" if phone.wa_id else "")


def _address(address: CardAddress) -> str:
    parts = (address.street, address.city, address.state, address.zip, address.country)
    return joined(*(quoted(part, 100) for part in parts))
