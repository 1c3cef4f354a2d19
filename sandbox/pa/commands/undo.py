"""`pa undo`: takes the last change back and says which."""

from ..arguments import Arguments, Shape
from ..context import Context
from ..database import transaction
from ..errors import PaError
from ..journal import newest, take_back
from .profile import undo_profile
from .reminders import undo_reminder

UNDO = Shape("pa undo", "pa undo")

DAEMONS = {"reminders": undo_reminder, "profile": undo_profile}


def undo(context: Context, args: Arguments) -> list[str]:
    """The newest change that has not been taken back. Reminders and the profile are the daemon's, so it is asked."""
    if args.words:
        raise args.wrong("only the last change is taken back; to remove another row use: pa expense delete ID, ...")
    more = None
    with transaction(context.db) as db:  # from the look on: another undo may run at the same time
        entry = newest(db)
        if entry is None:
            raise PaError("there is nothing to undo")
        if entry.table not in DAEMONS:
            take_back(db, entry, context.stamp)
    if entry.table in DAEMONS:
        more = DAEMONS[entry.table](context, entry)
    return [f"ok undone: {entry.summary}{f'; {more}' if more else ''}"]
