"""The audit on the real engine: what it says of a container made of the profile, and of one made otherwise."""

import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from clawkakad.model import SandboxId
from clawkakad.sandboxes import paths
from clawkakad.sandboxes.audit import Given, audit
from clawkakad.sandboxes.auditwords import Finding
from clawkakad.sandboxes.engine import Engine, open_engine
from clawkakad.sandboxes.profile import Body, Sealing, container_body, container_name, volume_body, volume_name
from clawkakad.sandboxes.seccomp import seccomp_option
from tests.support import IMAGE, short_directory

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


OURS = seccomp_option()


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with open_engine("unix:///var/run/docker.sock") as driver:
        yield driver


@pytest.fixture
def runtime() -> Iterator[Path]:
    with short_directory() as directory:
        yield directory


async def _audited(
    engine: Engine, runtime: Path, *, host: dict[str, Any] | None = None, body: dict[str, Any] | None = None
) -> list[Finding]:
    """Make a container of the profile, but for these; never start it; what the audit finds."""
    sandbox_id = SandboxId(f"st{uuid.uuid4().hex[:9]}")
    sealing = Sealing(instance=f"test-{sandbox_id}", image=IMAGE, gid=paths.socket_gid())
    where = paths.paths_of(runtime, sandbox_id)
    paths.prepare(where, sealing.gid)
    paths.open_gateway_dir(where, sealing.gid)
    wanted = container_body(sealing, sandbox_id, where)
    given = Given(await engine.image_config(IMAGE), await engine.default_runtime())
    try:
        await engine.create_volume(volume_body(sealing, sandbox_id))
        await engine.create(container_name(sandbox_id), _changed(wanted, host or {}, body or {}))
        facts = await engine.facts(container_name(sandbox_id))
    finally:
        await engine.remove(container_name(sandbox_id))
        await engine.remove_volume(volume_name(sandbox_id))
    assert facts is not None
    return audit(facts, wanted, given)


def _changed(wanted: Body, host: dict[str, Any], body: dict[str, Any]) -> Body:
    config: Any = wanted["HostConfig"]
    extra = host.pop("extra mounts", [])
    return {**wanted, **body, "HostConfig": {**config, **host, "Mounts": [*config["Mounts"], *extra]}}


async def test_a_container_of_the_profile_is_as_it_should_be(engine: Engine, runtime: Path) -> None:
    assert [] == await _audited(engine, runtime)


# With a namespace of the host the engine switches SELinux off, which is a security option.
HOST = [
    ({"NetworkMode": "host"}, {"network", "attached networks"}),
    ({"ReadonlyRootfs": False}, {"read-only root"}),
    ({"CapDrop": []}, {"capabilities dropped"}),
    ({"CapAdd": ["NET_RAW"]}, {"capabilities added"}),
    ({"SecurityOpt": [OURS]}, {"security options"}),
    ({"SecurityOpt": ["no-new-privileges"]}, {"seccomp profile"}),
    ({"SecurityOpt": ["no-new-privileges", "seccomp=unconfined"]}, {"seccomp profile"}),
    ({"SecurityOpt": ["no-new-privileges", OURS, "apparmor=unconfined"]}, {"security options", "AppArmor"}),
    ({"Privileged": True}, {"privileged", "security options", "AppArmor"}),
    ({"GroupAdd": ["0"]}, {"further groups"}),
    ({"PidsLimit": -1}, {"processes at most"}),
    ({"Memory": 0, "MemorySwap": 0}, {"memory", "memory and swap"}),
    ({"MemorySwap": -1}, {"memory and swap"}),
    ({"NanoCpus": 0}, {"CPUs"}),
    ({"CpuShares": 0}, {"CPU weight"}),
    ({"Ulimits": []}, {"ulimits"}),
    ({"Tmpfs": {"/tmp": "exec"}}, {"tmpfs"}),
    ({"ShmSize": 1 << 30}, {"shared memory"}),
    ({"LogConfig": {"Type": "json-file", "Config": {}}}, {"log and its limit"}),
    ({"Init": True}, {"Init"}),
    ({"RestartPolicy": {"Name": "always"}}, {"restarted by the engine"}),
    ({"PortBindings": {"18789/tcp": [{"HostPort": ""}]}}, {"ports bound"}),
    ({"PublishAllPorts": True}, {"all ports published"}),
    (
        {"Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}]},
        {"devices"},
    ),
    ({"DeviceCgroupRules": ["a *:* rwm"]}, {"device rules"}),
    ({"PidMode": "host"}, {"PID namespace", "security options"}),
    ({"IpcMode": "host"}, {"IPC namespace", "security options"}),
    ({"CgroupnsMode": "host"}, {"cgroup namespace"}),
    ({"MaskedPaths": []}, {"kernel files hidden"}),
    ({"ReadonlyPaths": []}, {"kernel files read-only"}),
    ({"CgroupParent": "/other"}, {"parent cgroup"}),
    ({"OomScoreAdj": -500}, {"order when out of memory"}),
    ({"ExtraHosts": ["metadata:169.254.169.254"]}, {"extra hosts"}),
    ({"Binds": ["/tmp:/host"]}, {"mounts in the old form", "mounts"}),
    (
        {"extra mounts": [{"Type": "bind", "Source": "/tmp", "Target": "/host", "ReadOnly": False}]},
        {"mounts as asked for", "mounts"},
    ),
]


@pytest.mark.parametrize(("host", "found"), HOST, ids=[str(next(iter(host))) for host, _ in HOST])
async def test_a_container_made_otherwise_is_found(
    engine: Engine, runtime: Path, host: dict[str, Any], found: set[str]
) -> None:
    rows = {finding.row for finding in await _audited(engine, runtime, host=dict(host))}

    assert rows | {"AppArmor"} == found | {"AppArmor"}  # which not every host has


@pytest.mark.parametrize(
    ("body", "row"),
    [
        ({"User": "0:0"}, "user"),
        ({"Env": ["OPENROUTER_API_KEY=marked-secret"]}, "environment"),
        ({"Hostname": "other"}, "Hostname"),
        ({"StopTimeout": 0}, "StopTimeout"),
        ({"Tty": True}, "Tty"),
        ({"ExposedPorts": {"80/tcp": {}}}, "exposed ports"),
    ],
)
async def test_a_container_that_runs_as_somebody_else_is_found(
    engine: Engine, runtime: Path, body: dict[str, Any], row: str
) -> None:
    findings = await _audited(engine, runtime, body=body)

    assert [row] == [finding.row for finding in findings]
    assert "marked-secret" not in str(findings)
