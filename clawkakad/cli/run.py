"""`clawkakad run`: the daemon."""

import uvloop

from clawkakad import app, interpreter, log
from clawkakad.config import load_settings


def run() -> None:
    """Run the daemon until it is told to stop (SIGTERM, Ctrl-C)."""
    settings = load_settings()
    log.configure(settings.log_format, settings.log_level)
    interpreter.settle_in()
    uvloop.run(app.serve(settings))
