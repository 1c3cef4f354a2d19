"""What an operator's command looks at: the installation, or where there is none the trial in this directory."""

import os
from collections.abc import Mapping
from pathlib import Path

from clawkakad.cli import trial
from clawkakad.cli.common import say
from clawkakad.config import Place, load_place

SETTING = "CLAWKAKA_STATE_DIR"
SETTLED_BY = (SETTING, f"{SETTING}_FILE", "CREDENTIALS_DIRECTORY")  # somebody has said what to look at
INSTALLED = Path("/var/lib/clawkakad")


def place_here() -> Place:
    """Where state, sockets and the image are, of the installation or of a trial. Raises ConfigError."""
    return load_place(environ_here())


def environ_here() -> Mapping[str, str]:
    """The environment that settings are read from; a trial's own where one is looked at, which is said in a line."""
    if not is_trial_here(os.environ):
        if not _is_settled(os.environ) and not INSTALLED.exists():
            say(f"there is no {INSTALLED} (in a trial's directory: run it where {trial.DIRECTORY} is)")
        return os.environ
    say(f"looking at the trial in {trial.DIRECTORY}")
    url = f"http://127.0.0.1:{trial.PAGE_PORT}"
    return trial.daemon_environ(
        trial.look_at(trial.DIRECTORY), port=trial.DAEMON_PORT, simulator_url=url, environ=os.environ
    )


def is_trial_here(environ: Mapping[str, str], *, installed: Path = INSTALLED) -> bool:
    """Whether this directory holds a trial, and nothing says that something else is meant."""
    if _is_settled(environ) or installed.exists():
        return False
    return (trial.DIRECTORY / trial.MARK).is_file()


def _is_settled(environ: Mapping[str, str]) -> bool:
    return any(environ.get(name) for name in SETTLED_BY)
