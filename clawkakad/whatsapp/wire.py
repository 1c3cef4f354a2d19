"""The shapes of Meta's webhooks around what people say, as far as we use them. Parts are read one at a time.

A model demands only what makes an item usable; `lenient.py` has the rule for the rest, `content.py` what a message
holds.

https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/reference
"""

from typing import Annotated, Any

from pydantic import AliasChoices, AliasPath, ConfigDict, Field

from clawkakad.whatsapp.content import Content, Edit, Reaction, Revoke
from clawkakad.whatsapp.lenient import Instant, Lenient, MessageId, Part, ScopedId, Several, Token, WaId


class Context(Part):
    """Of a message: what it quotes, and whether it was forwarded."""

    id: Lenient[MessageId] = None
    forwarded: Lenient[bool] = None
    frequently_forwarded: Lenient[bool] = None


class ErrorData(Part):
    details: Lenient[str] = None


class Error(Part):
    code: Annotated[int, Field(ge=0, lt=2**31)]
    title: Lenient[str] = None
    message: Lenient[str] = None
    error_data: Lenient[ErrorData] = None


class System(Part):
    """A change of a person's number or id. `wa_id` and `user_id` are the new ones, `customer` is the old number."""

    type: Lenient[str] = None
    body: Lenient[str] = None
    customer: Lenient[WaId] = None
    wa_id: Lenient[WaId] = Field(default=None, validation_alias=AliasChoices("wa_id", "new_wa_id"))
    user_id: Lenient[ScopedId] = None
    parent_user_id: Lenient[ScopedId] = None


class Unsupported(Part):
    type: Lenient[str] = None


class Message(Content):
    id: MessageId
    timestamp: Instant
    wa_id: Lenient[WaId] = Field(None, alias="from")
    user_id: Lenient[ScopedId] = Field(None, alias="from_user_id")
    parent_user_id: Lenient[ScopedId] = Field(None, alias="from_parent_user_id")
    group_id: object = None
    context: Lenient[Context] = None
    reaction: Lenient[Reaction] = None
    edit: Lenient[Edit] = None
    revoke: Lenient[Revoke] = None
    system: Lenient[System] = None
    unsupported: Lenient[Unsupported] = None
    errors: Several[Error] = None


class ContactProfile(Part):
    name: Lenient[str] = None


class Contact(Part):
    """Who wrote, or was written to. Usernames and numbers come and go; `user_id` is there since April 2026."""

    wa_id: Lenient[WaId] = None
    user_id: Lenient[ScopedId] = None
    parent_user_id: Lenient[ScopedId] = None
    profile: Lenient[ContactProfile] = None


class StatusUpdate(Part):
    id: MessageId
    status: str
    timestamp: Instant
    callback_data: Lenient[Token] = Field(None, alias="biz_opaque_callback_data")
    errors: Several[Error] = None


class Moved(Part):
    previous: ScopedId
    current: ScopedId


class UserIdUpdate(Part):
    """One item of the field `user_id_update`. Whether its `wa_id` is the old or the new number is not documented."""

    user_id: Lenient[Moved] = None
    parent_user_id: Lenient[Moved] = None


class Change(Part):
    """`phone_number_id`, `display_phone_number`: which of our numbers it is about, where it is about one."""

    model_config = ConfigDict(validate_by_name=False)  # what stands beside `value` under these names is not meant

    field: str
    value: dict[str, Any]
    phone_number_id: Lenient[str] = Field(None, validation_alias=AliasPath("value", "metadata", "phone_number_id"))
    display_phone_number: Lenient[str] = Field(
        None, validation_alias=AliasPath("value", "metadata", "display_phone_number")
    )
