"""What makes this installation its own: its id, its secret, and the gateway tokens that follow from the secret.

Owns two files of the state directory, `instance` and `secret`, each made once, mode 0600. A token is derived, never
stored: the same secret and the same sandbox give the same token after every restart.
"""

import hashlib
import hmac
import secrets
from pathlib import Path

from clawkakad.errors import UsageError
from clawkakad.model import SandboxId
from clawkakad.sandboxes.paths import write_file

INSTANCE_FILE = "instance"
SECRET_FILE = "secret"  # noqa: S105 (a file name)


def instance_id(state_dir: Path) -> str:
    """The id that marks engine objects as ours; made on first use. Raises UsageError where it cannot be kept."""
    return _kept(state_dir / INSTANCE_FILE, length_bytes=6)


def read_instance_id(state_dir: Path) -> str | None:
    """The id, where one was ever made; makes none."""
    return instance_id(state_dir) if (state_dir / INSTANCE_FILE).exists() else None


def installation_secret(state_dir: Path, given: str | None) -> str:
    """The secret of the settings, else one made on first use. Raises UsageError where it cannot be kept."""
    return given or _kept(state_dir / SECRET_FILE, length_bytes=32)


def gateway_token(secret: str, sandbox_id: SandboxId) -> str:
    """The gateway token of one sandbox, 64 hex digits: knowing it tells nothing about another, or about the secret."""
    return hmac.new(secret.encode(), f"gateway:{sandbox_id}".encode(), hashlib.sha256).hexdigest()


def _kept(path: Path, *, length_bytes: int) -> str:
    try:
        if not path.exists():
            write_file(path, secrets.token_hex(length_bytes) + "\n", mode=0o600)
        value = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(f"cannot keep {path}: {error.strerror}") from error
    if not value:
        raise UsageError(f"{path} is empty: restore it, or remove it if no sandbox was ever made with it")
    return value
