"""`pa undo`: takes the last change back and says which."""

from ..arguments import Arguments, Shape
from ..context import Context
from ..database import transaction
from ..errors import PaError
from ..journal import newest, take_back
from .profile import undo_profile
from .reminders import undo_reminder

UNDO = Shape("pa undo", "pa undo")


def undo(context: Context, args: Arguments) -> list[str]:
    """The newest change that has not been taken back. Reminders and the profile are the daemon's, so it is asked."""
    entry = newest(context.db)
    if entry is None:
        raise PaError("there is nothing to undo")
    if entry.table == "reminders":
        more = undo_reminder(context, entry)
    elif entry.table == "profile":
        more = undo_profile(context, entry)
    else:
        more = None
        with transaction(context.db) as db:
            take_back(db, entry, context.stamp)
    return [f"ok undone: {entry.summary}{f'; {more}' if more else ''}"]
