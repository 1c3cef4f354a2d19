"""The audit finds every field that is not as the profile wants it, one by one, and none that is.

`data/engine/container.json` is what a real engine (20.10) said of a running container of this profile; what changes
with the code, the list of system calls and the hash, is filled in here.
"""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from clawkakad.model import SandboxId
from clawkakad.sandboxes.audit import Given, audit, rows
from clawkakad.sandboxes.auditwords import Finding
from clawkakad.sandboxes.paths import SandboxPaths
from clawkakad.sandboxes.profile import LABEL_CONFIG, Body, Sealing, container_body
from clawkakad.sandboxes.seccomp import seccomp_option
from tests.support import DATA

SANDBOX = SandboxId("s234567abcd")
SEALING = Sealing(instance="0123456789ab", image="clawkaka-sandbox:latest", gid=990, memory_mb=1280, cpus=0.5)

# Fields of HostConfig, each with a value that it must not have.
HOST: dict[str, Any] = {
    "AutoRemove": True,
    "Binds": ["/:/host"],
    "BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1}],
    "BlkioDeviceReadIOps": [{"Path": "/dev/sda", "Rate": 1}],
    "BlkioDeviceWriteBps": [{"Path": "/dev/sda", "Rate": 1}],
    "BlkioDeviceWriteIOps": [{"Path": "/dev/sda", "Rate": 1}],
    "BlkioWeight": 1000,
    "BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 1000}],
    "CapAdd": ["SYS_ADMIN"],
    "CapDrop": None,
    "Cgroup": "container:other",
    "CgroupParent": "/",
    "CgroupnsMode": "host",
    "ContainerIDFile": "/tmp/id",
    "CpuCount": 4,
    "CpuPercent": 100,
    "CpuPeriod": 100_000,
    "CpuQuota": -1,
    "CpuRealtimePeriod": 1_000_000,
    "CpuRealtimeRuntime": 950_000,
    "CpuShares": 1024,
    "CpusetCpus": "0",
    "CpusetMems": "0",
    "DeviceCgroupRules": ["a *:* rwm"],
    "DeviceRequests": [{"Driver": "nvidia", "Count": -1}],
    "Devices": [{"PathOnHost": "/dev/kvm", "PathInContainer": "/dev/kvm", "CgroupPermissions": "rwm"}],
    "Dns": ["1.1.1.1"],
    "DnsOptions": ["ndots:1"],
    "DnsSearch": ["example.org"],
    "ExtraHosts": ["metadata:169.254.169.254"],
    "GroupAdd": ["990", "0"],
    "IOMaximumBandwidth": 1,
    "IOMaximumIOps": 1,
    "Init": True,
    "IpcMode": "host",
    "Isolation": "process",
    "KernelMemory": 4096,
    "KernelMemoryTCP": 4096,
    "Links": ["/other:/other"],
    "LogConfig": {"Type": "json-file", "Config": {}},
    "MaskedPaths": None,
    "Memory": 0,
    "MemoryReservation": 1024 * 1024,
    "MemorySwap": -1,
    "MemorySwappiness": 100,
    "Mounts": [],
    "NanoCpus": 0,
    "NetworkMode": "bridge",
    "OomKillDisable": True,
    "OomScoreAdj": -1000,
    "PidMode": "host",
    "PidsLimit": 0,
    "PortBindings": {"18789/tcp": [{"HostIp": "", "HostPort": "18789"}]},
    "Privileged": True,
    "PublishAllPorts": True,
    "ReadonlyPaths": [],
    "ReadonlyRootfs": False,
    "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
    "Runtime": "nvidia",
    "ShmSize": 1024 * 1024 * 1024,
    "Tmpfs": {"/tmp": "rw,exec"},
    "UTSMode": "host",
    "Ulimits": [{"Name": "nofile", "Hard": 8192, "Soft": 8192}],
    "UsernsMode": "host",
    "VolumeDriver": "nfs",
    "VolumesFrom": ["other"],
    "Sysctls": {"net.ipv4.ip_forward": "1"},
    "FieldOfANewerEngine": "on",
}

CONFIG: dict[str, Any] = {
    "AttachStderr": True,
    "AttachStdin": True,
    "AttachStdout": True,
    "Cmd": ["sh"],
    "Domainname": "example.org",
    "Entrypoint": ["sh"],
    "Env": ["PATH=/data", "OPENROUTER_API_KEY=marked-secret"],
    "Healthcheck": {"Test": ["CMD", "sh"]},
    "Hostname": "other",
    "Image": "other:latest",
    "Labels": {"clawkaka.instance": "ffffffffffff"},
    "OnBuild": ["RUN sh"],
    "OpenStdin": True,
    "StdinOnce": True,
    "StopSignal": "SIGKILL",
    "StopTimeout": 1,
    "Tty": True,
    "User": "0:0",
    "Volumes": {"/x": {}},
    "WorkingDir": "/",
    "ExposedPorts": {"80/tcp": {}},
}


def _body() -> Body:
    return container_body(SEALING, SANDBOX, SandboxPaths(Path("/run/clawkakad/s234567abcd")))


