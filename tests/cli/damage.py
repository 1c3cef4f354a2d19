"""A registry that a bad disk has been at."""

import sqlite3
from contextlib import closing
from pathlib import Path

from clawkakad.registry import FILE


def damage(state: Path, table: str) -> None:
    """The pages of one table become garbage; what says which tables there are stays."""
    with closing(sqlite3.connect(state / FILE)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        sql = "SELECT rootpage FROM sqlite_master WHERE tbl_name = ? AND rootpage"
        pages = [page for (page,) in connection.execute(sql, (table,))]
    with (state / FILE).open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * size)
            file.write(b"garbage!" * (size // 8))
