"""A directory is claimed only if nobody else uses it."""

import stat
from pathlib import Path

import pytest

from clawkakad import app
from clawkakad.backups import making, restoring
from clawkakad.cli import backup, trial
from clawkakad.directories import LEFTOVERS, OUTLIVES, RUNTIME_MARKS, SANDBOX, STATE_MARKS, claim, is_ours, matches
from clawkakad.errors import UsageError
from clawkakad.registry import FILE, LOCK
from clawkakad.registry.ids import new_sandbox_id, new_user_id
from clawkakad.sandboxes.secrets import INSTANCE_FILE
from tests.bench.__main__ import KEPT


def mode_of(directory: Path) -> int:
    return stat.S_IMODE(directory.stat().st_mode)


def test_a_new_one_is_for_its_owner_alone(tmp_path: Path) -> None:
    claim(tmp_path / "a" / "b", marks=["mark"])

    assert mode_of(tmp_path / "a" / "b") == 0o700


@pytest.mark.parametrize("held", [[], ["lost+found"], ["mark"], ["mark", "and more"], ["s234567abcd"]])
def test_an_empty_one_or_one_of_ours_is_closed(tmp_path: Path, held: list[str]) -> None:
    for name in held:
        (tmp_path / name).touch()
    tmp_path.chmod(0o755)

    claim(tmp_path, marks=["mark", SANDBOX])

    assert mode_of(tmp_path) == 0o700


def test_one_of_somebody_else_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    tmp_path.chmod(0o755)

    with pytest.raises(UsageError, match="was not made by clawkakad"):
        claim(tmp_path, marks=["mark"])

    assert mode_of(tmp_path) == 0o755


@pytest.mark.parametrize(("held", "ours"), [(OUTLIVES, True), (("bench",), True), (("bench", "precious"), False)])
def test_what_outlives_a_state_makes_no_directory_ours_beside_other_things(
    tmp_path: Path, held: tuple[str, ...], *, ours: bool
) -> None:
    for name in held:
        (tmp_path / name).touch()

    assert is_ours(tmp_path, marks=["mark"], beside=OUTLIVES) is ours


def test_what_is_no_directory_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="cannot be used"):
            claim(path, marks=[])


def test_the_marks_are_the_names_that_are_really_used() -> None:
    assert set(STATE_MARKS) == {INSTANCE_FILE, FILE, LOCK, trial.MARK, trial.LOCK}
    assert set(OUTLIVES) == {backup.DIRECTORY, making.LOCK, f"{restoring.ASIDE}*", KEPT.name}
    assert {SANDBOX, app.OFFLINE_SOCKET, LEFTOVERS} == set(RUNTIME_MARKS)
    assert matches(new_sandbox_id(), RUNTIME_MARKS)
    assert not matches(new_user_id(), RUNTIME_MARKS)
