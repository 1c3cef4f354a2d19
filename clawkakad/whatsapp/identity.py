"""Who wrote a message: every identifier of the sender that came along, the most lasting one first. No I/O.

Since 2026 a message may carry no phone number at all; the business-scoped id is the key then. A contact of the webhook
adds what the message itself leaves out, but only when it is certainly the sender's: two people must never become one.
"""

from collections.abc import Iterable, Sequence

from clawkakad.model import IdentifierKind
from clawkakad.whatsapp.delivery import Identifier
from clawkakad.whatsapp.wire import Contact, Message, System

_KINDS = (IdentifierKind.BSUID, IdentifierKind.PARENT_BSUID, IdentifierKind.WA_ID)

_Ids = tuple[str | None, str | None, str | None]  # in the order of _KINDS


def identifiers(of: Message | Contact | System) -> tuple[Identifier, ...]:
    """What the part itself says: business-scoped id, the parent's, phone number."""
    return _known(_ids(of))


def sender(message: Message, contacts: Sequence[Contact]) -> tuple[tuple[Identifier, ...], str | None]:
    """All identifiers of who wrote the message, none when nothing says it, and the name that they gave themselves."""
    own = _ids(message)
    contact = _contact_of(own, contacts)
    if contact is None:
        return _known(own), None
    both = (mine if mine is not None else theirs for mine, theirs in zip(own, _ids(contact), strict=True))
    return _known(both), contact.profile.name if contact.profile else None


def _ids(of: Message | Contact | System) -> _Ids:
    return of.user_id, of.parent_user_id, of.wa_id


def _known(ids: Iterable[str | None]) -> tuple[Identifier, ...]:
    return tuple([(kind, value) for kind, value in zip(_KINDS, ids, strict=True) if value is not None])


def _contact_of(own: _Ids, contacts: Sequence[Contact]) -> Contact | None:
    """The contact that shares an identifier with the message and contradicts none.

    For a message that names nobody it is the only contact, if there is just one.
    """
    if own == (None, None, None):
        return contacts[0] if len(contacts) == 1 else None
    for contact in contacts:
        pairs = zip(own, _ids(contact), strict=True)
        shared = [mine == theirs for mine, theirs in pairs if mine is not None and theirs is not None]
        if shared and all(shared):
            return contact
    return None
