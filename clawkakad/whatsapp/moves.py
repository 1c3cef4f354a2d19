"""When a person's number or ids change: what Meta says of it, as changes of identifiers. No I/O.

The same move may be told several times, by a system message and by the field `user_id_update`; each says only what it
knows. A change is never made up from a name or from anything that a person can choose.

https://developers.facebook.com/docs/whatsapp/cloud-api/webhooks/reference/messages/system
"""

import re

from clawkakad.model import IdentifierKind
from clawkakad.whatsapp.delivery import Identifier, IdentifierChange
from clawkakad.whatsapp.identity import identifiers
from clawkakad.whatsapp.wire import Message, Moved, System, UserIdUpdate

_MOVES = frozenset(
    {"user_changed_number", "user_changed_user_id", "customer_changed_number"}  # the last one until 2025
)
# Meta's words come last, behind the name of the person; and the new id, which nobody can foresee, has to fit.
_IN_WORDS = re.compile(r"changed from ([\x21-\x7e]{1,160}) to ([\x21-\x7e]{1,160})\s*\Z")


def is_move(system: System) -> bool:
    """Whether a system message tells a new number or id."""
    return system.type in _MOVES


def of_system(message: Message, system: System) -> list[IdentifierChange]:
    """One change for each old identifier; empty when the message does not say from what to what."""
    new = identifiers(system)
    old = [*identifiers(message), *_older(system)]
    gone = [identifier for identifier in dict.fromkeys(old) if identifier not in new]
    stayed = [identifier for identifier in dict.fromkeys(old) if identifier in new and len(new) > 1]
    # With the same number before and after, the new user id still belongs to the person who has it.
    return [IdentifierChange(identifier, new) for identifier in (gone or stayed) if new]


def of_update(update: UserIdUpdate) -> list[IdentifierChange]:
    """An item of the field `user_id_update`: the person's own id, the one of a managed portfolio, or both."""
    moved = ((IdentifierKind.BSUID, update.user_id), (IdentifierKind.PARENT_BSUID, update.parent_user_id))
    return [_change(kind, ids) for kind, ids in moved if ids is not None and ids.previous != ids.current]


def _change(kind: IdentifierKind, moved: Moved) -> IdentifierChange:
    return IdentifierChange((kind, moved.previous), ((kind, moved.current),))


def _older(system: System) -> list[Identifier]:
    """What a system message says of the old number or id apart from the sender's."""
    found: list[Identifier] = []
    if system.customer is not None:
        found.append((IdentifierKind.WA_ID, system.customer))
    words = _IN_WORDS.search(system.body or "")
    if words and words[2] == system.user_id:
        found.append((IdentifierKind.BSUID, words[1]))
    return found
