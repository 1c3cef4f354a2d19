"""Tell systemd how we are (sd_notify(3)): READY, WATCHDOG, STOPPING. Does nothing where systemd did not start us.

Twenty lines of our own: the library for it, sdnotify, has had no release since 2017.
"""

import os
import socket


def notify(state: str) -> None:
    """Send one state, such as "READY=1". Never raises: a deaf manager must not stop the daemon."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket (unix(7))
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.connect(address)
            sock.send(state.encode())
    except OSError:
        return


def watchdog_interval_s() -> float | None:
    """Half of what systemd allows between two WATCHDOG=1, in seconds; None where it does not watch us."""
    usec = os.environ.get("WATCHDOG_USEC", "")
    return int(usec) / 2_000_000 if usec.isdigit() and int(usec) > 0 else None
