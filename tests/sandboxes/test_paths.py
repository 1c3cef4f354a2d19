"""Directories and files of a sandbox on the host."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clawkakad.directories import LEFTOVERS
from clawkakad.errors import SandboxTampered, UsageError
from clawkakad.model import SandboxId
from clawkakad.sandboxes import paths
from tests.support import short_directory

SANDBOX = SandboxId("s234567abcd")
GID = os.getegid()


def _prepare(where: paths.SandboxPaths, gid: int) -> None:
    """Everything, as before a start."""
    paths.prepare(where, gid)
    paths.open_gateway_dir(where, gid)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directories_have_the_modes_of_the_contract() -> None:
    with short_directory() as runtime:
        where = paths.paths_of(runtime / "run", SANDBOX)
        paths.prepare_root(runtime / "run")
        _prepare(where, GID)

        assert 0o700 == _mode(runtime / "run")
        assert 0o2770 == _mode(where.gateway_dir)
        assert 0o750 == _mode(where.host_dir) == _mode(where.config_dir) == _mode(where.root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_as_root_the_sandboxes_own_group_gets_them() -> None:
    with short_directory() as runtime:
        where = paths.paths_of(runtime, SANDBOX)
        _prepare(where, paths.socket_gid())

        assert 1000 == where.gateway_dir.stat().st_gid == where.host_dir.stat().st_gid
        assert 0o2770 == _mode(where.gateway_dir)


def test_a_live_directory_is_never_made_anew() -> None:
    with short_directory() as runtime:
        where = paths.paths_of(runtime, SANDBOX)
        _prepare(where, GID)
        before = [d.stat().st_ino for d in (where.gateway_dir, where.host_dir, where.config_dir)]
        where.gateway_dir.chmod(0o700)
        _prepare(where, GID)

        assert before == [d.stat().st_ino for d in (where.gateway_dir, where.host_dir, where.config_dir)]
        assert 0o2770 == _mode(where.gateway_dir)


def test_a_symlink_in_place_of_a_directory_is_not_followed() -> None:
    with short_directory() as runtime:
        (runtime / "elsewhere").mkdir(mode=0o700)
        where = paths.paths_of(runtime, SANDBOX)
        where.root.mkdir()
        where.gateway_dir.symlink_to(runtime / "elsewhere")

        with pytest.raises(OSError, match="gateway"):
            _prepare(where, GID)
        assert 0o700 == _mode(runtime / "elsewhere")


def test_what_a_container_left_is_removed_without_following_it() -> None:
    with short_directory() as runtime:
        (runtime / "precious").mkdir()
        (runtime / "precious" / "file").write_text("kept")
        where = paths.paths_of(runtime, SANDBOX)
        _prepare(where, GID)
        where.gateway_socket.symlink_to(runtime / "precious")
        (where.gateway_dir / "junk").mkdir()
        (where.gateway_dir / "junk" / "link").symlink_to(runtime / "precious")
        paths.clear_gateway_dir(where)
        _prepare(where, GID)

        assert [] == list(where.gateway_dir.iterdir())
        assert ["precious", SANDBOX] == sorted(path.name for path in runtime.iterdir())
        assert "kept" == (runtime / "precious" / "file").read_text()


# As under systemd: the daemon is no root, and the sandbox's user shares its group only.

DAEMON = 4321


@contextlib.contextmanager
def _planted() -> Iterator[paths.SandboxPaths]:
    """A sandbox's directories, and in `gateway/` one of the sandbox's user into which nobody else may look."""
    with short_directory() as runtime:
        os.chown(runtime, DAEMON, DAEMON)
        where = paths.paths_of(runtime / "run", SANDBOX)
        _as_the_daemon(lambda: (paths.prepare_root(runtime / "run"), _prepare(where, DAEMON)))
        closed = where.gateway_dir / "closed"
        closed.mkdir()
        (closed / "file").write_text("the agent's")
        for planted in (closed / "file", closed):
            os.chown(planted, paths.SANDBOX_UID, DAEMON)
        closed.chmod(0o700)
        yield where


def _as_the_daemon(work: Callable[[], object]) -> None:
    """In a child process with the daemon's user and group and no other; raises where `work` does."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(DAEMON)
            os.setuid(DAEMON)
            work()
            status = 0
        finally:
            os._exit(status)
    assert 0 == os.waitpid(child, 0)[1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become two other users")
def test_what_the_daemon_may_not_remove_is_put_aside_and_the_sandbox_starts_with_a_new_directory() -> None:
    with _planted() as where:
        for _ in range(2):
            _as_the_daemon(lambda: (paths.clear_gateway_dir(where), _prepare(where, DAEMON)))

        assert [] == list(where.gateway_dir.iterdir())
        assert 0o2770 == _mode(where.gateway_dir)
        assert [f"{SANDBOX}-"] == [aside.name[: len(SANDBOX) + 1] for aside in _aside(where)]
        assert "the agent's" == (_aside(where)[0] / "gateway" / "closed" / "file").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become two other users")
def test_a_sandbox_goes_though_the_daemon_may_not_remove_what_it_left() -> None:
    with _planted() as where:
        where.config_file.write_text("a token")
        for _ in range(2):
            _as_the_daemon(lambda: paths.discard(where))

        assert [where.root.parent / LEFTOVERS] == list(where.root.parent.iterdir())
        assert ["gateway"] == [path.name for path in _aside(where)[0].iterdir()]


def test_what_is_nested_too_deep_to_be_removed_is_put_aside() -> None:
    with short_directory() as runtime:
        where = paths.paths_of(runtime, SANDBOX)
        _prepare(where, GID)
        try:
            _dig(where.gateway_dir, sys.getrecursionlimit() + 10)
            paths.discard(where)

            assert not where.root.exists()
            assert 1 == len(_aside(where))
        finally:
            subprocess.run(["rm", "-rf", runtime / LEFTOVERS, where.root], check=True)


def _aside(where: paths.SandboxPaths) -> list[Path]:
    return list((where.root.parent / LEFTOVERS).iterdir())


def _dig(directory: Path, depth: int) -> None:
    at = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


def test_a_file_is_replaced_whole_with_its_mode() -> None:
    with short_directory() as runtime:
        target = runtime / "openclaw.json"
        paths.write_file(target, "one", mode=0o640, gid=GID)
        paths.write_file(target, "two", mode=0o640, gid=GID)

        assert "two" == target.read_text()
        assert 0o640 == _mode(target)
        assert [target] == list(runtime.iterdir())


def test_discarding_twice_is_fine() -> None:
    with short_directory() as runtime:
        where = paths.paths_of(runtime, SANDBOX)
        _prepare(where, GID)
        paths.discard(where)
        paths.discard(where)

        assert not where.root.exists()


def test_a_runtime_directory_too_long_for_sockets_is_refused() -> None:
    with pytest.raises(UsageError, match="too long"):
        paths.paths_of(Path("/" + "x" * 90), SANDBOX)


def test_once_the_socket_is_there_the_directory_is_closed_and_a_start_opens_it() -> None:
    with short_directory() as runtime:
        where = paths.paths_of(runtime, SANDBOX)
        _prepare(where, GID)

        paths.close_gateway_dir(where, GID)
        assert 0o2750 == _mode(where.gateway_dir)
        paths.prepare(where, GID)  # what an adoption does
        assert 0o2750 == _mode(where.gateway_dir)

        paths.open_gateway_dir(where, GID)
        assert 0o2770 == _mode(where.gateway_dir)


@pytest.mark.parametrize("kind", ["file", "directory", "socket"])
def test_a_directory_that_holds_more_than_its_socket_is_closed_and_told(kind: str) -> None:
    with short_directory() as runtime, socket.socket(socket.AF_UNIX) as bound:
        where = paths.paths_of(runtime, SANDBOX)
        _prepare(where, GID)
        assert not paths.is_bound(where)
        bound.bind(str(where.gateway_socket))
        assert paths.is_bound(where)
        paths.close_gateway_dir(where, GID)
        stranger = where.gateway_dir / "x"
        if kind == "directory":
            stranger.mkdir()
        else:
            os.mknod(stranger, stat.S_IFREG if kind == "file" else stat.S_IFSOCK)
        paths.open_gateway_dir(where, GID)

        with pytest.raises(SandboxTampered, match="more than a socket"):
            paths.close_gateway_dir(where, GID)
        assert 0o2750 == _mode(where.gateway_dir)


def test_a_link_in_place_of_the_socket_is_no_socket() -> None:
    with short_directory() as runtime:
        where = paths.paths_of(runtime, SANDBOX)
        _prepare(where, GID)
        where.gateway_socket.symlink_to("/var/run/docker.sock")

        assert not paths.is_bound(where)
