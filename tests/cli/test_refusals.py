"""What the machine refuses an operator's command is one line that says what to do, and exit code 2."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clawkakad.cli.refusals import in_a_line
from clawkakad.model import IdentifierKind
from clawkakad.registry import FILE, open_registry
from clawkakad.registry.users import ensure_user
from tests.cli.damage import damage
from tests.support import NOWHERE, short_directory

NOBODY = 65534
# Whoever has no rights may not read this checkout either: everything is imported before they are given up.
WITHOUT_RIGHTS = f"""
import os
from clawkakad import cli
import clawkakad.cli.commands, clawkakad.cli.refusals
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
cli.main()
"""
COMMANDS = [
    "users",
    "sandbox list",
    "sandbox retry Ann",
    "inbox list",
    "outbox list",
    "backup",
    "user export Ann",
    "user rm Ann --yes",
    "nuke --yes",
]


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory below one that everybody may enter."""
    with short_directory() as directory:
        directory.chmod(0o755)
        (directory / "state").mkdir(mode=0o700)
        yield directory / "state"


async def fill(state: Path) -> None:
    """Ann is in the registry."""
    (state / "instance").write_text("0123456789ab")
    now = datetime.now(UTC)
    async with open_registry(state / FILE, lambda: now) as registry:
        known = [(IdentifierKind.WA_ID, "4915123456789")]
        await registry.db.write(lambda tx: ensure_user(tx, known, NOWHERE, now))


def said(state: Path, *words: str, program: tuple[str, ...] = ("-m", "clawkakad")) -> str:
    """The one line with which a command ends with exit code 2."""
    done = subprocess.run(
        [sys.executable, *program, *words],
        env={"PATH": os.environ["PATH"], "CLAWKAKA_STATE_DIR": str(state), "DOCKER_HOST": "unix:///nonexistent"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done
    assert done.stderr.startswith("clawkakad: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("words", COMMANDS)
async def test_who_may_not_look_is_told_to_be_root(state: Path, words: str) -> None:
    await fill(state)
    state.chmod(0o000)

    line = said(state, *words.split(), program=("-c", WITHOUT_RIGHTS))

    assert f"{state}" in line
    assert line.endswith(": Permission denied: run it as root\n"), line


@pytest.mark.parametrize(("table", "words"), [("outbox", "outbox retry --all"), ("users", "user rm Ann --yes")])
async def test_a_damaged_registry_is_told_with_the_way_out(state: Path, table: str, words: str) -> None:
    await fill(state)
    damage(state, table)

    line = said(state, *words.split())

    assert "the registry is damaged (database disk image is malformed)" in line
    assert "stop the daemon, then clawkakad restore FILE puts a backup back" in line


def test_a_state_directory_that_is_not_there_is_told(state: Path) -> None:
    line = said(state / "none", "user", "rm", "Ann", "--yes")

    assert line == f"clawkakad: there is no {state}/none: has the daemon ever run with this CLAWKAKA_STATE_DIR?\n"


@pytest.mark.parametrize("bug", [sqlite3.IntegrityError, sqlite3.ProgrammingError, KeyError])
def test_a_bug_keeps_its_traceback(bug: type[Exception]) -> None:
    def fail() -> None:
        raise bug("x")

    with pytest.raises(bug):
        in_a_line(fail)()
