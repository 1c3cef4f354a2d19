"""Who is let in. Closed by default: a stranger's message causes no container, and is not read.

What a stranger gets is one polite line a day, as long as the day's lines for all strangers last, or silence
(CLAWKAKA_STRANGERS). Of what they write nothing is stored but that they wrote, some twenty times a day; what comes on
top is answered with 200, counted in the log, and not stored.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from clawkakad.config import Access
from clawkakad.registry.identifiers import Identifier


@dataclass(frozen=True)
class Door:
    """The operator's rule. `allow`: phone numbers as digits, and business-scoped ids."""

    access: Access
    allow: Collection[str]

    def lets_in(self, identifiers: Sequence[Identifier]) -> bool:
        """True where any identifier of the person is on the list, or where everybody is let in."""
        return self.access is Access.OPEN or any(value in self.allow for _, value in identifiers)
