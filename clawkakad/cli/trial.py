"""A trial: the directory in which `clawkakad try` keeps everything between its runs, and what the daemon is told of it.

Owns the directory's own files: the secrets that daemon and simulator share, and a lock. The daemon's state lies in the
same directory. Sockets are inside too where the path is short enough, else in a directory made for this trial alone.
"""

import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from clawkakad.directories import OUTLIVES, claim, is_ours
from clawkakad.errors import UsageError
from clawkakad.registry import locked
from clawkakad.simulator.server import Secrets
from clawkakad.values import LONGEST_SOCKET, SOCKET_PATH_LIMIT

MARK = "trial.json"  # says that a directory is a trial's: only such a one is ever removed
DRAFT = "trial.new"
LOCK = "trial.lock"
MARKS = (MARK, LOCK)
DAEMON_LOG = "daemon.log"
DIRECTORY = Path(".clawkaka")  # where a trial is kept, unless said otherwise
PAGE_PORT, DAEMON_PORT = 3002, 3001  # unless they are taken


@dataclass(frozen=True)
class Trial:
    """An opened trial."""

    directory: Path
    runtime_dir: Path
    secrets: Secrets

    @property
    def log(self) -> Path:
        """Where the daemon's log goes."""
        return self.directory / DAEMON_LOG


@contextmanager
def opened_trial(directory: Path, *, fresh: bool) -> Iterator[Trial]:
    """The trial in that directory, made if it is not there; `fresh` removes the one of before, its containers too.

    Raises UsageError where somebody else is at it, or where the directory is something else.
    """
    directory = directory.absolute()
    if fresh and directory.is_dir():
        remove(directory)
    _make(directory)
    with locked(directory, file=LOCK, taken="another `clawkakad try` runs there; stop it, or name another --state"):
        yield Trial(directory, runtime_dir_of(directory), _secrets(directory))


def look_at(directory: Path) -> Trial:
    """A trial that is there already, for a look: it may be running. Raises UsageError if its file cannot be read."""
    directory = directory.absolute()
    return Trial(directory, runtime_dir_of(directory), _read_secrets(directory / MARK))


def remove(directory: Path) -> None:
    """Remove a trial and everything that it made. Raises UsageError for what is no trial, or cannot be removed."""
    if not any(directory.iterdir()):
        return
    if not is_ours(directory, marks=MARKS, beside=OUTLIVES):
        raise UsageError(f"{directory} was not made by `clawkakad try`: it is not removed")
    runtime = str(runtime_dir_of(directory))
    command = [sys.executable, "-m", "clawkakad", "nuke", "--state", str(directory), "--runtime", runtime, "--yes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode != 0:
        raise UsageError(last_words(done.stderr) or f"{directory} could not be removed")


def runtime_dir_of(directory: Path) -> Path:
    """Where the sockets are: inside the trial, or if that path is too long in a short one that belongs to it."""
    inside = directory / "run"
    if len(os.fsencode(inside)) + len(LONGEST_SOCKET) <= SOCKET_PATH_LIMIT:
        return inside
    name = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    return Path(tempfile.gettempdir() if os.getuid() else "/run") / f"clawkaka-{os.getuid()}-{name}"


def daemon_environ(trial: Trial, *, port: int, simulator_url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The daemon's environment: ours, but for what makes it a trial. Settings of the model pass through."""
    secrets = trial.secrets
    ours = {
        "WHATSAPP_APP_SECRET": secrets.app_secret,
        "WHATSAPP_ACCESS_TOKEN": secrets.access_token,
        "WHATSAPP_VERIFICATION_TOKEN": secrets.verification_token,
        "WHATSAPP_SENDER_PHONE_NUMBER_ID": secrets.phone_number_id,
        "WHATSAPP_API_BASE_URL": simulator_url,
        "WHATSAPP_API_VERSION": "v25.0",
        "CLAWKAKA_STATE_DIR": str(trial.directory),
        "CLAWKAKA_RUNTIME_DIR": str(trial.runtime_dir),
        "CLAWKAKA_ACCESS": "open",
        "CLAWKAKA_HOST": "127.0.0.1",
        "PORT": str(port),
    }
    # A file or a credential that holds one of these would be the real installation's.
    dropped = {f"{name}_FILE" for name in ours} | {"CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC"}
    passed = {name: value for name, value in environ.items() if name not in dropped}
    # The first thing that a command hears is taken for its answer.
    return {"CLAWKAKA_LOG": "human", "CLAWKAKA_STILL_ON_IT_S": "0", **passed, **ours}


def last_words(output: str) -> str:
    """The lines with which a command of ours said why it ended, without its name in front."""
    lines = [line for line in output.splitlines() if line.startswith("clawkakad: ")]
    return "\n".join(line.removeprefix("clawkakad: ") for line in lines)


def _make(directory: Path) -> None:
    claim(directory, marks=MARKS, beside=OUTLIVES)
    runtime = runtime_dir_of(directory)
    try:
        runtime.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        raise UsageError(f"{runtime} cannot be used: {error.strerror}") from error
    facts = runtime.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise UsageError(f"{runtime} belongs to somebody else: use another --state")


def _secrets(directory: Path) -> Secrets:
    """The secrets of this trial, made once."""
    path = directory / MARK
    if path.exists():
        return _read_secrets(path)
    made = Secrets.made()
    draft = directory / DRAFT
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(made), file)
    draft.replace(path)
    return made


def _read_secrets(path: Path) -> Secrets:
    try:
        return Secrets(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path} cannot be read: start over with --fresh") from error
