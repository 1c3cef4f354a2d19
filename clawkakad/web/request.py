"""What the public side is asked: one HTTP request, whole, or refused before it was."""

from collections.abc import Mapping
from dataclasses import dataclass

from clawkakad.web.answer import Answer


@dataclass(slots=True)
class Request:
    """`path` and `query` as they were sent, nothing decoded. Names of header fields in lower case, the first counts.

    `refusal`: the answer, where it was decided before all of the body was in; nobody else is asked then.
    """

    method: str
    path: str
    query: str
    fields: Mapping[str, str]
    is_old: bool = False  #: HTTP/1.0: its connection ends with it, unless both sides say otherwise
    keeps: bool = True  #: the client wants to ask more on this connection
    body: bytes = b""
    refusal: Answer | None = None
