"""What `clawkakad nuke` may remove from the file system: by name what we make, and never a whole tree by its path.

A setting may point anywhere. What is not known to be ours stays, and is told.
"""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from clawkakad.app import OFFLINE_SOCKET
from clawkakad.backups import making
from clawkakad.cli import trial
from clawkakad.directories import IGNORED, LEFTOVERS, OUTLIVES, SANDBOX, is_ours, matches
from clawkakad.errors import UsageError
from clawkakad.registry import FILE, LOCK
from clawkakad.sandboxes.paths import SandboxPaths
from clawkakad.sandboxes.secrets import INSTANCE_FILE, SECRET_FILE
from clawkakad.simulator import people

MARKS = (INSTANCE_FILE, trial.MARK, trial.LOCK)
KEYS = "keys"
OF_THE_STATE = (
    *(f"{FILE}*", making.LOCK, SECRET_FILE, f".{SECRET_FILE}.*", f".{INSTANCE_FILE}.*", LOCK),
    *(trial.DAEMON_LOG, trial.DRAFT, people.FILE, f"{Path(people.FILE).stem}.new"),
)
OF_A_KEY = (SANDBOX, f".{SANDBOX}.*")
SHOWN = 5  # names of what stays


def require_ours(state_dir: Path) -> None:
    """Raises UsageError for a directory that no clawkakad made its state in."""
    try:
        ours = is_ours(state_dir, marks=MARKS, beside=OUTLIVES)
    except OSError as error:
        raise UsageError(f"{state_dir} cannot be looked at: {error.strerror}") from error
    if not ours:
        raise UsageError(f"{state_dir} has no file `{INSTANCE_FILE}` of clawkakad: nothing was removed")


def sandbox_directories(runtime_dir: Path) -> list[Path]:
    """What is left of sandboxes there: ours by name and by what is inside."""
    if not runtime_dir.is_dir():
        return []
    return [path for path in sorted(runtime_dir.iterdir()) if matches(path.name, [SANDBOX]) and _is_a_sandbox(path)]


def remove_from_runtime(runtime_dir: Path) -> str:
    """All but the directories of sandboxes, then the directory itself if that was all; what happened, in a line."""
    if (runtime_dir / LEFTOVERS).is_dir():
        with suppress(OSError, RecursionError):  # what a sandbox made may be closed to us, or too deep: then it is told
            shutil.rmtree(runtime_dir / LEFTOVERS)
    if not sandbox_directories(runtime_dir):  # else a daemon may be there that serves them
        (runtime_dir / OFFLINE_SOCKET).unlink(missing_ok=True)
    return _remove_if_empty(runtime_dir)


def remove_from_state(state_dir: Path) -> str:
    """What is ours in it, its marks last, then the directory itself if that was all; what happened, in a line."""
    keys = state_dir / KEYS
    if keys.is_dir():
        _unlink(keys, OF_A_KEY)
        _remove_if_empty(keys)
    _unlink(state_dir, OF_THE_STATE)
    _unlink(state_dir, MARKS)
    return _remove_if_empty(state_dir)


def _is_a_sandbox(path: Path) -> bool:
    where = SandboxPaths(path)
    known = {where.gateway_dir, where.host_dir, where.config_dir}
    return not path.is_symlink() and path.is_dir() and set(path.iterdir()) <= known


def _unlink(directory: Path, patterns: Sequence[str]) -> None:
    for path in directory.iterdir():
        if matches(path.name, patterns) and (path.is_symlink() or not path.is_dir()):
            path.unlink()


def _remove_if_empty(directory: Path) -> str:
    if not directory.is_dir():
        return f"{directory} is gone"
    rest = [path.name for path in sorted(directory.iterdir()) if path.name != IGNORED]
    if rest:
        more = ", …" if len(rest) > SHOWN else ""
        return f"{directory} stays, for what else is in it: {', '.join(rest[:SHOWN])}{more}"
    if directory.is_symlink() or (directory / IGNORED).exists():
        return f"{directory} is empty now"
    directory.rmdir()
    return f"removed {directory}"
