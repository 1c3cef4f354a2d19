"""Directories that the daemon keeps for itself: made for it alone, and never taken over from anybody else.

A directory is ours if we made it, if it was empty, or if something in it says so: a *mark*, the name (or the pattern
of names) of a file that only we make. What outlives a state (backups, measurements) is no mark: a directory that holds
nothing else is ours, one with more beside it is not. Nothing else is closed to others, written into, or removed.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from clawkakad.errors import UsageError

SANDBOX = "s" + 10 * "[a-z2-7]"
"""The pattern of sandbox ids, which name the entries of the runtime directory."""

LEFTOVERS = ".leftovers"
"""Where the runtime directory keeps what a sandbox left and cannot be removed."""

STATE_MARKS = ("instance", "registry.sqlite", "clawkakad.lock", "trial.json", "trial.lock")
"""What says that a directory is a state directory: of a daemon, or of a trial before its daemon ever ran."""

OUTLIVES = ("backups", "backup.lock", "before-restore-*", "bench")
"""What we may leave in a state directory when everything else of ours is gone from it."""

RUNTIME_MARKS = (SANDBOX, "model.sock", LEFTOVERS)
"""What says that a directory is a runtime directory."""

IGNORED = "lost+found"  # a file system of its own has it from the start


def claim(directory: Path, *, marks: Sequence[str], beside: Sequence[str] = ()) -> None:
    """Make it ours, mode 0700. Raises UsageError where it is somebody else's, or cannot be used."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not is_ours(directory, marks=marks, beside=beside):
            raise UsageError(f"{directory} is not empty and was not made by clawkakad: name a directory of its own")
        directory.chmod(0o700)
    except OSError as error:
        raise UsageError(f"{directory} cannot be used: {error.strerror}") from error


def is_ours(directory: Path, *, marks: Sequence[str], beside: Sequence[str] = ()) -> bool:
    """Whether it is empty but for what may be `beside` a mark, or holds one of the marks. Raises OSError."""
    names = [path.name for path in directory.iterdir() if path.name != IGNORED]
    return all(matches(name, beside) for name in names) or any(matches(name, marks) for name in names)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name is one of those."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
