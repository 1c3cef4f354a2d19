"""How a difference between a container and its profile is told to an operator: plain words, short, and no secret."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clawkakad.sandboxes.profile import MIB
from clawkakad.sandboxes.seccomp import PREFIX, seccomp_option

NOTHING = "nothing"
LONGEST = 160  # characters of a value that are shown
SECCOMP = "seccomp profile"
BYTES = frozenset({"Memory", "MemorySwap", "MemoryReservation", "KernelMemory", "ShmSize"})
LIMITS = frozenset({"Memory", "MemorySwap", "NanoCpus", "PidsLimit"})  # no limit at 0, and below

# A field that is not here goes by the engine's name for it.
WORDS = {
    "Binds": "mounts in the old form",
    "CapAdd": "capabilities added",
    "CapDrop": "capabilities dropped",
    "Cgroup": "cgroup of another container",
    "CgroupParent": "parent cgroup",
    "CgroupnsMode": "cgroup namespace",
    "CpuShares": "CPU weight",
    "DeviceCgroupRules": "device rules",
    "DeviceRequests": "devices asked for",
    "Devices": "devices",
    "Env": "environment",
    "ExposedPorts": "exposed ports",
    "ExtraHosts": "extra hosts",
    "GroupAdd": "further groups",
    "IpcMode": "IPC namespace",
    "Labels": "labels",
    "LogConfig": "log and its limit",
    "MaskedPaths": "kernel files hidden",
    "Memory": "memory",
    "MemorySwap": "memory and swap",
    "Mounts": "mounts as asked for",
    "NanoCpus": "CPUs",
    "NetworkMode": "network",
    "OomKillDisable": "never killed when out of memory",
    "OomScoreAdj": "order when out of memory",
    "PidMode": "PID namespace",
    "PidsLimit": "processes at most",
    "PortBindings": "ports bound",
    "Privileged": "privileged",
    "PublishAllPorts": "all ports published",
    "ReadonlyPaths": "kernel files read-only",
    "ReadonlyRootfs": "read-only root",
    "RestartPolicy": "restarted by the engine",
    "Runtime": "runtime",
    "ShmSize": "shared memory",
    "Sysctls": "kernel settings",
    "Tmpfs": "tmpfs",
    "UTSMode": "UTS namespace",
    "Ulimits": "ulimits",
    "User": "user",
    "UsernsMode": "user namespace",
    "VolumesFrom": "volumes of other containers",
}


@dataclass(frozen=True)
class Finding:
    """One row that is not as it should be."""

    row: str
    wanted: str
    found: str


def name_of(field: str) -> str:
    """A field of the engine in words."""
    return WORDS.get(field, field)


SIZES = frozenset(name_of(field) for field in BYTES)
LIMITED = frozenset(name_of(field) for field in LIMITS)


def in_words(row: str, wanted: Any, found: Any) -> Finding:
    """A row whose two sides differ. Of two lists or objects only what the other has not."""
    if row == SECCOMP:
        return Finding(row, _seccomp(wanted), _seccomp(found))
    if row == WORDS["Env"]:
        return Finding(row, _names(wanted, found), _names(found, wanted))
    if True in (wanted, found) and isinstance(wanted or found, bool):
        return Finding(row, "yes" if wanted else "no", "yes" if found else "no")
    return Finding(row, _words(row, _less(wanted, found)), _words(row, _less(found, wanted)))


def _less(these: Any, those: Any) -> Any:
    if isinstance(these, list) and isinstance(those, list):
        return [item for item in these if item not in those]
    if isinstance(these, dict) and isinstance(those, dict):
        return {key: value for key, value in these.items() if those.get(key) != value}
    return these


def _seccomp(options: list[str] | None) -> str:
    known = {"": "the engine's own", seccomp_option(): "clawkakad's own", f"{PREFIX}unconfined": "off"}
    return ", ".join(known.get(option, "another one") for option in options or [""])


def _names(these: list[str] | None, those: list[str] | None) -> str:
    """Of the environment only the names: a value may be a secret."""
    differing = set(these or []) - set(those or [])
    return ", ".join(sorted(f"{line.partition('=')[0]}=…" for line in differing)) or NOTHING


def _words(row: str, value: Any) -> str:
    text = _text(row, value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _text(row: str, value: Any) -> str:
    if row in LIMITED:
        return _limit(row, value or 0)
    if not value:
        return NOTHING
    if row in SIZES:
        return f"{value / MIB:g} MiB"
    if isinstance(value, list):
        return "; ".join(_text(row, item) for item in value)
    return _json(value) if isinstance(value, Mapping) else str(value)


def _limit(row: str, value: int) -> str:
    if value <= 0:
        return "no limit"
    if row in SIZES:
        return f"{value / MIB:g} MiB"
    return f"{value / 1e9:g}" if row == WORDS["NanoCpus"] else str(value)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False).replace('"', "").strip("{}")
