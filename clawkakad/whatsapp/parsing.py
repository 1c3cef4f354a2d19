"""From the bytes of a webhook to a Delivery. No I/O, and never an exception, whatever the bytes are.

Every message, status and change is read on its own: one that cannot be read becomes a notice and spoils no neighbour,
for a webhook that is not answered with 200 comes again as a whole, for days. What does not concern us is left out here:
other numbers of the account, groups, our own number as the sender, echoes of what the owner typed. `reading.py` knows
what a message says, `moves.py` what became of a number.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from clawkakad.model import IdentifierKind, Wamid
from clawkakad.whatsapp import moves, notices, wire
from clawkakad.whatsapp.cleaning import clean_label
from clawkakad.whatsapp.delivery import Delivery, Identifier, IdentifierChange, Inbound, Notice, Purpose, Status
from clawkakad.whatsapp.identity import sender
from clawkakad.whatsapp.lenient import present
from clawkakad.whatsapp.reading import read

__all__ = ["Delivery", "Identifier", "IdentifierChange", "Inbound", "Notice", "Purpose", "Status", "parse"]

OBJECT = "whatsapp_business_account"

M = TypeVar("M", bound=BaseModel)

_NO_DIGITS = re.compile(r"[^0-9]+")


def _finite(digits: str) -> float | None:
    """JSON has no infinity, so what is too big for a float must not come out as one again."""
    number = float(digits)
    return number if math.isfinite(number) else None


# json.loads and json.dumps make a new one each time, which takes 3 us.
_DECODER = json.JSONDecoder(parse_constant=lambda _: None, parse_float=_finite)
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def parse(body: bytes, *, phone_number_id: str) -> Delivery:
    """All of a webhook that concerns the number `phone_number_id`; a second copy of a message in it is dropped."""
    found = _Found()
    try:
        envelope = _DECODER.decode(body.decode(json.detect_encoding(body), "surrogatepass"))  # as json.loads does it
    except (ValueError, RecursionError):
        found.notice("warning", "webhook ignored: not JSON")
        return found.delivery()
    if not isinstance(envelope, dict) or envelope.get("object") != OBJECT:
        found.notice("info", "webhook ignored: not of a WhatsApp Business account")
        return found.delivery()
    for entry in _items(envelope, "entry", found):
        for raw in _items(entry, "changes", found):
            change = _read(wire.Change, raw, "a change", found)
            if change is not None:
                _take_change(change, phone_number_id, found)
    return found.delivery()


@dataclass
class _Found:
    """What has been gathered so far."""

    messages: dict[Wamid, Inbound] = field(default_factory=dict)
    statuses: list[Status] = field(default_factory=list)
    changes: list[IdentifierChange] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def notice(self, level: Any, text: str) -> None:
        self.notices.append(Notice(level, text))

    def delivery(self) -> Delivery:
        """In the order in which they were sent: Meta promises none, and the second is the finest unit that it gives."""
        messages = tuple(sorted(self.messages.values(), key=lambda message: message.sent_at))
        return Delivery(messages, tuple(self.statuses), tuple(self.changes), tuple(self.notices))


def _take_change(change: wire.Change, phone_number_id: str, found: _Found) -> None:
    if change.field not in ("messages", "user_id_update"):
        found.notices.append(notices.of_field(change.field, change.value))
        return
    if change.phone_number_id is None:
        found.notices.append(notices.skipped("a change", "it does not say of which number"))
    elif change.phone_number_id != phone_number_id:
        found.notice("info", "webhook for another number of the account ignored")
    elif change.field == "messages":
        _take_messages(change, found)
    else:
        _take_id_updates(change.value, found)


def _take_messages(change: wire.Change, found: _Found) -> None:
    value = change.value
    if "messages" in value:  # of statuses, the commonest webhooks, nobody needs the contacts
        _take_said(value, _NO_DIGITS.sub("", change.display_phone_number or ""), found)
    for raw in _items(value, "statuses", found):
        status = _read(wire.StatusUpdate, raw, "a status", found)
        if status is not None:
            found.statuses.append(_status(status))
    for raw in _items(value, "errors", found):
        error = _read(wire.Error, raw, "an error", found)
        if error is not None:
            found.notices.append(notices.of_error(error))


def _take_said(value: Mapping[str, Any], own_number: str, found: _Found) -> None:
    """What people wrote."""
    read = (_read(wire.Contact, raw, "a contact", found) for raw in _items(value, "contacts", found))
    contacts = [contact for contact in read if contact is not None]
    for raw in _items(value, "messages", found):
        message = _read(wire.Message, raw, "a message", found)
        if message is not None:
            try:
                _take_message(message, raw, contacts, own_number, found)
            except RecursionError:  # nested just deep enough to be read, and not to be written again
                found.notices.append(notices.skipped("a message", "nested too deeply"))


def _take_message(
    message: wire.Message, raw: Mapping[str, Any], contacts: list[wire.Contact], own_number: str, found: _Found
) -> None:
    who, name = sender(message, contacts)
    if message.group_id is not None:
        found.notice("info", "message of a group ignored")
    elif own_number and (IdentifierKind.WA_ID, own_number) in who:
        found.notice("info", "message of our own number ignored")
    elif message.type == "system":
        _take_system(message, found)
    elif not who:
        found.notices.append(notices.skipped("a message", "nothing says who wrote it"))
    else:
        if message.type == "text" and message.text is None:
            found.notice("warning", "a text message came without a readable body")
        found.notices += [notices.of_message_error(error, message) for error in present(message.errors)]
        found.messages.setdefault(Wamid(message.id), _inbound(message, raw, who, name))


def _inbound(message: wire.Message, raw: Mapping[str, Any], who: tuple[Identifier, ...], name: str | None) -> Inbound:
    context = message.context or wire.Context()
    reading = read(message)
    return Inbound(
        wamid=Wamid(message.id),
        identifiers=who,
        name=(clean_label(name, 100) or None) if name else None,
        kind=clean_label(message.type or "", 60) or "unknown",
        text=reading.text,
        sent_at=message.timestamp,
        reply_to=Wamid(context.id) if context.id else None,
        forwarded=bool(context.forwarded or context.frequently_forwarded),
        raw=_ENCODER.encode(raw),
        purpose=reading.purpose,
        media_id=reading.media_id,
        target=reading.target,
    )


def _take_system(message: wire.Message, found: _Found) -> None:
    """Notices about a person: no message of theirs."""
    system = message.system or wire.System()
    if not moves.is_move(system):
        kind = clean_label(system.type or "", 60)
        found.notice("info", f"system message ignored: {kind or 'without a type'}")
        return
    changes = moves.of_system(message, system)
    found.changes += changes
    if not changes:
        found.notices.append(notices.skipped("a change of a number", "it does not say from what to what"))


def _take_id_updates(value: Mapping[str, Any], found: _Found) -> None:
    for raw in _items(value, "user_id_update", found):
        update = _read(wire.UserIdUpdate, raw, "a change of a user id", found)
        if update is None:
            continue
        changes = moves.of_update(update)
        found.changes += changes
        if not changes:
            found.notices.append(notices.skipped("a change of a user id", "it does not say from what to what"))


def _status(update: wire.StatusUpdate) -> Status:
    error = next(iter(present(update.errors)), None)
    return Status(
        wamid=Wamid(update.id),
        status=clean_label(update.status, 60),
        at=update.timestamp,
        callback_data=update.callback_data,
        error_code=error.code if error else None,
        error_text=notices.describe(error) if error else "",
    )


def _items(holder: Mapping[str, Any], key: str, found: _Found) -> Sequence[Any]:
    """The elements of a list that may be missing; an entry that is no object has none."""
    items = holder.get(key) if isinstance(holder, dict) else None
    if isinstance(items, list):
        return items
    if items is not None:
        found.notices.append(notices.skipped(key, "not a list"))
    return ()


def _read(model: type[M], raw: object, what: str, found: _Found) -> M | None:
    """The item as a model, or None and a notice that names the parts at fault, never their content."""
    try:
        return model.__pydantic_validator__.validate_python(raw)  # type: ignore[no-any-return]
    except ValidationError as error:
        faults = sorted({f"{_place(fault['loc'])} ({fault['type']})" for fault in error.errors(include_input=False)})
        found.notices.append(notices.skipped(what, ", ".join(faults)))
        return None


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "all of it"