def _host_config() -> Any:
    return _body()["HostConfig"]


def _recording() -> dict[str, Any]:
    return dict(json.loads((DATA / "engine/container.json").read_text()))


@pytest.fixture
def recorded() -> dict[str, Any]:
    labels: Any = _body()["Labels"]
    container: dict[str, Any] = _recording()["container"]
    container["HostConfig"]["SecurityOpt"][1] = seccomp_option()
    container["Config"]["Labels"][LABEL_CONFIG] = labels[LABEL_CONFIG]
    return container


def _audit(container: dict[str, Any]) -> list[Finding]:
    return audit(container, _body(), Given(_recording()["image_config"], "runc"))


def test_a_real_container_of_this_profile_is_as_it_should_be(recorded: dict[str, Any]) -> None:
    assert [] == _audit(recorded)
    assert len(rows(recorded, _body(), Given(_recording()["image_config"], "runc"))) > 90


def test_every_field_of_the_engine_is_flipped_here(recorded: dict[str, Any]) -> None:
    elsewhere = {"SecurityOpt", "ConsoleSize"}

    assert recorded["HostConfig"].keys() - elsewhere <= HOST.keys()
    assert recorded["Config"].keys() <= CONFIG.keys()


@pytest.mark.parametrize(("part", "field"), [("HostConfig", f) for f in HOST] + [("Config", f) for f in CONFIG])
def test_a_flipped_field_is_found_and_nothing_else(recorded: dict[str, Any], part: str, field: str) -> None:
    recorded[part][field] = {"HostConfig": HOST, "Config": CONFIG}[part][field]

    (finding,) = _audit(recorded)

    assert finding.wanted != finding.found
    assert "marked-secret" not in str(finding)


@pytest.mark.parametrize("field", sorted(HOST))
def test_a_field_that_the_engine_no_longer_tells_is_found_where_it_matters(
    recorded: dict[str, Any], field: str
) -> None:
    recorded["HostConfig"].pop(field, None)

    assert bool(_host_config().get(field) or field == "Runtime") == bool(_audit(recorded))


SECURITY = [
    ([], {"seccomp profile", "security options"}),
    (["no-new-privileges"], {"seccomp profile"}),
    (["no-new-privileges", "seccomp=unconfined"], {"seccomp profile"}),
    (["no-new-privileges", 'seccomp={"defaultAction":"SCMP_ACT_ALLOW"}'], {"seccomp profile"}),
    ([seccomp_option()], {"security options"}),
    (["no-new-privileges:false", seccomp_option()], {"security options"}),
    (["no-new-privileges", seccomp_option(), "apparmor=unconfined"], {"security options"}),
    (["no-new-privileges", seccomp_option(), "label=disable"], {"security options"}),
    (["no-new-privileges", seccomp_option(), "systempaths=unconfined"], {"security options"}),
    (None, {"seccomp profile", "security options"}),
]


@pytest.mark.parametrize(("options", "found"), SECURITY)
def test_a_security_option_that_is_missing_or_too_much_is_found(
    recorded: dict[str, Any], options: list[str] | None, found: set[str]
) -> None:
    recorded["HostConfig"]["SecurityOpt"] = options

    assert found == {finding.row for finding in _audit(recorded)}


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({"AppArmorProfile": "unconfined"}, "AppArmor"),
        ({"ProcessLabel": "system_u:system_r:spc_t:s0"}, "ProcessLabel"),
        ({"MountLabel": "system_u:object_r:unconfined_t:s0"}, "MountLabel"),
        ({"Path": "/bin/sh"}, "program"),
        ({"Args": []}, "program"),
    ],
)
def test_what_is_told_beside_the_configuration_is_looked_at(
    recorded: dict[str, Any], change: dict[str, Any], row: str
) -> None:
    assert [row] == [finding.row for finding in _audit({**recorded, **change})]


def test_the_confinement_of_other_hosts_is_none_to_complain_of(recorded: dict[str, Any]) -> None:
    labels = {
        "ProcessLabel": "system_u:system_r:container_t:s0:c1,c2",
        "MountLabel": "system_u:object_r:container_file_t",
    }

    assert [] == _audit({**recorded, **labels, "AppArmorProfile": "docker-default"})


MOUNTS = [
    {"RW": True},
    {"Source": "/var/run/docker.sock"},
    {"Destination": "/elsewhere"},
    {"Propagation": "rshared"},
    {"Type": "volume", "Name": "other"},
    {"Driver": "nfs"},
]


@pytest.mark.parametrize("change", MOUNTS)
def test_a_changed_mount_is_found(recorded: dict[str, Any], change: dict[str, Any]) -> None:
    recorded["Mounts"][2] |= change

    assert ["mounts"] == [finding.row for finding in _audit(recorded)]


