"""The benchmark of sandboxes: what it reads, sums and says. Measuring takes minutes: no test waits for it."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.__main__ import main
from tests.bench.cgroup import MIB, Cgroup, Usage
from tests.bench.residents import fitting
from tests.bench.sandbox_report import MEASURES, lines, show
from tests.bench.standins import Round, busy_whiles
from tests.bench.swapfile import NoSwap, free_swap_mb, swap

PID = 7


def put(files: dict[Path, str]) -> None:
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_a_container_is_read_from_cgroups_of_the_first_kind(tmp_path: Path) -> None:
    lines_of_proc = "9:memory:/docker/abc\n4:cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/x\n"
    put(
        {
            tmp_path / "proc/7/cgroup": lines_of_proc,
            tmp_path / "memory/docker/abc/memory.stat": f"rss 1\ntotal_rss {300 * MIB}\ntotal_swap {200 * MIB}\n",
            tmp_path / "memory/docker/abc/memory.usage_in_bytes": f"{310 * MIB}\n",
            tmp_path / "cpuacct/docker/abc/cpuacct.usage": "2500000000\n",
        }
    )

    assert Cgroup(PID, root=tmp_path, proc=tmp_path / "proc").usage() == Usage(300, 310, 200, 2.5)


def test_a_container_is_read_from_cgroups_of_the_second_kind(tmp_path: Path) -> None:
    where = tmp_path / "system.slice/docker-abc.scope"
    put(
        {
            tmp_path / "proc/7/cgroup": "0::/system.slice/docker-abc.scope\n",
            where / "memory.stat": f"anon {300 * MIB}\nfile 5\n",
            where / "memory.current": f"{310 * MIB}\n",
            where / "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        }
    )
    cgroup = Cgroup(PID, root=tmp_path, proc=tmp_path / "proc")

    assert cgroup.usage() == Usage(300, 310, 0, 2.5)  # no swap here, and no file that tells of it
    put({where / "memory.swap.current": f"{200 * MIB}\n"})
    assert cgroup.usage() == Usage(300, 310, 200, 2.5)


def test_those_fit_for_whom_there_is_room_beside_those_awake() -> None:
    assert fitting(awake_mib=[500, 500, 500], dozing_mib=[50, 70], others_mib=600, budget_mib=4096) == 33
    assert fitting(awake_mib=[500, 500, 500], dozing_mib=[60], others_mib=3000, budget_mib=4096) == 0


def test_a_while_of_work_bears_short_pauses_and_ends_with_a_long_one() -> None:
    quiet, busy = 0.001, 0.1
    samples = [*[quiet] * 20, busy, busy, *[quiet] * 5, busy, *[quiet] * 30, busy]

    first, second = busy_whiles(samples, 0.1)

    assert (round(first.wall_s, 3), round(first.cpu_s, 3)) == (0.8, 0.305)
    assert second == Round(0.1, busy)
    assert busy_whiles([quiet] * 50, 0.1) == []


def test_the_table_has_medians_and_what_was_to_be_reached() -> None:
    found = lines({"doze_reply_s": [7.0, 5.0, 4.0], "awake_ram_mib": [500.0], "boot_s": [12.0]})
    said = io.StringIO()
    show(found, ["a spare sandbox for newcomers is not built"], Console(file=said, width=110))

    assert [(line.name, line.value, line.met) for line in found] == [
        ("awake_ram_mib", 500.0, False),
        ("boot_s", 12.0, None),
        ("doze_reply_s", 5.0, True),
    ]
    assert "≤ 6 s" in said.getvalue()
    assert "Not measured: a spare sandbox for newcomers is not built" in said.getvalue()
    assert {"cold_reply_s", "stopped_reply_s", "spare_reply_s", "fit_people", "many_round_s"} <= MEASURES.keys()


async def test_no_swap_file_is_made_where_there_is_swap_enough(tmp_path: Path) -> None:
    async with swap(0, tmp_path, pytest.fail):
        pass
    assert list(tmp_path.iterdir()) == []


async def test_a_swap_file_that_cannot_be_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(NoSwap, match="swap"):
        async with swap(10**9, tmp_path, pytest.fail):
            pass
    assert list(tmp_path.iterdir()) == []


def test_free_swap_is_that_of_the_kernel(tmp_path: Path) -> None:
    put(
        {tmp_path / "meminfo": "MemTotal: 8000000 kB\nSwapTotal: 4194304 kB\nSwapFree: 2097152 kB\nHugePages_Free: 0\n"}
    )
    assert free_swap_mb(tmp_path / "meminfo") == 2048


def test_a_part_of_the_other_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sandboxes", "--part", "flood"])
    assert "people, crowd, spare, many" in capsys.readouterr().err
