"""The installation's id and secret, and the tokens derived from it."""

import stat
from pathlib import Path

import pytest

from clawkakad.errors import UsageError
from clawkakad.model import SandboxId
from clawkakad.sandboxes import secrets

ONE, TWO = SandboxId("s000000000a"), SandboxId("s000000000b")


def test_both_are_made_once_and_kept_private(tmp_path: Path) -> None:
    secret, instance = secrets.installation_secret(tmp_path, None), secrets.instance_id(tmp_path)

    assert secret == secrets.installation_secret(tmp_path, None)
    assert instance == secrets.instance_id(tmp_path)
    assert 64 == len(secret)
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}


def test_reading_the_id_makes_none(tmp_path: Path) -> None:
    assert secrets.read_instance_id(tmp_path) is None
    assert [] == list(tmp_path.iterdir())
    assert secrets.instance_id(tmp_path) == secrets.read_instance_id(tmp_path)


def test_the_secret_of_the_settings_wins_and_is_not_written(tmp_path: Path) -> None:
    assert "given" == secrets.installation_secret(tmp_path, "given")
    assert [] == list(tmp_path.iterdir())


def test_an_empty_secret_file_is_an_error_and_not_a_secret(tmp_path: Path) -> None:
    (tmp_path / secrets.SECRET_FILE).write_text("\n")
    with pytest.raises(UsageError, match="empty"):
        secrets.installation_secret(tmp_path, None)


def test_a_state_directory_that_cannot_be_written_is_the_operators_to_fix(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot keep"):
        secrets.instance_id(tmp_path / "missing")


def test_each_sandbox_has_its_own_token_and_keeps_it() -> None:
    assert secrets.gateway_token("s", ONE) == secrets.gateway_token("s", ONE)
    assert secrets.gateway_token("s", ONE) != secrets.gateway_token("s", TWO)
    assert secrets.gateway_token("s", ONE) != secrets.gateway_token("t", ONE)
    assert 64 == len(secrets.gateway_token("s", ONE))
