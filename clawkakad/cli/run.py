"""`clawkakad run`: the daemon."""

import asyncio

import uvloop

from clawkakad import app, log
from clawkakad.config import load_settings


def run() -> None:
    """Run the daemon until it is told to stop (SIGTERM, Ctrl-C)."""
    settings = load_settings()
    log.configure(settings.log_format, settings.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(app.serve(settings))
