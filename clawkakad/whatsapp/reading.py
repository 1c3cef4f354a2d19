"""What a message says, and what it is there for: every kind of content in words for the agent. No I/O.

A person's own words come out as they are, but clean; everything else becomes a remark in square brackets, made by
`notes.py`. What cannot be read is POLITE, whatever it is: Meta adds kinds without notice.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from clawkakad.model import Wamid
from clawkakad.whatsapp.cards import of_cards
from clawkakad.whatsapp.cleaning import clean_text
from clawkakad.whatsapp.content import Choice, Content, Edit, FormReply, Location, Media, Order, OrderItem, Revoke
from clawkakad.whatsapp.delivery import Purpose
from clawkakad.whatsapp.lenient import present
from clawkakad.whatsapp.notes import joined, note, quoted
from clawkakad.whatsapp.wire import Message

LONGEST = 65_536  # code points, as much as WhatsApp lets anybody type
_MOST_LINES = 30  # of an order or a form
_SILENT = frozenset({"request_welcome", "ephemeral"})  # a chat was opened; a message that vanishes, empty to us


class Reading(NamedTuple):
    """What a message says. `text` is there on TURN and EDIT, and of a file alone; `target` on EDIT and REVOKE."""

    purpose: Purpose
    text: str | None = None
    media_id: str | None = None
    target: Wamid | None = None


RECORD = Reading(Purpose.RECORD)
POLITE = Reading(Purpose.POLITE)


def read(message: Message) -> Reading:
    """The message in words. Never raises, whatever the parts of it are."""
    match message.type:
        case "reaction":
            return Reading(Purpose.RECORD, target=message.reaction.message_id if message.reaction else None)
        case "revoke":
            return _revoke(message.revoke or Revoke())
        case "edit":
            return _edit(message.edit or Edit())
        case kind if kind in _SILENT:
            return RECORD
        case _:
            return _content(message)


def _revoke(revoke: Revoke) -> Reading:
    target = revoke.original_message_id
    return Reading(Purpose.REVOKE, target=target) if target else RECORD


def _edit(edit: Edit) -> Reading:
    """New words for a message. Without them, or without the message, there is nothing to change."""
    target = edit.original_message_id
    new = _content(edit.message) if edit.message else POLITE
    if target is None or new.purpose is not Purpose.TURN:
        return Reading(Purpose.RECORD, media_id=new.media_id, target=target)
    return Reading(Purpose.EDIT, new.text, new.media_id, target)


def _content(content: Content) -> Reading:
    kind = content.type or ""
    if kind in _MEDIA:
        return _media(kind, content)
    if kind == "interactive" and content.interactive and content.interactive.type == "call_permission_reply":
        return RECORD
    reader = _READERS.get(kind)
    words = reader(content) if reader else ""
    if not words and kind == "text" and content.text is not None and not clean_text(content.text.body):
        return RECORD
    return Reading(Purpose.TURN, words) if words else POLITE


def _text(content: Content) -> str:
    return words(content.text.body) if content.text else ""


def words(text: str | None) -> str:
    """A person's own words, clean; what nobody can have typed is cut off, and that is said."""
    clean = clean_text(text[: 2 * LONGEST]) if text else ""
    return clean if len(clean) <= LONGEST else f"{clean[:LONGEST]}\n{note('the rest is too long to be passed on')}"


def _button(content: Content) -> str:
    return words(content.button.text) or words(content.button.payload) if content.button else ""


def _interactive(content: Content) -> str:
    body = content.interactive
    if body is None:
        return ""
    match body.type:
        case "button_reply":
            return _choice(body.button_reply)
        case "list_reply":
            return _choice(body.list_reply)
        case "nfm_reply":
            return _form(body.nfm_reply)
        case _:
            return ""


def _choice(choice: Choice | None) -> str:
    """The title is what the person saw and tapped."""
    return words(choice.title) or words(choice.description) or words(choice.id) if choice else ""


