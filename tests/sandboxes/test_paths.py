"""Directories and files of a sandbox on the host."""

import os
import stat
from pathlib import Path

import pytest

from clawkakad.errors import UsageError
from clawkakad.model import SandboxId
from clawkakad.sandboxes import paths
from tests.support import short_directory

SANDBOX = SandboxId("s234567abcd")
GID = os.getegid()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directories_have_the_modes_of_the_contract() -> None:
    with short_directory() as runtime:
        where = paths.paths_of(runtime / "run", SANDBOX)
        paths.prepare_root(runtime / "run")
        paths.prepare(where, GID)

        assert 0o700 == _mode(runtime / "run")
        assert 0o2770 == _mode(where.gateway_dir)
        assert 0o750 == _mode(where.host_dir) == _mode(where.config_dir) == _mode(where.root)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_as_root_the_sandboxes_own_group_gets_them() -> None:
    with short_directory() as runtime:
        where = paths.paths_of(runtime, SANDBOX)
        paths.prepare(where, paths.socket_gid())

        assert 1000 == where.gateway_dir.stat().st_gid == where.host_dir.stat().st_gid
        assert 0o2770 == _mode(where.gateway_dir)


def test_a_live_directory_is_never_made_anew() -> None:
    with short_directory() as runtime:
        where = paths.paths_of(runtime, SANDBOX)
        paths.prepare(where, GID)
        before = [d.stat().st_ino for d in (where.gateway_dir, where.host_dir, where.config_dir)]
        where.gateway_dir.chmod(0o700)
        paths.prepare(where, GID)

        assert before == [d.stat().st_ino for d in (where.gateway_dir, where.host_dir, where.config_dir)]
        assert 0o2770 == _mode(where.gateway_dir)


def test_a_symlink_in_place_of_a_directory_is_not_followed() -> None:
    with short_directory() as runtime:
        (runtime / "elsewhere").mkdir(mode=0o700)
        where = paths.paths_of(runtime, SANDBOX)
        where.root.mkdir()
        where.gateway_dir.symlink_to(runtime / "elsewhere")

        with pytest.raises(OSError, match="gateway"):
            paths.prepare(where, GID)
        assert 0o700 == _mode(runtime / "elsewhere")


def test_what_a_container_left_is_removed_without_following_it() -> None:
    with short_directory() as runtime:
        (runtime / "precious").mkdir()
        (runtime / "precious" / "file").write_text("kept")
        where = paths.paths_of(runtime, SANDBOX)
        paths.prepare(where, GID)
        where.gateway_socket.symlink_to(runtime / "precious")
        (where.gateway_dir / "junk").mkdir()
        (where.gateway_dir / "junk" / "link").symlink_to(runtime / "precious")
        paths.clear_gateway_dir(where)

        assert [] == list(where.gateway_dir.iterdir())
        assert "kept" == (runtime / "precious" / "file").read_text()


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
        paths.prepare(where, GID)
        paths.discard(where)
        paths.discard(where)

        assert not where.root.exists()


def test_a_runtime_directory_too_long_for_sockets_is_refused() -> None:
    with pytest.raises(UsageError, match="too long"):
        paths.paths_of(Path("/" + "x" * 90), SANDBOX)
