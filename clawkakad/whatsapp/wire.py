"""The shapes of Meta's webhooks, as far as we use them. Unknown keys are left out; parts are read one at a time.

A model demands only what makes an item usable. Optional parts of the wrong shape become None (`Lenient`), since one odd
field is no reason to lose a message.

https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/reference
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from clawkakad.model import Wamid

T = TypeVar("T")


def _or_none(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    try:
        return handler(value)
    except ValidationError:
        return None


def _instant(value: object) -> datetime:
    """Unix seconds, which Meta writes as a string."""
    digits = str(value)
    seconds = int(digits) if re.fullmatch(r"[0-9]{1,11}", digits) else -1
    if not 0 <= seconds < 32503680000:  # the year 3000
        raise ValueError("not an instant")
    return datetime.fromtimestamp(seconds, UTC)


Lenient = Annotated[T | None, WrapValidator(_or_none)]
"""The part, or None when it is missing or of another shape."""

Instant = Annotated[datetime, BeforeValidator(_instant)]
Token = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,512}$")]
"""Printable ASCII without spaces: what comes out of a JSON string otherwise may not even be storable."""

MessageId = Annotated[Token, AfterValidator(Wamid)]
WaId = Annotated[
    str,
    BeforeValidator(lambda value: value.removeprefix("+") if isinstance(value, str) else value),
    StringConstraints(pattern=r"^[0-9]{5,20}$"),
]
ScopedId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,160}$")]
"""A business-scoped user id. Its form (`US.1349…`) is Meta's affair: only what could do harm is refused."""


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        coerce_numbers_to_str=True,
        hide_input_in_errors=True,
        validate_by_name=True,
        validate_by_alias=True,
    )


class Context(_Part):
    """Of a message: what it quotes, and whether it was forwarded."""

    id: Lenient[MessageId] = None
    forwarded: Lenient[bool] = None
    frequently_forwarded: Lenient[bool] = None


class Text(_Part):
    body: str  # no constraint here: with one, pydantic refuses lone surrogates, and the message with them


class System(_Part):
    """A change of a person's number or id. `wa_id` and `user_id` are the new ones."""

    type: str = ""
    wa_id: Lenient[WaId] = Field(None, validation_alias=AliasChoices("wa_id", "new_wa_id"))
    user_id: Lenient[ScopedId] = None
    parent_user_id: Lenient[ScopedId] = None


class Message(_Part):
    id: MessageId
    timestamp: Instant
    type: Lenient[str] = None
    wa_id: Lenient[WaId] = Field(None, alias="from")
    user_id: Lenient[ScopedId] = Field(None, alias="from_user_id")
    parent_user_id: Lenient[ScopedId] = Field(None, alias="from_parent_user_id")
    group_id: object = None
    context: Lenient[Context] = None
    text: Lenient[Text] = None
    system: Lenient[System] = None


class ContactProfile(_Part):
    name: Lenient[str] = None


class Contact(_Part):
    """Who wrote, or was written to. Usernames and numbers come and go; `user_id` is there since April 2026."""

    wa_id: Lenient[WaId] = None
    user_id: Lenient[ScopedId] = None
    parent_user_id: Lenient[ScopedId] = None
    profile: Lenient[ContactProfile] = None


class ErrorData(_Part):
    details: Lenient[str] = None


class Error(_Part):
    code: Annotated[int, Field(ge=0, lt=2**31)]
    title: Lenient[str] = None
    message: Lenient[str] = None
    error_data: Lenient[ErrorData] = None


class StatusUpdate(_Part):
    id: MessageId
    status: str
    timestamp: Instant
    callback_data: Lenient[Token] = Field(None, alias="biz_opaque_callback_data")
    errors: Lenient[list[Lenient[Error]]] = None


class Moved(_Part):
    previous: ScopedId
    current: ScopedId


class UserIdUpdate(_Part):
    """One item of the field `user_id_update`. Whether its `wa_id` is the old or the new number is not documented."""

    user_id: Moved
    parent_user_id: Lenient[Moved] = None


class Metadata(_Part):
    """Which of our numbers a webhook is about."""

    phone_number_id: str
    display_phone_number: Lenient[str] = None


class Change(_Part):
    field: str
    value: dict[str, Any]
