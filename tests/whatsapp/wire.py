"""Webhook bodies as tests need them, and what becomes of real ones when something about them is wrong."""

import copy
import json
import random
from typing import Any

from tests.support import DATA
from tests.whatsapp.expectations import PHONE_NUMBER_ID

PAYLOADS = sorted((DATA / "payloads").glob("*.json"))
ODD: list[object] = [
    None,
    True,
    -1,
    0,
    1e999,
    10**30,
    "",
    "x",
    "\ud83d",
    "]\n[x",
    [],
    {},
    [None],
    {"id": 3},
    "9" * 5000,
    [[[[]]]],
]


def webhook(*messages: object, contacts: object = (), **value: object) -> bytes:
    metadata = {"display_phone_number": "+1 555-010-0199", "phone_number_id": PHONE_NUMBER_ID}
    return change("messages", {"metadata": metadata, "contacts": contacts, "messages": messages, **value})


def change(field: str, value: object) -> bytes:
    entry = {"changes": [{"field": field, "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def message(**changes: object) -> dict[str, Any]:
    whole = {
        "from": "15550100123",
        "id": "wamid.A",
        "timestamp": "1795339800",
        "type": "text",
        "text": {"body": "hello"},
    } | changes
    return {key: value for key, value in whole.items() if value is not None}


def recorded_messages() -> list[dict[str, Any]]:
    """Every message of every recorded webhook."""
    entries = [entry for path in PAYLOADS for entry in json.loads(path.read_bytes())["entry"]]
    values = [change["value"] for entry in entries for change in entry.get("changes", [])]
    return [item for value in values for item in value.get("messages", [])]


def mutated(value: Any, chance: random.Random) -> Any:
    """A copy with one to three places of it changed: another value, gone, doubled, or one from elsewhere in it."""
    changed = [copy.deepcopy(value)]
    for _ in range(chance.randint(1, 3)):
        places = list(_places(changed))
        holder, key = chance.choice(places)
        match chance.randrange(4):
            case 0:
                holder[key] = copy.deepcopy(chance.choice(ODD))
            case 1 if holder is not changed:
                del holder[key]
            case 2 if isinstance(holder, list) and holder is not changed:
                holder.insert(key, copy.deepcopy(holder[key]))
            case _:
                other, other_key = chance.choice(places)
                holder[key] = copy.deepcopy(other[other_key])
    return changed[0]


def _places(value: Any) -> Any:
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])
