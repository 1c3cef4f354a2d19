"""`pa profile`: who the person is to the daemon: name, zone, currency, language."""

from zoneinfo import ZoneInfo

from .. import journal
from ..arguments import Arguments, Shape
from ..context import Context
from ..currencies import CODES
from ..database import transaction
from ..journal import Entry, Value
from ..profile import Profile, profile_of
from ..text import one_line

PROFILE = Shape("pa profile", "pa profile")
PROFILE_SET = Shape(
    "pa profile set [--name N] [--zone Z] [--currency C] [--language L]",
    'pa profile set --name "Asha" --zone Asia/Kolkata --currency INR --language en',
    ("name", "zone", "currency", "language"),
)
PATH = "/pa/v1/profile"
WIRE_NAMES = {"name": "name", "zone": "time_zone", "currency": "currency", "language": "language"}


def show_profile(context: Context, args: Arguments) -> list[str]:
    """What is known, and the time it is for the person."""
    country = context.profile.country or "unknown"
    return [f"profile: {_described(context.profile)}, country {country}", f"now: {context.wall}"]


def set_profile(context: Context, args: Arguments) -> list[str]:
    """Tells the daemon, which keeps it."""
    if args.words or not args.options:
        raise args.wrong("say what to set")
    wanted = {WIRE_NAMES[option]: _checked(args, option) for option in args.options}
    now = profile_of(context.host.call("PUT", PATH, dict(wanted)))
    before = {name: _known(context.profile, name) for name in wanted}
    with transaction(context.db) as db:
        summary = f"profile: {', '.join(f'{name} {one_line(value)}' for name, value in wanted.items())}"
        journal.record(db, "edit", "profile", 0, summary, context.stamp, before=before, after=wanted)
    return [f"ok profile: {_described(now)}"]


def undo_profile(context: Context, entry: Entry) -> str:
    """The values of before, where there were any."""
    earlier: dict[str, object] = {name: value for name, value in entry.before.items() if value is not None}
    now = profile_of(context.host.call("PUT", PATH, earlier)) if earlier else context.profile
    with transaction(context.db) as db:
        journal.mark_undone(db, entry, context.stamp)
    return f"it is now {_described(now)}"


def _checked(args: Arguments, option: str) -> str:
    value = args.text(option) or ""
    if not value:
        raise args.wrong(f"--{option} is empty")
    if option == "currency":
        value = value.upper()
        if value not in CODES:
            raise args.wrong(f'--currency must be a three-letter code such as INR or USD, not "{value[:20]}"')
    if option == "zone" and not _is_zone(value):
        raise args.wrong(f'--zone must be a name such as Asia/Kolkata or Europe/Berlin, not "{value[:40]}"')
    return value


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _known(profile: Profile, name: str) -> Value:
    return profile.zone.key if name == "time_zone" else getattr(profile, name, None)


def _described(profile: Profile) -> str:
    parts = (
        f"name {one_line(profile.name) if profile.name else 'unknown'}",
        f"zone {profile.zone.key}",
        f"currency {profile.currency or 'unknown'}",
        f"language {profile.language or 'unknown'}",
    )
    return ", ".join(parts)
