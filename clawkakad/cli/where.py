"""What an operator's command looks at: the installation, or where there is none the trial in this directory."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from clawkakad.cli import trial
from clawkakad.cli.common import say
from clawkakad.config import Place, load_place
from clawkakad.errors import UsageError

SETTING = "CLAWKAKA_STATE_DIR"
SETTLED_BY = (SETTING, f"{SETTING}_FILE", "CREDENTIALS_DIRECTORY")  # somebody has said what to look at
INSTALLED = Path("/var/lib/clawkakad")
UNIT = Path("/etc/systemd/system/clawkakad.service")  # where scripts/install puts it


def place_here() -> Place:
    """Where state, sockets and the image are, of the installation or of a trial. Raises ConfigError."""
    return load_place(environ_here())


def environ_here() -> Mapping[str, str]:
    """The environment that settings are read from; a trial's own where one is looked at, which is said in a line."""
    if not is_trial_here(os.environ):
        if not _is_settled(os.environ):
            _say_which()
        return os.environ
    say(f"looking at the trial in {trial.DIRECTORY}")
    url = f"http://127.0.0.1:{trial.PAGE_PORT}"
    return trial.daemon_environ(
        trial.look_at(trial.DIRECTORY), port=trial.DAEMON_PORT, simulator_url=url, environ=os.environ
    )


def _say_which() -> None:
    """Nobody has said what to look at, and it is no trial."""
    if not INSTALLED.exists():
        say(f"there is no {INSTALLED} (in a trial's directory: run it where {trial.DIRECTORY} is)")
    elif (trial.DIRECTORY / trial.MARK).is_file():
        say(f"looking at {INSTALLED}, not at the trial in {trial.DIRECTORY}")


def is_trial_here(environ: Mapping[str, str], *, installed: Path = INSTALLED) -> bool:
    """Whether this directory holds a trial, and nothing says that something else is meant."""
    if _is_settled(environ) or installed.exists():
        return False
    return (trial.DIRECTORY / trial.MARK).is_file()


def require_meant(file: Path, state_dir: Path, environ: Mapping[str, str]) -> None:
    """Raises UsageError where a file of a trial would go into another directory, and nobody has said so."""
    kept_in = _trial_of(file)
    if kept_in is None or kept_in == state_dir.resolve() or _is_settled(environ):
        return
    # Of one that was removed only backups stay, and `clawkakad try` takes over no other state.
    first = "" if (kept_in / trial.MARK).is_file() else ", once `clawkakad try` has made it anew"
    this, that = (shlex.quote(str(directory)) for directory in (state_dir, kept_in))
    raise UsageError(
        f"{file} is of a trial and would be put back into {state_dir}:"
        f" set {SETTING}={this} to mean that, or {SETTING}={that} for the trial{first}"
    )


def _trial_of(file: Path) -> Path | None:
    """The directory of the trial that a file lies in, be it one that was removed."""
    parents = file.resolve().parents
    return next((path for path in parents if path.name == trial.DIRECTORY.name or (path / trial.MARK).is_file()), None)


def _is_settled(environ: Mapping[str, str]) -> bool:
    return any(environ.get(name) for name in SETTLED_BY)
