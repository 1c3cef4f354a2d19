"""Who wrote a message: every identifier of the sender that came along, the most lasting one first. No I/O.

Since 2026 a message may carry no phone number at all; the business-scoped id is the key then. A contact of the webhook
adds what the message itself leaves out, but only when it is certainly the sender's: two people must never become one.
"""

from collections.abc import Sequence

from clawkakad.model import IdentifierKind
from clawkakad.whatsapp.delivery import Identifier
from clawkakad.whatsapp.wire import Contact, Message, System


def identifiers(of: Message | Contact | System) -> tuple[Identifier, ...]:
    """What the part itself says: business-scoped id, the parent's, phone number."""
    found = (
        (IdentifierKind.BSUID, of.user_id),
        (IdentifierKind.PARENT_BSUID, of.parent_user_id),
        (IdentifierKind.WA_ID, of.wa_id),
    )
    return tuple((kind, value) for kind, value in found if value is not None)


def sender(message: Message, contacts: Sequence[Contact]) -> tuple[tuple[Identifier, ...], str | None]:
    """All identifiers of who wrote the message, none when nothing says it, and the name that they gave themselves."""
    contact = _contact_of(message, contacts)
    if contact is None:
        return identifiers(message), None
    known = dict(identifiers(contact)) | dict(identifiers(message))
    ordered = tuple((kind, known[kind]) for kind in _LASTING_FIRST if kind in known)
    return ordered, contact.profile.name if contact.profile else None


_LASTING_FIRST = (IdentifierKind.BSUID, IdentifierKind.PARENT_BSUID, IdentifierKind.WA_ID)


def _contact_of(message: Message, contacts: Sequence[Contact]) -> Contact | None:
    """The contact that shares an identifier with the message and contradicts none.

    For a message that names nobody it is the only contact, if there is just one.
    """
    own = dict(identifiers(message))
    if not own:
        return contacts[0] if len(contacts) == 1 else None
    for contact in contacts:
        theirs = dict(identifiers(contact))
        shared = own.keys() & theirs.keys()
        if shared and all(own[kind] == theirs[kind] for kind in shared):
            return contact
    return None
