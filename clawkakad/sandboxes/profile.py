"""The sealed profile: what a sandbox's container may do, as a value. Pure: no I/O.

One function makes the body that the engine's create call gets; nothing else in the package decides a limit or a mount.
No network, no capability, no writable root, no secret in the environment, no port. What changes in here changes the
config hash, and a container made from another hash is made again at its next start.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clawkakad.config import Settings
from clawkakad.model import SandboxId
from clawkakad.sandboxes.paths import SANDBOX_UID, SandboxPaths
from clawkakad.sandboxes.seccomp import seccomp_option

LABEL_INSTANCE = "clawkaka.instance"
LABEL_SANDBOX = "clawkaka.sandbox"
LABEL_CONFIG = "clawkaka.config"

PIDS = 256  # 20-38 seen with the gateway busy
# The gateway's logs and locks; about 13 MB and 60 files seen. Nothing in it can be run.
TMPFS_TMP = "rw,nosuid,nodev,noexec,mode=1777,size=256m,nr_inodes=65536"
SHARED_MEMORY_MB = 64
MEMORY_AND_SWAP_MB = 2048  # together, where swap is used; 760-930 of it are needed with the gateway busy
OPEN_FILES = 8192
STOP_GRACE_S = 30  # an idle gateway is gone in a second; one in mid-turn drains
MIB = 1024 * 1024

# What of the kernel's own file systems is not shown, or only to be read. Spelled out, so that an old engine hides as
# much as a new one (https://github.com/moby/moby/blob/master/oci/defaults.go).
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

Body = dict[str, object]


@dataclass(frozen=True)
class Sealing:
    """What differs between installations. `memory_mb` in MiB, `cpus` in whole CPUs, `gid` of the sockets.

    `swaps`: it may use swap, so that less memory is enough, and it can doze.
    """

    instance: str
    image: str
    gid: int
    memory_mb: int = 1280
    swaps: bool = False
    cpus: float = 2.0
    runtime: str | None = None  # such as runsc or kata; None: the engine's own


def sealing_of(settings: Settings, instance: str, gid: int, *, has_swap: bool) -> Sealing:
    """The sealing that an installation's settings ask for, on a host that has swap or has none."""
    swaps = has_swap and settings.doze_after_minutes > 0
    return Sealing(
        instance=instance,
        image=settings.image,
        gid=gid,
        memory_mb=settings.sandbox_memory_with_swap_mb if swaps else settings.sandbox_memory_mb,
        swaps=swaps,
        cpus=settings.sandbox_cpus,
        runtime=settings.sandbox_runtime,
    )


def container_name(sandbox_id: SandboxId) -> str:
    """The name of a sandbox's container."""
    return f"clawkaka-{sandbox_id}"


def volume_name(sandbox_id: SandboxId) -> str:
    """The name of the volume that outlives the container."""
    return f"clawkaka-{sandbox_id}-data"


def owner_labels(instance: str, sandbox_id: SandboxId) -> dict[str, str]:
    """What marks an engine object as ours: nothing without these is ever touched."""
    return {LABEL_INSTANCE: instance, LABEL_SANDBOX: sandbox_id}


def is_owned(labels: Mapping[str, str], instance: str, sandbox_id: SandboxId) -> bool:
    """Whether an engine object is this very sandbox's."""
    return labels.get(LABEL_INSTANCE) == instance and labels.get(LABEL_SANDBOX) == sandbox_id


def volume_body(sealing: Sealing, sandbox_id: SandboxId) -> Body:
    """The body of the engine's volume create call."""
    return {"Name": volume_name(sandbox_id), "Labels": owner_labels(sealing.instance, sandbox_id)}


def container_body(sealing: Sealing, sandbox_id: SandboxId, paths: SandboxPaths) -> Body:
    """The body of the engine's container create call, with the hash of itself as a label."""
    body: Body = {
        "Image": sealing.image,
        "Hostname": "sandbox",
        "User": f"{SANDBOX_UID}:{SANDBOX_UID}",
        "Labels": owner_labels(sealing.instance, sandbox_id),
        "StopTimeout": STOP_GRACE_S,
        "HostConfig": _host_config(sealing, sandbox_id, paths),
    }
    return {**body, "Labels": {**owner_labels(sealing.instance, sandbox_id), LABEL_CONFIG: config_hash(body)}}


def config_hash(body: Body) -> str:
    """A short hash of everything in a body but its own label."""
    labels = body["Labels"]
    assert isinstance(labels, dict)
    bare = {**body, "Labels": {key: value for key, value in labels.items() if key != LABEL_CONFIG}}
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()[:16]


def memory_limits(sealing: Sealing) -> tuple[int, int]:
    """How many bytes of memory a sandbox that is awake may have, and how many of memory and swap together."""
    memory = sealing.memory_mb * MIB
    return memory, max(memory, MEMORY_AND_SWAP_MB * MIB) if sealing.swaps else memory


def _host_config(sealing: Sealing, sandbox_id: SandboxId, paths: SandboxPaths) -> Body:
    memory, memory_and_swap = memory_limits(sealing)
    return {
        **({"Runtime": sealing.runtime} if sealing.runtime else {}),
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", seccomp_option()],
        "MaskedPaths": list(MASKED_PATHS),
        "ReadonlyPaths": list(READ_ONLY_PATHS),
        "Privileged": False,
        "PublishAllPorts": False,
        "IpcMode": "private",
        "CgroupnsMode": "private",  # the default with cgroup v2 only
        "ShmSize": SHARED_MEMORY_MB * MIB,
        "GroupAdd": [str(sealing.gid)],
        "Init": False,  # tini is in the image
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},  # the supervisor restarts, with a reason
        "Tmpfs": {"/tmp": TMPFS_TMP},  # noqa: S108 (inside the container)
        "PidsLimit": PIDS,
        "Memory": memory,
        "MemorySwap": memory_and_swap,  # both together
        "NanoCpus": _nano_cpus(sealing.cpus),
        "CpuShares": 512,  # half of what the daemon has, where CPU is short
        # No limit on processes here: the kernel counts it per uid, and all sandboxes are uid 1000. PidsLimit does it.
        "Ulimits": [{"Name": "nofile", "Soft": OPEN_FILES, "Hard": OPEN_FILES}, {"Name": "core", "Soft": 0, "Hard": 0}],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "5m", "max-file": "2"}},
        "Mounts": [
            {"Type": "volume", "Source": volume_name(sandbox_id), "Target": "/data", "ReadOnly": False},
            _bind(paths.gateway_dir, "/run/clawkaka/gateway", read_only=False),
            _bind(paths.host_dir, "/run/clawkaka/host", read_only=True),
            _bind(paths.config_dir, "/etc/clawkaka", read_only=True),
        ],
    }


def _bind(source: Path, target: str, *, read_only: bool) -> Body:
    return {
        "Type": "bind",
        "Source": str(source),
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "private"},
    }


def _nano_cpus(cpus: float) -> int:
    """The engine refuses more CPUs than the host has."""
    return round(min(cpus, os.cpu_count() or 1) * 1_000_000_000)
