"""Webhook bodies in Meta's wire form: what a phone sends and what becomes of a message. No I/O."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from clawkakad.model import Wamid
from clawkakad.simulator.people import Message, Person
from clawkakad.simulator.refusals import status_error

DEFAULT_ACCOUNT_ID = "200000000000002"


@dataclass(frozen=True)
class Business:
    """The other end of all chats: the number that the assistant has. `wa_id`: its digits."""

    phone_number_id: str
    wa_id: str = "15550100199"
    account_id: str = DEFAULT_ACCOUNT_ID
    name: str = "Assistant"


def wire(document: dict[str, Any]) -> bytes:
    r"""The bytes as Meta sends them: nothing but ASCII, other characters as \uXXXX, slashes as \/.

    A slash never stands outside of a string in JSON, so replacing them all is right.
    """
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).replace("/", "\\/").encode("ascii")


def text_message(business: Business, person: Person, message: Message) -> dict[str, Any]:
    """A person wrote."""
    item: dict[str, Any] = {
        "from": person.wa_id,
        "from_user_id": person.user_id,
        "id": message.id,
        "timestamp": _seconds(message.at),
        "type": "text",
        "text": {"body": message.text},
    }
    if message.reply_to:
        item["context"] = {"from": business.wa_id, "id": message.reply_to}
    return envelope(business, {"contacts": [_contact(person)], "messages": [item]})


def status(
    business: Business,
    person: Person,
    message: Message,
    state: str,
    at: datetime,
    *,
    error_code: int | None = None,
) -> dict[str, Any]:
    """A message to a person was sent, delivered, read, or failed."""
    item: dict[str, Any] = {
        "id": message.id,
        "status": state,
        "timestamp": _seconds(at),
        "recipient_id": person.wa_id,
        "recipient_user_id": person.user_id,
    }
    if message.callback_data is not None:
        item["biz_opaque_callback_data"] = message.callback_data
    if state in ("sent", "delivered"):
        item["pricing"] = {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "service"}
    if error_code is None:
        return envelope(business, {"contacts": [_contact(person)], "statuses": [item]})
    # A failure comes without contacts, and without the user id when it was sent to a number.
    del item["recipient_user_id"]
    item["errors"] = [status_error(error_code)]
    return envelope(business, {"statuses": [item]})


def without_numbers(document: dict[str, Any]) -> dict[str, Any]:
    """A webhook as it comes about somebody who has adopted a username: only the business-scoped id says who it is."""
    value = document["entry"][0]["changes"][0]["value"]
    for items, key in (("contacts", "wa_id"), ("messages", "from"), ("statuses", "recipient_id")):
        for item in value.get(items, []):
            item.pop(key, None)
    return document


def envelope(business: Business, value: dict[str, Any]) -> dict[str, Any]:
    """One change of the field `messages`."""
    metadata = {"display_phone_number": business.wa_id, "phone_number_id": business.phone_number_id}
    change = {"value": {"messaging_product": "whatsapp", "metadata": metadata, **value}, "field": "messages"}
    return {"object": "whatsapp_business_account", "entry": [{"id": business.account_id, "changes": [change]}]}


def sent_answer(person: Person, asked_for: str, wamid: Wamid) -> dict[str, Any]:
    """The Graph API's answer to a message that it took."""
    contact = {"input": asked_for, "wa_id": person.wa_id, "user_id": person.user_id}
    return {"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": wamid}]}


def _contact(person: Person) -> dict[str, Any]:
    return {"profile": {"name": person.name}, "wa_id": person.wa_id, "user_id": person.user_id}


def _seconds(at: datetime) -> str:
    return str(int(at.timestamp()))
