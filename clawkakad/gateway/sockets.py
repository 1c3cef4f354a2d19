"""The safe way to a socket in a directory that a sandbox can write.

Whoever can write a directory can put a symlink where the socket should be, and a plain connect follows it: to the
engine's socket, say, or to a neighbour's. So the path is opened without following it, what is found is checked, and
the connection goes to exactly the thing that was checked, by its descriptor. Knows nothing of the gateway.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clawkakad.errors import GatewayUnavailable, SandboxTampered


@contextmanager
def held_socket(path: Path, owner_uids: frozenset[int]) -> Iterator[str]:
    """A path that leads to the checked socket at `path`, whatever happens there meanwhile; valid inside the block only.

    It is short, too, so the 107 bytes of a unix socket's address do not matter. Raises `GatewayUnavailable` when
    there is nothing yet, `SandboxTampered` when there is anything but a socket of one of `owner_uids`.
    """
    descriptor = _open(path)
    try:
        _check(path, os.fstat(descriptor), owner_uids)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError) as problem:
        raise GatewayUnavailable(f"{path.name}: {problem.strerror}") from problem
    except OSError as problem:
        raise SandboxTampered(f"{path}: {problem.strerror}") from problem


def _check(path: Path, status: os.stat_result, owner_uids: frozenset[int]) -> None:
    if not stat.S_ISSOCK(status.st_mode):
        raise SandboxTampered(f"{path} is not a socket but {_kind(status.st_mode)}")
    if status.st_uid not in owner_uids:
        raise SandboxTampered(f"{path} belongs to uid {status.st_uid}, not to the sandbox")


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symlink"
    return "a file" if stat.S_ISREG(mode) else "a directory" if stat.S_ISDIR(mode) else "something else"
