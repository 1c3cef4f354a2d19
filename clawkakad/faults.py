"""Named points on the way of a message at which the process may die, so that tests can make it die exactly there.

Owns the names. Does nothing by itself: a point costs one look at a variable, and only code can arm a hook: no setting,
no file and no request does. The hook belongs to the whole process; a point may be reached on any thread.
"""

from collections.abc import Callable

Hook = Callable[[str], None]

POINTS = {
    "migration": "a migration of the schema is committed, those behind it are not: the next start goes on there",
    "work": "what was decided is not on disk: Meta sends a message again whose agent may have been asked by now",
    "commit": "what was decided is on disk, and nobody was told: no 200 to Meta, no worker woken, no request written",
    "request": "a send is on disk as `sending`, and its request was not written: nothing went out, but nobody knows",
    "answer": "WhatsApp has answered a request, and what it said is not on disk: the message is on its way",
    "frame out": "a frame for a gateway was decided on and not written: the gateway knows nothing of it",
    "frame in": "a frame of a gateway was read and not looked at: only the gateway's own history still has it",
}
"""Every point, with what is left behind if the process dies there."""

_hook: Hook | None = None


def reached(name: str) -> None:
    """The process has come to this point, one of POINTS. The armed hook, if any, may never come back."""
    if _hook is not None:
        _hook(name)


def arm(hook: Hook | None) -> None:
    """Call `hook` with the name of every point that is reached from now on; None disarms."""
    global _hook
    _hook = hook
