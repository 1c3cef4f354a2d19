"""The sealed profile, as a value."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clawkakad.config import load_settings
from clawkakad.model import SandboxId
from clawkakad.sandboxes.paths import SandboxPaths
from clawkakad.sandboxes.profile import (
    LABEL_CONFIG,
    MIB,
    Sealing,
    config_hash,
    container_body,
    memory_limits,
    sealing_of,
    volume_body,
)
from clawkakad.sandboxes.seccomp import seccomp_option
from tests.test_config import GOOD

SANDBOX = SandboxId("s234567abcd")
PATHS = SandboxPaths(Path("/run/clawkakad/s234567abcd"))
SEALING = Sealing(instance="0123456789ab", image="clawkaka-sandbox:latest", gid=990, memory_mb=1280, cpus=0.5)


def _body() -> dict[str, Any]:
    return container_body(SEALING, SANDBOX, PATHS)


def test_the_seal_is_whole() -> None:
    host = _body()["HostConfig"]

    assert "none" == host["NetworkMode"]
    assert host["ReadonlyRootfs"] is True
    assert ["ALL"] == host["CapDrop"]
    assert ["no-new-privileges", seccomp_option()] == host["SecurityOpt"]
    assert host["Privileged"] is False
    assert "1000:1000" == _body()["User"]
    assert ["990"] == host["GroupAdd"]
    assert {"/tmp": "rw,nosuid,nodev,noexec,mode=1777,size=256m,nr_inodes=65536"} == host["Tmpfs"]
    assert ("private", "private") == (host["IpcMode"], host["CgroupnsMode"])
    assert {"/proc/kcore", "/proc/keys", "/sys/firmware"} < set(host["MaskedPaths"])
    assert {"/proc/sys", "/proc/sysrq-trigger"} < set(host["ReadonlyPaths"])
    assert "no" == host["RestartPolicy"]["Name"]
    assert host["Init"] is False
    assert not {"PortBindings", "Binds", "CapAdd", "Devices", "PidMode", "VolumesFrom", "ExtraHosts"} & set(host)


def test_its_appetite_is_limited() -> None:
    host = _body()["HostConfig"]

    assert 256 == host["PidsLimit"]
    assert 1280 * 1024 * 1024 == host["Memory"] == host["MemorySwap"]
    assert 500_000_000 == host["NanoCpus"]
    assert {"nofile", "core"} == {limit["Name"] for limit in host["Ulimits"]}
    assert {"Type": "json-file", "Config": {"max-size": "5m", "max-file": "2"}} == host["LogConfig"]


def test_where_it_may_use_swap_less_memory_is_enough() -> None:
    host: Any = container_body(replace(SEALING, memory_mb=512, swaps=True), SANDBOX, PATHS)["HostConfig"]
    great: Any = container_body(replace(SEALING, memory_mb=4096, swaps=True), SANDBOX, PATHS)["HostConfig"]

    assert (512 * MIB, 2048 * MIB) == (host["Memory"], host["MemorySwap"])
    assert (4096 * MIB, 4096 * MIB) == (great["Memory"], great["MemorySwap"])


@pytest.mark.parametrize(
    ("has_swap", "doze_after", "limits"),
    [(True, "10", (512, 2048)), (False, "10", (1280, 1280)), (True, "0", (1280, 1280))],
)
def test_swap_is_used_where_the_host_has_some_and_dozing_is_on(
    has_swap: bool, doze_after: str, limits: tuple[int, int]
) -> None:
    settings = load_settings({**GOOD, "CLAWKAKA_DOZE_AFTER_MINUTES": doze_after})
    memory, memory_and_swap = memory_limits(sealing_of(settings, "0123456789ab", 990, has_swap=has_swap))

    assert limits == (memory // MIB, memory_and_swap // MIB)


def test_more_cpus_than_the_host_has_are_not_asked_for() -> None:
    host: Any = container_body(replace(SEALING, cpus=10_000), SANDBOX, PATHS)["HostConfig"]

    assert host["NanoCpus"] < 10_000 * 1_000_000_000


def test_there_are_four_mounts_and_one_directory_of_the_host_is_writable() -> None:
    mounts = _body()["HostConfig"]["Mounts"]

    assert ["/data", "/run/clawkaka/gateway", "/run/clawkaka/host", "/etc/clawkaka"] == [m["Target"] for m in mounts]
    assert [False, False, True, True] == [m["ReadOnly"] for m in mounts]
    assert "clawkaka-s234567abcd-data" == mounts[0]["Source"]
    assert {"/run/clawkakad/s234567abcd"} == {str(Path(m["Source"]).parent) for m in mounts[1:]}
    assert {"private"} == {m["BindOptions"]["Propagation"] for m in mounts[1:]}


def test_nothing_goes_in_through_the_environment() -> None:
    assert "Env" not in _body()
    assert "Cmd" not in _body()
    assert "Entrypoint" not in _body()


def test_objects_carry_their_owner() -> None:
    owner = {"clawkaka.instance": "0123456789ab", "clawkaka.sandbox": "s234567abcd"}

    assert owner == volume_body(SEALING, SANDBOX)["Labels"]
    assert owner.items() < _body()["Labels"].items()


def test_the_hash_is_that_of_the_body_without_itself() -> None:
    body = _body()

    assert body["Labels"][LABEL_CONFIG] == config_hash(body)


def test_the_engines_own_runtime_is_used_unless_another_is_wanted() -> None:
    other: Any = container_body(replace(SEALING, runtime="runsc"), SANDBOX, PATHS)

    assert "Runtime" not in _body()["HostConfig"]
    assert "runsc" == other["HostConfig"]["Runtime"]


CHANGES = [{"memory_mb": 2048}, {"swaps": True}, {"cpus": 0.25}]
CHANGES += [{"gid": 991}, {"image": "other:1"}, {"runtime": "runsc"}]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_in_the_profile_changes_the_hash(change: dict[str, Any]) -> None:
    changed = container_body(replace(SEALING, **change), SANDBOX, PATHS)

    assert config_hash(_body()) != config_hash(changed)
