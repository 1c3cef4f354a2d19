"""Where the files of a sandbox are on the host, and who may do what with them.

Owns the directories under `<runtime dir>/<sandbox id>`: `gateway/` (the container makes its socket there), `host/` (the
daemon's socket) and `config/` (read by the container). A running container holds these directories by inode: they are
made when missing, and taken away only while it does not run. What a container can write is nothing to rely on: no
symlink in it is followed, and what in it cannot be removed is put aside, into `<runtime dir>/.leftovers`.
"""

import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from clawkakad.directories import LEFTOVERS
from clawkakad.errors import SandboxTampered, UsageError
from clawkakad.model import SandboxId

SANDBOX_UID = 1000
"""The user of every sandbox, and its group: `USER 1000:1000` of the image."""

SUN_PATH_MAX = 107
"""Bytes of a unix socket path that Linux takes (unix(7): 108 with the closing NUL)."""


@dataclass(frozen=True)
class SandboxPaths:
    """The directories of one sandbox; `root` is `<runtime dir>/<sandbox id>`."""

    root: Path

    @property
    def gateway_dir(self) -> Path:
        """Written by the container: nothing in it is trusted."""
        return self.root / "gateway"

    @property
    def gateway_socket(self) -> Path:
        """Made by the container's relay; opened by the daemon with O_NOFOLLOW only."""
        return self.gateway_dir / "gateway.sock"

    @property
    def host_dir(self) -> Path:
        """Read-only for the container."""
        return self.root / "host"

    @property
    def host_socket(self) -> Path:
        """The daemon's."""
        return self.host_dir / "host.sock"

    @property
    def config_dir(self) -> Path:
        """Read-only for the container."""
        return self.root / "config"

    @property
    def config_file(self) -> Path:
        """The gateway's config, with its token."""
        return self.config_dir / "openclaw.json"

    @property
    def profile_file(self) -> Path:
        """What `pa` knows about the person's place in the world."""
        return self.config_dir / "profile.json"


def paths_of(runtime_dir: Path, sandbox_id: SandboxId) -> SandboxPaths:
    """The paths of one sandbox. Raises UsageError where the runtime directory's path is too long for sockets."""
    paths = SandboxPaths(runtime_dir / sandbox_id)
    # The longest name that is ever bound: the host socket under its first name, see `hostapi`.
    if len(os.fsencode(paths.host_socket)) + len(".new") > SUN_PATH_MAX:
        raise UsageError(f"the path of the runtime directory {runtime_dir} is too long for unix sockets")
    return paths


def socket_gid() -> int:
    """The group that daemon and sandbox share for the sockets. Raises UsageError where it would be root's."""
    if os.geteuid() == 0:
        return SANDBOX_UID  # the sandbox's own: a container never gets gid 0
    gid = os.getegid()
    if gid == 0:
        raise UsageError("clawkakad runs with root's group but not as root: give it a group of its own")
    return gid


def prepare_root(runtime_dir: Path) -> None:
    """Make the directory above all sandboxes; nobody but the daemon looks into it."""
    runtime_dir.mkdir(parents=True, exist_ok=True)
    runtime_dir.chmod(0o700)


def prepare(paths: SandboxPaths, gid: int) -> None:
    """Make what is missing of our own side and set modes and group. Raises SandboxTampered, OSError."""
    _directory(paths.root, 0o750, gid)
    _directory(paths.host_dir, 0o750, gid)
    _directory(paths.config_dir, 0o750, gid)


def open_gateway_dir(paths: SandboxPaths, gid: int) -> None:
    """Let the container make its socket: only before it starts. Raises SandboxTampered, OSError."""
    _directory(paths.gateway_dir, 0o2770, gid)


def close_gateway_dir(paths: SandboxPaths, gid: int) -> None:
    """The socket is there: from now on the container may no more write here, replace it, or fill the host's memory.

    Connecting goes on to work. Whatever else is there stays the container's to write in, so it must be nothing. A
    container whose user owns the directory could open it again: that is so only where the daemon itself runs as uid
    1000, as in a trial. Raises SandboxTampered, OSError.
    """
    _directory(paths.gateway_dir, 0o2750, gid)
    with os.scandir(paths.gateway_dir) as entries:
        if any(entry.name != paths.gateway_socket.name for entry in entries):
            raise SandboxTampered(f"{paths.gateway_dir} holds more than a socket")


def is_bound(paths: SandboxPaths) -> bool:
    """Whether the container has made its socket. Raises OSError."""
    try:
        return stat.S_ISSOCK(paths.gateway_socket.lstat().st_mode)
    except FileNotFoundError:
        return False


def write_file(target: Path, content: str, *, mode: int, gid: int | None = None) -> None:
    """Write whole or not at all: a reader sees the old file or the new one. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), mode)
            if gid is not None:
                os.fchown(file.fileno(), -1, gid)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def clear_gateway_dir(paths: SandboxPaths) -> None:
    """Take away the directory where a container may write on the host; `prepare` makes it anew. Raises OSError.

    Only while the container does not run: the engine looks its mounts up by path at each start. Another user's closed
    directory stops a daemon that is not root, and a deep one `rmtree`; but `gateway/` itself is ours to move.
    """
    if not paths.gateway_dir.exists():
        return
    try:
        shutil.rmtree(paths.gateway_dir)  # does not follow symlinks
    except (OSError, RecursionError) as error:
        to, why = str(_put_aside(paths.gateway_dir, paths.root)), type(error).__name__
        logger.warning("what a sandbox left cannot be removed: moved", sandbox=paths.root.name, to=to, error=why)


def discard(paths: SandboxPaths) -> None:
    """Remove all directories of a sandbox that is gone. Idempotent. Raises OSError."""
    clear_gateway_dir(paths)
    if paths.root.exists():
        shutil.rmtree(paths.root)


def _put_aside(directory: Path, root: Path) -> Path:
    leftovers = root.parent / LEFTOVERS
    leftovers.mkdir(mode=0o700, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{root.name}-", dir=leftovers))
    return directory.rename(aside / directory.name)


def _directory(path: Path, mode: int, gid: int) -> None:
    path.mkdir(exist_ok=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        facts = os.fstat(descriptor)
        if facts.st_uid != os.geteuid():
            raise SandboxTampered(f"{path} belongs to uid {facts.st_uid}, not to clawkakad")
        if facts.st_gid != gid:
            os.fchown(descriptor, -1, gid)
        os.fchmod(descriptor, mode)  # after chown, which may clear the setgid bit
    finally:
        os.close(descriptor)
