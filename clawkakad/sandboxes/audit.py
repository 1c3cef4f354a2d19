"""Whether a container is sealed as its profile wants it: every row that the engine tells, compared. Pure: no I/O.

The body of the create call is the only list of what is wanted. Whatever it does not mention must be empty, zero or off:
so a field of a newer engine, or one that nobody thought of, is found too. How a difference is told: `auditwords`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clawkakad.sandboxes.auditwords import SECCOMP, Finding, in_words, name_of
from clawkakad.sandboxes.profile import Body
from clawkakad.sandboxes.seccomp import PREFIX

Facts = Mapping[str, Any]

NO_NETWORK = "none"
APPARMOR = frozenset({"", "docker-default"})  # no AppArmor on this host, or the engine's own profile
FREE_LABELS = ("spc_t", "unconfined_t")  # SELinux types that confine nothing
ADDRESSES = ("IPAddress", "GlobalIPv6Address", "LinkLocalIPv6Address", "Gateway", "IPv6Gateway", "MacAddress")
TOLD_ELSEWHERE = frozenset({"SecurityOpt", "ConsoleSize"})  # in rows of their own; the size of a terminal that is not

# What a container takes over from its image where the body says nothing.
FROM_IMAGE = ("Env", "Cmd", "Entrypoint", "WorkingDir", "Volumes", "ExposedPorts", "Healthcheck", "StopSignal", "Shell")


@dataclass(frozen=True)
class Given:
    """What a container gets where its body says nothing: its image's config, and the engine's ordinary runtime."""

    image: Facts
    runtime: str


@dataclass(frozen=True)
class Row:
    """One thing that is compared, with nothing, empty, zero and off made one."""

    name: str
    wanted: Any
    found: Any


Compared = Iterator[tuple[str, Any, Any]]


def audit(inspected: Facts, wanted: Body, given: Given) -> list[Finding]:
    """Every difference between what the engine says of a container and the body that it should have been made of."""
    compared = rows(inspected, wanted, given)
    return [in_words(row.name, row.wanted, row.found) for row in compared if row.wanted != row.found]


def rows(inspected: Facts, wanted: Body, given: Given) -> list[Row]:
    """All rows, those that are as they should be too."""
    body: dict[str, Any] = dict(wanted)
    host = _at_rest(body.pop("HostConfig"), inspected)
    compared = [
        *_host_rows(inspected["HostConfig"], host, given),
        *_security_rows(inspected, host),
        *_config_rows(inspected["Config"], body, given),
        *_network_rows(inspected["NetworkSettings"]),
        (
            "mounts",
            [_wanted_mount(mount) for mount in host["Mounts"]],
            [_mount(mount) for mount in inspected["Mounts"]],
        ),
        ("program", _program(body, given), " ".join([inspected["Path"], *inspected["Args"]])),
    ]
    return [Row(name_of(name), _bare(wanted), _bare(found)) for name, wanted, found in compared]


def _at_rest(host: Facts, inspected: Facts) -> Facts:
    """Of one whose processes are frozen, or gone, less memory is no fault: it dozes, or did, and gets it back first."""
    memory = inspected["HostConfig"].get("Memory") or 0
    if inspected["State"]["Status"] != "running" and 0 < memory < host["Memory"]:
        return {**host, "Memory": memory}
    return host


def _host_rows(found: Facts, host: Facts, given: Given) -> Compared:
    wanted = {"Runtime": given.runtime, **host}
    for name in sorted((wanted.keys() | found.keys()) - TOLD_ELSEWHERE):
        written = IN_A_LINE.get(name, _as_it_is)
        yield name, *(written(item) for item in (wanted.get(name), found.get(name)))


def _security_rows(inspected: Facts, host: Facts) -> Compared:
    wanted, found = host["SecurityOpt"], inspected["HostConfig"].get("SecurityOpt") or []
    yield SECCOMP, _with(PREFIX, wanted), _with(PREFIX, found)
    yield "security options", _without(PREFIX, wanted), _without(PREFIX, found)
    apparmor = inspected["AppArmorProfile"]
    yield "AppArmor", None, None if apparmor in APPARMOR else apparmor
    for name in ("ProcessLabel", "MountLabel"):
        label = inspected[name]
        yield name, None, label if any(free in label for free in FREE_LABELS) else None


def _with(prefix: str, options: list[str]) -> list[str]:
    return [option for option in options if option.startswith(prefix)]


def _without(prefix: str, options: list[str]) -> list[str]:
    return [option for option in options if not option.startswith(prefix)]


def _config_rows(found: Facts, body: Facts, given: Given) -> Compared:
    inherited = {name: given.image.get(name) for name in FROM_IMAGE}
    labels = {**(given.image.get("Labels") or {}), **body["Labels"]}
    wanted = {**inherited, **body, "Labels": labels}
    for name in sorted(wanted.keys() | found.keys()):
        yield name, wanted.get(name), found.get(name)


def _network_rows(found: Facts) -> Compared:
    networks = found["Networks"] or {}
    yield "attached networks", None, list(networks.keys() - {NO_NETWORK})
    yield "published ports", None, found["Ports"]
    places = [found, *networks.values()]
    yield "addresses", None, list({place[name] for place in places for name in ADDRESSES if place.get(name)})


def _wanted_mount(mount: Facts) -> str:
    access = "read-only" if mount.get("ReadOnly") else "writable"
    propagation = mount.get("BindOptions", {}).get("Propagation", "")
    return _mounted(mount["Type"], mount["Source"], mount["Target"], access, propagation)


def _mount(mount: Facts) -> str:
    """What is really mounted, whichever way it was asked for."""
    source = mount["Name"] if mount["Type"] == "volume" else mount["Source"]
    access = "writable" if mount["RW"] else "read-only"
    driver = mount.get("Driver", "").removeprefix("local")
    return _mounted(mount["Type"], source, mount["Destination"], access, mount["Propagation"], driver)


def _as_it_is(value: Any) -> Any:
    return value


def _ulimits(limits: list[Facts] | None) -> list[str]:
    """With its zeros: a limit of nothing is one."""
    return [f"{limit['Name']} {limit['Soft']}, at most {limit['Hard']}" for limit in limits or []]


def _wanted_mounts(mounts: list[Facts] | None) -> list[str]:
    return [_wanted_mount(mount) for mount in mounts or []]


IN_A_LINE: dict[str, Callable[[Any], Any]] = {"Ulimits": _ulimits, "Mounts": _wanted_mounts}


def _mounted(kind: str, source: str, target: str, *marks: str) -> str:
    return f"{target}: {kind} {source} ({', '.join(mark for mark in marks if mark)})"


def _program(body: Facts, given: Given) -> str:
    entrypoint, command = (body.get(name) or given.image.get(name) or [] for name in ("Entrypoint", "Cmd"))
    return " ".join([*entrypoint, *command])


def _bare(value: Any) -> Any:
    """Empty, zero and off are one, and lists have no order: the engine writes them either way.

    Only on the surface: a port without an address, or a tmpfs without options, is still one.
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        return sorted(value, key=lambda item: json.dumps(item, sort_keys=True)) or None
    return value or None
