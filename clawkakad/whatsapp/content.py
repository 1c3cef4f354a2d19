"""The shapes of what a message can hold: words, taps, places, people, orders, files, and news about other messages.

Wire format only, as far as we use it; `reading.py` makes words of it.

https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/reference/messages
"""

from typing import Annotated

from pydantic import Field

from clawkakad.whatsapp.lenient import Lenient, MessageId, Part, Several, Token, WaId

_Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
_Longitude = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]


class Text(Part):
    body: str


class Media(Part):
    """Of an image, video, audio, document or sticker. The id serves for seven days to fetch the file."""

    id: Lenient[Token] = None
    caption: Lenient[str] = None
    filename: Lenient[str] = None
    voice: Lenient[bool] = None


class Location(Part):
    latitude: Lenient[_Latitude] = None
    longitude: Lenient[_Longitude] = None
    name: Lenient[str] = None
    address: Lenient[str] = None
    url: Lenient[str] = None


class CardName(Part):
    formatted_name: Lenient[str] = None
    first_name: Lenient[str] = None
    last_name: Lenient[str] = None


class CardPhone(Part):
    phone: Lenient[str] = None
    wa_id: Lenient[WaId] = None


class CardEmail(Part):
    email: Lenient[str] = None


class CardUrl(Part):
    url: Lenient[str] = None


class CardAddress(Part):
    street: Lenient[str] = None
    city: Lenient[str] = None
    state: Lenient[str] = None
    zip: Lenient[str] = None
    country: Lenient[str] = None


class CardOrganisation(Part):
    company: Lenient[str] = None
    title: Lenient[str] = None


class Card(Part):
    """A contact that somebody passes on. Any part may be missing, the name too; `vcard` often says what they do not."""

    origin: Lenient[str] = None  # "contact_request": their own, because they were asked for it
    name: Lenient[CardName] = None
    phones: Several[CardPhone] = None
    emails: Several[CardEmail] = None
    addresses: Several[CardAddress] = None
    urls: Several[CardUrl] = None
    org: Lenient[CardOrganisation] = None
    birthday: Lenient[str] = None
    vcard: Lenient[str] = None


class OrderItem(Part):
    product_retailer_id: Lenient[str] = None
    quantity: Lenient[str] = None
    item_price: Lenient[str] = None
    currency: Lenient[str] = None


class Order(Part):
    text: Lenient[str] = None
    product_items: Several[OrderItem] = None


class Choice(Part):
    """A tapped button or row of a list."""

    title: Lenient[str] = None
    description: Lenient[str] = None
    id: Lenient[str] = None


class FormReply(Part):
    """A filled in form. `response_json` is JSON inside of JSON; `body` is "Sent", or the answers in words."""

    body: Lenient[str] = None
    response_json: Lenient[str] = None


class Interactive(Part):
    type: Lenient[str] = None
    button_reply: Lenient[Choice] = None
    list_reply: Lenient[Choice] = None
    nfm_reply: Lenient[FormReply] = None


class Button(Part):
    """A tap on a quick reply of a template."""

    text: Lenient[str] = None
    payload: Lenient[str] = None


class Reaction(Part):
    """Taken back where `emoji` is empty or missing."""

    message_id: Lenient[MessageId] = None


class Revoke(Part):
    original_message_id: Lenient[MessageId] = None


class Content(Part):
    """What a message says. One part of it is there, the one that `type` names."""

    type: Lenient[str] = None
    text: Lenient[Text] = None
    image: Lenient[Media] = None
    video: Lenient[Media] = None
    audio: Lenient[Media] = None
    document: Lenient[Media] = None
    sticker: Lenient[Media] = None
    location: Lenient[Location] = None
    contacts: Several[Card] = None
    order: Lenient[Order] = None
    interactive: Lenient[Interactive] = None
    button: Lenient[Button] = None


class Edit(Part):
    """What another message says from now on."""

    original_message_id: Lenient[MessageId] = None
    message: Lenient[Content] = None