def test_a_mount_too_many_and_one_too_few_are_found(recorded: dict[str, Any]) -> None:
    extra = {"Type": "bind", "Source": "/", "Destination": "/host", "Mode": "", "RW": True, "Propagation": "private"}
    more, fewer = copy.deepcopy(recorded), copy.deepcopy(recorded)
    more["Mounts"].append(extra)
    del fewer["Mounts"][0]

    assert [Finding("mounts", "nothing", "/host: bind / (writable, private)")] == _audit(more)
    assert [Finding("mounts", "/data: volume clawkaka-s234567abcd-data (writable)", "nothing")] == _audit(fewer)


@pytest.mark.parametrize("field", ["Propagation", "ReadOnly", "Source", "Target", "Type"])
def test_a_mount_asked_for_otherwise_is_found(recorded: dict[str, Any], field: str) -> None:
    mount = recorded["HostConfig"]["Mounts"][2]
    if field == "Propagation":
        mount["BindOptions"] = {"Propagation": "rshared"}
    else:
        mount[field] = False if field == "ReadOnly" else "other"

    assert ["mounts as asked for"] == [finding.row for finding in _audit(recorded)]


def test_the_kind_of_the_volumes_driver_is_looked_at(recorded: dict[str, Any]) -> None:
    recorded["Mounts"][0]["Driver"] = "nfs"

    assert ["mounts"] == [finding.row for finding in _audit(recorded)]


@pytest.mark.parametrize(
    ("change", "rows_"),
    [
        ({"Networks": {"bridge": {}}}, {"attached networks"}),
        ({"Networks": {"none": {"IPAddress": "172.17.0.2"}}}, {"addresses"}),
        ({"Networks": {"none": {}, "mine": {"GlobalIPv6Address": "fd00::2"}}}, {"attached networks", "addresses"}),
        ({"IPAddress": "172.17.0.2"}, {"addresses"}),
        ({"Ports": {"18789/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}]}}, {"published ports"}),
    ],
)
def test_any_network_is_found(recorded: dict[str, Any], change: dict[str, Any], rows_: set[str]) -> None:
    recorded["NetworkSettings"] |= change

    assert rows_ == {finding.row for finding in _audit(recorded)}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("PortBindings", {"18789/tcp": [{"HostIp": "", "HostPort": ""}]}),
        ("PortBindings", {"18789/tcp": None}),
        ("Tmpfs", {**_host_config()["Tmpfs"], "/run": ""}),
        ("RestartPolicy", {"Name": "no", "MaximumRetryCount": 3}),
        ("Ulimits", [{"Name": "nofile", "Hard": 8192, "Soft": 8192}, {"Name": "core", "Hard": -1, "Soft": 0}]),
        ("LogConfig", {"Type": "json-file", "Config": {"max-size": "5m", "max-file": "200"}}),
        ("MaskedPaths", _host_config()["MaskedPaths"][1:]),
        ("ReadonlyPaths", _host_config()["ReadonlyPaths"][1:]),
    ],
)
def test_a_difference_deep_inside_is_found(recorded: dict[str, Any], field: str, value: Any) -> None:
    recorded["HostConfig"][field] = value

    assert 1 == len(_audit(recorded))


def test_a_variable_is_told_by_its_name_alone(recorded: dict[str, Any]) -> None:
    recorded["Config"]["Env"] += ["OPENROUTER_API_KEY=marked-secret"]

    assert [Finding("environment", "nothing", "OPENROUTER_API_KEY=…")] == _audit(recorded)


def test_a_difference_is_told_in_plain_words(recorded: dict[str, Any]) -> None:
    recorded["HostConfig"] |= {"Memory": 0, "MemorySwap": -1, "NanoCpus": 2_000_000_000, "Privileged": True}
    recorded["HostConfig"] |= {"GroupAdd": ["0", "990"], "SecurityOpt": ["no-new-privileges", "seccomp=unconfined"]}

    assert {
        Finding("memory", "1280 MiB", "no limit"),
        Finding("memory and swap", "1280 MiB", "no limit"),
        Finding("CPUs", "0.5", "2"),
        Finding("privileged", "no", "yes"),
        Finding("further groups", "nothing", "0"),
        Finding("seccomp profile", "clawkakad's own", "off"),
    } == set(_audit(recorded))


@pytest.mark.parametrize("status", ["paused", "exited"])
def test_less_memory_of_one_that_dozes_or_did_is_no_fault(recorded: dict[str, Any], status: str) -> None:
    recorded["State"]["Status"] = status
    recorded["HostConfig"]["Memory"] = 80 * 1024 * 1024

    assert [] == _audit(recorded)


@pytest.mark.parametrize(
    ("status", "memory"), [("running", 80 * 1024 * 1024), ("paused", 0), ("paused", 4096 * 1024 * 1024)]
)
def test_less_memory_of_one_that_runs_and_more_of_any_is_one(
    recorded: dict[str, Any], status: str, memory: int
) -> None:
    recorded["State"]["Status"] = status
    recorded["HostConfig"]["Memory"] = memory

    assert ["memory"] == [finding.row for finding in _audit(recorded)]


def test_the_runtime_that_was_asked_for_is_the_one_that_counts(recorded: dict[str, Any]) -> None:
    given = Given(_recording()["image_config"], "runsc")

    assert [Finding("runtime", "runsc", "runc")] == audit(recorded, _body(), given)
