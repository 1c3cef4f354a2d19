"""Runs inside a sandbox, by its own user: tries to get out, and to find what is not its own. Prints what it managed.

Read from standard input by the python3 of the image, so that nothing of the tests has to be in it.
"""

import json
import os
import socket
import stat
import sys

TARGETS = sys.argv[1].split(",")
SECRETS = sys.argv[2].split(",")
found: list[str] = []


def tries(what, attempt) -> None:
    try:
        result = attempt()
    except (OSError, PermissionError):
        return
    found.append(f"{what}: {result}")


def connect(host: str, port: int) -> str:
    with socket.create_connection((host, port), timeout=1):
        return "connected"


def interfaces() -> None:
    names = sorted(os.listdir("/sys/class/net"))
    if names != ["lo"]:
        found.append(f"interfaces: {names}")


def sockets() -> None:
    """Every unix socket that can be seen, but the two that belong here."""
    for root, directories, files in os.walk("/"):
        directories[:] = [d for d in directories if os.path.join(root, d) not in ("/proc", "/sys")]
        for name in files:
            path = os.path.join(root, name)
            if path in ("/run/clawkaka/gateway/gateway.sock", "/run/clawkaka/host/host.sock"):
                continue
            if stat.S_ISSOCK(os.lstat(path).st_mode) and not path.startswith(("/tmp/", "/data/")):
                found.append(f"socket: {path}")


def secrets() -> None:
    places = ["/etc/clawkaka", "/run", "/data", "/tmp", "/home", "/root"]
    others = [pid for pid in os.listdir("/proc") if pid.isdigit() and pid != str(os.getpid())]  # we were told them
    paths = [f"/proc/{pid}/{name}" for pid in others for name in ("environ", "cmdline")]
    for place in places:
        paths += [os.path.join(root, name) for root, _, files in os.walk(place) for name in files]
    for path in paths:
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                continue
            with open(path, "rb") as file:
                content = file.read(50_000_000)
        except OSError:
            continue
        found.extend(f"secret in {path}" for secret in SECRETS if secret.encode() in content)


def writes() -> None:
    shared = ("/run/clawkaka/gateway/x", "/run/clawkaka/host/x", "/etc/clawkaka/x")
    for path in ("/x", "/etc/x", "/usr/x", "/app/x", "/proc/sys/kernel/x", *shared):
        tries(f"wrote {path}", lambda path=path: open(path, "w").close())


def rights() -> None:
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
    sets = ("CapEff", "CapPrm", "CapBnd", "CapAmb", "CapInh")
    found.extend(f"{name}: {status[name]}" for name in sets if int(status[name], 16))
    if status["NoNewPrivs"].strip() != "1" or status["Seccomp"].strip() != "2":
        found.append("no-new-privileges or seccomp is off")
    if os.getuid() != 1000 or 0 in os.getgroups():
        found.append(f"uid {os.getuid()}, groups {os.getgroups()}")
    tries("replaced its socket", lambda: os.unlink("/run/clawkaka/gateway/gateway.sock"))
    tries("raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    tries("chroot", lambda: os.chroot("/tmp"))
    tries("device", lambda: os.mknod("/tmp/device", stat.S_IFBLK, os.makedev(8, 0)))
    tries("unshare", lambda: unshare())


def unshare() -> str:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0:
        raise OSError("refused")
    return "made a user namespace"


interfaces()
for target in TARGETS:
    host, _, port = target.rpartition(":")
    tries(target, lambda host=host, port=port: connect(host, int(port)))
tries("a name", lambda: socket.gethostbyname("example.org"))
sockets()
secrets()
writes()
rights()
print(json.dumps(found))
