"""What a turn has to know of its person besides their words, in one look: each of its own would cost as much as all."""

from typing import NamedTuple

from clawkakad.model import Profile, UserId
from clawkakad.registry.transaction import Transaction


class Briefing(NamedTuple):
    """Of one person who is known. What is rare is only said to be there: whoever needs it looks it up."""

    profile: Profile
    is_stranger: bool  #: their sandbox was claimed, and has yet to be told whose it is
    is_disk_low: bool  #: the disk of their sandbox is nearly full
    has_untold: bool  #: reminders went out that the agent has not heard of


def of_user(tx: Transaction, user_id: UserId) -> Briefing:
    """Raises LookupError where there is no such person."""
    row = tx.one(
        "SELECT u.name, u.time_zone, u.currency, u.language, u.country, s.claimed, d.warned,"
        " EXISTS (SELECT 1 FROM reminders r WHERE r.user_id = u.id AND r.state = 'fired' AND r.told = 0) AS untold"
        " FROM users u LEFT JOIN sandboxes s ON s.user_id = u.id LEFT JOIN disks d ON d.sandbox_id = s.id"
        " WHERE u.id = :id",
        {"id": user_id},
    )
    if row is None:
        raise LookupError(user_id)
    name, zone, currency, language, country, claimed, warned, untold = row
    return Briefing(Profile(name, zone, currency, language, country), bool(claimed), bool(warned), bool(untold))
