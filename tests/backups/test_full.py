"""A disk that takes no more: said of the file, and not of the engine."""

import os
from pathlib import Path

from tests.backups.test_backup import ANN
from tests.backups.test_interrupted import clawkakad, ended
from tests.backups.world import Installation

# A limit for files stands in for the disk: 400 blocks of 512 bytes, more than a registry and less than Ann's data.
ON_A_SMALL_DISK = ("sh", "-c", 'ulimit -f 400; exec "$@"', "sh")


async def test_an_export_that_does_not_fit_is_no_trouble_of_the_engine(home: Installation, tmp_path: Path) -> None:
    _, anns = await home.person(ANN)
    (home.volume(anns) / "big").write_bytes(os.urandom(1_000_000))
    async with clawkakad(home, "user", "export", ANN, tmp_path / "ann.tar.gz", by=ON_A_SMALL_DISK) as command:
        code, said = await ended(command)

    assert code == 2, said
    assert said.endswith("/data.tar.gz cannot be written: File too large\n")
    assert [] == list(tmp_path.iterdir())
    assert [] == list(home.state.glob(".clawkakad-*"))