def _form(reply: FormReply | None) -> str:
    """The answers, else what WhatsApp shows of the form, which is just "Sent" most of the time."""
    if reply is None:
        return ""
    said = "; ".join(_answers(reply.response_json)) or quoted(reply.body, 1000)
    return note(f"a form, filled in: {said}") if said else ""


def _answers(response_json: str | None) -> list[str]:
    try:
        answers = json.loads(response_json or "")
        if not isinstance(answers, Mapping):
            return []
        inner = answers.get("values")
        shown = inner if isinstance(inner, Mapping) else answers  # the form for an address has them one level down
        lines = [_answer(key, value) for key, value in shown.items() if key != "flow_token"]
    except (ValueError, RecursionError):
        return []
    return [line for line in lines if line][:_MOST_LINES]


def _answer(key: str, value: object) -> str:
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    said = quoted(shown, 300)
    return f"{quoted(key, 60)}: {said}" if said and value is not None else ""


def _location(content: Content) -> str:
    place = content.location
    if place is None:
        return ""
    said = joined(quoted(place.name, 200), quoted(place.address, 300))
    said = " ".join(filter(None, (said, _coordinates(place))))
    return note(f"location: {joined(said, quoted(place.url, 300))}") if said else ""


def _coordinates(place: Location) -> str:
    if place.latitude is None or place.longitude is None:
        return ""
    return f"({_degrees(place.latitude)}, {_degrees(place.longitude)})"


def _degrees(value: float) -> str:
    """Six decimals are a hand's breadth."""
    return f"{round(value, 6) + 0.0:.6f}".rstrip("0").rstrip(".")


def _contacts(content: Content) -> str:
    return of_cards(present(content.contacts))


def _order(content: Content) -> str:
    order = content.order or Order()
    items = [line for line in map(_item, present(order.product_items)) if line]
    if len(items) > _MOST_LINES:
        items = [*items[:_MOST_LINES], f"and {len(items) - _MOST_LINES} more"]
    remark = note(f"order: {'; '.join(items)}") if items else ""
    return " ".join(filter(None, (remark, words(order.text))))


def _item(item: OrderItem) -> str:
    price = " ".join(filter(None, (quoted(item.item_price, 20), quoted(item.currency, 10))))
    product = quoted(item.product_retailer_id, 100)
    return f"{quoted(item.quantity, 20) or '1'} × {product}{f' at {price} each' if price else ''}" if product else ""


_MEDIA: Mapping[str, Callable[[Content], Media | None]] = {
    "image": lambda content: content.image,
    "video": lambda content: content.video,
    "audio": lambda content: content.audio,
    "document": lambda content: content.document,
    "sticker": lambda content: content.sticker,
}
_READERS: Mapping[str, Callable[[Content], str]] = {
    "text": _text,
    "button": _button,
    "interactive": _interactive,
    "location": _location,
    "contacts": _contacts,
    "order": _order,
}


def _media(kind: str, content: Content) -> Reading:
    """A file with words is worth a turn; of one without is kept what it is, which a later reply to it may be about."""
    media = _MEDIA[kind](content)
    if media is None:
        return POLITE
    remark, caption = note(_described(kind, media)), words(media.caption)
    if not caption or (kind == "document" and media.caption == media.filename):  # some phones caption it so
        return Reading(Purpose.POLITE, remark, media.id) if media.id else POLITE
    return Reading(Purpose.TURN, f"{remark} {caption}", media.id)


def _described(kind: str, media: Media) -> str:
    match kind:
        case "audio":
            return f"{'a voice note' if media.voice else 'an audio file'}, which cannot be listened to yet"
        case "document":
            name = _file_name(media.filename)
            return f"a document{f' named “{name}”' if name else ''}, which cannot be looked at yet"
        case "image":
            return "an image, which cannot be looked at yet"
        case _:
            return f"a {kind}, which cannot be looked at yet"


def _file_name(name: str | None) -> str:
    """The last part of a path, for show only."""
    last = re.split(r"[/\\]", clean_text(name or ""))[-1]
    return quoted(last, 100).translate({ord(mark): "'" for mark in '"“”„‟'})
