"""The PA services: what an agent may ask of the daemon for its own person, and nothing else."""

from collections.abc import Callable, Mapping
from datetime import datetime

from babel.numbers import is_currency

from clawkakad.assistant import walltime
from clawkakad.errors import Rejected
from clawkakad.model import Profile, UserId
from clawkakad.registry import Registry
from clawkakad.registry.reminders import Reminder
from clawkakad.registry.times import to_text

LONGEST_TEXT = 1000  # characters of a reminder
LONGEST_NAME = 80


class PaServices:
    """Reminders and the profile. Raises Rejected with one plain sentence for what cannot be done."""

    def __init__(self, registry: Registry, clock: Callable[[], datetime], *, on_reminder: Callable[[], None]) -> None:
        self._registry = registry
        self._clock = clock
        self._on_reminder = on_reminder

    async def profile(self, user_id: UserId) -> Profile:
        """The person's profile."""
        return await self._registry.users.profile(user_id)

    async def change_profile(self, user_id: UserId, changes: Mapping[str, str]) -> Profile:
        """Change name, time_zone, currency or language; the whole profile after it."""
        return await self._registry.users.change_profile(user_id, _checked(changes))

    async def add_reminder(
        self, user_id: UserId, *, at: str, zone: str | None, text: str, key: str
    ) -> tuple[dict[str, object], bool]:
        """Set a reminder, and whether it is new: the same key again is the same reminder, whatever holds by now."""
        known = await self._registry.reminders.of_key(user_id, key)
        if known is not None:
            return _as_json(known), False
        if not text.strip() or len(text) > LONGEST_TEXT:
            raise Rejected(f"a reminder needs a text of at most {LONGEST_TEXT} characters")
        zone_name = zone or (await self.profile(user_id)).time_zone
        due_at = walltime.upcoming(at, zone_name, self._clock())
        reminder, new = await self._registry.reminders.add(
            user_id, key=key, due_at=due_at, wall=walltime.wall(due_at, zone_name), zone=zone_name, text=text.strip()
        )
        self._on_reminder()
        return _as_json(reminder), new

    async def list_reminders(self, user_id: UserId) -> list[dict[str, object]]:
        """What is still to come, soonest first."""
        return [_as_json(reminder) for reminder in await self._registry.reminders.pending(user_id)]

    async def cancel_reminder(self, user_id: UserId, reminder_id: int) -> dict[str, object] | None:
        """Cancel one; None where it is not pending, or somebody else's."""
        reminder = await self._registry.reminders.cancel(user_id, reminder_id)
        return None if reminder is None else _as_json(reminder)


def _checked(changes: Mapping[str, str]) -> dict[str, str]:
    checks = {"name": _name, "time_zone": _zone, "currency": _currency, "language": _language}
    unknown = set(changes) - set(checks)
    if unknown:
        raise Rejected(f"a profile has no {', '.join(sorted(unknown))}; it has {', '.join(checks)}")
    return {key: checks[key](value.strip()) for key, value in changes.items()}


def _name(value: str) -> str:
    if not value or len(value) > LONGEST_NAME:
        raise Rejected(f"a name has 1 to {LONGEST_NAME} characters")
    return value


def _zone(value: str) -> str:
    return walltime.zone_named(value).key


def _currency(value: str) -> str:
    if not is_currency(value.upper()):
        raise Rejected(f"{value!r} is no currency; use its three letters, such as EUR or INR")
    return value.upper()


def _language(value: str) -> str:
    if not value.replace("-", "").isalpha() or len(value) > 10:
        raise Rejected(f"{value!r} is no language; use its code, such as en or de")
    return value.lower()


def _as_json(reminder: Reminder) -> dict[str, object]:
    return {
        "id": reminder.id,
        "due_at": to_text(reminder.due_at),
        "wall": reminder.wall,
        "zone": reminder.zone,
        "text": reminder.text,
        "state": reminder.state.value,
    }
