"""The program of the copier container, where its disk lets it down."""

import errno
import os
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clawkakad.backups import inside
from tests.backups.world import database


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three files, of which each is taken in its turn."""
    (tmp_path / "exchange").mkdir()
    (tmp_path / "data").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "data" / name).write_text(name)
    return tmp_path / "data"


def failing_once(call: Callable[..., Any], code: int) -> Callable[..., Any]:
    """The disk fails at the second of these calls; then there is room again."""
    calls = 0

    def failing(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(code, os.strerror(code))
        return call(*args, **kwargs)

    return failing


@pytest.mark.parametrize(
    ("owner", "name", "code"),
    [(shutil, "copy2", errno.ENOSPC), (shutil, "copy2", errno.EDQUOT), (tarfile.TarFile, "addfile", errno.EIO)],
    ids=["full while copying", "over a quota while copying", "broken while packing"],
)
def test_where_the_disk_takes_no_more_there_is_no_copy(
    data: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str, code: int
) -> None:
    monkeypatch.setattr(owner, name, failing_once(getattr(owner, name), code))
    with pytest.raises(SystemExit, match=os.strerror(code)):
        inside.copy_out(data, data.with_name("exchange"))


def test_where_the_disk_is_full_a_database_is_not_called_damaged(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with database(data / "pa.sqlite") as connection:
        connection.execute("CREATE TABLE expenses (what TEXT)")
        connection.execute("INSERT INTO expenses VALUES (?)", ("x" * 100_000,))
    connect = sqlite3.connect

    def small(path: Path, **options: Any) -> sqlite3.Connection:
        connection = connect(path, **options)
        if path.name == "one":
            connection.execute("PRAGMA max_page_count = 2")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    with pytest.raises(SystemExit, match="no room"):
        inside.copy_out(data, data.with_name("exchange"))


def test_what_did_not_reach_the_disk_is_found_before_it_is_handed_over(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = tarfile.TarFile.close

    def losing(tar: tarfile.TarFile) -> None:
        close(tar)
        os.truncate(data.with_name("exchange") / "data.tar.gz", 100)

    monkeypatch.setattr(tarfile.TarFile, "close", losing)
    with pytest.raises(EOFError):
        inside.copy_out(data, data.with_name("exchange"))
