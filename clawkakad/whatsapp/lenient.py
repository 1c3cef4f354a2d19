"""The kinds of values that Meta's webhooks are made of, and what to do about a wrong one. No I/O.

Everything from outside is read through these: an optional part of the wrong shape becomes None (`Lenient`), since one
odd field is no reason to lose a message; a demanded one makes its item unreadable, and only that item.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, StringConstraints
from pydantic_core import core_schema

from clawkakad.model import Wamid

T = TypeVar("T")

_SECONDS = re.compile(r"[0-9]{1,11}")


class _OrNone:
    """None instead of an error. Said in pydantic's core, since a function in Python takes 1 us for each part."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_default_schema(handler(source), default=None, on_error="default")


def _instant(value: object) -> datetime:
    """Unix seconds, which Meta writes as a string."""
    digits = str(value)
    seconds = int(digits) if _SECONDS.fullmatch(digits) else -1
    if not 0 <= seconds < 32503680000:  # the year 3000
        raise ValueError("not an instant")
    return datetime.fromtimestamp(seconds, UTC)


Lenient = Annotated[T | None, _OrNone()]
"""The part, or None when it is missing or of another shape."""

Several = Lenient[list[Lenient[T]]]
"""A list, or None; an element of another shape is None."""

Instant = Annotated[datetime, BeforeValidator(_instant)]
Token = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,512}$")]
"""Printable ASCII without spaces: what comes out of a JSON string otherwise may not even be storable."""

MessageId = Annotated[Wamid, StringConstraints(pattern=r"^[\x21-\x7e]{1,512}$")]
WaId = Annotated[
    str,
    BeforeValidator(lambda value: value.removeprefix("+") if isinstance(value, str) else value),
    StringConstraints(pattern=r"^[0-9]{5,20}$"),
]
ScopedId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,160}$")]
"""A business-scoped user id. Its form (`US.1349…`) is Meta's affair: only what could do harm is refused."""


class Part(BaseModel):
    """An object of a webhook. Unknown keys are left out; a number where a string belongs is taken as its digits.

    A plain `str` may hold anything, lone surrogates included: with a constraint, pydantic would refuse those, and with
    them the whole part. Whatever reads such a string cleans it.
    """

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        coerce_numbers_to_str=True,
        hide_input_in_errors=True,
        validate_by_name=True,
        validate_by_alias=True,
    )


def present(items: list[T | None] | None) -> list[T]:
    """The elements of a `Several` that could be read."""
    return [item for item in items or () if item is not None]
