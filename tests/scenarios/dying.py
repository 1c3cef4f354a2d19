"""Runs the real daemon in a world that a test can bend while it runs: it dies at a named point, the clock jumps, names
are not resolved.

python -m tests.scenarios.dying ORDERS

ORDERS is a JSON file that need not exist. It is read at the start and again at SIGUSR1, and removed once it was read:
{"point": a name of POINTS, "times": at which time it is reached from then on, "clock_s": how far the wall clock is off,
"dns": whether names under .test are resolved (to this machine), "tasks": a file for the names of asyncio's tasks}.
What is not named stays as it is.
"""

import asyncio
import gc
import json
import os
import signal
import socket
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop

from clawkakad import app, cli, faults

LOOPBACK = "127.0.0.1"


class Orders:
    """What the test wants at the moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._point, self._left = "", 0
        self._clock = timedelta()
        self._dns = True
        self._counting = threading.Lock()  # points are reached on the registry's thread too
        self._resolve = uvloop.Loop.getaddrinfo

    def read(self, *_: object) -> None:
        """Take the orders, if there are any."""
        if not self._path.exists():
            return
        orders: dict[str, Any] = json.loads(self._path.read_text())
        self._clock = timedelta(seconds=orders.get("clock_s", self._clock.total_seconds()))
        self._dns = orders.get("dns", self._dns)
        if "point" in orders:
            assert orders["point"] in faults.POINTS, orders
            self._point, self._left = orders["point"], orders["times"]
        if "tasks" in orders:
            gc.collect()
            Path(orders["tasks"]).write_text("\n".join(sorted(task.get_name() for task in asyncio.all_tasks())))
        self._path.unlink()

    def reach(self, name: str) -> None:
        """Die, if this is the moment."""
        with self._counting:
            if name != self._point:
                return
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
                signal.pause()  # the signal is on its way: nothing more happens on this thread

    def now(self) -> datetime:
        """The wall clock, as far off as it was told to be."""
        return datetime.now(UTC) + self._clock

    async def resolve(self, host: Any, *arguments: Any, **options: Any) -> Any:
        """As the event loop does, but for names under .test."""
        if isinstance(host, str) and host.endswith(".test"):
            if not self._dns:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            host = LOOPBACK
        return await self._resolve(asyncio.get_running_loop(), host, *arguments, **options)


def run(path: Path) -> None:
    """`clawkakad run`, under these orders."""
    orders = Orders(path)
    orders.read()
    signal.signal(signal.SIGUSR1, orders.read)
    faults.arm(orders.reach)
    app._now = orders.now
    uvloop.Loop.getaddrinfo = orders.resolve  # type: ignore[method-assign]
    sys.argv = ["clawkakad", "run"]
    cli.main()


if __name__ == "__main__":
    run(Path(sys.argv[1]))
