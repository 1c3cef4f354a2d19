"""`clawkakad run`: the daemon."""

import os
import pwd
from pathlib import Path

import uvloop

from clawkakad import app, interpreter, log
from clawkakad.config import load_settings
from clawkakad.errors import UsageError


def run() -> None:
    """Run the daemon until it is told to stop (SIGTERM, Ctrl-C)."""
    settings = load_settings()
    require_own(settings.state_dir)
    log.configure(settings.log_format, settings.log_level)
    interpreter.settle_in()
    uvloop.run(app.serve(settings))


def require_own(state_dir: Path) -> None:
    """Raises UsageError where root would leave files among another user's, who then could not use them."""
    if os.geteuid() != 0 or not state_dir.exists() or state_dir.stat().st_uid == 0:
        return
    owner = _name(state_dir.stat().st_uid)
    way_out = f"systemctl start clawkakad, or runuser -u {owner} -- clawkakad run"
    raise UsageError(f"{state_dir} belongs to {owner}, not to root: {way_out}")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
