"""Who is let in. Closed by default: a stranger's message causes no container and no reply."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from clawkakad.config import Access
from clawkakad.registry.users import Identifier


@dataclass(frozen=True)
class Door:
    """The operator's rule. `allow`: phone numbers as digits, and business-scoped ids."""

    access: Access
    allow: Collection[str]

    def lets_in(self, identifiers: Sequence[Identifier]) -> bool:
        """True where any identifier of the person is on the list, or where everybody is let in."""
        return self.access is Access.OPEN or any(value in self.allow for _, value in identifiers)
