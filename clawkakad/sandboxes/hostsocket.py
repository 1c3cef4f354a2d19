"""The socket on which a sandbox is served: it appears whole, and only the sandbox's group can connect."""

import os
import socket
from pathlib import Path

BACKLOG = 16


def listening(path: Path, gid: int) -> socket.socket:
    """A bound socket that nobody sees before its mode and group are right. Replaces what an earlier daemon left.

    Raises OSError.
    """
    first = path.with_name(path.name + ".new")
    first.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        listener.bind(str(first))
        os.chown(first, -1, gid)
        first.chmod(0o660)
        listener.listen(BACKLOG)
        first.replace(path)
    except BaseException:
        listener.close()
        raise
    return listener
