"""`clawkakad run` is not for root where the state is the service's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clawkakad.cli.run import require_own
from tests.cli.test_doctor import GOOD


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files for others")
def test_root_runs_no_daemon_among_the_files_of_another_user(tmp_path: Path) -> None:
    shutil.chown(tmp_path, "nobody")
    done = subprocess.run(
        [sys.executable, "-m", "clawkakad", "run"],
        env={"PATH": os.environ["PATH"], **GOOD, "CLAWKAKA_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2
    assert f"{tmp_path} belongs to nobody" in done.stderr
    assert "systemctl start clawkakad, or runuser -u nobody -- clawkakad run" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_who_owns_the_state_or_is_to_make_it_may_run(tmp_path: Path) -> None:
    require_own(tmp_path)
    require_own(tmp_path / "none")
